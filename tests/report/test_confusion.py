"""Which labels are taken for which, against tables by hand."""

from collections import Counter

import numpy as np
import pytest

from spacy_mtl.report.confusion import (
    Confusion,
    LabelPair,
    confusion,
    count_overlaps,
    match_spans,
    most_confused,
)
from spacy_mtl.report.confusion import Span as LabelledSpan

PAIRS: Counter[LabelPair] = Counter(
    {("A", "A"): 5, ("A", "B"): 2, ("B", "A"): 1, ("C", "C"): 4, ("D", "E"): 1, ("D", "D"): 1}
)


def shown(table: Confusion) -> list[list[int]]:
    rows: list[list[int]] = table.counts.tolist()
    return rows


def test_all_labels_have_a_row_and_a_column() -> None:
    table = confusion(PAIRS)
    assert table.labels == table.rows == table.columns == ("A", "C", "D", "B", "E")
    assert shown(table) == [
        [5, 0, 0, 2, 0],
        [0, 4, 0, 0, 0],
        [0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert (table.n, table.n_right, table.n_others, table.others_wrong) == (14, 10, 0, 0)


def test_labels_that_are_seldom_confused_are_summed_up() -> None:
    table = confusion(PAIRS, most=2)
    assert table.labels == ("A", "B")
    assert table.rows == ("A", "B", "3 other labels")
    assert shown(table) == [[5, 2, 0], [1, 0, 0], [0, 0, 6]]
    assert (table.n_others, table.others_wrong) == (3, 1)
    assert table.counts.sum() == table.n == 14
    assert table.n_right == 10


def test_missed_and_spurious_units_have_the_last_column_and_row() -> None:
    table = confusion({("A", "A"): 1, ("A", None): 2, (None, "B"): 3, ("C", None): 1}, most=2)
    assert table.rows == ("A", "B", "1 other labels", "spurious")
    assert table.columns == ("A", "B", "1 other labels", "missed")
    assert shown(table) == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 1], [0, 3, 0, 0]]
    assert (table.n, table.n_right, table.others_wrong) == (7, 1, 0)


def test_a_label_that_is_called_missed_is_not_taken_for_nothing() -> None:
    table = confusion({("missed", "missed"): 2, ("missed", None): 1})
    assert shown(table) == [[2, 1], [0, 0]]


def test_nothing_makes_an_empty_table() -> None:
    table = confusion({})
    assert (table.labels, table.counts.shape, table.n) == ((), (0, 0), 0)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_no_unit_is_lost(most: int) -> None:
    rng = np.random.default_rng(most)
    names = [None, *"ABCDEFGH"]
    pairs: Counter[LabelPair] = Counter()
    for a, b in rng.integers(0, len(names), (200, 2)):
        if a or b:
            pairs[names[a], names[b]] += 1
    table = confusion(pairs, most=most)
    assert table.counts.sum() == pairs.total()
    assert table.counts.shape == (len(table.rows), len(table.columns))


def test_the_most_frequent_confusions_come_first() -> None:
    assert most_confused(PAIRS) == [(("A", "B"), 2), (("B", "A"), 1), (("D", "E"), 1)]


def test_spans_are_matched_by_label_then_by_place() -> None:
    gold: list[LabelledSpan] = [(0, 2, "A"), (3, 4, "B"), (5, 7, "A"), (9, 10, "C")]
    predicted: list[LabelledSpan] = [(0, 2, "A"), (3, 4, "C"), (6, 8, "A"), (12, 13, "B")]
    matches = match_spans(gold, predicted)
    assert matches == [
        ((0, 2, "A"), (0, 2, "A")),
        ((3, 4, "B"), (3, 4, "C")),
        ((5, 7, "A"), None),
        (None, (6, 8, "A")),
        ((9, 10, "C"), None),
        (None, (12, 13, "B")),
    ]
    assert count_overlaps(matches) == 1


def test_spans_with_several_labels_match_each_label_once() -> None:
    gold: list[LabelledSpan] = [(0, 1, "A"), (0, 1, "B")]
    assert match_spans(gold, [(0, 1, "B")]) == [((0, 1, "A"), None), ((0, 1, "B"), (0, 1, "B"))]
    assert match_spans(gold, [(0, 1, "C"), (0, 1, "A")]) == [
        ((0, 1, "A"), (0, 1, "A")),
        ((0, 1, "B"), (0, 1, "C")),
    ]
