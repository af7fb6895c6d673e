"""Gains, the test, and which tasks to train together."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spacy_mtl.transfer.comparison import (
    RIGHT_ANGLE,
    Difference,
    best_groups,
    by_pair,
    corrected,
    differences,
    expected_gains,
    holm,
    own_way,
    pair_gains,
    partitions,
    rank_correlation,
    t_test,
)


@pytest.mark.parametrize(
    ("t", "df", "p"),
    [
        (12.706205, 1, 0.05),
        (4.302653, 2, 0.05),
        (3.182446, 3, 0.05),
        (9.924843, 2, 0.01),
        (2.228139, 10, 0.05),
        (-2.262157, 9, 0.05),
        (0.0, 4, 1.0),
    ],
)
def test_p_is_that_of_the_tables(t: float, df: int, p: float) -> None:
    assert t_test(t, df) == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize("df", range(1, 12))
def test_p_is_the_area_under_the_density(df: int) -> None:
    x = np.linspace(-1.7, 1.7, 200_001)
    scale = math.gamma((df + 1) / 2) / math.sqrt(df * math.pi) / math.gamma(df / 2)
    density = scale * (1 + x**2 / df) ** (-(df + 1) / 2)
    assert t_test(1.7, df) == pytest.approx(1 - np.trapezoid(density, x), abs=1e-6)


def result(seed: int, **scores: float) -> dict[str, Any]:
    return {"heads": list(scores), "seed": seed, "scores": scores}


def test_differences_are_taken_seed_by_seed() -> None:
    results = [
        result(0, a=0.50, b=0.70),
        result(1, a=0.60, b=0.80),
        result(2, a=0.90, b=0.90),  # alone it has not been trained yet
        result(0, a=0.48),
        result(1, a=0.59),
        result(0, b=0.75),
    ]
    a, b = differences(results)
    assert (a.task, a.group) == ("a", ("a", "b"))
    assert a.gains == pytest.approx((2.0, 1.0))
    assert a.mean == pytest.approx(1.5)
    assert a.p == pytest.approx(t_test(1.5 / float(np.std([2, 1], ddof=1)) * math.sqrt(2), 1))
    assert b.gains == pytest.approx((-5.0,))
    assert (b.p, b.spread, b.verdict) == (None, None, "too few seeds")


def difference(*gains: float, group: tuple[str, ...] = ("a", "b"), task: str = "a") -> Difference:
    return Difference(task, group, gains)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((2.0, 2.1, 1.9), "gains"),
        ((-2.0, -2.1, -1.9), "loses"),
        ((2.0, -2.1, 1.9), "no difference shown"),
        ((0.0, 0.0, 0.0), "no difference shown"),
        ((0.5, 0.5, 0.5), "not tested: no spread"),
        ((0.5, 0.5), "too few seeds"),
        ((2.0, 2.001), "too few seeds"),
        ((0.0, 0.0), "too few seeds"),
        ((3.0,), "too few seeds"),
    ],
)
def test_verdicts(gains: tuple[float, ...], verdict: str) -> None:
    assert difference(*gains).verdict == verdict


@pytest.mark.parametrize(
    "gains",
    [
        (0.5, 0.5),
        (9.999999999999998, 9.999999999999998),
        (10.000000000000002, 9.999999999999998, 10.0),
        (5e-15, 0.0, -5e-15),
        (0.0, 0.0, 0.0),
    ],
)
def test_gains_that_do_not_vary_cannot_be_tested(gains: tuple[float, ...]) -> None:
    assert difference(*gains).p is None


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_what_could_not_be_tested_counts_as_a_test() -> None:
    assert holm([0.01, None, 0.04]) == pytest.approx([0.03, None, 0.08])


def test_p_is_corrected_over_all_tests_of_a_report() -> None:
    strong, weak = difference(2.0, 2.1, 1.9), difference(2.0, 2.6, 1.4)
    assert (strong.verdict, weak.verdict) == ("gains", "gains")
    first, second, third = corrected([strong, weak, difference(1.0, -1.0, 0.1)])
    assert first.p == pytest.approx(3 * (strong.p or 0))
    assert second.p == pytest.approx(2 * (weak.p or 0))
    assert third.p is not None
    assert third.p <= 1
    assert (first.verdict, second.verdict) == ("gains", "no difference shown")
    assert [d.uncorrected_p for d in (first, second)] == [strong.p, weak.p]


def test_what_is_not_proved_gains_nothing() -> None:
    found = [
        difference(2.0, 2.1, 1.9),
        difference(-0.01, 0.01, -0.03, group=("a", "c")),
        difference(0.5, 0.5, 0.5, group=("a", "d")),
        difference(-2.0, -2.1, group=("a", "e")),
        difference(9.0, 9.1, 8.9, group=("a", "b", "c")),
    ]
    gains = expected_gains(found)
    assert gains == {
        ("a", "b"): pytest.approx(2.0),
        ("a", "c"): 0.0,
        ("a", "d"): 0.0,
        ("a", "e"): pytest.approx(-2.05),  # too few seeds to prove anything
    }


@pytest.mark.parametrize(
    ("gains", "feared"),
    [
        ((-21.0, -16.3, -18.6), True),
        ((-8.0, -5.0, -6.5), True),
        ((-0.5, -0.5, -0.5), True),
        ((-2.0, 1.0, -3.0), False),  # p = 0.4
        ((8.0, 5.0, 6.5), False),
        ((5e-15, 0.0, -6e-15), False),
        ((-0.1, -0.2), True),
        ((-0.1,), True),
        ((0.1,), False),
    ],
)
def test_a_loss_is_feared_before_it_is_shown(gains: tuple[float, ...], feared: bool) -> None:
    many = [difference(0.5, -0.5, 0.1 * i, group=("a", str(i))) for i in range(24)]
    found, *_ = corrected([difference(*gains), *many])
    assert found.verdict != "loses"
    assert found.is_feared == feared
    assert expected_gains([found])["a", "b"] == (
        pytest.approx(found.mean) if feared or len(gains) < 3 else 0.0
    )


def test_pairs_are_looked_up_by_names() -> None:
    values = {"b/c/a": 0.5, "a/d": 0.25, "elsewhere/a": 1.0}
    assert by_pair(["d", "b/c", "a"], values) == {("a", "b/c"): 0.5, ("a", "d"): 0.25}


def test_there_are_as_many_partitions_as_bell_says() -> None:
    assert [sum(1 for _ in partitions("abcdef"[:n])) for n in range(7)] == [1, 1, 2, 5, 15, 52, 203]


def test_tasks_that_help_each_other_are_put_together() -> None:
    affinity = dict.fromkeys(permutations("abcd", 2), -1.0)
    affinity |= {("a", "c"): 2.0, ("c", "a"): 1.0, ("b", "d"): 0.5, ("d", "b"): 0.5}
    assert sorted(best_groups("abcd", affinity)) == [("a", "c"), ("b", "d")]
    assert sorted(best_groups("abc", affinity)) == [("a", "c"), ("b",)]
    assert best_groups("abcd", dict.fromkeys(affinity, 0.0)) == [("a", "b", "c", "d")]
    assert len(best_groups("abcd", dict.fromkeys(affinity, -1.0))) == 4
    refused = best_groups("abcd", dict.fromkeys(affinity, 1.0), without=[("d", "c", "b", "a")])
    assert len(refused) == 2
    with pytest.raises(ValueError, match="at most 9"):
        best_groups("abcdefghij", {})


def test_no_task_pays_for_what_another_gains() -> None:
    affinity = {("a", "b"): 5.0, ("b", "a"): -0.1}
    assert sorted(best_groups("ab", affinity)) == [("a",), ("b",)]
    affinity |= {("a", "c"): 1.0, ("c", "a"): 1.0, ("b", "c"): 0.2, ("c", "b"): 1.0}
    assert best_groups("abc", affinity) == [("a", "b", "c")]  # b gains 0.05 from both


def test_pair_gains_are_those_of_pairs() -> None:
    found = [Difference("a", ("a", "b"), (1.0, 3.0)), Difference("a", ("a", "b", "c"), (9.0,))]
    assert pair_gains(found) == {("a", "b"): 2.0}


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 99]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1.0)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


vectors = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


@given(vectors, vectors)
def test_own_way_is_the_cosine_of_the_sum_and_the_task_s_gradient(
    own: list[float], other: list[float]
) -> None:
    a, b = np.array(own), np.array(other)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    total = np.linalg.norm(a + b)
    assume(min(*lengths, total) > 1e-3)
    cosine = float(a @ b / lengths[0] / lengths[1])
    expected = (a + b) @ a / total / lengths[0]
    assert own_way(*map(float, lengths), cosine) == pytest.approx(expected, abs=1e-6)


def test_own_way_of_nothing() -> None:
    assert own_way(0.0, 0.0, 0.5) == 0.0
    assert own_way(1.0, 0.0, 0.5) == 1.0
    assert own_way(1.0, 1.0, 0.0) == pytest.approx(RIGHT_ANGLE)
    assert own_way(1.0, 1.0, -1.0) == 0.0
