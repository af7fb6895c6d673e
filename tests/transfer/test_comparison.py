"""Gains, the test, and which tasks to train together."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from spacy_mtl.transfer.comparison import (
    Difference,
    best_groups,
    differences,
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
    assert a.p == pytest.approx(t_test(1.5 / np.std([2, 1], ddof=1) * math.sqrt(2), 1))
    assert b.gains == pytest.approx((-5.0,))
    assert (b.p, b.spread, b.verdict) == (None, None, "no difference shown")


def test_verdicts() -> None:
    def verdict(*gains: float) -> str:
        return Difference("a", ("a", "b"), gains).verdict

    assert verdict(2.0, 2.1, 1.9) == "gains"
    assert verdict(-2.0, -2.1, -1.9) == "loses"
    assert verdict(2.0, -2.1, 1.9) == "no difference shown"
    assert verdict(0.0, 0.0) == "no difference shown"
    assert verdict(1.0, 1.0) == "gains"


def test_there_are_as_many_partitions_as_bell_says() -> None:
    assert [sum(1 for _ in partitions("abcdef"[:n])) for n in range(7)] == [1, 1, 2, 5, 15, 52, 203]


def test_tasks_that_help_each_other_are_put_together() -> None:
    affinity = dict.fromkeys(permutations("abcd", 2), -1.0)
    affinity |= {("a", "c"): 2.0, ("c", "a"): 1.0, ("b", "d"): 0.5, ("d", "b"): 0.5}
    assert sorted(best_groups("abcd", affinity)) == [("a", "c"), ("b", "d")]
    assert sorted(best_groups("abc", affinity)) == [("a", "c"), ("b",)]
    assert best_groups("abcd", dict.fromkeys(affinity, 0.0)) == [("a", "b", "c", "d")]
    assert len(best_groups("abcd", dict.fromkeys(affinity, -1.0))) == 4
    with pytest.raises(ValueError, match="at most 9"):
        best_groups("abcdefghij", {})


def test_pair_gains_are_those_of_pairs() -> None:
    found = [Difference("a", ("a", "b"), (1.0, 3.0)), Difference("a", ("a", "b", "c"), (9.0,))]
    assert pair_gains(found) == {("a", "b"): 2.0}


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 99]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1.0)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
