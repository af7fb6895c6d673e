"""The problem behind EqualProjection, MGDA, CAGrad and UPGrad, solved to rounding for a handful of tasks."""

import numpy as np
from numpy.typing import NDArray

from ..base import Floats

_ROUNDING = 1e-13


def nonnegative_minimum(Q: Floats, b: Floats) -> Floats:
    """[T] the x ≥ 0 for which ½ x'Qx - b'x is smallest.

    Q: [T, T] positive definite. b: [T].

    Non-negative least squares, min |Ax - y| with Q = A'A and b = A'y, by the active set method of Lawson and Hanson
    (Solving Least Squares Problems, 1974, chapter 23). Each set of free variables is left for a lower value, so none
    comes back.

    >>> nonnegative_minimum(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0])).tolist()
    [1.0, 0.0]
    """
    x = np.zeros(len(b))
    free = np.zeros(len(b), dtype=bool)
    for _ in range(10 * len(b) + 10):  # a few are enough, but for what rounding may do
        slope = np.where(free, -np.inf, b - Q @ x)
        entering = int(slope.argmax())
        if slope[entering] <= _ROUNDING * (np.abs(b).max() + np.abs(x).max()):
            break
        free[entering] = True
        target = _free_minimum(Q, b, free)
        if target[entering] <= 0:
            break  # its slope was rounding
        while (target[free] <= 0).any():
            leaving = np.flatnonzero(free & (target <= 0))
            steps = x[leaving] / (x[leaving] - target[leaving])
            x = x + steps.min() * (target - x)
            x[leaving[steps == steps.min()]] = 0.0
            free &= x > 0
            x[~free] = 0.0
            target = _free_minimum(Q, b, free)
        x = target
    return x


def _free_minimum(Q: Floats, b: Floats, free: NDArray[np.bool_]) -> Floats:
    """[T] the minimum over the free variables, of any sign; the others are 0."""
    x = np.zeros(len(b))
    x[free] = np.linalg.solve(Q[np.ix_(free, free)], b[free])
    return x
