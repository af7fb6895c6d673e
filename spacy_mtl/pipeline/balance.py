"""Measures how the heads pull at the encoder in each batch, and weighs them before its one backward pass."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from thinc.api import get_array_module, to_numpy

from .. import errors
from ..balancing.base import Balancer, Floats, TaskSignals
from ..types import Array
from .statistics import TaskCount

Slots = Mapping[str, Array]  # task -> [T, width], what `GradientBuffer` holds

_KEEP_UNITS = 0.99  # decay of the average of a task's annotated units in a batch
_KEEP_LENGTHS = 0.99  # of the lengths of the plain and the weighted sum
_KEEP_POOLED = 0.9  # of a task's pooled gradient
_MAX_AGE = 50  # batches without the task after which its pooled gradient starts anew


@dataclass(frozen=True)
class Pull:
    """How the heads pull at the encoder in one batch; A of them are annotated and have handed back a gradient.

    tasks: their names, sorted.
    gramians: [2, A, A] inner products, on the device where they were measured: of the gradients with respect to the
        token vectors; and of the running averages, over batches, of their sums over the tokens.
    """

    tasks: tuple[str, ...]
    gramians: Array

    def read(self) -> tuple[Floats, Floats]:
        """The two Gramians in host memory; waits for the device. Raises GradientError if they are not finite."""
        host = to_numpy(self.gramians).astype("d")
        if not np.isfinite(host).all():
            norms = np.diagonal(host[0])
            bad = [t for t, norm in zip(self.tasks, norms, strict=True) if not np.isfinite(norm)]
            raise errors.gradient_not_finite(bad or self.tasks)
        return host[0], host[1]


class GradientMeter:
    """Measures the heads' gradients, and remembers what goes beyond one batch.

    units: how many annotated units each task usually has in a batch that has any.
    """

    def __init__(self) -> None:
        self.n_batches = 0
        self.units: dict[str, float] = {}
        self.pooled: dict[str, Array] = {}  # task -> [width]
        self.seen: dict[str, int] = {}  # task -> number of the batch

    def measure(
        self,
        slots: Slots,
        counts: Mapping[str, TaskCount],
        over_ranks: Callable[[Array], Array] | None = None,
    ) -> Pull | None:
        """The batch's Gramians; None if it is annotated for none of the tasks. Copies nothing from the device.

        over_ranks: sums an array over all processes that have a part of the batch; `counts` are of the whole then.
        """
        self.n_batches += 1
        tasks = tuple(task for task in sorted(slots) if task in counts and counts[task].units)
        if not tasks:
            return None
        xp = get_array_module(slots[tasks[0]])
        flat = xp.stack([slots[task].ravel() for task in tasks])
        gramian, sums = flat @ flat.T, xp.stack([slots[task].sum(axis=0) for task in tasks])
        if over_ranks is not None:
            gramian, sums = over_ranks(gramian), over_ranks(sums)
        for task, gradient in zip(tasks, sums, strict=True):
            units = counts[task].units
            self.units[task] = _average(self.units.get(task), float(units), keep=_KEEP_UNITS)
            self._pool(task, gradient, xp)
        pooled = xp.stack([self.pooled[task] for task in tasks])
        return Pull(tasks, xp.stack([gramian, pooled @ pooled.T]))

    def _pool(self, task: str, gradient: Array, xp: Any) -> None:
        before = self.pooled.get(task)
        if before is not None and self.n_batches - self.seen[task] <= _MAX_AGE:
            gradient = _average(xp.asarray(before), gradient, keep=_KEEP_POOLED)
        self.pooled[task], self.seen[task] = gradient, self.n_batches

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {
            "n_batches": self.n_batches,
            "units": dict(self.units),
            "pooled": {task: vector.tolist() for task, vector in self.pooled.items()},
            "seen": dict(self.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.n_batches = state["n_batches"]
        self.units, self.seen = dict(state["units"]), dict(state["seen"])
        self.pooled = {task: np.asarray(v, dtype="f") for task, v in state["pooled"].items()}


class GradientBalance:
    """Turns a balancer's weights into the factor on each head's gradient.

    For a balancer with `per_unit` a gradient is divided by the units that its task usually has in a batch, so that a
    task counts for what it says and not for how its head sums; in a batch with fewer units than usual it still counts
    for less. The whole is then scaled so that, over the last hundred batches or so, it is as long as the plain sum of
    the gradients: learning rates and clipping keep their meaning.

    A head that hands back a gradient for a batch that is not annotated for it (some of spaCy's train on absence) keeps
    its last factor, 1 if it has none.
    """

    def __init__(self, balancer: Balancer, meter: GradientMeter) -> None:
        self.balancer = balancer
        self.meter = meter
        self.n_batches = 0
        self.lengths = [0.0, 0.0]  # moving averages: of the plain sum, of the weighted one
        self.factors: dict[str, float] = {}

    @property
    def measures(self) -> bool:
        """Whether `weigh` wants to know how the heads pull, and what they were annotated for."""
        return self.balancer.per_unit or bool(self.balancer.needs)

    def weigh(
        self, tasks: tuple[str, ...], counts: Mapping[str, TaskCount], pull: Pull | None
    ) -> dict[str, float]:
        """The factor on each task's gradient.

        tasks: those that have handed back a gradient. counts, pull: what the balancer looks at, if it `measures`.
        """
        self.n_batches += 1
        if not self.measures:
            weights = self._ask(tasks, np.zeros(len(tasks)), None, None)
            self.factors.update(zip(tasks, weights.tolist(), strict=True))
        elif pull is not None:
            token, pooled = pull.read()
            usual = np.array([self.meter.units[task] for task in pull.tasks])
            if not self.balancer.per_unit:
                usual = np.ones(len(usual))
            gramian = (token if self.balancer.level == "token" else pooled) / usual / usual[:, None]
            units = np.array([counts[task].units for task in pull.tasks], dtype="d")
            losses = np.array([counts[task].loss for task in pull.tasks]) / units
            weights = self._ask(pull.tasks, units, gramian, losses) / usual
            if self.balancer.per_unit:
                weights = self._as_long_as_plain(weights, token)
            self.factors.update(zip(pull.tasks, weights.tolist(), strict=True))
        return {task: self.factors.get(task, 1.0) for task in tasks}

    def _ask(
        self, tasks: tuple[str, ...], units: Floats, gramian: Floats | None, losses: Floats | None
    ) -> Floats:
        needs = self.balancer.needs
        signals = TaskSignals(
            tasks=tasks,
            gramian=gramian if "gramian" in needs else None,
            losses=losses if "losses" in needs else None,
            units=units,
            step=self.n_batches - 1,
        )
        returned = self.balancer.weights(signals)
        try:
            weights = np.asarray(returned, dtype="d")
        except (TypeError, ValueError):
            weights = np.empty(0)
        if weights.shape != (len(tasks),) or not np.isfinite(weights).all():
            raise errors.bad_balancer_weights(self.balancer, returned, tasks=tasks)
        return weights

    def _as_long_as_plain(self, weights: Floats, token: Floats) -> Floats:
        lengths = np.sqrt([max(token.sum(), 0.0), max(weights @ token @ weights, 0.0)])
        averages = _KEEP_LENGTHS * np.array(self.lengths) + (1 - _KEEP_LENGTHS) * lengths
        self.lengths = averages.tolist()
        plain, weighted = self.lengths
        return weights * (plain / weighted) if plain > 0 and weighted > 0 else weights

    def to_bytes(self) -> bytes:
        """All that later factors depend on, as JSON that keeps every digit."""
        state = {
            "method": type(self.balancer).__name__,
            "balancer": self.balancer.state_dict(),
            "meter": self.meter.state_dict(),
            "n_batches": self.n_batches,
            "lengths": self.lengths,
            "factors": self.factors,
        }
        return json.dumps(state, indent=1).encode("utf8")

    def from_bytes(self, data: bytes, *, file: str = "balancer") -> None:
        """Go on where `to_bytes` was taken; start anew if it was another method.

        Raises ConfigError if the same method has another state, and CheckpointError that names a damaged file.
        """
        try:
            state = json.loads(data)
            state["meter"], state["lengths"], state["factors"], state["n_batches"]
        except (ValueError, KeyError, TypeError) as error:
            raise errors.damaged_balancer(file) from error
        if state["method"] != type(self.balancer).__name__:
            return
        self.balancer.load_state_dict(state["balancer"])
        self.meter.load_state_dict(state["meter"])
        self.n_batches = state["n_batches"]
        self.lengths, self.factors = list(state["lengths"]), dict(state["factors"])


def _average(before: Any, now: Any, *, keep: float) -> Any:
    """A moving average that starts at its first value."""
    return now if before is None else keep * before + (1.0 - keep) * now
