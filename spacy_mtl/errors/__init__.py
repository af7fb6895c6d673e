"""What we tell the user: the value in backticks, where it stands, what to do. A file for each room."""

# ruff: noqa: F403
from .balancing import *
from .base import *
from .commands import *
from .corpora import *
from .distributed import *
from .encoder import *
from .heads import *
from .pipeline import *
from .spark import *
