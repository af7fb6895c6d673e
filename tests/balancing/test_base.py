"""What the pipeline hands to a balancer, its state, and that the room imports nothing heavy."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from spacy_mtl.balancing import BALANCERS, Balancer, Directions, NormEqual, Static, TaskSignals
from spacy_mtl.balancing.base import Floats
from spacy_mtl.errors import ConfigError

from .families import signals

NAMES = (
    "Static NormEqual EqualProjection GradNorm DBMTL Uncertainty DWA FAMO PCGrad GradVac CAGrad MGDA IMTLG NashMTL "
    "AlignedMTL FairGrad UPGrad"
)
HEAVY = ("torch", "thinc", "spacy", "transformers", "scipy")


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = f"import sys, spacy_mtl.balancing; print(*[n for n in {HEAVY} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_each_method_of_the_design_is_there_under_its_name() -> None:
    assert set(BALANCERS) == set(NAMES.split())
    assert all(made.__name__ == name for name, made in BALANCERS.items())


@pytest.mark.parametrize("name", BALANCERS)
def test_a_balancer_needs_no_more_than_it_says(name: str) -> None:
    made = BALANCERS[name]
    assert made.needs <= {"gramian", "losses"}
    step = TaskSignals(
        tasks=("ner", "tagger"),
        gramian=np.eye(2) if "gramian" in made.needs else None,
        losses=np.ones(2) if "losses" in made.needs else None,
        units=np.ones(2),
        step=0,
    )
    assert made().weights(step).shape == (2,)


def test_what_was_not_measured_cannot_be_used() -> None:
    step = TaskSignals(("ner",), None, None, np.ones(1), 0)
    with pytest.raises(
        TypeError, match=r"`gramian` was not measured. Add it to the balancer's `needs`"
    ):
        step.need("gramian")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": ("ner", "ner")}, "names a task twice"),
        ({"gramian": np.eye(3)}, r"`gramian` has the shape \(3, 3\), but \(2, 2\) is needed"),
        ({"losses": np.ones((2, 1))}, r"`losses` has the shape \(2, 1\), but \(2,\) is needed"),
        ({"units": np.ones(1)}, "`units` has the shape"),
        ({"units": np.array([1.0, -1.0])}, "at least 0"),
        (
            {"losses": np.array([1.0, np.nan])},
            r"`losses` of \['tagger'\] is not finite. Skip the step",
        ),
        ({"gramian": np.diag([np.inf, 1.0])}, r"`gramian` of \['ner'\] is not finite"),
        ({"gramian": np.array([[1.0, 0.5], [0.4, 1.0]])}, "is symmetric, this is not"),
        ({"gramian": np.diag([1.0, -1.0])}, "no negative diagonal"),
    ],
)
def test_signals_that_cannot_be_are_refused(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "tasks": ("ner", "tagger"),
        "gramian": np.eye(2),
        "losses": np.ones(2),
        "units": np.ones(2),
        "step": 0,
    }
    TaskSignals(**good)
    with pytest.raises(ValueError, match=message):
        TaskSignals(**(good | changed))


def test_a_gramian_from_low_precision_is_made_symmetric() -> None:
    gramian: Any = np.array([[4.0, 1.0005], [0.9995, 1.0]], dtype=np.float32)
    found = signals(gramian=gramian).need("gramian")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(found, [[4.0, 1.0], [1.0, 1.0]], rtol=1e-6)


def test_signals_are_copies() -> None:
    losses = np.ones(2)
    step = signals(gramian=np.eye(2), losses=losses)
    losses[0] = 7.0
    assert step.need("losses").tolist() == [1.0, 1.0]


def test_directions_and_lengths_give_the_gramian_back() -> None:
    gramian = np.array([[4.0, -3.0], [-3.0, 9.0]])
    directions = Directions.of(gramian)
    np.testing.assert_allclose(directions.cosines, [[1.0, -0.5], [-0.5, 1.0]])
    np.testing.assert_allclose(directions.norms, [2 / 3, 1.0])
    np.testing.assert_allclose(directions.gramian * 9, gramian)


def test_directions_of_a_matrix_that_rounding_left_indefinite_are_made_definite() -> None:
    directions = Directions.of(np.array([[1.0, 1.001, -1.0], [1.001, 1.0, 1.0], [-1.0, 1.0, 1.0]]))
    assert np.abs(directions.cosines).max() == 1.0
    assert np.linalg.eigvalsh(directions.cosines).min() < -0.5
    assert np.linalg.eigvalsh(directions.ridged).min() > 0


def test_a_state_of_another_method_is_refused() -> None:
    balancer = NormEqual()
    message = r"`NormEqual` cannot go on from the saved state, which has \['log_variances'\]"
    with pytest.raises(ConfigError, match=message):
        balancer.load_state_dict(BALANCERS["Uncertainty"]().state_dict())


def test_a_state_is_a_copy() -> None:
    balancer = NormEqual()
    balancer.weights(signals(np.eye(2)))
    state = balancer.state_dict()
    state["average_norms"]["a"] = 100.0
    other = NormEqual()
    other.load_state_dict(state)
    state["average_norms"]["a"] = 200.0
    assert balancer.average_norms["a"] == 1.0
    assert other.average_norms["a"] == 100.0


def test_a_balancer_of_your_own_is_a_class_with_one_method() -> None:
    class Alike(Balancer):
        def weights(self, signals: TaskSignals) -> Floats:
            return np.ones(len(signals.tasks))

    assert Alike().weights(signals(np.eye(3))).tolist() == [1.0, 1.0, 1.0]
    assert Alike().state_dict() == {}
    assert Alike().named_tasks == frozenset()


def test_the_tasks_that_settings_name_can_be_asked_for() -> None:
    assert Static(weights={"ner": 2.0}).named_tasks == {"ner"}
    assert NormEqual(weights={"ner": 2.0, "tagger": 1}).named_tasks == {"ner", "tagger"}
    assert BALANCERS["MGDA"]().named_tasks == frozenset()
