"""Equal to TorchJD, an independent implementation, where it has the method without an extra under another licence.

Its CAGrad, Nash-MTL and UPGrad need solvers that are not installed for tests; test_conflict.py has them by other means.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from spacy_mtl.balancing import (
    DWA,
    FAMO,
    MGDA,
    AlignedMTL,
    FairGrad,
    GradVac,
    PCGrad,
    Uncertainty,
)

from .families import CANCELLING, DEPENDENT, FULL_RANK, Floats, weigh

torchjd = pytest.importorskip("torchjd", reason="an independent implementation")
from torchjd import aggregation, scalarization  # noqa: E402

MOVING = FULL_RANK | DEPENDENT | CANCELLING
each_family = pytest.mark.parametrize("family", MOVING)
LOSSES = np.random.default_rng(3).uniform(0.2, 3.0, size=(30, 3))


def theirs(weighting: Callable[[torch.Tensor], torch.Tensor], gramian: Floats) -> Floats:
    found: Floats = weighting(torch.tensor(gramian, dtype=torch.float64)).detach().numpy()
    return found


def draw(monkeypatch: pytest.MonkeyPatch, permutations: Iterator[list[int]]) -> None:
    """Makes torch.randperm give these."""
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor(next(permutations)))


@each_family
def test_pcgrad_in_the_same_order(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = MOVING[family]
    balancer, twin = PCGrad(seed=4), PCGrad(seed=4)
    for _ in range(3):
        orders = twin.orders(len(gradients))
        draw(monkeypatch, iter([[i, *order] for i, order in enumerate(orders)]))
        expected = theirs(aggregation.PCGradWeighting(), gradients @ gradients.T)
        np.testing.assert_allclose(weigh(balancer, gradients), expected, rtol=1e-9)


@pytest.mark.parametrize("family", FULL_RANK | DEPENDENT)
def test_gradvac_in_the_same_order(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = (FULL_RANK | DEPENDENT)[family]
    gradients = gradients / np.linalg.norm(
        gradients, axis=1, keepdims=True
    )  # 1e-8 is added to norms
    balancer, twin = GradVac(beta=0.3, seed=4), GradVac(beta=0.3, seed=4)
    other = aggregation.GradVacWeighting(beta=0.3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        moved = gradients + 0.1 * rng.normal(size=gradients.shape)
        moved = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        orders = twin.orders(len(moved))
        draw(monkeypatch, iter([[j - (j > i) for j in o] for i, o in enumerate(orders)]))
        expected = theirs(other, moved @ moved.T)
        np.testing.assert_allclose(weigh(balancer, moved), expected, rtol=1e-5)


@each_family
def test_mgda_finds_what_theirs_approaches(family: str) -> None:
    gradients = MOVING[family]
    gramian = gradients @ gradients.T
    ours = weigh(MGDA(), gradients)
    other = theirs(aggregation.MGDAWeighting(epsilon=1e-9, max_iters=1000), gramian)
    shortest, least = other @ gramian @ other, np.diagonal(gramian).min()
    assert ours @ gramian @ ours <= shortest + 1e-5 * least
    assert ours @ gramian @ ours == pytest.approx(shortest, abs=2e-2 * least)
    if family in ("two in conflict", "orthogonal", "each against each"):
        np.testing.assert_allclose(ours, other, atol=1e-3)


@each_family
def test_imtl_g(family: str) -> None:
    gradients = MOVING[family]
    expected = theirs(aggregation.IMTLGWeighting(), gradients @ gradients.T)
    np.testing.assert_allclose(weigh("IMTLG", gradients), expected, rtol=1e-6, atol=1e-9)


@each_family
def test_aligned_mtl(family: str) -> None:
    gradients = MOVING[family]
    for scale in ("min", "median", "rmse"):
        other = aggregation.AlignedMTLWeighting(scale_mode=scale)
        expected = theirs(other, gradients @ gradients.T)
        found = weigh(AlignedMTL(scale=scale), gradients)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", FULL_RANK)
def test_fairgrad_but_for_the_scale_of_its_gramian(family: str) -> None:
    pytest.importorskip("scipy.optimize", reason="theirs is solved with it")
    gradients = FULL_RANK[family]
    gramian = gradients @ gradients.T
    gramian = gramian / np.mean(np.diagonal(gramian))
    for alpha in (1.0, 2.0):
        expected = theirs(aggregation.FairGradWeighting(alpha=alpha), gramian)
        found = weigh(FairGrad(alpha=alpha), gradients)
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_dwa_with_batches_of_one_size() -> None:
    balancer, other = DWA(steps_per_epoch=1), scalarization.DWA()
    for number, epoch in enumerate(LOSSES.reshape(6, 5, 3)):
        for losses in epoch:
            values = torch.tensor(losses, requires_grad=True)
            other(values).backward()
            assert values.grad is not None
            found = weigh(balancer, losses=losses, step=number)
            np.testing.assert_allclose(found, values.grad.numpy(), rtol=1e-12)
        other.step()


def test_uncertainty_with_plain_gradient_descent() -> None:
    balancer, other = Uncertainty(learn_rate=0.05), scalarization.UW(3).double()
    for losses in LOSSES:
        values = torch.tensor(losses, requires_grad=True)
        other.zero_grad()
        other(values).backward()
        assert values.grad is not None
        assert other.log_var.grad is not None
        with torch.no_grad():
            other.log_var.sub_(0.05 * other.log_var.grad)
        np.testing.assert_allclose(weigh(balancer, losses=losses), values.grad.numpy(), rtol=1e-12)


def test_famo_with_the_next_batch_for_the_same_one_again() -> None:
    balancer, other = FAMO(), scalarization.FAMO(3).double()
    for t, losses in enumerate(LOSSES):
        values = torch.tensor(losses, requires_grad=True)
        if t:
            other.update(values)
        other(values).backward()
        assert values.grad is not None
        np.testing.assert_allclose(weigh(balancer, losses=losses), values.grad.numpy(), rtol=1e-9)
