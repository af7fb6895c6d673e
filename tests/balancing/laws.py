"""What balancers promise, as assertions that any of them can be put to."""

import json
from collections.abc import Callable

import numpy as np
import srsly
from numpy.typing import NDArray

from spacy_mtl.balancing import Balancer, TaskSignals

from .families import signals

Floats = NDArray[np.float64]
Make = Callable[[], Balancer]


def assert_one_finite_weight_for_each_task(make: Make, step: TaskSignals) -> None:
    weights = make().weights(step)
    assert weights.shape == (len(step.tasks),)
    assert weights.dtype == np.float64
    assert np.isfinite(weights).all()


def assert_order_means_nothing(make: Make, step: TaskSignals) -> None:
    """The tasks in another order get the same weights."""
    order = np.random.default_rng(0).permutation(len(step.tasks))
    other = signals(
        gramian=step.need("gramian")[np.ix_(order, order)],
        losses=step.need("losses")[order],
        tasks=[step.tasks[i] for i in order],
    )
    expected = make().weights(step)[order]
    np.testing.assert_allclose(make().weights(other), expected, rtol=1e-12)


def assert_names_mean_nothing(make: Make, step: TaskSignals, *, rtol: float, atol: float) -> None:
    """The tasks under other names, which are sorted otherwise, get the same weights."""
    order = np.random.default_rng(1).permutation(len(step.tasks))
    names = [step.tasks[i] for i in order]
    other = signals(gramian=step.gramian, losses=step.losses, tasks=names)
    expected = make().weights(step)
    np.testing.assert_allclose(make().weights(other), expected, rtol=rtol, atol=atol)


def assert_scale_means_nothing(make: Make, step: TaskSignals, *, scale: float) -> None:
    """All gradients longer or shorter by one factor give the same weights. scale: its square."""
    gramian = step.need("gramian")
    other = signals(gramian=gramian * scale, losses=step.losses, tasks=step.tasks)
    expected = make().weights(step)
    np.testing.assert_allclose(make().weights(other), expected, rtol=1e-6, atol=1e-12)


def assert_no_conflict(make: Make, step: TaskSignals, *, atol: float) -> None:
    """The update does not go against any task's gradient. atol: of the cosine, at least."""
    gramian, weights = step.need("gramian"), make().weights(step)
    norms = np.sqrt(np.diagonal(gramian))
    length = np.abs(weights) @ norms
    assert (gramian @ weights >= -atol * norms * length).all()


def assert_zero_gradient_does_not_disturb(make: Make, step: TaskSignals) -> None:
    """A further task without a gradient gets weight 0, the others what they had."""
    n_tasks = len(step.tasks)
    gramian = np.zeros((n_tasks + 1, n_tasks + 1))
    gramian[1:, 1:] = step.need("gramian")
    losses = np.concatenate([[3.0], step.need("losses")])
    weights = make().weights(signals(gramian=gramian, losses=losses, tasks=["0", *step.tasks]))
    assert weights[0] == 0.0
    np.testing.assert_array_equal(weights[1:], make().weights(step))


def assert_resumes(make: Make, steps: list[TaskSignals], *, after: int) -> None:
    """Saved after some steps, as msgpack or as JSON, it goes on with exactly the same weights."""
    whole = make()
    expected = [whole.weights(step) for step in steps]
    saved = make()
    for step in steps[:after]:
        saved.weights(step)
    state = saved.state_dict()
    through = {
        "msgpack": srsly.msgpack_loads(srsly.msgpack_dumps(state)),
        "json": json.loads(json.dumps(state)),
    }
    for name, again in through.items():
        assert again == state, name
        resumed = make()
        resumed.load_state_dict(again)
        for step, weights in zip(steps[after:], expected[after:], strict=True):
            np.testing.assert_array_equal(resumed.weights(step), weights, err_msg=name)
