"""Conflict methods against the papers' formulas, on the gradients themselves or by a certificate of the optimum."""

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from spacy_mtl.balancing import (
    MGDA,
    AlignedMTL,
    CAGrad,
    Directions,
    EqualProjection,
    FairGrad,
    GradVac,
    NormEqual,
    PCGrad,
    UPGrad,
)
from spacy_mtl.balancing.conflict import solvers
from spacy_mtl.balancing.conflict.base import RIDGE
from spacy_mtl.balancing.conflict.solvers import nonnegative_minimum
from spacy_mtl.errors import ConfigError

from . import plain
from .families import (
    CANCELLING,
    DEPENDENT,
    FULL_RANK,
    NEARLY_CANCELLING,
    Floats,
    signals,
    weigh,
)

MOVING = FULL_RANK | DEPENDENT | NEARLY_CANCELLING | CANCELLING
each_family = pytest.mark.parametrize("family", MOVING)
SOLVABLE = FULL_RANK | DEPENDENT
each_solvable = pytest.mark.parametrize("family", SOLVABLE)
each_full_rank = pytest.mark.parametrize("family", FULL_RANK)

# weights of two gradients in conflict, (-4, 1, 1) and (6, 1, 1), whose Gramian is [[18, -22], [-22, 38]]
GOLDEN = {
    "PCGrad": [20 / 9, 30 / 19],
    "GradVac": [20 / 9, 30 / 19],
    "CAGrad": [0.70412404, 0.5],
    "MGDA": [0.6, 0.4],
    "IMTLG": [0.59233032, 0.40766968],
    "AlignedMTL": [0.55907192, 0.40826107],
    "UPGrad": [10 / 9, 15 / 19],
    # by the lengths, at a projection of 1: 1.1 / (1.1 + cosine), times 2 / (1 / norm + 1 / norm)
    "EqualProjection": [5.03507136, 3.46537377],
    # K w = w^(-1/alpha), times the root of the mean diagonal, and its 2/3rd power
    "NashMTL": [0.59145929 * 28**0.5, 0.40707020 * 28**0.5],
    "FairGrad": [0.47136096 * 28 ** (2 / 3), 0.31945287 * 28 ** (2 / 3)],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_weights_of_the_example_are_these(name: str) -> None:
    found = weigh(name, FULL_RANK["two in conflict"])
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-6)


@each_family
def test_pcgrad_is_the_papers_procedure_on_the_gradients(family: str) -> None:
    gradients = MOVING[family]
    balancer, twin = PCGrad(seed=5), PCGrad(seed=5)
    for _ in range(3):
        update = weigh(balancer, gradients) @ gradients
        expected = plain.pcgrad(gradients, twin.orders(len(gradients)))
        np.testing.assert_allclose(update, expected, rtol=1e-9, atol=1e-9)


@each_full_rank
def test_gradvac_is_the_papers_procedure_on_the_gradients(family: str) -> None:
    gradients, beta = FULL_RANK[family], 0.3
    balancer, twin = GradVac(beta=beta, seed=5), GradVac(beta=beta, seed=5)
    targets = np.zeros((len(gradients), len(gradients)))
    rng = np.random.default_rng(0)
    for _ in range(6):
        moved = gradients + 0.3 * np.abs(gradients).mean() * rng.normal(size=gradients.shape)
        expected = plain.gradvac(moved, twin.orders(len(moved)), targets, beta)
        update = weigh(balancer, moved) @ moved
        np.testing.assert_allclose(update, expected, rtol=1e-5, atol=1e-6 * np.abs(moved).max())


def test_gradvac_starts_as_pcgrad() -> None:
    gradients = FULL_RANK["five"]
    found, expected = weigh(GradVac(seed=2), gradients), weigh(PCGrad(seed=2), gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradvac_aligns_two_tasks_as_much_as_they_usually_are() -> None:
    balancer = GradVac(beta=0.5)
    usual = np.array([[1.0, 0.2], [1.0, -0.2]])
    for _ in range(8):
        weigh(balancer, usual)
    assert balancer.targets["a"]["b"] == pytest.approx(12 / 13, rel=0.01)  # their cosine
    gradients = np.array([[1.0, 0.0], [0.0, 1.0]])  # no conflict, but less alike than usual
    assert (weigh(balancer, gradients) > 2).all()


def test_a_random_order_is_drawn_anew_in_each_step() -> None:
    balancer = PCGrad(seed=1)
    gradients = FULL_RANK["each against each"]
    found = {tuple(weigh(balancer, gradients).round(9)) for _ in range(8)}
    assert len(found) > 1


@each_family
def test_mgda_is_the_shortest_mixture(family: str) -> None:
    """By the optimality condition: along the mixture no gradient is shorter than the mixture."""
    gradients = MOVING[family]
    gramian, norms = gradients @ gradients.T, np.linalg.norm(gradients, axis=1)
    w = weigh(MGDA(), gradients)
    assert w.sum() == pytest.approx(1.0)
    assert (gramian @ w >= w @ gramian @ w - 2e-6 * norms * (norms @ w)).all()


def lengths_of(gradients: Floats, balancer: EqualProjection) -> Floats:
    """[T] how long the gradients are made, in units of what a task gets that is alone in a batch."""
    norms = np.linalg.norm(gradients, axis=1)
    found: Floats = weigh(balancer, gradients) * norms * np.mean(1 / norms)
    return found


def shrunk_cosines(gradients: Floats) -> Floats:
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    found: Floats = (units @ units.T + 0.1 * np.eye(len(units))) / 1.1
    return found


@each_family
def test_projections_are_equal_and_no_weight_negative(family: str) -> None:
    """By the optimality condition: a task's projection is 1, or it is above that and the task has no weight."""
    gradients = MOVING[family]
    lengths = lengths_of(gradients, EqualProjection())
    projections = shrunk_cosines(gradients) @ lengths
    assert (lengths >= 0).all()
    assert (projections >= 1 - 1e-4).all()
    np.testing.assert_allclose(projections[lengths > 0], 1.0, atol=1e-4)


@each_solvable
def test_no_task_is_farther_from_the_update_than_with_equal_lengths(family: str) -> None:
    gradients = SOLVABLE[family]
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    smallest = {}
    for balancer in (EqualProjection(), NormEqual()):
        update = weigh(balancer, gradients) @ gradients
        smallest[type(balancer)] = (units @ update).min() / np.linalg.norm(update)
    assert smallest[EqualProjection] >= smallest[NormEqual] - 1e-6


def test_orthogonal_gradients_are_made_equally_long() -> None:
    gradients = np.diag([1.0, 20.0, 0.3])
    weights = {"a": 2.0, "c": 0.5}
    for settings in ({}, {"weights": weights}):
        expected = weigh(NormEqual(**settings), gradients)
        found = weigh(EqualProjection(**settings), gradients)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_task_keeps_its_weight_in_batches_without_the_others() -> None:
    balancer = EqualProjection()
    gradients = np.diag([1.0, 20.0])
    both = weigh(balancer, gradients, tasks=["a", "b"])
    alone = [weigh(balancer, gradients[[i]], tasks=["ab"[i]])[0] for i in range(2)]
    np.testing.assert_allclose(alone, both, rtol=1e-5)


def test_tasks_that_agree_get_less_each_and_one_that_is_taken_along_nothing() -> None:
    agreeing = np.array([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0], [0.0, 0.0, 1.0]])
    lengths = lengths_of(agreeing, EqualProjection())
    assert lengths[0] == pytest.approx(lengths[1]) == pytest.approx(1.1 / (1.1 + 12 / 13), rel=1e-4)
    assert lengths[2] == pytest.approx(1.0, rel=1e-4)
    between = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(lengths_of(between, EqualProjection()), [1.0, 1.0, 0.0], rtol=1e-4)


def test_projections_are_as_large_as_asked_for() -> None:
    gradients = FULL_RANK["three"]
    weights = {"a": 2.0, "b": 1.0, "c": 0.5}
    norms = np.linalg.norm(gradients, axis=1)
    wanted = np.array(list(weights.values()))
    found = weigh(EqualProjection(weights=weights), gradients, tasks="abc")
    lengths = found * norms * np.mean(wanted / norms)
    projections = shrunk_cosines(gradients) @ lengths
    np.testing.assert_allclose(projections[lengths > 0], wanted[lengths > 0], rtol=1e-4)
    assert (lengths > 0).any()
    assert (projections >= wanted - 1e-4).all()
    without = weigh(EqualProjection(weights={"a": 0.0}), gradients, tasks="abc")
    assert without[0] == 0.0
    assert without[1:].all()
    nothing = EqualProjection(weights={"a": 0.0, "b": 0.0, "c": 0.0})
    assert not weigh(nothing, gradients, tasks="abc").any()


def test_an_unusable_projection_is_named() -> None:
    with pytest.raises(ConfigError, match=r"balancer\.weights\.ner = -1"):
        EqualProjection(weights={"ner": -1.0})


@each_solvable
def test_cagrad_helps_the_worst_off_task_as_much_as_can_be(family: str) -> None:
    """By duality: what the worst-off task gains reaches a bound on it, and the update is on the ball."""
    gradients = SOLVABLE[family]
    gramian = gradients @ gradients.T
    for c in (0.2, 0.5, 0.9, 2.0):
        gain, bound, distance = plain.cagrad_bounds(gramian, weigh(CAGrad(c=c), gradients), c)
        assert distance == pytest.approx(1.0, abs=1e-4)
        assert gain == pytest.approx(bound, rel=2e-5, abs=1e-4 * np.diagonal(gramian).min())


@pytest.mark.parametrize("family", CANCELLING)
def test_no_other_update_in_cagrads_ball_is_better_where_gradients_cancel(family: str) -> None:
    gradients = CANCELLING[family]
    mean, weights = gradients.mean(axis=0), weigh(CAGrad(c=0.5), gradients)
    radius = 0.5 * np.linalg.norm(mean)
    update = weights @ gradients
    assert np.linalg.norm(update - mean) <= radius * (1 + 1e-6)
    turns = np.linspace(0, 2 * np.pi, 500)
    for size in np.linspace(0, radius, 50):
        others = mean + size * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        best = (others @ gradients.T).min(axis=1).max()
        assert best <= (gradients @ update).min() + 1e-5


def test_cagrad_with_radius_0_is_the_mean() -> None:
    np.testing.assert_allclose(weigh(CAGrad(c=0.0), FULL_RANK["five"]), 0.2)


def test_cagrad_with_a_large_radius_has_no_conflict() -> None:
    gradients = FULL_RANK["each against each"]
    assert (gradients @ gradients.T @ weigh(CAGrad(c=2.0), gradients) > 0).all()


def test_cagrad_with_gradients_that_cancel_only_removes_the_conflict() -> None:
    """(1, 0) against (-1/2, 0), and (0, 1): the mean is (1/6, 1/3), in conflict along x."""
    gradients = CANCELLING["opposite, and a third"]
    update = weigh(CAGrad(c=0.5), gradients) @ gradients
    np.testing.assert_allclose(update, [0.0, 1 / 3], atol=1e-5)


@each_family
def test_upgrad_projects_each_gradient_on_the_cone_without_conflict(family: str) -> None:
    """By trying every set of weights that the projection of each gradient may add."""
    gradients = MOVING[family]
    gramian, n_tasks = gradients @ gradients.T, len(gradients)
    directions = Directions.of(gramian)
    Q = directions.ridged
    for i in range(n_tasks):
        start = np.eye(n_tasks)[i]
        moved = start + nonnegative_minimum(Q, -Q[i])
        expected = plain.upgrad_part(directions.cosines, start)
        least = expected @ directions.cosines @ expected
        assert moved @ directions.cosines @ moved == pytest.approx(least, abs=1e-5)


@each_full_rank
def test_upgrads_weights_are_the_sum_of_the_projections(family: str) -> None:
    gradients = FULL_RANK[family]
    gramian, n_tasks = gradients @ gradients.T, len(gradients)
    projected = [plain.upgrad_part(gramian, start) for start in np.eye(n_tasks)]
    expected = np.sum(projected, axis=0) / n_tasks
    np.testing.assert_allclose(weigh(UPGrad(), gradients), expected, rtol=1e-4, atol=1e-5)


def test_upgrad_scales_with_each_gradient() -> None:
    """Linear under scaling: a gradient that is c times as long puts c times as much into the update."""
    gradients = FULL_RANK["each against each"]
    update = weigh(UPGrad(), gradients) @ gradients
    parts = []
    for i, factor in enumerate([3.0, 0.1, 7.0, 1.0]):
        longer = gradients * np.where(np.arange(4) == i, factor, 1.0)[:, None]
        parts.append((weigh(UPGrad(), longer) @ longer - update) / (factor - 1 or 1))
    assert np.abs(parts[3]).max() < 1e-12
    both = gradients * np.array([3.0, 0.1, 1.0, 1.0])[:, None]
    expected = update + 2.0 * parts[0] - 0.9 * parts[1]
    np.testing.assert_allclose(weigh(UPGrad(), both) @ both, expected, rtol=1e-6, atol=1e-9)


@each_full_rank
def test_imtl_g_is_the_papers_closed_form(family: str) -> None:
    gradients = FULL_RANK[family]
    np.testing.assert_allclose(weigh("IMTLG", gradients), plain.imtl_g(gradients), rtol=1e-6)


@each_full_rank
def test_imtl_gs_update_is_as_long_along_each_gradient(family: str) -> None:
    gradients = FULL_RANK[family]
    along = gradients @ (weigh("IMTLG", gradients) @ gradients) / np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(along, along[0], rtol=1e-6)


def test_imtl_g_makes_no_update_of_two_opposite_gradients_of_one_length() -> None:
    assert weigh("IMTLG", CANCELLING["opposite"]).tolist() == [0.0, 0.0]


@each_family
def test_aligned_mtl_makes_all_singular_values_the_smallest(family: str) -> None:
    gradients = MOVING[family]
    update = weigh(AlignedMTL(), gradients) @ gradients
    np.testing.assert_allclose(update, plain.aligned(gradients), rtol=1e-6, atol=1e-7)


def test_aligned_mtl_takes_rounding_for_no_direction() -> None:
    """A Gramian in fp32 of dependent gradients has an eigenvalue of rounding; a short gradient is none."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(2, 400))
        gradients = np.stack([a, b, a + b])
        measured = gradients.astype("f")
        gramian = (measured @ measured.T).astype("d")
        update = weigh(AlignedMTL(), gramian=gramian) @ gradients
        np.testing.assert_allclose(update, plain.aligned(gradients), rtol=2e-3, atol=2e-3)
    short = np.array([[1.0, 0.0], [3e-4, 4e-4]])
    measured = short.astype("f")
    update = weigh(AlignedMTL(), gramian=(measured @ measured.T).astype("d")) @ short
    np.testing.assert_allclose(update, plain.aligned(short), rtol=1e-3)


def test_aligned_mtls_scale_is_a_choice() -> None:
    gradients = np.diag([1.0, 2.0, 4.0])
    for scale, length in {"min": 1.0, "median": 2.0, "rmse": np.sqrt(7.0)}.items():
        update = weigh(AlignedMTL(scale=scale), gradients) @ gradients
        np.testing.assert_allclose(update, length / 3)


@each_family
def test_fairgrad_solves_its_equation(family: str) -> None:
    gramian = signals(MOVING[family]).need("gramian")
    gramian = gramian / np.mean(np.diagonal(gramian))
    ridged = gramian + RIDGE * np.diag(np.diagonal(gramian))  # what is solved to rounding
    for alpha in (0.5, 1.0, 2.0, 5.0, 10.0):
        w = weigh(FairGrad(alpha=alpha), gramian=gramian)
        assert (w > 0).all()
        if family in SOLVABLE:
            np.testing.assert_allclose(gramian @ w, w ** (-1 / alpha), rtol=5e-3)
        scale = np.abs(ridged) @ w  # of the terms that cancel
        np.testing.assert_allclose(ridged @ w / scale, w ** (-1 / alpha) / scale, atol=1e-7)


@each_full_rank
def test_nash_mtl_is_fairgrad_with_alpha_1_at_the_scale_of_the_gradients(family: str) -> None:
    gradients = FULL_RANK[family]
    w = weigh("NashMTL", gradients)
    np.testing.assert_array_equal(w, weigh(FairGrad(alpha=1.0), gradients))
    gramian = gradients @ gradients.T
    raw = w / np.sqrt(np.mean(np.diagonal(gramian)))
    np.testing.assert_allclose(gramian @ raw * raw, 1.0, rtol=1e-4)
    length = np.linalg.norm(w @ gradients)
    assert length == pytest.approx(np.linalg.norm(gradients), rel=1e-4)


@given(
    npst.arrays(np.float64, (4, 3), elements=st.floats(-2, 2, width=16)),
    npst.arrays(np.float64, 4, elements=st.floats(-2, 2, width=16)),
)
def test_a_nonnegative_minimum_meets_the_conditions_for_one(factor: Floats, b: Floats) -> None:
    Q = factor @ factor.T + 1e-4 * np.eye(4)
    x = nonnegative_minimum(Q, b)
    slope = Q @ x - b
    size = np.abs(b).max(initial=0.0) + np.abs(x).max()
    assert (x >= 0).all()
    assert (slope >= -1e-9 * size).all()  # to add to a weight does not help
    assert (np.abs(slope[x > 0]) <= 1e-9 * size).all()  # nor does it to change one


def test_the_worked_example_is_right() -> None:
    assert doctest.testmod(solvers) == (0, 1)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (
            CAGrad,
            {"c": -0.1},
            "`balancer.c = -0.1` cannot be used: it must be a number, at least 0",
        ),
        (CAGrad, {"c": float("nan")}, "`balancer.c = nan` cannot be used"),
        (CAGrad, {"c": "0.5"}, "`balancer.c = '0.5'` cannot be used"),
        (FairGrad, {"alpha": 0}, "`balancer.alpha = 0` .* at least 0.5 and at most 10"),
        (GradVac, {"beta": 1.5}, "`balancer.beta = 1.5` .* at least 0 and at most 1"),
        (GradVac, {"seed": -1}, "`balancer.seed = -1` .* a whole number, at least 0"),
        (PCGrad, {"seed": 0.5}, "`balancer.seed = 0.5` .* a whole number, at least 0"),
        (AlignedMTL, {"scale": "max"}, "`balancer.scale = 'max'` .* `min`, `median`, `rmse`"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    method: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**settings)
