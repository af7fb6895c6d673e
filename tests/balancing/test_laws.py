"""The laws of laws.py for every balancer and every family of gradients."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from spacy_mtl.balancing import BALANCERS, Balancer, TaskSignals

from . import laws
from .families import (
    CANCELLING,
    CONFLICT,
    DEPENDENT,
    FAMILIES,
    FULL_RANK,
    SCALES,
    Floats,
    losses_of,
    signals,
    stream,
    weigh,
)

SCALE_FREE = sorted({*CONFLICT, "NormEqual", "GradNorm", "DBMTL"})
RANDOM = {"PCGrad", "GradVac"}
MAYBE_NEGATIVE = {"IMTLG", "AlignedMTL"}
NEVER_IN_CONFLICT = ("MGDA", "UPGrad")
ALL_GAIN = ("MGDA", "NashMTL", "FairGrad")  # where no mixture of the gradients is zero

each_balancer = pytest.mark.parametrize("name", BALANCERS)
each_conflict_method = pytest.mark.parametrize("name", CONFLICT)


def each(families: dict[str, Floats]) -> Iterator[tuple[str, TaskSignals]]:
    """The signals of each family, and its name for the message."""
    for family, gradients in families.items():
        yield family, signals(gradients, losses=losses_of(len(gradients)))


@each_balancer
def test_there_is_one_finite_weight_for_each_task(name: str) -> None:
    for _, step in each(FAMILIES):
        laws.assert_one_finite_weight_for_each_task(BALANCERS[name], step)


@each_balancer
def test_weights_are_finite_however_large_or_small_the_gramian_is(name: str) -> None:
    for scale in SCALES:
        for _, step in each(FAMILIES):
            scaled = replace(step, gramian=step.need("gramian") * scale)
            laws.assert_one_finite_weight_for_each_task(BALANCERS[name], scaled)


@each_balancer
def test_weights_are_finite_however_much_the_lengths_differ(name: str) -> None:
    for ratio in (1e-15, 1e-75, 1e-150):
        for _, step in each(FAMILIES):
            lengths = ratio ** np.linspace(0, 1, len(step.tasks))
            uneven = replace(step, gramian=lengths[:, None] * step.need("gramian") * lengths)
            laws.assert_one_finite_weight_for_each_task(BALANCERS[name], uneven)


@each_balancer
def test_weights_are_finite_where_rounding_left_no_exact_gramian(name: str) -> None:
    for _, step in each(FAMILIES):
        gramian = step.need("gramian")
        largest = np.abs(gramian).max(initial=1e-9)
        rounded = replace(step, gramian=np.round(gramian / largest, 2))  # not positive definite
        laws.assert_one_finite_weight_for_each_task(BALANCERS[name], rounded)


@each_balancer
def test_weights_are_finite_for_any_loss(name: str) -> None:
    for loss in (0.0, -1.0, 1e-300, 1e300):
        balancer = BALANCERS[name]()
        for step, losses in enumerate([[loss, 1.0], [1.0, loss], [loss, loss], [loss, 1.0]]):
            found = weigh(balancer, np.eye(2), losses=losses, step=step)
            assert np.isfinite(found).all(), loss


@pytest.mark.parametrize("name", sorted(BALANCERS.keys() - MAYBE_NEGATIVE))
def test_no_weight_is_negative(name: str) -> None:
    for family, step in each(FAMILIES):
        assert (BALANCERS[name]().weights(step) >= 0).all(), family


@each_balancer
def test_the_order_of_the_tasks_means_nothing(name: str) -> None:
    for _, step in each(FAMILIES):
        laws.assert_order_means_nothing(BALANCERS[name], step)


@pytest.mark.parametrize("name", sorted(BALANCERS.keys() - RANDOM))
def test_the_names_of_the_tasks_mean_nothing_but_for_a_random_order(name: str) -> None:
    for _, step in each(FULL_RANK):
        laws.assert_names_mean_nothing(BALANCERS[name], step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_the_common_scale_of_the_gradients_means_nothing(name: str) -> None:
    for scale in SCALES:
        for _, step in each(FULL_RANK):
            laws.assert_scale_means_nothing(BALANCERS[name], step, scale=scale)


@each_conflict_method
def test_conflict_methods_give_a_single_task_weight_1(name: str) -> None:
    for scale in (1e-150, 1.0, 1e150):
        assert weigh(name, gramian=np.array([[scale]])).tolist() == [1.0]


@pytest.mark.parametrize("name", ["NormEqual", "GradNorm"])
def test_magnitude_methods_give_the_only_task_weight_1(name: str) -> None:
    assert weigh(name, gramian=np.array([[25.0]])).tolist() == [1.0]


@each_balancer
def test_there_may_be_no_task_at_all(name: str) -> None:
    balancer = BALANCERS[name]()
    assert weigh(balancer, np.zeros((0, 3))).shape == (0,)
    assert weigh(balancer, np.eye(2)).shape == (2,)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_a_task_without_a_gradient_has_no_weight_and_disturbs_no_other(name: str) -> None:
    for _, step in each(FULL_RANK | {"one": FAMILIES["one"]}):
        laws.assert_zero_gradient_does_not_disturb(BALANCERS[name], step)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_without_any_gradient_all_weights_are_0(name: str) -> None:
    assert weigh(name, np.zeros((3, 2))).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", NEVER_IN_CONFLICT)
def test_the_update_conflicts_with_no_task(name: str) -> None:
    for _, step in each(FAMILIES):
        laws.assert_no_conflict(BALANCERS[name], step, atol=1e-5)


@pytest.mark.parametrize("name", ALL_GAIN)
def test_every_task_gains_where_all_can(name: str) -> None:
    for family, step in each(FULL_RANK | DEPENDENT):
        assert (step.need("gramian") @ BALANCERS[name]().weights(step) > 0).all(), family


@each_conflict_method
def test_gradients_that_cancel_do_not_blow_the_weights_up(name: str) -> None:
    """What is measured cancels; the encoder's gradients need not, so large weights would be a large update."""
    for family, step in each(CANCELLING):
        lengths = BALANCERS[name]().weights(step) * step.norms / step.norms.max()
        assert np.abs(lengths).max() < 2e4, family


@each_conflict_method
def test_what_does_not_conflict_keeps_its_weight(name: str) -> None:
    """Three orthogonal gradients of one length get equal weights: those of a sum or of a mean."""
    found = weigh(name, 3.0 * np.eye(3))
    expected = {"CAGrad": 1 / 3 + 0.5 / 3}
    of_a_sum = dict.fromkeys(("EqualProjection", "PCGrad", "GradVac", "NashMTL", "FairGrad"), 1.0)
    np.testing.assert_allclose(found, (expected | of_a_sum).get(name, 1 / 3), rtol=1e-5)


@pytest.mark.parametrize("after", [1, 7])
@each_balancer
def test_a_training_that_is_saved_and_resumed_has_the_same_weights(name: str, after: int) -> None:
    laws.assert_resumes(BALANCERS[name], stream(20), after=after)


@pytest.mark.parametrize("name", ["PCGrad", "GradVac"])
def test_a_resumed_training_keeps_its_seed(name: str) -> None:
    steps = stream(10)
    first = BALANCERS[name](seed=3)  # type: ignore[call-arg]
    expected = [first.weights(step) for step in steps]
    resumed = BALANCERS[name](seed=9)  # type: ignore[call-arg]
    resumed.load_state_dict(BALANCERS[name](seed=3).state_dict())  # type: ignore[call-arg]
    for step, weights in zip(steps, expected, strict=True):
        np.testing.assert_array_equal(resumed.weights(step), weights)


@each_balancer
def test_a_task_that_is_absent_keeps_its_state(name: str) -> None:
    balancer = BALANCERS[name]()
    both, one = np.array([[1.0, 1.0], [-1.0, 2.0]]), np.array([[3.0, 1.0]])
    for losses in ([1.0, 2.0], [0.5, 2.5]):
        weigh(balancer, both, losses=losses, tasks=["ner", "tagger"])
    before = balancer.state_dict()
    weigh(balancer, one, losses=[0.7], tasks=["tagger"])
    after = balancer.state_dict()
    for attribute in balancer.stateful:
        if isinstance(before[attribute], dict):
            assert after[attribute].get("ner") == before[attribute].get("ner"), attribute


@each_balancer
def test_a_new_task_starts_clean(name: str) -> None:
    """All that is remembered is remembered by name: a new name has what it would have in a new balancer."""
    old, new = BALANCERS[name](), BALANCERS[name]()
    one = np.array([[3.0, 1.0]])
    for loss in (1.0, 0.8):
        weigh(old, 5 * one, losses=[loss], tasks=["ner"])
    weigh(old, one, losses=[0.7], tasks=["tagger"])
    weigh(new, one, losses=[0.7], tasks=["tagger"])
    for attribute in old.stateful:
        known = new.state_dict()[attribute]
        if isinstance(known, dict):
            assert old.state_dict()[attribute].get("tagger") == known.get("tagger"), attribute


@each_balancer
def test_every_setting_has_a_default(name: str) -> None:
    make: Callable[[], Balancer] = BALANCERS[name]
    assert isinstance(make(), Balancer)


def test_weights_do_not_write_to_what_was_measured() -> None:
    for name in BALANCERS:
        step = signals(FULL_RANK["three"], losses=losses_of(3))
        gramian: Floats = step.need("gramian").copy()
        BALANCERS[name]().weights(step)
        np.testing.assert_array_equal(step.need("gramian"), gramian)
        np.testing.assert_array_equal(step.need("losses"), losses_of(3))
