"""Conflict methods that are a quadratic problem with non-negative weights.

In `y = norms * w` the gradients are directions of length 1, and the quadratic form is their cosines, ridged: Q.
"""

from collections.abc import Mapping

import numpy as np

from .. import settings
from ..base import NO_GRADIENT, Floats, TaskSignals, equal_lengths
from .base import RIDGE, ConflictBalancer, Directions
from .solvers import nonnegative_minimum

_SHRINKAGE = 0.1  # on the diagonal of cosines that are measured with noise


class EqualProjection(ConflictBalancer):
    """An update with the same projection on every task's direction: `w_t ∝ y_t / norm_t`, `y ≥ 0` and `C y ≥ 1`.

    C: the cosines of the tasks' gradients. `C y` is 1 for every task with a weight, more for one that the others take
    further. Where these are orthogonal that is `NormEqual`. Tasks that pull alike take
    each other along and get less, one that the others take far enough gets nothing of its own; so none falls behind
    because the others are many and agree. It is the gradient balance of Impartial Multi-Task Learning (Liu et al.,
    ICLR 2021; `IMTLG`) kept from negative weights, which makes it `MGDA` (arXiv 1810.04650) on gradients of length 1:
    no update has a larger smallest cosine with a task. C is shrunk, `(C + 0.1 I) / 1.1`, which bounds the weights of
    gradients that all but cancel, and makes the projections nearly the same only: beside a third task two with a cosine
    of -0.5 get 0.92 of its, with one of -0.9 0.55.

    A projection is the same in every batch, whichever tasks it has. Norms are running averages, as the last batch with
    the task has left them, and compared with those of all tasks seen so far.

    weights: how large a task's projection is to be, relative to the others'; from 0 to 1e6. Default: 1 for all.

    Raises ConfigError for settings out of range.
    """

    stateful = ("last_norms",)

    def __init__(self, *, weights: Mapping[str, float] | None = None) -> None:
        self.task_weights = settings.task_weights(weights)
        self.last_norms: dict[str, float] = {}

    @property
    def named_tasks(self) -> frozenset[str]:
        return frozenset(self.task_weights)

    def weights(self, signals: TaskSignals) -> Floats:
        named = zip(signals.tasks, signals.norms.tolist(), strict=True)
        self.last_norms |= {task: norm for task, norm in named if norm > NO_GRADIENT}
        factors = equal_lengths(self.last_norms, self.task_weights)
        alone = [factors.get(task, 0.0) for task in signals.tasks]
        weights: Floats = super().weights(signals) * np.array(alone)
        return weights

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        """[T] times the weight of a batch without the others."""
        wanted = np.array([self.task_weights.get(task, 1.0) for task in tasks])
        part = np.flatnonzero(wanted > 0)
        times = np.zeros(len(tasks))
        if len(part):
            shrunk = directions.ridged[np.ix_(part, part)] + _SHRINKAGE * np.eye(len(part))
            y = nonnegative_minimum(shrunk, wanted[part] / wanted.max())
            times[part] = y * (1 + _SHRINKAGE) * wanted.max() / wanted[part]
        return times


class MGDA(ConflictBalancer):
    """The shortest of the weighted means of the gradients: `min w'Kw` with `w ≥ 0` and `sum(w) = 1`.

    As an update it conflicts with no task; all tasks with a weight above 0 gain alike, the others more (Sener and
    Koltun, arXiv 1810.04650, section 3). Solved exactly, where their algorithm 2 approaches it in Frank-Wolfe steps:
    the w that minimises `½ w'Kw - sum(w)` is a multiple of it. Short gradients get most of the weight.
    """

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        lengths = directions.norms / directions.norms.min()
        w = nonnegative_minimum(directions.ridged, 1 / lengths) / lengths
        weights: Floats = w / w.sum()
        return weights


class CAGrad(ConflictBalancer):
    """The update near the mean gradient that helps the worst-off task most.

    `max_d min_t <g_t, d>` with `|d - g| ≤ c |g|`, g the mean gradient. The solution is `g + sum_t v_t g_t`, `v ≥ 0`, so
    `w = 1 / T + v` (Liu et al., arXiv 2110.14048, section 3, algorithm 1; not rescaled). The paper minimises over
    v / sum(v). Here, the d nearest to g with which each task gains at least `gain` is a problem like UPGrad's. Its
    distance from g is a convex function of the gain, so Newton's method comes down to the gain whose d is on the ball.
    Where some mixture of the gradients is zero, or as good as (two at more than 179.6 degrees), there is no gain above
    0, and d moves at most until it conflicts with no task.

    c: the radius, from 0 (the mean gradient) to 1000; the paper's proof of convergence needs it below 1. Default: 0.5.

    Raises ConfigError for a setting out of range.
    """

    def __init__(self, *, c: float = 0.5) -> None:
        self.c = settings.number(c, key="c", low=0.0, high=1000.0)

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        Q, norms = directions.ridged, directions.norms
        mean = norms / len(tasks)  # the mean gradient, in y
        along = directions.cosines @ mean
        length = float(np.sqrt(np.maximum(mean @ along, 0.0)))
        radius = self.c * length
        gain = float(np.min(norms)) * (length + radius)  # more than can be had
        if _can_cancel(Q):
            gain = min(gain, 0.0)
        move = np.zeros(len(tasks))
        for _ in range(50 if radius else 0):
            move = nonnegative_minimum(Q, gain / norms - along)
            moved = float(np.sqrt(move @ Q @ move))
            if moved <= radius * (1 + 1e-12):
                break
            gain -= (moved - radius) * moved / float(np.sum(move / norms))
        weights: Floats = (mean + move) / norms
        return weights


def _can_cancel(Q: Floats) -> bool:
    """True if a weighted mean of the directions is zero, or as good as. Q: [T, T] their cosines, ridged."""
    y = nonnegative_minimum(Q, np.ones(len(Q)))
    return bool(1 / y.sum() < 10 * RIDGE)  # the square of the shortest mean's length


class UPGrad(ConflictBalancer):
    """The mean of the gradients, each changed as little as it takes to conflict with no task.

    Gradient i becomes its projection on the cone of all d with `<g_j, d> ≥ 0` for every j: `sum_j w_j g_j` with the w
    that minimises `w'Kw` under `w ≥ u`, u being 1 / T for task i and 0 for the others. These w are added up (Quinton
    and Rey, arXiv 2406.16232, proposition 1). Solved as non-negative least squares for `w - u`. No weight is below
    1 / T; the update conflicts with no task; to scale a task's gradient scales what it puts into the update.
    """

    def solve(self, directions: Directions, tasks: tuple[str, ...]) -> Floats:
        Q, norms = directions.ridged, directions.norms
        moves = np.array([nonnegative_minimum(Q, -row) for row in Q])
        weights: Floats = norms @ (np.eye(len(tasks)) + moves) / norms / len(tasks)
        return weights
