"""Conflict methods that share out the update as a scarce good: α-fairness, and Nash bargaining, which is α = 1.

K is divided by its mean diagonal first. Without that, the solution for c K is the one for K times `c^(-α / (1 + α))`:
the update's scale would have little to do with that of the gradients, and jump where a batch has a single task, whose
weight is 1. With it, gradients of one length that do not interact have weight 1.
"""

import numpy as np

from .. import settings
from ..base import Floats
from .base import ConflictBalancer, Directions


class FairGrad(ConflictBalancer):
    """The α-fair update: the positive w with `K w = w^(-1/alpha)`, element by element.

    Ban and Ji, arXiv 2402.15638, equation 4; K has a mean diagonal of 1. There is one solution, unless some
    mixture of the gradients is zero: there the ridge of `Directions` is what bounds the weights.

    alpha: from 0.5 to 10. The smaller, the more the total gain counts; 1 is proportional fairness (Nash-MTL); the
        larger, the more the worst-off task counts. Default: 2. Above 7, the equation may not be solved where one
        gradient is 1e6 times as long as another.

    Raises ConfigError for a setting out of range.
    """

    def __init__(self, *, alpha: float = 2.0) -> None:
        self.alpha = settings.number(alpha, key="alpha", low=0.5, high=10.0)

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        return fair_weights(directions, alpha=self.alpha)


class NashMTL(ConflictBalancer):
    """The tasks' Nash bargaining solution: the positive w with `K w = 1 / w`, element by element.

    Navon et al., arXiv 2202.01017, claim 3.1; K has a mean diagonal of 1, so that the update's norm is
    `sqrt(sum_t norm_t²)`, that of the plain sum where gradients do not interact. The authors approach w by a sequence
    of convex problems; it is the solution of one, which is solved here. Their clipping of the norm is left to the
    training's `grad_clip`. Where some mixture of the gradients is zero, see FairGrad.
    """

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        return fair_weights(directions, alpha=1.0)


def fair_weights(directions: Directions, *, alpha: float) -> Floats:
    """[T] the w > 0 with `K w = w^(-1/alpha)`, K scaled to a mean diagonal of 1.

    It minimises the convex `½ w'Kw - sum_t φ(w_t)`, where φ has the derivative `w^(-1/alpha)`. Newton's method, from
    what each task would get if it were orthogonal to the others; a step that would take more than half of a weight is
    shortened. 10 steps are usual.
    """
    norms = directions.norms / np.sqrt(np.mean(directions.norms**2))
    Q, prices = directions.ridged, norms ** (1 / alpha - 1)
    y = norms ** ((1 - alpha) / (1 + alpha))  # norms * w
    for _ in range(200):
        gain = prices * y ** (-1 / alpha)
        step = np.linalg.solve(Q + np.diag(gain / y / alpha), gain - Q @ y)
        change = step / y
        y = y + step * min(1.0, 0.5 / max(-change.min(), 0.5))
        if np.abs(change).max() < 1e-8:  # the error is the square of it
            break
    return y / norms
