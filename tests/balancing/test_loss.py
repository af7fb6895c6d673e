"""Balancers by the losses, against their formulas."""

from typing import Any

import numpy as np
import pytest

from spacy_mtl.balancing import DWA, FAMO, Uncertainty
from spacy_mtl.errors import ConfigError

from .families import Floats, weigh

RNG = np.random.default_rng(3)
LOSSES = RNG.uniform(0.2, 3.0, size=(30, 3)) * np.linspace(1.0, 0.4, 30)[:, None]


def softmax(values: Floats) -> Floats:
    powers = np.exp(values)
    return powers / powers.sum()


def test_uncertainty_learns_by_gradient_steps_on_its_loss() -> None:
    balancer, s, rate = Uncertainty(learn_rate=0.1), np.zeros(3), 0.1
    for losses in LOSSES:
        np.testing.assert_allclose(weigh(balancer, losses=losses), 0.5 * np.exp(-s), rtol=1e-12)
        s = s - rate * (-0.5 * np.exp(-s) * losses + 0.5)


def test_uncertainty_comes_to_rest_where_weighted_losses_are_one_half() -> None:
    balancer, losses = Uncertainty(), np.array([4.0, 0.5, 20.0])
    for _ in range(1000):
        found = weigh(balancer, losses=losses)
    np.testing.assert_allclose(found * losses, 0.5, rtol=1e-3)


def test_one_large_loss_does_not_switch_a_task_off() -> None:
    balancer = Uncertainty(learn_rate=0.1)
    weigh(balancer, losses=[1e6])
    assert weigh(balancer, losses=[1.0])[0] == pytest.approx(0.5e-6)  # and not exp(-50000)


def dwa(epochs: list[Floats]) -> Floats:
    """[T] weights after these epochs, each [steps, T] losses of equal batches, by the paper's formula."""
    n_tasks = epochs[0].shape[1]
    if len(epochs) < 2:
        return np.ones(n_tasks)
    rates = epochs[-1].mean(axis=0) / epochs[-2].mean(axis=0)
    return n_tasks * softmax(rates / 2.0)


def test_dwa_weighs_by_the_ratio_of_the_last_two_epochs() -> None:
    balancer = DWA(steps_per_epoch=1)
    epochs = list(LOSSES.reshape(6, 5, 3))
    for number, epoch in enumerate(epochs):
        for losses in epoch:
            found = weigh(balancer, losses=losses, step=number)
            np.testing.assert_allclose(found, dwa(epochs[:number] or [epoch]), rtol=1e-12)


def test_dwa_counts_a_loss_by_its_annotated_units() -> None:
    balancer = DWA(temperature=1.0, steps_per_epoch=1)
    for epoch, factor in enumerate([1.0, 0.5]):
        weigh(balancer, losses=[2.0 * factor, 1.0], units=[30, 1], step=epoch)
        weigh(balancer, losses=[6.0, 1.0], units=[10, 1], step=epoch)
    found = weigh(balancer, losses=[1.0, 1.0], step=2)
    ratio = (30 * 1.0 + 10 * 6.0) / (30 * 2.0 + 10 * 6.0)
    np.testing.assert_allclose(found, 2 * softmax(np.array([ratio, 1.0])))


def test_dwa_counts_batches_for_an_epoch() -> None:
    by_five, by_one = DWA(steps_per_epoch=5), DWA(steps_per_epoch=1)
    for step, losses in enumerate(LOSSES):
        found = weigh(by_five, losses=losses, step=step)
        expected = weigh(by_one, losses=losses, step=step // 5)
        np.testing.assert_array_equal(found, expected)
    assert np.ptp(found) > 0


def test_dwa_compares_the_last_two_epochs_that_had_the_task() -> None:
    balancer = DWA(steps_per_epoch=1)
    for epoch, loss in enumerate([1.0, 0.5]):
        weigh(balancer, losses=[loss, 1.0], step=epoch)
    weigh(balancer, losses=[1.0], tasks=["b"], step=2)  # an epoch without a
    found = weigh(balancer, losses=[1.0, 1.0], step=3)
    np.testing.assert_allclose(found, 2 * softmax(np.array([0.25, 0.5])))


def test_dwas_weight_does_not_jump_because_another_task_is_missing() -> None:
    balancer = DWA(steps_per_epoch=1)
    for epoch, losses in enumerate(LOSSES[:3]):
        together = weigh(balancer, losses=losses, step=epoch)
    alone = weigh(balancer, losses=[1.0], tasks=["b"], step=2)
    assert alone[0] == pytest.approx(together[1])


def test_famos_weights_are_the_normalised_shares_by_loss() -> None:
    balancer = FAMO()
    for losses in LOSSES[:5]:
        found = weigh(balancer, losses=losses)
    z = softmax(np.array(list(balancer.logits.values())))
    np.testing.assert_allclose(found, z / LOSSES[4] / (z / LOSSES[4]).sum(), rtol=1e-7)
    assert found.sum() == pytest.approx(1.0)


def test_famo_follows_the_gradient_of_the_log_losses_decrease() -> None:
    """Adam's recursion over the gradient of `softmax(logits) · d`, its Jacobian by differences."""
    balancer, logits, d_before = FAMO(learn_rate=0.02, weight_decay=0.01), np.zeros(3), None
    mean, square, step = np.zeros(3), np.zeros(3), 1e-6
    for t, losses in enumerate(LOSSES):
        weigh(balancer, losses=losses)
        logs = np.log(losses + 1e-8)
        if d_before is not None:
            gain = d_before - logs
            jacobian = [
                (softmax(logits + e) - softmax(logits - e)) @ gain / (2 * step)
                for e in step * np.eye(3)
            ]
            gradient = np.array(jacobian) + 0.01 * logits
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            root = np.sqrt(square / (1 - 0.999**t))
            logits = logits - 0.02 * mean / (1 - 0.9**t) / (root + 1e-8)
        d_before = logs
        np.testing.assert_allclose(list(balancer.logits.values()), logits, rtol=1e-5, atol=1e-8)


def test_famo_gives_less_weight_to_a_task_that_gained_more() -> None:
    balancer = FAMO()
    for t in range(20):
        weigh(balancer, losses=[0.9**t, 0.99**t])
    assert balancer.logits["a"] < balancer.logits["b"]


def test_famo_learns_from_batches_that_hold_one_task_each() -> None:
    balancer = FAMO()
    for t in range(20):
        weigh(balancer, losses=[0.9**t], tasks=["ner"])
        weigh(balancer, losses=[0.99**t], tasks=["tagger"])
    assert balancer.logits["ner"] < balancer.logits["tagger"]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (Uncertainty, {"learn_rate": 0.0}, "`balancer.learn_rate = 0.0` .* above 0 and at most 1"),
        (DWA, {"temperature": 0}, "`balancer.temperature = 0` .* at least 0.01"),
        (DWA, {"steps_per_epoch": 0}, "`balancer.steps_per_epoch = 0` .* at least 1"),
        (FAMO, {"learn_rate": -1.0}, "`balancer.learn_rate = -1.0` .* above 0"),
        (FAMO, {"weight_decay": 2.0}, "`balancer.weight_decay = 2.0` .* at most 1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    method: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**settings)
