"""Balancers by the length of the gradients, against their formulas."""

from typing import Any

import numpy as np
import pytest

from spacy_mtl.balancing import DBMTL, GradNorm, NormEqual, Static
from spacy_mtl.errors import ConfigError

from .families import Floats, weigh

TASKS = ("ner", "tagger", "textcat")
NORMS = np.array([381.0, 77.0, 1.0])


def of_norms(*norms: float) -> Floats:
    """[T, T] gradients of these lengths."""
    return np.diag(np.square(norms))


def test_static_weights_are_the_users_and_1_for_the_others() -> None:
    found = weigh(Static(weights={"ner": 2.0, "textcat": 0}), gramian=of_norms(*NORMS), tasks=TASKS)
    assert found.tolist() == [2.0, 1.0, 0.0]


def test_norm_equal_gives_gradients_of_one_length_and_a_mean_weight_of_1() -> None:
    found = weigh(NormEqual(), gramian=of_norms(*NORMS))
    np.testing.assert_allclose(found * NORMS, (found * NORMS)[0])
    assert found.mean() == pytest.approx(1.0)


def test_norm_equal_gives_lengths_in_proportion_to_the_users_weights() -> None:
    balancer = NormEqual(weights={"ner": 2.0, "textcat": 0.5})
    found = weigh(balancer, gramian=of_norms(*NORMS), tasks=TASKS)
    np.testing.assert_allclose(found * NORMS / (found * NORMS)[1], [2.0, 1.0, 0.5])
    assert found.mean() == pytest.approx(1.0)


def test_norm_equal_follows_the_moving_average_of_the_norms() -> None:
    balancer = NormEqual(decay=0.75)
    steps = [(4.0, 1.0), (8.0, 1.0), (2.0, 1.0)]
    found = [weigh(balancer, gramian=of_norms(*norms)) for norms in steps]
    average = 0.75 * (0.75 * 4.0 + 0.25 * 8.0) + 0.25 * 2.0
    shares = np.array([1 / average, 1.0])
    np.testing.assert_allclose(found[-1], shares / shares.mean())


@pytest.mark.parametrize(
    "balancer", [NormEqual(), GradNorm(), DBMTL()], ids=["NormEqual", "GradNorm", "DBMTL"]
)
def test_a_weight_does_not_jump_because_another_task_is_missing(balancer: Any) -> None:
    everything: dict[str, Any] = {"gramian": of_norms(*NORMS), "losses": [1.0, 2.0, 0.5]}
    for _ in range(3):
        together = weigh(balancer, **everything, tasks=TASKS)
    alone = weigh(balancer, gramian=of_norms(77.0), losses=[2.0], tasks=["tagger"])
    assert alone[0] == pytest.approx(together[1])


def test_gradnorm_equalises_lengths_while_all_tasks_learn_alike() -> None:
    found = weigh(GradNorm(), gramian=of_norms(*NORMS), losses=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(found * NORMS, NORMS.mean())


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.5])
def test_gradnorm_lengthens_the_gradients_of_slow_tasks(alpha: float) -> None:
    balancer = GradNorm(alpha=alpha, decay=0.0)
    first, losses = np.array([2.0, 4.0, 1.0]), np.array([1.0, 3.6, 0.1])
    weigh(balancer, gramian=of_norms(5.0, 6.0, 7.0), losses=first)
    found = weigh(balancer, gramian=of_norms(*NORMS), losses=losses)
    rates = losses / first
    np.testing.assert_allclose(found * NORMS, NORMS.mean() * (rates / rates.mean()) ** alpha)


def test_gradnorm_averages_norms_and_losses() -> None:
    balancer = GradNorm(alpha=2.0, decay=0.5)
    weigh(balancer, gramian=of_norms(1.0, 4.0), losses=[2.0, 2.0])
    found = weigh(balancer, gramian=of_norms(3.0, 4.0), losses=[1.0, 2.0])
    norms, rates = np.array([2.0, 4.0]), np.array([0.75, 1.0])
    np.testing.assert_allclose(found * norms, norms.mean() * (rates / rates.mean()) ** 2)


def test_db_mtl_gives_gradients_of_log_losses_the_length_of_the_longest() -> None:
    losses = np.array([10.0, 0.5, 2.0])
    found = weigh(DBMTL(), gramian=of_norms(*NORMS), losses=losses)
    log_norms = NORMS / losses
    np.testing.assert_allclose(found * NORMS, log_norms.max(), rtol=1e-7)


def test_db_mtl_averages_norms_and_forgets_more_and_more_slowly() -> None:
    balancer = DBMTL(beta=0.8, sigma=0.5)
    seen = np.array([[3.0, 1.0], [1.0, 4.0], [2.0, 2.0], [5.0, 1.0]])
    losses = np.array([[1.0, 2.0], [0.5, 1.0], [0.4, 3.0], [0.2, 0.7]])
    average = seen[0] / losses[0]
    for k, (norms, loss) in enumerate(zip(seen, losses, strict=True), start=1):
        found = weigh(balancer, gramian=of_norms(*norms), losses=loss)
        keep = 0.8 / np.sqrt(k)
        average = keep * average + (1 - keep) * norms / loss
        np.testing.assert_allclose(found, average.max() / average / loss, rtol=1e-6)


def test_a_task_without_a_gradient_leaves_the_averages_alone() -> None:
    for balancer in (NormEqual(), GradNorm(), DBMTL()):
        weigh(balancer, gramian=of_norms(2.0, 3.0), losses=[1.0, 1.0])
        before = balancer.state_dict()
        found = weigh(balancer, gramian=of_norms(0.0, 3.0), losses=[9.0, 1.0])
        after = balancer.state_dict()
        assert found[0] == 0.0
        assert found[1] > 0.0
        for name in balancer.stateful:
            assert after[name]["a"] == before[name]["a"]


def test_all_weights_may_be_0() -> None:
    balancer = NormEqual(weights={"a": 0.0, "b": 0.0})
    assert weigh(balancer, gramian=of_norms(1.0, 2.0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (Static, {"weights": {"ner": -1.0}}, "`balancer.weights.ner = -1.0` .* at least 0"),
        (Static, {"weights": {"ner": None}}, "`balancer.weights.ner = None` cannot be used"),
        (Static, {"weights": [1.0]}, r"`balancer.weights = \[1.0\]` .* such as `tagger = 1.0`"),
        (NormEqual, {"decay": 1.0}, "`balancer.decay = 1.0` .* at least 0 and below 1"),
        (GradNorm, {"alpha": True}, "`balancer.alpha = True` .* at least 0 and at most 10"),
        (DBMTL, {"beta": 1.0}, "`balancer.beta = 1.0` .* below 1"),
        (DBMTL, {"sigma": -0.5}, "`balancer.sigma = -0.5` .* at least 0"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    method: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**settings)
