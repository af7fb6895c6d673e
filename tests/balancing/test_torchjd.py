"""Equal to TorchJD, an independent implementation, on every family of gradients and at every scale of their Gramian.

Two of its solvers are under the GPL, so others take their place: SciPy's for quadprog (UPGrad) and Clarabel for ECOS
(Nash-MTL). Where TorchJD has no answer, or means another one, a test says what it does there.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spacy_mtl.balancing import (
    DWA,
    FAMO,
    MGDA,
    AlignedMTL,
    Balancer,
    CAGrad,
    EqualProjection,
    FairGrad,
    GradVac,
    NashMTL,
    PCGrad,
    Uncertainty,
    UPGrad,
)
from spacy_mtl.balancing.conflict.base import RIDGE

from . import plain
from .families import CANCELLING, DEPENDENT, FAMILIES, FULL_RANK, NEARLY_CANCELLING, Floats, weigh

pytest.importorskip("torchjd", reason="an environment without the test extra")
import cvxpy
from scipy.optimize import minimize, nnls  # type: ignore[import-untyped]
from torchjd import aggregation, scalarization
from torchjd.aggregation._nash_mtl import _NashMTLWeighting
from torchjd.linalg import DualConeProjector

_RNG = np.random.default_rng(5)
RANDOM: dict[str, Floats] = {
    f"random, {n} of {width}": _RNG.normal(size=(n, width))
    for n, width in ((2, 3), (3, 3), (4, 40), (6, 9))
}
MOVING = FULL_RANK | DEPENDENT | NEARLY_CANCELLING | CANCELLING | RANDOM
CASES = {name: gradients for name, gradients in (FAMILIES | RANDOM).items() if len(gradients)}
ZEROS = ("zero", "with a zero", "one and a zero")
SCALES = (1.0, 1e15, 1e-15)
RADII = (0.5, 2.0)
RIDGED = dict.fromkeys(NEARLY_CANCELLING, 5e-3)  # how far the ridge may take the weights

each_case = pytest.mark.parametrize("family", CASES)
each_with_zeros = pytest.mark.parametrize("family", ZEROS)
each_scale = pytest.mark.parametrize("scale", SCALES)
each_radius = pytest.mark.parametrize("c", RADII)
each_alpha = pytest.mark.parametrize("alpha", [1.0, 2.0])

LOSSES = np.random.default_rng(3).uniform(0.2, 3.0, size=(30, 3))


def gramian_of(family: str, *, scale: float = 1.0) -> Floats:
    gramian: Floats = CASES[family] @ CASES[family].T * scale
    return gramian


def moving(gramian: Floats) -> NDArray[np.intp]:
    """The tasks with a gradient: the others take no part in ours."""
    return np.flatnonzero(np.diagonal(gramian))


def tasks_per_moving(gramian: Floats) -> float:
    """Turns a mean over all tasks, as TorchJD's, into one over those with a gradient."""
    return len(gramian) / max(len(moving(gramian)), 1)


def among_moving(balancer: Balancer, gramian: Floats) -> tuple[Floats, Floats]:
    """The Gramian and the weights of the tasks with a gradient."""
    weights, active = weigh(balancer, gramian=gramian), moving(gramian)
    assert not np.delete(weights, active).any()
    return gramian[np.ix_(active, active)], weights[active]


def theirs(weighting: Callable[[torch.Tensor], torch.Tensor], gramian: Floats) -> Floats:
    found: Floats = weighting(torch.tensor(gramian, dtype=torch.float64)).detach().numpy()
    return found


def draw(monkeypatch: pytest.MonkeyPatch, permutations: Iterator[list[int]]) -> None:
    """Makes torch.randperm give these."""
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor(next(permutations)))


def orders_of(twin: PCGrad | GradVac, gramian: Floats) -> list[list[int]]:
    """The order in which each gradient meets the others: first those that are not zero."""
    active = moving(gramian).tolist()
    drawn = twin.orders(len(active)) if len(active) > 1 else [[] for _ in active]
    met = {i: [active[k] for k in order] for i, order in zip(active, drawn, strict=True)}
    orders = [met.get(i, []) for i in range(len(gramian))]
    everyone = range(len(gramian))
    return [o + [j for j in everyone if j != i and j not in o] for i, o in enumerate(orders)]


def assert_same_shares(found: Floats, expected: Floats, gramian: Floats, *, atol: float) -> None:
    """The tasks' shares in the update, weight times norm. atol: relative to the largest; if that is 0, all are."""
    norms = np.sqrt(np.diagonal(gramian))
    largest = np.abs(expected * norms).max()
    np.testing.assert_allclose(found * norms, expected * norms, rtol=0, atol=atol * largest)


@pytest.mark.parametrize("family", MOVING)
def test_the_families_are_what_they_are_called(family: str) -> None:
    gradients = MOVING[family]
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    equations = np.vstack([units.T, np.ones(len(units))])  # a mean of the units that is zero
    _, shortest = nnls(equations, np.eye(len(equations))[-1])
    independent = np.linalg.matrix_rank(gradients) == len(gradients)
    assert independent == (family in FULL_RANK | RANDOM)
    assert (shortest < 1e-9) == (family in CANCELLING)
    assert (shortest < 0.02) == (family in CANCELLING | NEARLY_CANCELLING)


@each_scale
@each_case
def test_pcgrad_in_the_same_order(
    family: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gramian = gramian_of(family, scale=scale)
    balancer, twin = PCGrad(seed=4), PCGrad(seed=4)
    for _ in range(3):
        orders = orders_of(twin, gramian)
        draw(monkeypatch, iter([[i, *order] for i, order in enumerate(orders)]))
        expected = theirs(aggregation.PCGradWeighting(), gramian)
        assert_same_shares(weigh(balancer, gramian=gramian), expected, gramian, atol=1e-9)


@each_scale
@each_case
def test_gradvac_in_the_same_order(
    family: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchJD's `eps` is added to a norm, and to a product of two: here it is small beside either.

    A gradient that has met its opposite is zero but for rounding and `eps`. What cosine that has with a third differs,
    and with it the moving average.
    """
    gradients, atol = CASES[family] * np.sqrt(scale), 1e-2 if "opposite" in family else 1e-5
    balancer, twin = GradVac(beta=0.3, seed=4), GradVac(beta=0.3, seed=4)
    other = aggregation.GradVacWeighting(beta=0.3, eps=1e-8 * min(scale, np.sqrt(scale)))
    rng, width = np.random.default_rng(0), gradients.shape[1]
    for _ in range(5):
        moved = gradients @ (np.eye(width) + 0.3 * rng.normal(size=(width, width)))
        gramian = moved @ moved.T
        orders = orders_of(twin, gramian)
        draw(monkeypatch, iter([[j - (j > i) for j in o] for i, o in enumerate(orders)]))
        expected = theirs(other, gramian)
        assert_same_shares(weigh(balancer, gramian=gramian), expected, gramian, atol=atol)


@each_scale
@each_case
def test_imtl_g(family: str, scale: float) -> None:
    """Where v sums to 0 TorchJD gets the Gramian at scale 1: up to 1e-12 counts as 0, whatever the scale of v."""
    gramian = gramian_of(family, scale=scale)
    given = gramian_of(family) if family == "opposite" else gramian
    expected = theirs(aggregation.IMTLGWeighting(), given)
    assert_same_shares(weigh("IMTLG", gramian=gramian), expected, gramian, atol=1e-9)


@each_scale
@each_case
def test_aligned_mtl(family: str, scale: float) -> None:
    gramian = gramian_of(family, scale=scale)
    modes: tuple[Any, ...] = ("min", "median", "rmse")
    for mode in modes:
        expected = theirs(aggregation.AlignedMTLWeighting(scale_mode=mode), gramian)
        found = weigh(AlignedMTL(scale=mode), gramian=gramian)
        assert_same_shares(found, expected * tasks_per_moving(gramian), gramian, atol=1e-9)


class NonnegativeProjector(DualConeProjector):
    """TorchJD's projection as non-negative least squares, without the ridge that its own one needs."""

    def __call__(self, U: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
        values, vectors = np.linalg.eigh(G.numpy())
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return U + torch.tensor(np.array([nnls(root, -root @ u)[0] for u in U.numpy()]))


@each_scale
@each_case
def test_upgrad(family: str, scale: float) -> None:
    """By the update where several weights make the same one."""
    gramian = gramian_of(family, scale=scale)
    expected = theirs(aggregation.UPGradWeighting(projector=NonnegativeProjector()), gramian)
    expected *= tasks_per_moving(gramian)
    found = weigh(UPGrad(), gramian=gramian)
    if family == "of rank 2, to all sides":
        apart = np.sqrt((found - expected) @ gramian @ (found - expected))
        assert apart <= 1e-5 * np.sqrt(np.diagonal(gramian).max())
    else:
        assert_same_shares(found, expected, gramian, atol=1e-5)


@each_scale
@pytest.mark.parametrize("family", [name for name in CASES if name != "zero"])
def test_mgda_finds_what_theirs_approaches(family: str, scale: float) -> None:
    """TorchJD's update is no farther from the shortest one than the root of the gap that its steps have left."""
    gramian, found = among_moving(MGDA(), gramian_of(family, scale=scale))
    other = theirs(aggregation.MGDAWeighting(epsilon=1e-9, max_iters=300), gramian)
    gap, least = other @ gramian @ other - (gramian @ other).min(), np.diagonal(gramian).min()
    assert gap <= 8e-3 * least
    assert (found - other) @ gramian @ (found - other) <= gap + 1e-6 * least
    assert found @ gramian @ found <= other @ gramian @ other + 1e-5 * least


@each_scale
@pytest.mark.parametrize("family", [name for name in CASES if name != "zero"])
def test_equal_projections_are_theirs_of_unit_gradients(family: str, scale: float) -> None:
    """IMTL-G of the shrunk cosines where that has no negative weight, else what MGDA of them approaches."""
    gramian, found = among_moving(EqualProjection(), gramian_of(family, scale=scale))
    norms = np.sqrt(np.diagonal(gramian))
    cosines = gramian / norms / norms[:, None]
    shrunk = (cosines + 0.1 * np.eye(len(cosines))) / 1.1
    shares = found * norms / (found @ norms)
    expected = theirs(aggregation.IMTLGWeighting(), shrunk)
    if (expected > 0).all():
        np.testing.assert_allclose(shares, expected, atol=1e-4)
    else:
        other = theirs(aggregation.MGDAWeighting(epsilon=1e-9, max_iters=300), shrunk)
        gap = other @ shrunk @ other - (shrunk @ other).min()
        assert gap <= 8e-3
        assert (shares - other) @ shrunk @ (shares - other) <= gap + 1e-6
        assert shares @ shrunk @ shares <= other @ shrunk @ other + 1e-5


@each_with_zeros
def test_mgda_is_compared_without_zeros_because_theirs_makes_no_update(family: str) -> None:
    gramian = gramian_of(family)
    other = theirs(aggregation.MGDAWeighting(), gramian)
    assert other @ gramian @ other == 0.0


# Their best mixture is zero, so TorchJD, which divides by its length, gives no task any weight.
STOPPED = [
    *(("opposite", c) for c in RADII),
    *(("opposite, and a third", c) for c in RADII),
    ("opposite, longer", 2.0),
    ("three to all sides", 2.0),
    ("of rank 2, to all sides", 2.0),
]
GOES_ON = [(family, c) for family in MOVING for c in RADII if (family, c) not in STOPPED]


@each_scale
@pytest.mark.parametrize(("family", "c"), [*GOES_ON, *(("with a zero", c) for c in RADII)])
def test_cagrad(family: str, c: float, scale: float) -> None:
    gramian, found = among_moving(CAGrad(c=c), gramian_of(family, scale=scale))
    norm_eps = 1e-6 * min(scale, 1.0)  # a Gramian whose trace is less counts as zero
    expected = theirs(aggregation.CAGradWeighting(c=c, norm_eps=norm_eps), gramian)
    assert_same_shares(found, expected, gramian, atol=RIDGED.get(family, 3e-4))


@each_scale
@pytest.mark.parametrize(("family", "c"), STOPPED)
def test_cagrad_where_theirs_makes_no_update(family: str, c: float, scale: float) -> None:
    """Ours moves from the mean until no task loses, which is in the ball."""
    gramian = gramian_of(family, scale=scale)
    assert not theirs(aggregation.CAGradWeighting(c=c), gramian).any()
    mean, norms = np.full(len(gramian), 1 / len(gramian)), np.sqrt(np.diagonal(gramian))
    expected = plain.upgrad_part(gramian, mean)
    move, apart = expected - mean, weigh(CAGrad(c=c), gramian=gramian) - expected
    assert move @ gramian @ move <= c**2 * mean @ gramian @ mean
    assert np.sqrt(apart @ gramian @ apart) <= 1e-5 * norms.max()


@each_radius
@each_with_zeros
def test_cagrad_is_compared_without_zeros_because_theirs_makes_no_update(
    family: str, c: float
) -> None:
    assert not theirs(aggregation.CAGradWeighting(c=c), gramian_of(family)).any()


@each_radius
@each_scale
def test_cagrads_only_task_has_weight_1_where_theirs_goes_on_by_the_radius(
    scale: float, c: float
) -> None:
    gramian = gramian_of("one", scale=scale)
    other = theirs(aggregation.CAGradWeighting(c=c, norm_eps=0.0), gramian)
    np.testing.assert_allclose(other, [1 + c], rtol=1e-6)
    for family in ("one", "one and a zero"):
        assert among_moving(CAGrad(c=c), gramian_of(family, scale=scale))[1].tolist() == [1.0]


def normal(gramian: Floats) -> Floats:
    """Scaled to a mean diagonal of 1 over the tasks with a gradient, as FairGrad and NashMTL do."""
    found: Floats = gramian / (np.trace(gramian) / max(len(moving(gramian)), 1) or 1.0)
    return found


def with_ridge(gramian: Floats, ridge: float = RIDGE) -> Floats:
    """What FairGrad and NashMTL solve, to rounding: there is a solution even where gradients cancel."""
    found: Floats = gramian + ridge * np.diag(np.diagonal(gramian))
    return found


def unfairness(gramian: Floats, w: Floats, *, alpha: float) -> float:
    """How far `K w = w^(-1/alpha)` is from true, relative to the right side."""
    return float(np.abs(gramian @ w * w ** (1 / alpha) - 1).max())


def fair_weights(gramian: Floats, *, alpha: float) -> Floats:
    """[T] the w > 0 with `K w = w^(-1/alpha)`, K with the ridge, which is brought down to its size in steps.

    SciPy searches for the log w at which `½ w'Kw - sum(φ(w))` is least, with `φ' = w^(-1/alpha)`.
    """

    def value(z: Floats, K: Floats) -> float:
        w = np.exp(z)
        gains = z if alpha == 1 else w ** (1 - 1 / alpha) / (1 - 1 / alpha)
        return float(w @ K @ w / 2 - gains.sum())

    def slope(z: Floats, K: Floats) -> Any:
        w = np.exp(z)
        return w * (K @ w) - w ** (1 - 1 / alpha)

    def curvature(z: Floats, K: Floats) -> Any:
        w = np.exp(z)
        return w[:, None] * K * w + np.diag(w * (K @ w) - (1 - 1 / alpha) * w ** (1 - 1 / alpha))

    z = np.zeros(len(gramian))
    derivatives: dict[str, Any] = {"jac": slope, "hess": curvature, "method": "trust-exact"}
    for ridge in np.geomspace(1.0, RIDGE, 25):
        K, options = with_ridge(gramian, ridge), {"gtol": 1e-9, "maxiter": 50}
        z = minimize(value, z, args=(K,), options=options, **derivatives).x
    weights: Floats = np.exp(z)
    return weights


@each_alpha
@each_scale
@pytest.mark.parametrize("family", [name for name in CASES if name not in CANCELLING])
def test_fairgrad_but_for_the_scale_of_its_gramian(family: str, scale: float, alpha: float) -> None:
    gramian = gramian_of(family, scale=scale)
    expected = theirs(aggregation.FairGradWeighting(alpha=alpha), normal(gramian))
    found = weigh(FairGrad(alpha=alpha), gramian=gramian)
    assert_same_shares(found, expected, gramian, atol=RIDGED.get(family, 3e-4))


@each_alpha
def test_fairgrad_is_compared_at_scale_1_because_theirs_stays_where_it_starts(alpha: float) -> None:
    gramian = gramian_of("three", scale=1e-15)
    other = theirs(aggregation.FairGradWeighting(alpha=alpha), gramian)
    assert unfairness(gramian, other, alpha=alpha) > 0.99


@each_alpha
@pytest.mark.parametrize("family", CANCELLING)
def test_fairgrad_where_gradients_cancel(family: str, alpha: float) -> None:
    """No weights solve the equation, TorchJD's neither: ours solve it with the ridge, as SciPy does."""
    gramian = normal(gramian_of(family))
    other = theirs(aggregation.FairGradWeighting(alpha=alpha), gramian)
    assert unfairness(gramian, other, alpha=alpha) > 0.5
    expected = fair_weights(gramian, alpha=alpha)
    for scale in SCALES:
        found = weigh(FairGrad(alpha=alpha), gramian=gramian * scale)
        assert_same_shares(found, expected, gramian, atol=1e-6)


@pytest.fixture
def nash(monkeypatch: pytest.MonkeyPatch) -> Callable[[Floats], Floats]:
    """TorchJD's weights of a Gramian, its problems solved by Clarabel in place of ECOS."""
    solve = cvxpy.Problem.solve

    def by_clarabel(problem: cvxpy.Problem, **_: object) -> float | None:
        return solve(problem, solver=cvxpy.CLARABEL)

    def weigh_theirs(gramian: Floats) -> Floats:
        values, vectors = np.linalg.eigh(gramian)
        other = aggregation.NashMTL(n_tasks=len(gramian), max_norm=0.0)
        return theirs(other.weighting, vectors * np.sqrt(np.maximum(values, 0.0)))

    monkeypatch.setattr(_NashMTLWeighting, "_REQUIRED_DEPS", ["cvxpy", "clarabel"])
    monkeypatch.setattr(cvxpy.Problem, "solve", by_clarabel)
    return weigh_theirs


not_dpp = pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not")


@not_dpp
@pytest.mark.parametrize("family", [*MOVING, "with a zero"])
def test_nash_mtl_but_for_the_scale_of_its_gramian(
    family: str, nash: Callable[[Floats], Floats]
) -> None:
    """Equal to TorchJD's steps, and to a direct solution of the paper's equation, `K w = 1 / w`.

    TorchJD takes ECOS, which is under the GPL. Here Clarabel solves its problems, and the direct solution needs none.
    Where gradients cancel, nothing solves the equation: TorchJD gets the ridge too.
    """
    gramian = normal(among_moving(NashMTL(), gramian_of(family))[0])
    cancels = family in CANCELLING
    steps = nash(with_ridge(gramian) if cancels else gramian)
    direct = fair_weights(gramian, alpha=1.0)
    for scale in SCALES:
        _, found = among_moving(NashMTL(), gramian_of(family, scale=scale))
        atol = 1e-5 if cancels else RIDGED.get(family, 3e-4)
        assert_same_shares(found, steps, gramian, atol=atol)
        assert_same_shares(found, direct, gramian, atol=1e-6)


@not_dpp
def test_nash_mtl_is_compared_without_zeros_because_theirs_stays_where_it_starts(
    nash: Callable[[Floats], Floats],
) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        assert nash(gramian_of("with a zero")).tolist() == [1.0, 1.0, 1.0]


@each_scale
def test_nash_mtls_only_task_has_weight_1_where_theirs_fails(
    scale: float, nash: Callable[[Floats], Floats]
) -> None:
    """1 is the solution."""
    with pytest.raises(ValueError, match="Scalar operands"):
        nash(normal(gramian_of("one")))
    for family in ("one", "one and a zero"):
        gramian, found = among_moving(NashMTL(), gramian_of(family, scale=scale))
        assert found.tolist() == [1.0]
        assert unfairness(normal(gramian), found, alpha=1.0) < 1e-12


@each_scale
@pytest.mark.parametrize("balancer", [MGDA(), CAGrad(), NashMTL()])
def test_without_any_gradient_ours_have_no_weight(balancer: Balancer, scale: float) -> None:
    """For these methods nothing is left to be compared."""
    assert not weigh(balancer, gramian=gramian_of("zero", scale=scale)).any()


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
