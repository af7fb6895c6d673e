"""What a balancer sees of a step, and what it has to offer: weights now, and its state for a resumed training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, bad_number, bad_setting

Floats = NDArray[np.float64]
Signal = Literal["gramian", "losses"]

EPSILON = 1e-8  # the least that a loss counts as where we divide by it or take its logarithm
NO_GRADIENT = 1e-140  # a norm up to this counts as zero, so that quotients of norms are finite
_ASYMMETRY = 1e-3  # of the product of two norms: what low precision leaves of a Gramian's symmetry


@dataclass(frozen=True)
class TaskSignals:
    """What was measured of the active tasks of one step; T is their number, which may be 0.

    A task is active if the batch is annotated for it. The order of the tasks means nothing.

    tasks: names, each once.
    gramian: [T, T] inner products of the tasks' gradients, each divided by its task's annotated units. None: not
        measured, because the balancer does not need it.
    losses: [T] loss per annotated unit. None: not measured.
    units: [T] annotated units (tokens, documents, ...), at least 0.
    step, epoch: of the training, both from 0.

    The arrays are kept as float64 copies, the Gramian exactly symmetric. Raises ValueError for other shapes, for
    numbers that are not finite, and for a matrix that is not symmetric or has a negative diagonal.
    """

    tasks: tuple[str, ...]
    gramian: Floats | None
    losses: Floats | None
    units: Floats
    step: int
    epoch: int

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
    finite = np.isfinite(array).reshape(len(tasks), -1).all(axis=1)
    bad = [task for task, ok in zip(tasks, finite, strict=True) if not ok]
    if bad:
        raise ValueError(f"`{name}` of {bad} is not finite. Skip the step.")
    return array


def _symmetric(gramian: Floats) -> Floats:
    diagonal = np.diagonal(gramian)
    if (diagonal < 0).any():
        raise ValueError(f"A Gramian has no negative diagonal: {diagonal.tolist()}.")
    norms = np.sqrt(diagonal)
    size = np.maximum(np.abs(gramian), np.abs(gramian.T))
    if (np.abs(gramian / 2 - gramian.T / 2) > _ASYMMETRY * np.maximum(size, norms[:, None] * norms)).any():
        raise ValueError(f"A Gramian is symmetric, this is not: {gramian.tolist()}.")
    mean: Floats = gramian / 2 + gramian.T / 2
    np.fill_diagonal(mean, diagonal)  # halving would lose the last bit of the smallest numbers
    return mean


class Balancer(ABC):
    """Maps what was measured to one weight for each active task. Subclass it for a balancer of your own.

    needs: which of `gramian` and `losses` must be measured; what is not needed is not measured.
    stateful: names of the attributes that change from step to step. They hold plain values only (numbers, strings,
        lists, and dicts with strings for keys), by the task's name where they belong to a task, so that they survive
        JSON and msgpack.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset()
    stateful: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def weights(self, signals: TaskSignals) -> Floats:
        """[T] the factor on each active task's gradient per annotated unit. Called once a step: it moves the state."""

    @property
    def named_tasks(self) -> frozenset[str]:
        """Tasks that the settings name, for whoever can check that they exist."""
        return frozenset()

    def state_dict(self) -> dict[str, Any]:
        """All that later weights depend on, but for the settings."""
        return {name: deepcopy(getattr(self, name)) for name in self.stateful}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises ConfigError for the state of another method."""
        if set(state) != set(self.stateful):
            raise ConfigError(
                f"The balancer `{type(self).__name__}` cannot go on from the saved state, which has {sorted(state)} in "
                f"place of {sorted(self.stateful)}. Resume with the balancer that was saved, or start anew."
            )
        for name in self.stateful:
            setattr(self, name, deepcopy(state[name]))


def average(old: float | None, new: float, *, keep: float) -> float:
    """The exponential moving average after `new`; the first value is its own average."""
    return float(new) if old is None else keep * old + (1.0 - keep) * float(new)


def ratio(new: float, old: float) -> float:
    """new / old of two losses, finite for all finite losses; below EPSILON they count as EPSILON."""
    logs = np.log(max(new, EPSILON)) - np.log(max(old, EPSILON))
    return float(np.exp(np.clip(logs, -100.0, 100.0)))


def checked_number(
    value: Any, *, key: str, low: float, high: float = np.inf, above: bool = False, below: bool = False
) -> float:
    """A setting between `low` and `high`, or above `low`, or below `high`. Raises ConfigError with `balancer.key`."""
    need = f"a number {'above' if above else 'of at least'} {low:g}"
    if np.isfinite(high):
        need += f" and {'below' if below else 'at most'} {high:g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
    if not is_number or value < low or value > high:
        raise bad_number(value, key=f"balancer.{key}", need=need)
    if (above and value == low) or (below and value == high):
        raise bad_number(value, key=f"balancer.{key}", need=need)
    return float(value)


def checked_integer(value: Any, *, key: str, low: int) -> int:
    """A whole number of at least `low`. Raises ConfigError with `balancer.key`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise bad_number(value, key=f"balancer.{key}", need=f"a whole number of at least {low}")
    return value


def checked_task_weights(value: Any) -> dict[str, float]:
    """The user's factor for each task that has one. Raises ConfigError with `balancer.weights`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(task, str) for task in value):
        need = "a block with a number for each task, such as `tagger = 1.0`"
        raise bad_setting(value, key="balancer.weights", need=need)
    return {task: checked_number(w, key=f"weights.{task}", low=0.0) for task, w in value.items()}
