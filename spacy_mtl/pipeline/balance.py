"""Measures how the heads pull at the encoder in each batch, and weighs them before its one backward pass."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from thinc.api import get_array_module, to_numpy

from .. import errors
from ..balancing.base import Balancer, Floats, TaskSignals
from ..types import Array
from .statistics import TaskCount

Slots = Mapping[str, Array]  # task -> [T, width], what `GradientBuffer` holds

_KEEP_UNITS = 0.99  # decay of the average of a task's annotated units in a batch
_KEEP_LENGTHS = 0.99  # of the lengths of the plain and the weighted sum
_LONGEST = 10.0  # times their average: what is longer counts as no longer
_SETTLED = 10  # batches that the averages have seen by then; heads begin with gradients of zero
_KEEP_POOLED = 0.9  # of a task's pooled gradient, and of its length beside that
_KEEP_SHARED = 0.9  # of the cosine of two tasks in tokens that both are annotated in
_LEAST_SHARED = 1e-3  # weight below which that has not been seen for some 65 batches
_KEEP_REACH = 0.5  # of the logarithm of a task's reach, from one calibration to the next
_GROWTH = 1.4  # of a task's number of batches between two calibrations, as long as it has few
_ROUNDING = 1e-5  # of cosines in fp32
_MAX_AGE = 50  # batches without the task after which its pooled gradient starts anew


class Gramians(NamedTuple):
    """Inner products of the gradients of A tasks, [A, A] each, in host memory.

    token: of one batch, with the lengths that the gradients have at the encoder's parameters, estimated.
    pooled: both averaged over batches.
    plain: of one batch, with respect to the token vectors, as the heads have handed them back.
    """

    token: Floats
    pooled: Floats
    plain: Floats


@dataclass(frozen=True)
class Pull:
    """How the heads pull at the encoder in one batch; A of them are annotated and have handed back a gradient.

    tasks: their names, sorted.
    gramians: [3, A, A] inner products, on the device where they were measured, in the order of `Gramians`. Angles are
        those between the gradients with respect to the token vectors, in the second those of `cosines`.
    known: names of the K tasks that batches had lately, sorted.
    cosines: [K, K] on the device. Of two tasks with gold in the same documents, the running average, over batches, of
        the cosine at the token vectors; else the cosine between the running averages of their gradients' sums over the
        tokens, and 0 where these cancel.
    """

    tasks: tuple[str, ...]
    gramians: Array
    known: tuple[str, ...]
    cosines: Array

    def read_cosines(self) -> Floats:
        """The cosines in host memory; waits for the device."""
        return to_numpy(self.cosines).astype("d")

    def read(self) -> Gramians:
        """Waits for the device. Raises GradientError if they are not finite."""
        host = to_numpy(self.gramians).astype("d")
        if not np.isfinite(host).all():
            norms = np.diagonal(host[0])
            bad = [t for t, norm in zip(self.tasks, norms, strict=True) if not np.isfinite(norm)]
            raise errors.gradient_not_finite(bad or self.tasks)
        return Gramians(host[0], _definite(host[1]), host[2])


class GradientMeter:
    """Measures the heads' gradients, and remembers what goes beyond one batch.

    A gradient's length at the token vectors does not say how far it moves the encoder: one that says the same in all
    tokens of a document, as a classifier's does, adds up on its way down, one that differs from token to token does
    not. With MiniLM the quotient of the two lengths, a task's *reach* here, differed by a factor of six between names
    and sentiment, of ten between parses and genre, and it changes fast at first, in opposite directions
    (project/benchmarks/NOTES.md). So it is taken now and then, with a backward pass of the task's own.

    calibrate_every: take a task's reach in so many of its batches, and in the beginning whenever these have become
        two fifths more: in the first to fourth, sixth, eighth, 11th, 15th, 21st, ...; 0: never, and lengths are those
        at the token vectors.
    units: how many annotated units each task usually has in a batch that has any.
    reach: of each task, the moving average of its logarithm; not a number until it has had a gradient.
    """

    def __init__(self, calibrate_every: int = 0) -> None:
        self.calibrate_every = calibrate_every
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all batches."""
        self.n_batches = 0
        self.units: dict[str, float] = {}
        self.pooled: dict[str, Array] = {}  # task -> [width]
        self.lengths: dict[str, Array] = {}  # task -> [], beside the pooled gradient
        self.seen: dict[str, int] = {}  # task -> number of the batch
        self.counts: dict[str, int] = {}  # task -> its batches
        self.reach: dict[str, Array] = {}  # task -> []
        self.names: list[str] = []  # N tasks, the rows of the next
        # [2, N, N] averages: of cosines at the tokens, and of whether there is one
        self.shared: Array = np.zeros((2, 0, 0), dtype="f")

    @np.errstate(invalid="ignore")  # `Pull.read` tells whose gradient is not finite
    def measure(
        self,
        slots: Slots,
        counts: Mapping[str, TaskCount],
        go_down: Callable[[Sequence[Array], Sequence[str]], Array] | None = None,
        over_ranks: Callable[[Array], Array] | None = None,
    ) -> Pull | None:
        """The batch's Gramians; None if it is annotated for none of the tasks. Copies nothing from the device.

        go_down: what some of the gradients, of these tasks, are to a sample of the encoder's parameters: [tasks, P].
            None: there is no way down.
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
        at_tokens = xp.sqrt(xp.diagonal(gramian))
        due = [i for i, task in enumerate(tasks) if self._is_due(task)]
        if due and go_down is not None:
            chosen = [tasks[i] for i in due]
            vectors = go_down([slots[task] for task in chosen], chosen)
            if over_ranks is not None:
                vectors = over_ranks(vectors)
            self._calibrate(chosen, xp.sqrt((vectors * vectors).sum(axis=1)), at_tokens[due], xp)
        reach = self._reach_of(tasks, xp)
        lengths = at_tokens * reach
        for task, gradient, length in zip(tasks, sums, lengths, strict=True):
            units = counts[task].units
            self.units[task] = _average(self.units.get(task), float(units), keep=_KEEP_UNITS)
            self._pool(task, gradient, length, xp)
        known = tuple(t for t in sorted(self.seen) if self.n_batches - self.seen[t] <= _MAX_AGE)
        pooled = xp.stack([xp.asarray(self.pooled[task]) for task in known])
        norms = xp.sqrt((pooled * pooled).sum(axis=1, keepdims=True))
        directions = pooled / xp.where(norms > 0, norms, 1.0)
        self._share(tasks, gramian, at_tokens, xp)
        rows = xp.asarray([self.names.index(task) for task in known])
        sums, weights = self.shared[:, rows[:, None], rows]
        apart = (weights < _LEAST_SHARED) | xp.eye(len(known), dtype=bool)
        cosines = xp.where(apart, directions @ directions.T, sums / xp.where(apart, 1.0, weights))
        active = xp.asarray([known.index(task) for task in tasks])
        usual = xp.stack([xp.asarray(self.lengths[task]) for task in tasks])
        of_active = cosines[active[:, None], active] * usual * usual[:, None]
        gramians = xp.stack([gramian * reach * reach[:, None], of_active, gramian])
        return Pull(tasks, gramians, known, cosines)

    def _share(self, tasks: Sequence[str], gramian: Array, norms: Array, xp: Any) -> None:
        """Average the cosines of tasks that have gold in the same tokens: of others the inner product is exactly 0."""
        if new := set(tasks).difference(self.names):
            names = sorted(new.union(self.names))
            old = xp.asarray([names.index(name) for name in self.names], dtype=int)
            larger = xp.zeros((2, len(names), len(names)), dtype="f")
            larger[:, old[:, None], old] = xp.asarray(self.shared)
            self.names, self.shared = names, larger
        both = (gramian != 0) & xp.isfinite(gramian)
        cosines = xp.where(both, gramian, 0.0) / xp.where(norms > 0, norms, 1.0)
        cosines = cosines / xp.where(norms > 0, norms, 1.0)[:, None]
        rows = xp.asarray([self.names.index(task) for task in tasks])
        self.shared = xp.asarray(self.shared) * xp.float32(_KEEP_SHARED)
        now = xp.stack([cosines, both.astype("f")]) * xp.float32(1.0 - _KEEP_SHARED)
        self.shared[:, rows[:, None], rows] += now

    def _is_due(self, task: str) -> bool:
        count = self.counts[task] = self.counts.get(task, 0) + 1
        every = self.calibrate_every
        if count * (_GROWTH - 1) >= every:
            return every > 0 and count % every == 0
        return count == 1 or _powers(count) > _powers(count - 1)

    def _calibrate(self, tasks: Sequence[str], below: Array, above: Array, xp: Any) -> None:
        """below, above: [tasks] lengths at the parameters, and at the token vectors."""
        usable = (above > 0) & (below > 0) & xp.isfinite(above) & xp.isfinite(below)
        logs = xp.log(xp.where(usable, below, 1.0)) - xp.log(xp.where(usable, above, 1.0))
        for i, task in enumerate(tasks):
            before = xp.asarray(self.reach.get(task, np.nan), dtype="f")
            first = xp.where(xp.isnan(before), logs[i], before)
            moved = _average(first, logs[i], keep=_KEEP_REACH)
            self.reach[task] = xp.where(usable[i], moved, before)

    def _reach_of(self, tasks: Sequence[str], xp: Any) -> Array:
        """[tasks]; where it is not known, the geometric mean of the known ones, or 1."""
        logs = xp.stack([xp.asarray(self.reach.get(task, np.nan), dtype="f") for task in tasks])
        known = ~xp.isnan(logs)
        mean = xp.where(known, logs, 0.0).sum() / xp.maximum(known.sum(), 1)
        return xp.exp(xp.where(known, logs, mean)).astype("f")

    def _pool(self, task: str, gradient: Array, length: Array, xp: Any) -> None:
        before = self.pooled.get(task)
        is_old = before is None or self.n_batches - self.seen[task] > _MAX_AGE
        old = xp.zeros_like(gradient) if before is None else xp.asarray(before)
        old_length = xp.asarray(self.lengths.get(task, 0.0), dtype="f")
        # A gradient that is not finite ends the training, but whoever catches that may go on.
        finite = xp.isfinite(gradient).all() & xp.isfinite(length)
        keep = 0.0 if is_old else _KEEP_POOLED
        self.pooled[task] = xp.where(finite, _average(old, gradient, keep=keep), old)
        self.lengths[task] = xp.where(finite, _average(old_length, length, keep=keep), old_length)
        self.seen[task] = self.n_batches

    def forget(self, task: str) -> None:
        """A task's name is another head's from now on."""
        for known in (self.units, self.pooled, self.lengths, self.seen, self.counts, self.reach):
            known.pop(task, None)
        if task in self.names:
            row = self.names.index(task)
            self.shared[:, row] = self.shared[:, :, row] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {
            "n_batches": self.n_batches,
            "units": dict(self.units),
            "pooled": {task: vector.tolist() for task, vector in self.pooled.items()},
            "lengths": {task: float(length) for task, length in self.lengths.items()},
            "seen": dict(self.seen),
            "counts": dict(self.counts),
            "reach": {task: float(log) for task, log in self.reach.items() if log == log},
            "names": list(self.names),
            "shared": self.shared.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.n_batches = state["n_batches"]
        self.units, self.seen = dict(state["units"]), dict(state["seen"])
        self.counts = dict(state["counts"])
        self.names = list(state["names"])
        self.shared = np.asarray(state["shared"], dtype="f").reshape(
            2, len(self.names), len(self.names)
        )
        self.pooled, self.lengths, self.reach = (
            {task: np.asarray(v, dtype="f") for task, v in state[name].items()}
            for name in ("pooled", "lengths", "reach")
        )


class GradientBalance:
    """Turns a balancer's weights into the factor on each head's gradient.

    For a balancer with `per_unit` a gradient is divided by the units that its task usually has in a batch, so that a
    task counts for what it says and not for how its head sums; in a batch with fewer units than usual it still counts
    for less. The whole is then scaled so that, over the last hundred batches or so, it is as long as the plain sum of
    the gradients: learning rates and clipping keep their meaning. Lengths are those at the encoder's parameters for a
    balancer that needs the Gramian, else those at the token vectors, whatever a log has measured besides. A sum that is
    more than ten times as long as usual counts as ten times as long there, so that one odd batch does not rule the
    hundreds after it.

    A head that hands back a gradient for a batch that is not annotated for it (some of spaCy's train on absence) keeps
    its last factor, 1 if it has none.
    """

    def __init__(self, balancer: Balancer, meter: GradientMeter) -> None:
        self.balancer = balancer
        self.meter = meter
        self._first = balancer.state_dict()
        self._begin()

    def _begin(self) -> None:
        self.n_batches = 0
        self.lengths = [0.0, 0.0]  # moving averages: of the plain sum, of the weighted one
        self.n_lengths = 0  # how many batches they have seen
        self.factors: dict[str, float] = {}

    def start_anew(self) -> None:
        """Forget all batches, as before the first one."""
        self.balancer.load_state_dict(self._first)
        self.meter.start_anew()
        self._begin()

    @property
    def measures(self) -> bool:
        """Whether `weigh` wants to know how the heads pull, and what they were annotated for."""
        return self.balancer.per_unit or bool(self.balancer.needs)

    def weigh(
        self, tasks: tuple[str, ...], counts: Mapping[str, TaskCount], pull: Pull | None
    ) -> dict[str, float]:
        """The factor on each task's gradient.

        tasks: those that have handed back a gradient. counts, pull: what the balancer looks at, if it `measures`.

        Raises GradientError if a gradient, or a loss that the balancer needs, is not finite, and ValueError if the
        balancer does not return a finite weight for each task.
        """
        self.n_batches += 1
        if not self.measures:
            weights = self._ask(tasks, np.zeros(len(tasks)), None, None)
            self.factors.update(zip(tasks, weights.tolist(), strict=True))
        elif pull is not None:
            token, pooled, plain = pull.read()
            usual = np.array([self.meter.units[task] for task in pull.tasks])
            if not self.balancer.per_unit:
                usual = np.ones(len(usual))
            gramian = (token if self.balancer.level == "token" else pooled) / usual / usual[:, None]
            units = np.array([counts[task].units for task in pull.tasks], dtype="d")
            losses = np.array([counts[task].loss for task in pull.tasks]) / units
            weights = self._ask(pull.tasks, units, gramian, losses) / usual
            if self.balancer.per_unit:
                compares = "gramian" in self.balancer.needs
                weights = self._as_long_as_plain(weights, token if compares else plain)
            self.factors.update(zip(pull.tasks, weights.tolist(), strict=True))
        return {task: self.factors.get(task, 1.0) for task in tasks}

    def _ask(
        self, tasks: tuple[str, ...], units: Floats, gramian: Floats | None, losses: Floats | None
    ) -> Floats:
        needs = self.balancer.needs
        if "losses" in needs and losses is not None and not np.isfinite(losses).all():
            bad = [t for t, loss in zip(tasks, losses, strict=True) if not np.isfinite(loss)]
            raise errors.loss_not_finite(bad)
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

    def _as_long_as_plain(self, weights: Floats, gramian: Floats) -> Floats:
        lengths = np.sqrt([max(gramian.sum(), 0.0), max(weights @ gramian @ weights, 0.0)])
        before = np.array(self.lengths)
        if self.n_lengths >= _SETTLED:
            usual = before / (1.0 - _KEEP_LENGTHS**self.n_lengths)  # they start at 0
            lengths = np.minimum(lengths, _LONGEST * usual)
        self.lengths = (_KEEP_LENGTHS * before + (1 - _KEEP_LENGTHS) * lengths).tolist()
        self.n_lengths += 1
        plain, weighted = self.lengths
        return weights * (plain / weighted) if plain > 0 and weighted > 0 else weights

    def to_bytes(self) -> bytes:
        """All that later factors depend on, as JSON that keeps every digit.

        Raises ConfigError if what the balancer's `stateful` names is not fit for that by now.
        """
        self.balancer.check()
        state = {
            "method": type(self.balancer).__name__,
            "balancer": self.balancer.state_dict(),
            "meter": self.meter.state_dict(),
            "n_batches": self.n_batches,
            "lengths": self.lengths,
            "n_lengths": self.n_lengths,
            "factors": self.factors,
        }
        return json.dumps(state, indent=1).encode("utf8")

    def from_bytes(self, data: bytes, *, file: str = "balancer") -> None:
        """Go on where `to_bytes` was taken; start anew if it was another method.

        Raises ConfigError if the same method has another state, and CheckpointError that names a damaged file.
        """
        try:
            state = json.loads(data, parse_constant=_refuse)
            if state["method"] != type(self.balancer).__name__:
                self.start_anew()
                return
            lengths = [float(length) for length in state["lengths"]]
            factors = {str(task): float(factor) for task, factor in state["factors"].items()}
            n_batches, n_lengths = int(state["n_batches"]), int(state["n_lengths"])
            if len(lengths) != len(self.lengths):
                raise ValueError(f"`lengths` has {len(lengths)} numbers")
            self.meter.load_state_dict(state["meter"])
            self.balancer.load_state_dict(state["balancer"])
        except errors.ConfigError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.damaged_balancer(file, reason=error) from error
        self.lengths, self.factors = lengths, factors
        self.n_batches, self.n_lengths = n_batches, n_lengths


def _definite(gramian: Floats) -> Floats:
    """The Gramian [A, A] with the same lengths and possible angles, which cosines measured in two ways need not be."""
    norms = np.sqrt(np.diagonal(gramian))
    scale = np.where(norms > 0, norms, 1.0)
    values, vectors = np.linalg.eigh(gramian / scale / scale[:, None])
    if values[0] > -_ROUNDING:
        return gramian
    possible = (vectors * np.maximum(values, 0.0)) @ vectors.T
    lengths = np.sqrt(np.diagonal(possible))
    factors = norms / np.where(lengths > 0, lengths, 1.0)
    found: Floats = possible * factors * factors[:, None]
    return found


def _powers(count: int) -> int:
    """How many powers of the growth lie between 1 and the count."""
    return math.floor(math.log(count) / math.log(_GROWTH))


def _refuse(constant: str) -> float:
    raise ValueError(f"`{constant}` is not a finite number")


def _average(before: Any, now: Any, *, keep: float) -> Any:
    """A moving average that starts at its first value."""
    return now if before is None else keep * before + (1.0 - keep) * now
