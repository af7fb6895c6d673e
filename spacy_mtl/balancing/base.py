"""What a balancer sees of a step, and what it has to offer: weights now, and its state for a resumed training."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .. import errors
from ..errors import ConfigError

Floats = NDArray[np.float64]
Signal = Literal["gramian", "losses"]
Level = Literal["token", "pooled"]

EPSILON = 1e-8  # the least that a loss counts as where we divide by it or take its logarithm
NO_GRADIENT = 1e-140  # a norm up to this counts as zero, so that quotients of norms are finite
_ASYMMETRY = 1e-3  # relative to two norms: what low precision may do to a Gramian's symmetry


@dataclass(frozen=True)
class TaskSignals:
    """What was measured of the active tasks of one step; T is their number, which may be 0.

    A task is active if the batch is annotated for it. The order of the tasks means nothing.

    tasks: names, each once.
    gramian: [T, T] inner products of the tasks' gradients, for a balancer with `per_unit` each divided by the annotated
        units that its task usually has in a batch. Lengths are those at the encoder's parameters (`calibrate_every` of
        `shared_transformer`), angles those of the balancer's `level`. None: not shown, because the balancer does not
        need it.
    losses: [T] loss per annotated unit. None: not measured.
    units: [T] annotated units (tokens, documents, ...), at least 0.
    step: how many batches came before this one, annotated or not.

    The arrays are kept as float64 copies, the Gramian exactly symmetric. Raises ValueError for other shapes, for
    numbers that are not finite, and for a matrix that is not symmetric or has a negative diagonal.
    """

    tasks: tuple[str, ...]
    gramian: Floats | None
    losses: Floats | None
    units: Floats
    step: int

    def __post_init__(self) -> None:
        tasks = tuple(self.tasks)
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"`tasks = {tasks!r}` names a task twice.")
        object.__setattr__(self, "tasks", tasks)
        for name, ndim in (("gramian", 2), ("losses", 1), ("units", 1)):
            value = getattr(self, name)
            if value is not None or name == "units":
                object.__setattr__(self, name, _checked(value, name=name, tasks=tasks, ndim=ndim))
        if (self.units < 0).any():
            raise ValueError(f"`units = {self.units.tolist()}` must be at least 0.")
        if self.gramian is not None:
            object.__setattr__(self, "gramian", _symmetric(self.gramian))

    def need(self, name: Signal) -> Floats:
        """`gramian` or `losses`. Raises TypeError if it was not measured."""
        value: Floats | None = getattr(self, name)
        if value is None:
            raise TypeError(f"`{name}` was not measured. Add it to the balancer's `needs`.")
        return value

    @property
    def norms(self) -> Floats:
        """[T] norm of each task's gradient per annotated unit."""
        return np.sqrt(np.diagonal(self.need("gramian")))


def _checked(value: Any, *, name: str, tasks: tuple[str, ...], ndim: int) -> Floats:
    array = np.array(value, dtype=np.float64)
    shape = (len(tasks),) * ndim
    if array.shape != shape:
        raise ValueError(f"`{name}` has the shape {array.shape}, but {shape} is needed.")
    bad = [task for task, row in zip(tasks, array, strict=True) if not np.isfinite(row).all()]
    if bad:
        raise ValueError(f"`{name}` of {bad} is not finite. Skip the step.")
    return array


def _symmetric(gramian: Floats) -> Floats:
    diagonal = np.diagonal(gramian)
    if (diagonal < 0).any():
        raise ValueError(f"A Gramian has no negative diagonal: {diagonal.tolist()}.")
    norms = np.sqrt(diagonal)
    size = np.maximum(norms[:, None] * norms, np.maximum(np.abs(gramian), np.abs(gramian.T)))
    if (np.abs(gramian / 2 - gramian.T / 2) > _ASYMMETRY * size).any():
        raise ValueError(f"A Gramian is symmetric, this is not: {gramian.tolist()}.")
    mean: Floats = gramian / 2 + gramian.T / 2  # halved first: the sum may be too large a number
    np.fill_diagonal(mean, diagonal)
    return mean


class Balancer(ABC):
    """Maps what was measured to one weight for each active task. Subclass it for a balancer of your own.

    needs: which of `gramian` and `losses` it must be shown. Without `gramian` there is no backward pass for a task of
        its own (`calibrate_every` of `shared_transformer`).
    level: of the Gramian's angles. `token`: gradients with respect to the batch's token vectors; those of tasks that
        are annotated in different documents are orthogonal. `pooled`: these angles averaged over batches, and for
        tasks that share no documents the angle between their gradients' sums over the tokens, averaged alike, which can
        agree or conflict even then; the lengths are averaged as well.
    per_unit: whether the weights are meant for gradients per annotated unit. False: for those that the heads hand back.
    stateful: names of the attributes that change from step to step. They hold plain values only (numbers, strings,
        lists, and dicts with strings for keys), by the task's name where they belong to a task, so that they survive
        JSON and msgpack.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset()
    level: ClassVar[Level] = "token"
    per_unit: ClassVar[bool] = True
    stateful: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def weights(self, signals: TaskSignals) -> Floats:
        """[T] the factor on each active task's gradient. Called once a batch: it moves the state."""

    @property
    def named_tasks(self) -> frozenset[str]:
        """Tasks that the settings name, for whoever can check that they exist."""
        return frozenset()

    def check(self) -> None:
        """Raises ConfigError if `needs`, `level` or what `stateful` names cannot be used."""
        for attribute, values, choices in (
            ("needs", set(self.needs), get_args(Signal)),
            ("level", {self.level}, get_args(Level)),
        ):
            if not values <= set(choices):
                raise errors.bad_balancer_class(
                    self, attribute, getattr(self, attribute), need=f"of {errors.listed(choices)}"
                )
        for name in self.stateful:
            if not hasattr(self, name):
                need = "names of attributes that `__init__` sets"
                raise errors.bad_balancer_class(self, "stateful", self.stateful, need=need)
            value = getattr(self, name)
            try:
                survives = json.loads(json.dumps(value, allow_nan=False)) == value
            except (TypeError, ValueError):
                survives = False
            if not survives:
                need = "made of numbers, strings, lists, and dicts with strings for keys"
                raise errors.bad_balancer_class(self, name, value, need=need)

    def state_dict(self) -> dict[str, Any]:
        """All that later weights depend on, but for the settings."""
        return {name: deepcopy(getattr(self, name)) for name in self.stateful}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, random choices included.

        Raises ConfigError for the state of another method.
        """
        if set(state) != set(self.stateful):
            raise ConfigError(
                f"The balancer `{type(self).__name__}` cannot go on from the saved state, which has {sorted(state)} in "
                f"place of {sorted(self.stateful)}. Resume with the balancer that was saved, or start anew."
            )
        for name in self.stateful:
            setattr(self, name, deepcopy(state[name]))


def equal_lengths(norms: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """The factors, 1 on average, that make gradients as long as `weights` say (default: 1), relative to each other.

    norms: of each task's gradient, all above 0.
    """
    smallest = min(norms.values(), default=1.0)  # quotients of it cannot overflow
    shares = {task: weights.get(task, 1.0) * (smallest / norm) for task, norm in norms.items()}
    mean = sum(shares.values()) / max(len(shares), 1)
    return {task: share / mean if mean else 0.0 for task, share in shares.items()}


def ratio(new: float, old: float) -> float:
    """new / old of two losses, finite for all finite losses; below EPSILON they count as EPSILON."""
    logs = np.log(max(new, EPSILON)) - np.log(max(old, EPSILON))
    return float(np.exp(np.clip(logs, -100.0, 100.0)))
