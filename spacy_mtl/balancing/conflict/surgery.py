"""Conflict methods that change one gradient after another, each against the others in random order.

In `mixed` [T, T], row i says how much of each task's direction is in the changed gradient of task i, which starts as
its own direction of length 1. Their sum is the update.
"""

from typing import ClassVar

import numpy as np

from .. import settings
from ..base import Floats
from .base import ConflictBalancer, Directions

_EPSILON = 1e-8  # added to a length that may be 0, where lengths are about 1
_LEAST_SINE = 0.01  # of a target: bounds what one correction may add, by 100 lengths


class _Surgery(ConflictBalancer):
    """Random orders that are a function of the seed and of how many were drawn, so that a training can be resumed."""

    stateful: ClassVar[tuple[str, ...]] = ("seed", "draws")

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = settings.whole_number(seed, key="seed", low=0)
        self.draws = 0

    def orders(self, n_tasks: int) -> list[list[int]]:
        """For each task, the others in the order in which its gradient meets them."""
        rng = np.random.default_rng([self.seed, self.draws])
        self.draws += 1
        return [[j for j in rng.permutation(n_tasks).tolist() if j != i] for i in range(n_tasks)]


def _sum(mixed: Floats, norms: Floats) -> Floats:
    """[T] weights of the sum of the changed gradients, each back at its task's length."""
    weights: Floats = norms @ mixed / norms
    return weights


class PCGrad(_Surgery):
    """Where two gradients conflict, projects the one on the plane that is normal to the other; the update is the sum.

    For each task i and each other task j in random order: `g_i -= min(0, <g_i, g_j>) / |g_j|² g_j`, where g_i is what
    the projections before have left of it, and g_j is the original (Yu et al., arXiv 2001.06782, algorithm 1). No
    weight is below 1.

    seed: of the orders, at least 0. Default: 0.

    Raises ConfigError for a seed that is not such a number.
    """

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        mixed = np.eye(len(tasks))
        for i, others in enumerate(self.orders(len(tasks))):
            for j in others:
                mixed[i, j] -= min(directions.cosines[j] @ mixed[i], 0.0)
        return _sum(mixed, directions.norms)


class GradVac(_Surgery):
    """Gradient Vaccine: like PCGrad, but moves each gradient up to the angle that the two tasks usually have.

    For each task i and each other task j in random order, with φ the cosine of g_i (as changed so far) and g_j, and φ̂
    its moving average: if φ < φ̂, then `g_i += |g_i| (φ̂ sqrt(1-φ²) - φ sqrt(1-φ̂²)) / (|g_j| sqrt(1-φ̂²)) g_j`; in
    either case φ̂ becomes `(1-beta) φ̂ + beta φ` (Wang et al., arXiv 2010.05874, algorithm 1, for the encoder as one
    group; the last root counts as at least 0.01). The averages start at 0, so the first step is PCGrad's.

    beta: the share of the new cosine in the average, from 0 (PCGrad for ever) to 1. Default: 0.01.
    seed: of the orders, at least 0. Default: 0.

    Raises ConfigError for settings out of range.
    """

    stateful: ClassVar[tuple[str, ...]] = ("seed", "draws", "targets")

    def __init__(self, *, beta: float = 0.01, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.beta = settings.number(beta, key="beta", low=0.0, high=1.0)
        # the average cosine of a task's gradient, as changed so far, with another task's
        self.targets: dict[str, dict[str, float]] = {}

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        cosines = directions.cosines
        mixed = np.eye(len(tasks))
        for i, others in enumerate(self.orders(len(tasks))):
            targets = self.targets.setdefault(tasks[i], {})
            for j in others:
                length = np.sqrt(max(mixed[i] @ cosines @ mixed[i], 0.0))
                cosine = float(np.clip(cosines[j] @ mixed[i] / (length + _EPSILON), -1.0, 1.0))
                target = targets.get(tasks[j], 0.0)
                if cosine < target:
                    sine, target_sine = np.sqrt(1 - cosine**2), np.sqrt(1 - target**2)
                    step = length * (target * sine - cosine * target_sine)
                    mixed[i, j] += step / max(target_sine, _LEAST_SINE)
                targets[tasks[j]] = (1 - self.beta) * target + self.beta * cosine
        return _sum(mixed, directions.norms)
