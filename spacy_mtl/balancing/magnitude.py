"""Balancers that look at how large the tasks' gradients are, and not at their angles.

A task's level is compared with those of all tasks seen so far, not only with those of the batch: its weight must not
jump because another task is missing from a batch. A task without a gradient has weight 0 and leaves the averages alone.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from .base import (
    EPSILON,
    NO_GRADIENT,
    Balancer,
    Floats,
    Signal,
    TaskSignals,
    average,
    checked_number,
    checked_task_weights,
    ratio,
)


class Static(Balancer):
    """The user's weights: `w_t = weights[t]`.

    weights: the factor for each task; a task that is left out has 1. At least 0. Default: 1 for all.

    Raises ConfigError for a weight that is negative or not a number.
    """

    def __init__(self, *, weights: Mapping[str, float] | None = None) -> None:
        self.task_weights = checked_task_weights(weights)

    @property
    def named_tasks(self) -> frozenset[str]:
        return frozenset(self.task_weights)

    def weights(self, signals: TaskSignals) -> Floats:
        return np.array([self.task_weights.get(task, 1.0) for task in signals.tasks])


class NormEqual(Balancer):
    """Gives all tasks gradients of the same norm: `w_t ∝ weights[t] / EMA(norm_t)`, with a mean of 1.

    That differences in magnitude, not in angle, are what multi-task learning suffers from: arXiv 2311.04698. The mean
    is taken over all tasks seen so far.

    weights: how large a task's gradient is to be, relative to the others. At least 0. Default: 1 for all.
    decay: of the moving average of the norms, at least 0 and below 1. 0 takes each step's own norm. Default: 0.9.

    Raises ConfigError for settings out of range.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"gramian"})
    stateful = ("average_norms",)

    def __init__(self, *, weights: Mapping[str, float] | None = None, decay: float = 0.9) -> None:
        self.task_weights = checked_task_weights(weights)
        self.decay = checked_number(decay, key="decay", low=0.0, high=1.0, below=True)
        self.average_norms: dict[str, float] = {}

    @property
    def named_tasks(self) -> frozenset[str]:
        return frozenset(self.task_weights)

    def weights(self, signals: TaskSignals) -> Floats:
        norms = dict(zip(signals.tasks, signals.norms.tolist(), strict=True))
        for task, norm in norms.items():
            if norm > NO_GRADIENT:
                known = self.average_norms.get(task)
                self.average_norms[task] = average(known, norm, keep=self.decay)
        smallest = min(self.average_norms.values(), default=1.0)
        largest = max(self.task_weights.values(), default=0.0) or 1.0
        shares = {
            task: self.task_weights.get(task, 1.0) / max(largest, 1.0) * (smallest / norm)
            for task, norm in self.average_norms.items()
        }
        total = sum(shares.values())
        scale = len(shares) / total if total else 0.0
        return np.array([shares[t] * scale if n > NO_GRADIENT else 0.0 for t, n in norms.items()])


class GradNorm(Balancer):
    """Sets each gradient's norm by how far its task lags behind: `w_t norm_t = mean norm * (rate_t / mean rate)^alpha`.

    `rate_t = loss_t / (task t's first loss)`: the larger, the slower the task learns. The paper (arXiv 1711.02257,
    section 3, equations 1 and 2) moves w_t towards this by gradient steps; here it is met at once, and what those small
    steps smooth, moving averages do. Means are taken over all tasks seen so far; losses below 1e-8 count as that.

    alpha: the restoring force, from 0 (equal norms) to 10. Default: 1.5.
    decay: of the moving averages of norms and losses, at least 0 and below 1. 0 takes each step's own. Default: 0.9.

    Raises ConfigError for settings out of range.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"gramian", "losses"})
    stateful = ("average_norms", "average_losses", "first_losses")

    def __init__(self, *, alpha: float = 1.5, decay: float = 0.9) -> None:
        self.alpha = checked_number(alpha, key="alpha", low=0.0, high=10.0)
        self.decay = checked_number(decay, key="decay", low=0.0, high=1.0, below=True)
        self.average_norms: dict[str, float] = {}
        self.average_losses: dict[str, float] = {}
        self.first_losses: dict[str, float] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        norms, losses = signals.norms, signals.need("losses")
        for task, norm, loss in zip(signals.tasks, norms.tolist(), losses.tolist(), strict=True):
            if norm > NO_GRADIENT:
                self.first_losses.setdefault(task, loss)
                for averages, value in ((self.average_norms, norm), (self.average_losses, loss)):
                    averages[task] = average(averages.get(task), value, keep=self.decay)
        if not self.first_losses:
            return np.zeros(len(norms))
        rates = {t: ratio(self.average_losses[t], first) for t, first in self.first_losses.items()}
        mean_norm = float(np.mean(list(self.average_norms.values())))
        mean_rate = float(np.mean(list(rates.values())))
        return np.array(
            [
                mean_norm / self.average_norms[task] * (rates[task] / mean_rate) ** self.alpha
                if norm > NO_GRADIENT
                else 0.0
                for task, norm in zip(signals.tasks, norms, strict=True)
            ]
        )


class DBMTL(Balancer):
    """Equal gradients of the *logarithm* of the losses, as large as the largest: `w_t = (max_j n_j / n_t) / loss_t`.

    `n_t` averages the norm of `grad log loss_t = grad loss_t / loss_t`, hence the division by the loss: the weight is a
    factor on the gradient of the loss itself (arXiv 2308.12029, sections 3.1 and 3.2, algorithm 1). The paper averages
    the gradients and takes the norm of the average; a Gramian has the norms only, so these are averaged. The maximum
    is taken over all tasks seen so far; 1e-8 is added to the losses. Weights are not bounded: a loss near 0 has a
    large one.

    beta, sigma: at its k-th step a task's average keeps the share `beta / k^sigma`. beta is at least 0 and below 1
        (default: 0.9), sigma from 0 to 10 (default: 0.5).

    Raises ConfigError for settings out of range.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"gramian", "losses"})
    stateful = ("average_norms", "steps")

    def __init__(self, *, beta: float = 0.9, sigma: float = 0.5) -> None:
        self.beta = checked_number(beta, key="beta", low=0.0, high=1.0, below=True)
        self.sigma = checked_number(sigma, key="sigma", low=0.0, high=10.0)
        self.average_norms: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        log_losses = np.log(np.maximum(signals.need("losses"), 0.0) + EPSILON)
        active = signals.norms > NO_GRADIENT
        log_norms = np.log(np.where(active, signals.norms, 1.0)) - log_losses
        for task, log_norm in zip(np.array(signals.tasks, dtype=object)[active], log_norms[active], strict=True):
            self.steps[task] = self.steps.get(task, 0) + 1
            keep = self.beta / self.steps[task] ** self.sigma
            norm = float(np.exp(np.clip(log_norm, -600.0, 600.0)))
            self.average_norms[task] = average(self.average_norms.get(task), norm, keep=keep)
        logs = {task: np.log(norm) for task, norm in self.average_norms.items()}
        top = max(logs.values(), default=0.0)
        excess = np.array([top - logs.get(task, top) for task in signals.tasks]) - log_losses
        weights: Floats = np.where(active, np.exp(np.clip(excess, -600.0, 600.0)), 0.0)
        return weights
