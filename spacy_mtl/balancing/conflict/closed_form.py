"""Conflict methods that are a formula: a pseudo-inverse, a root."""

import numpy as np

from ... import errors
from ..base import Floats
from .base import RIDGE, ConflictBalancer, Directions

_SCALES = ("min", "median", "rmse")


class IMTLG(ConflictBalancer):
    """An update with the same projection on every task's direction: `w = v / sum(v)`, `v = K⁺ sqrt(diag K)`.

    The gradient balance of Impartial Multi-Task Learning (Liu et al., ICLR 2021), with the pseudo-inverse of arXiv
    2406.16232 for linearly dependent gradients; one that is 1e8 times shorter than another counts as dependent. The
    weights sum to 1; some may be negative, and large where the gradients are nearly dependent. Where v sums to 0, as
    for two opposite gradients of one length, all weights are 0: no other update has equal projections.
    """

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        cutoff = len(tasks) * np.finfo(np.float64).eps
        v = np.linalg.pinv(directions.gramian, rcond=cutoff, hermitian=True) @ directions.norms
        total = v.sum()
        return np.zeros_like(v) if abs(total) < 1e-12 else v / total


class AlignedMTL(ConflictBalancer):
    """Makes the tasks' gradients orthogonal and equally long: `w = sqrt(s) V diag(λ)^-½ V' u`, with `K = V diag(λ) V'`.

    u = 1 / T. Eigenvalues that are zero up to rounding are left out (Senushkin et al., arXiv 2305.19000, algorithm 1):
    up to 1e-6 of what they would be if the gradients that they are made of did not cancel. So a short gradient is not
    mistaken for rounding.

    scale: the common length, s: the smallest eigenvalue (`min`), their median (the lower of two middle ones) or their
        mean (`rmse`). Default: `min`.

    Raises ConfigError for another scale.
    """

    def __init__(self, *, scale: str = "min") -> None:
        if scale not in _SCALES:
            raise errors.not_one_of(scale, key="balancer.scale", choices=_SCALES)
        self.scale = scale

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        values, vectors = np.linalg.eigh(directions.gramian)
        apart = np.abs(vectors).T @ directions.norms  # how long each mixture would be at most
        kept = values > RIDGE * apart**2
        values, vectors = values[kept], vectors[:, kept]
        middle = values[(len(values) - 1) // 2]
        scale = {"min": values[0], "median": middle, "rmse": values.mean()}[self.scale]
        weights: Floats = np.sqrt(scale / values) * vectors @ vectors.mean(axis=0)
        return weights
