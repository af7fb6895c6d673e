"""What the commands have in common on their command lines."""

from pathlib import Path
from typing import Annotated

import typer

# settings of a config can follow, as in `spacy train`: `--training.max_steps 100`
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

ConfigPath = Annotated[
    Path, typer.Argument(help="Path to the config file.", exists=True, dir_okay=False)
]
CodePath = Annotated[
    Path | None, typer.Option("--code", "-c", help="Python file to import before.")
]
GpuId = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1.")]
