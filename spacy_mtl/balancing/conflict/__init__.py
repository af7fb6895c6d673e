"""Balancers that look at the angles between the tasks' gradients, and solve their conflicts."""

from .base import ConflictBalancer, Directions
from .closed_form import IMTLG, AlignedMTL
from .fairness import FairGrad, NashMTL
from .quadratic import MGDA, CAGrad, EqualProjection, UPGrad
from .surgery import GradVac, PCGrad

__all__ = [
    "IMTLG",
    "MGDA",
    "AlignedMTL",
    "CAGrad",
    "ConflictBalancer",
    "Directions",
    "EqualProjection",
    "FairGrad",
    "GradVac",
    "NashMTL",
    "PCGrad",
    "UPGrad",
]
