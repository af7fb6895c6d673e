"""Named families of gradients, one row for each task, and the signals that are made of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spacy_mtl.balancing import BALANCERS, Balancer, ConflictBalancer, TaskSignals

Floats = NDArray[np.float64]

_RNG = np.random.default_rng(7)
_SIDE = np.sqrt(3.0) / 2

# [T, width] gradients that are linearly independent
FULL_RANK: dict[str, Floats] = {
    "two in conflict": np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]),
    "two of one mind": np.array([[1.0, 2.0, 0.5], [2.0, 2.0, 0.0]]),
    "orthogonal": np.diag([1.0, 1.0, 1.0, 1.0]),
    "three": _RNG.normal(size=(3, 8)),
    "five": _RNG.normal(size=(5, 8)),
    "eight": _RNG.normal(size=(8, 12)),
    "each against each": 4 * np.eye(4) - 0.9,
    "of norms 381, 77 and 1": np.array([[381.0], [77.0], [1.0]])
    * (_RNG.normal(size=(3, 8)) / np.sqrt(8)),
}
# linearly dependent, but no mixture of them is zero
DEPENDENT: dict[str, Floats] = {
    "of low rank": np.abs(_RNG.normal(size=(5, 2))),
    "of rank T - 1": np.abs(_RNG.normal(size=(4, 3))),
    "duplicated": _RNG.normal(size=(3, 8))[[0, 1, 1, 2]],
    "duplicated, longer": np.array([[1.0], [1.0], [2.0]]) * _RNG.normal(size=(2, 8))[[0, 1, 1]],
}
# no mixture of them is zero, but the ridge of the methods, 1e-6, is felt: some mixture is that short
NEARLY_CANCELLING: dict[str, Floats] = {
    "of rank 2, within 179 degrees": _RNG.normal(size=(6, 2)),
}
# some mixture of them is zero
CANCELLING: dict[str, Floats] = {
    "opposite": np.array([[1.0, 2.0], [-1.0, -2.0]]),
    "opposite, longer": np.array([[1.0, 2.0], [-2.0, -4.0]]),
    "opposite, and a third": np.array([[1.0, 0.0], [-0.5, 0.0], [0.0, 1.0]]),
    "three to all sides": np.array([[0.0, 1.0], [_SIDE, -0.5], [-2 * _SIDE, -1.0]]),
    "of rank 2, to all sides": _RNG.normal(size=(6, 2)),
}
WITH_ZEROS: dict[str, Floats] = {
    "zero": np.zeros((3, 4)),
    "with a zero": np.array([[-4.0, 1.0, 1.0], [0.0, 0.0, 0.0], [6.0, 1.0, 1.0]]),
    "one and a zero": np.array([[0.0, 0.0], [3.0, 4.0]]),
    "one": np.array([[3.0, 4.0]]),
    "none": np.zeros((0, 4)),
}
FAMILIES = FULL_RANK | DEPENDENT | NEARLY_CANCELLING | CANCELLING | WITH_ZEROS

SCALES = (1e-150, 1e-15, 1e15, 1e150)

CONFLICT = {name: made for name, made in BALANCERS.items() if issubclass(made, ConflictBalancer)}


def signals(
    gradients: Floats | None = None,
    *,
    gramian: Floats | None = None,
    losses: Sequence[float] | Floats | None = None,
    tasks: Sequence[str] = (),
    units: Sequence[float] | Floats = (),
    step: int = 0,
) -> TaskSignals:
    """All signals of one step; losses and units are 1 and the tasks are called a, b, c, ... unless they are given."""
    if gramian is None and gradients is not None:
        gramian = gradients @ gradients.T
    measured = gramian if gramian is not None else losses
    n_tasks = len(measured) if measured is not None else 0
    return TaskSignals(
        tasks=tuple(tasks) or tuple("abcdefghijklm"[:n_tasks]),
        gramian=gramian,
        losses=np.ones(n_tasks) if losses is None else np.asarray(losses, dtype=float),
        units=np.asarray(units, dtype=np.float64) if len(units) else np.ones(n_tasks),
        step=step,
    )


def losses_of(n_tasks: int) -> Floats:
    """[T] different for each task."""
    return np.arange(n_tasks, dtype=np.float64) + 0.5


def stream(n_steps: int, *, seed: int = 0) -> list[TaskSignals]:
    """A training of four tasks, most of whose batches lack some; the tasks come in a different order each time."""
    rng = np.random.default_rng(seed)
    steps = []
    for step in range(n_steps):
        present = [
            t for t in rng.permutation(["tagger", "ner", "textcat", "parser"]) if rng.random() < 0.7
        ]
        gradients = rng.normal(size=(len(present), 6)) * rng.choice(
            [0.0, 1.0, 30.0], size=(len(present), 1)
        )
        steps.append(
            signals(
                gradients,
                losses=rng.uniform(0.1, 5.0, size=len(present)),
                tasks=[str(task) for task in present] or (),
                units=rng.integers(1, 50, size=len(present)).astype(np.float64),
                step=step * 50,  # so that DWA turns an epoch every four
            )
        )
    return steps


def weigh(balancer: Balancer | str, *args: Floats, **kwargs: object) -> Floats:
    """The weights of one step; a balancer that is named is a new one with its defaults."""
    made = BALANCERS[balancer]() if isinstance(balancer, str) else balancer
    return made.weights(signals(*args, **kwargs))  # type: ignore[arg-type]
