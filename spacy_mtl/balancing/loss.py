"""Balancers that look at the losses only. The gradients' lengths at the token vectors keep the whole as long as it was.

A loss below 1e-8 counts as 1e-8.
"""

import numpy as np

from . import settings
from .base import EPSILON, Balancer, Floats, TaskSignals, ratio

_ADAM = (0.9, 0.999, 1e-8)  # decay of the mean and of the square, and what is added to the root


class Uncertainty(Balancer):
    """Learns how uncertain each task is: the losses become `sum_t ½ exp(-s_t) loss_t + ½ s_t`, so `w_t = ½ exp(-s_t)`.

    s_t, the logarithm of the task's variance, starts at 0 and takes a gradient step of its own after each weighing
    (Kendall, Gal and Cipolla, arXiv 1705.07115, section 3.2). It comes to rest at log loss_t, where `w_t loss_t` is ½
    for all tasks. A step that would lead beyond that point ends there, so that one large loss does not switch a task
    off for long.

    learn_rate: of s_t, above 0 and at most 1. Default: 0.025, some 80 steps to come to rest.

    Raises ConfigError for a setting out of range.
    """

    needs = frozenset({"losses"})
    stateful = ("log_variances",)

    def __init__(self, *, learn_rate: float = 0.025) -> None:
        self.learn_rate = settings.number(
            learn_rate, key="learn_rate", low=0.0, high=1.0, above=True
        )
        self.log_variances: dict[str, float] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        log_losses = np.log(np.maximum(signals.need("losses"), EPSILON))
        before = np.array([self.log_variances.get(task, 0.0) for task in signals.tasks])
        way = log_losses - before  # to where s_t comes to rest
        step = self.learn_rate * 0.5 * np.expm1(np.minimum(way, 600.0))
        after = before + np.where(np.abs(step) < np.abs(way), step, way)
        self.log_variances.update(zip(signals.tasks, after.tolist(), strict=True))
        return 0.5 * np.exp(-before)


class DWA(Balancer):
    """Dynamic Weight Average, more weight where the loss falls slowly: `w = T softmax(r / temperature)`.

    r_t is the mean loss of the last epoch divided by that of the one before, of the last two finished epochs in which
    the task was seen, and 1 until there are two (Liu, Johns and Davison, arXiv 1803.10704, "Dynamic Weight Average").
    The mean of an epoch is taken per annotated unit, the sum over all tasks seen so far, and T is their number.

    temperature: the larger, the more alike the weights; from 0.01 to 100. Default: 2.
    steps_per_epoch: how many batches count as an epoch; spaCy does not tell a component in which epoch it is.
        Default: 200, spaCy's default for the batches between two evaluations.

    Raises ConfigError for settings out of range.
    """

    needs = frozenset({"losses"})
    stateful = ("epoch", "running", "finished")

    def __init__(self, *, temperature: float = 2.0, steps_per_epoch: int = 200) -> None:
        self.temperature = settings.number(temperature, key="temperature", low=0.01, high=100.0)
        self.steps_per_epoch = settings.whole_number(steps_per_epoch, key="steps_per_epoch", low=1)
        self.epoch = 0
        self.running: dict[
            str, list[float]
        ] = {}  # of this epoch: units so far, mean loss of a unit
        self.finished: dict[
            str, list[float]
        ] = {}  # mean losses of the last two epochs, the older first

    def weights(self, signals: TaskSignals) -> Floats:
        self._turn(signals)
        for task, loss, units in zip(
            signals.tasks, signals.need("losses").tolist(), signals.units.tolist(), strict=True
        ):
            total, mean = self.running.get(task, [0.0, 0.0])
            total += units
            share = units / total if total else 0.0
            self.running[task] = [total, mean + (max(loss, 0.0) - mean) * share]
        rates = {task: self._rate(task) for task in self.running | self.finished}
        top = max(rates.values(), default=0.0)
        shares = {task: np.exp((rate - top) / self.temperature) for task, rate in rates.items()}
        scale = len(shares) / sum(shares.values()) if shares else 0.0
        return np.array([shares[task] * scale for task in signals.tasks])

    def _turn(self, signals: TaskSignals) -> None:
        """Close the running epoch if the step belongs to another one."""
        epoch = signals.step // self.steps_per_epoch
        if epoch != self.epoch:
            for task, (total, mean) in self.running.items():
                if total:
                    self.finished[task] = [*self.finished.get(task, []), mean][-2:]
            self.epoch, self.running = epoch, {}

    def _rate(self, task: str) -> float:
        means = self.finished.get(task, [])
        return ratio(means[1], means[0]) if len(means) == 2 else 1.0


class FAMO(Balancer):
    """Lowers all log losses at the same rate: `w_t = (z_t / loss_t) / sum_j (z_j / loss_j)` with `z = softmax(logits)`.

    The logits learn from what the last step did: with `d_t = log(loss_t before) - log(loss_t now)` they take a step of
    Adam along the gradient of `z · d`, so that a task that gained more than others counts less (Liu, Feng, Stone and
    Liu, arXiv 2306.03792, section 3; Adam as in the authors' code). The paper measures the loss
    again on the same batch; here the next batch that has the task stands in for it, which costs nothing and adds noise.
    Only the logits of this step's tasks move. 1e-8 is added to the losses. The weights of a step sum to 1.

    learn_rate: of the logits, above 0 and at most 1. Default: 0.025.
    weight_decay: pulls the logits to 0, where all z are equal; from 0 to 1. Default: 0.001, as in most of the authors'
        experiments.

    Raises ConfigError for settings out of range.
    """

    needs = frozenset({"losses"})
    stateful = ("logits", "moments", "log_losses")

    def __init__(self, *, learn_rate: float = 0.025, weight_decay: float = 0.001) -> None:
        self.learn_rate = settings.number(
            learn_rate, key="learn_rate", low=0.0, high=1.0, above=True
        )
        self.weight_decay = settings.number(weight_decay, key="weight_decay", low=0.0, high=1.0)
        self.logits: dict[str, float] = {}
        self.moments: dict[
            str, list[float]
        ] = {}  # Adam's steps, mean and mean square of the gradient
        self.log_losses: dict[str, float] = {}

    def weights(self, signals: TaskSignals) -> Floats:
        log_losses = np.log(np.maximum(signals.need("losses"), 0.0) + EPSILON)
        now = dict(zip(signals.tasks, log_losses.tolist(), strict=True))
        self._learn({t: self.log_losses[t] - log for t, log in now.items() if t in self.log_losses})
        self.log_losses.update(now)
        logits = np.array([self.logits.setdefault(task, 0.0) for task in signals.tasks])
        return _softmax(logits - log_losses)

    def _learn(self, gains: dict[str, float]) -> None:
        """gains: by how much the logarithm of each active task's loss fell."""
        z = dict(
            zip(self.logits, _softmax(np.array(list(self.logits.values()))).tolist(), strict=True)
        )
        mean_gain = sum(z[task] * gain for task, gain in gains.items())
        for task, gain in gains.items():
            gradient = z[task] * (gain - mean_gain) + self.weight_decay * self.logits[task]
            self.logits[task] -= self.learn_rate * self._adam(task, gradient)

    def _adam(self, task: str, gradient: float) -> float:
        """The direction of Adam's next step for one logit (arXiv 1412.6980, algorithm 1)."""
        keep, keep_square, epsilon = _ADAM
        steps, mean, square = self.moments.get(task, [0, 0.0, 0.0])
        steps += 1
        mean = keep * mean + (1 - keep) * gradient
        square = keep_square * square + (1 - keep_square) * gradient**2
        self.moments[task] = [steps, mean, square]
        root = float(np.sqrt(square / (1 - keep_square**steps)))
        return mean / (1 - keep**steps) / (root + epsilon)


def _softmax(values: Floats) -> Floats:
    powers: Floats = np.exp(values - values.max(initial=-np.inf))
    return powers / powers.sum()
