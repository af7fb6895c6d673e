"""Task statistics -> weights. Pure maps on small numpy arrays: no torch, no spaCy.

Once a step, the pipeline fills a `TaskSignals` with what the chosen balancer `needs`, and multiplies each task's
gradient per annotated unit by the weight that the balancer returns.
"""

from .base import Balancer, TaskSignals
from .conflict import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConflictBalancer,
    Directions,
    EqualProjection,
    FairGrad,
    GradVac,
    NashMTL,
    PCGrad,
    UPGrad,
)
from .loss import DWA, FAMO, Uncertainty
from .magnitude import DBMTL, GradNorm, NormEqual, Static

# by the name between `spacy_mtl.` and `.v1` in the registry
BALANCERS: dict[str, type[Balancer]] = {
    balancer.__name__: balancer
    for balancer in (
        Static,
        NormEqual,
        EqualProjection,
        GradNorm,
        DBMTL,
        Uncertainty,
        DWA,
        FAMO,
        PCGrad,
        GradVac,
        CAGrad,
        MGDA,
        IMTLG,
        NashMTL,
        AlignedMTL,
        FairGrad,
        UPGrad,
    )
}

__all__ = [
    "BALANCERS",
    "DBMTL",
    "DWA",
    "FAMO",
    "IMTLG",
    "MGDA",
    "AlignedMTL",
    "Balancer",
    "CAGrad",
    "ConflictBalancer",
    "Directions",
    "EqualProjection",
    "FairGrad",
    "GradNorm",
    "GradVac",
    "NashMTL",
    "NormEqual",
    "PCGrad",
    "Static",
    "TaskSignals",
    "UPGrad",
    "Uncertainty",
]
