"""Balancers that look at how large the tasks' gradients are, and not at their angles.

A task's level is compared with those of all tasks seen so far, not only with those of the batch: its weight must not
jump because another task is missing from a batch. A task without a gradient has weight 0 and leaves the averages alone.
"""

from collections.abc import Mapping

import numpy as np

from . import settings
from .base import EPSILON, NO_GRADIENT, Balancer, Floats, TaskSignals, equal_lengths, ratio


class Static(Balancer):
    """The user's weights: `w_t = weights[t]`, on the gradients as the heads hand them back, whatever their units.

    weights: the factor for each task, from 0 to 1e6; a task that is left out has 1. Default: 1 for all.

    Raises ConfigError for a weight out of range.
    """

    per_unit = False

    def __init__(self, *, weights: Mapping[str, float] | None = None) -> None:
        self.task_weights = settings.task_weights(weights)

    @property
    def named_tasks(self) -> frozenset[str]:
        return frozenset(self.task_weights)

    def weights(self, signals: TaskSignals) -> Floats:
        return np.array([self.task_weights.get(task, 1.0) for task in signals.tasks])


class NormEqual(Balancer):
    """Gives all tasks gradients of the same length: `w_t ∝ weights[t] / EMA(norm_t)`, with a mean of 1.

    That tasks suffer from differences in magnitude more than in angle: arXiv 2311.04698. The mean is taken over all
    tasks seen so far.

    weights: how long a task's gradient is to be, relative to the others'; from 0 to 1e6. Default: 1 for all.
    decay: of the moving average of the norms, at least 0 and below 1. 0 takes each step's own norm. Default: 0.9.

    Raises ConfigError for settings out of range.
    """

    needs = frozenset({"gramian"})
    stateful = ("average_norms",)

    def __init__(self, *, weights: Mapping[str, float] | None = None, decay: float = 0.9) -> None:
        self.task_weights = settings.task_weights(weights)
        self.decay = settings.number(decay, key="decay", low=0.0, high=1.0, below=True)
        self.average_norms: dict[str, float] = {}

    @property
    def named_tasks(self) -> frozenset[str]:
        return frozenset(self.task_weights)

    def weights(self, signals: TaskSignals) -> Floats:
        norms = _norms(signals)
        for task, norm in norms.items():
            _average(self.average_norms, task, norm, keep=self.decay)
        factors = equal_lengths(self.average_norms, self.task_weights)
        return _in_order(signals, {task: factors[task] for task in norms})


class GradNorm(Balancer):
    """Sets each gradient's norm by how far its task lags behind: `w_t norm_t = mean norm * (rate_t / mean rate)^alpha`.

    `rate_t = loss_t / (task t's first loss)`: the larger, the slower the task learns. The paper (arXiv 1711.02257,
    section 3, equations 1 and 2) moves w_t towards this by gradient steps. Here it is met at once, and what those small
    steps smooth, moving averages do. The mean norm is of the norms without weights, and the weights are not scaled to
    sum to the number of tasks: the component keeps the length of the whole. Means are taken over all tasks seen so far;
    a loss below 1e-8 counts as 1e-8.

    alpha: the force that pulls the tasks together, from 0 (equal norms) to 10. Default: 1.5.
    decay: of the moving averages of norms and losses, at least 0 and below 1. 0 takes each step's own. Default: 0.9.

    Raises ConfigError for settings out of range.
    """

    needs = frozenset({"gramian", "losses"})
    stateful = ("average_norms", "average_losses", "first_losses")

    def __init__(self, *, alpha: float = 1.5, decay: float = 0.9) -> None:
        self.alpha = settings.number(alpha, key="alpha", low=0.0, high=10.0)
        self.decay = settings.number(decay, key="decay", low=0.0, high=1.0, below=True)
        self.average_norms: dict[str, float] = {}
        self.average_losses: dict[str, float] = {}
        self.first_losses: dict[str, float] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        norms = _norms(signals)
        losses = dict(zip(signals.tasks, signals.need("losses").tolist(), strict=True))
        for task, norm in norms.items():
            self.first_losses.setdefault(task, losses[task])
            _average(self.average_norms, task, norm, keep=self.decay)
            _average(self.average_losses, task, losses[task], keep=self.decay)
        rates = {t: ratio(self.average_losses[t], first) for t, first in self.first_losses.items()}
        mean_rate = sum(rates.values()) / max(len(rates), 1)
        mean_norm = sum(self.average_norms.values()) / max(len(rates), 1)
        targets = {t: mean_norm * (rates[t] / mean_rate) ** self.alpha for t in norms}
        return _in_order(signals, {t: targets[t] / self.average_norms[t] for t in norms})


class DBMTL(Balancer):
    """Makes the gradients of the *logarithms* of the losses as long as the longest: `w_t = (max_j n_j / n_t) / loss_t`.

    n_t averages the norm of `grad log loss_t`, which is `norm_t / loss_t`; the other division by the loss makes w_t a
    factor on the gradient of the loss itself (arXiv 2308.12029, section 3, algorithm 1). The paper averages the
    gradients and takes the norm of their average; a Gramian holds norms only, so norms are averaged. The maximum is
    taken over all tasks seen so far; 1e-8 is added to the losses. The weights have no bound: the smaller the losses,
    the larger they are.

    beta, sigma: at a task's k-th step its average keeps the share `beta / k^sigma`. beta is at least 0 and below 1
        (default: 0.9), sigma from 0 to 10 (default: 0.5). The average starts at its first value; in LibMTL it starts at
        0, which differs in a task's first ten steps.

    Raises ConfigError for settings out of range.
    """

    needs = frozenset({"gramian", "losses"})
    stateful = ("average_norms", "steps")

    def __init__(self, *, beta: float = 0.9, sigma: float = 0.5) -> None:
        self.beta = settings.number(beta, key="beta", low=0.0, high=1.0, below=True)
        self.sigma = settings.number(sigma, key="sigma", low=0.0, high=10.0)
        self.average_norms: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        norms = _norms(signals)
        losses = np.maximum(signals.need("losses"), 0.0) + EPSILON
        logs = dict(zip(signals.tasks, np.log(losses).tolist(), strict=True))
        for task, norm in norms.items():
            self.steps[task] = self.steps.get(task, 0) + 1
            keep = self.beta / self.steps[task] ** self.sigma
            _average(self.average_norms, task, _exp(np.log(norm) - logs[task]), keep=keep)
        top = np.log(max(self.average_norms.values(), default=1.0))
        weights = {t: _exp(top - np.log(self.average_norms[t]) - logs[t]) for t in norms}
        return _in_order(signals, weights)


def _norms(signals: TaskSignals) -> dict[str, float]:
    """The norm of each task's gradient, without the tasks that have none."""
    named = zip(signals.tasks, signals.norms.tolist(), strict=True)
    return {task: norm for task, norm in named if norm > NO_GRADIENT}


def _in_order(signals: TaskSignals, weights: Mapping[str, float]) -> Floats:
    """[T] the weights in the order of the tasks, 0 for those without one."""
    return np.array([weights.get(task, 0.0) for task in signals.tasks])


def _average(averages: dict[str, float], task: str, value: float, *, keep: float) -> None:
    """Moves a task's exponential moving average, which starts at its first value."""
    averages[task] = keep * averages.get(task, value) + (1.0 - keep) * value


def _exp(log: float) -> float:
    """The exponential, between 1e-260 and 1e260."""
    return float(np.exp(np.clip(log, -600.0, 600.0)))
