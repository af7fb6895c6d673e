"""Windows become padded micro-batches within a budget, and each token finds its wordpieces again."""

import doctest
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_mtl.text import packing
from spacy_mtl.text.packing import group_by_length, pack
from spacy_mtl.text.windows import make_windows
from spacy_mtl.types import Affixes, EncoderInput, Wordpieces

PAD = -1
AFFIXES = [Affixes((), (), PAD), Affixes((-2,), (-3,), PAD), Affixes((), (-3,), PAD)]
AFFIXES.append(Affixes((-2, -4), (-3, -5, -6), PAD))


@st.composite
def documents(draw: st.DrawFn) -> Wordpieces:
    """Documents whose wordpieces are numbered from 0, with tokens that may skip, share or lack wordpieces."""
    doc_lengths = draw(st.lists(st.integers(0, 30), max_size=5))
    starts: list[int] = []
    lengths: list[int] = []
    doc_tokens: list[int] = []
    offset = 0
    for doc_length in doc_lengths:
        tokens = draw(
            st.lists(st.tuples(st.integers(0, doc_length), st.integers(0, doc_length)), max_size=12)
        )
        starts += [offset + min(span) for span in tokens]
        lengths += [max(span) - min(span) for span in tokens]
        doc_tokens.append(len(tokens))
        offset += doc_length
    return wordpieces(doc_lengths, starts, lengths, doc_tokens)


def wordpieces(
    doc_lengths: list[int], starts: list[int], lengths: list[int], doc_tokens: list[int]
) -> Wordpieces:
    return Wordpieces(
        ids=np.arange(sum(doc_lengths), dtype=np.int64),
        doc_lengths=np.array(doc_lengths, dtype=np.int64),
        token_starts=np.array(starts, dtype=np.int64),
        token_lengths=np.array(lengths, dtype=np.int64),
        doc_tokens=np.array(doc_tokens, dtype=np.int64),
    )


def flat_ids(inputs: EncoderInput) -> np.ndarray:
    """The ids in the order of the encoder's output rows."""
    rows = [
        row[:length] if inputs.flat else row
        for batch in inputs.micro_batches
        for row, length in zip(batch.ids, batch.lengths, strict=True)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *rows])


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200))
def test_groups_hold_every_row_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    groups = group_by_length(np.array(lengths, dtype=np.int64), budget)
    assert sorted(row for group in groups for row in group.tolist()) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[row] for row in group) <= budget


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200))
def test_rows_come_longest_first(lengths: list[int], budget: int) -> None:
    groups = group_by_length(np.array(lengths, dtype=np.int64), budget)
    order = [lengths[row] for group in groups for row in group.tolist()]
    assert order == sorted(lengths, reverse=True)


def total_cost(
    groups: list[np.ndarray], lengths: list[int], call_cost: int, copy_cost: float = 0.0
) -> float:
    total = 0.0
    for group in groups:
        own = [lengths[row] for row in group]
        total += len(own) * max(own) * (1 + copy_cost * (min(own) < max(own))) + call_cost
    return total


def all_cuts(rows: list[int]) -> list[list[np.ndarray]]:
    """Every way to cut a sequence of rows into groups."""
    found = []
    for cuts in product([False, True], repeat=len(rows) - 1):
        ends = [i for i, cut in enumerate(cuts, 1) if cut]
        found.append([np.array(rows[a:b]) for a, b in pairwise([0, *ends, len(rows)])])
    return found


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.integers(1, 200),
    st.integers(0, 60),
    st.sampled_from([0.0, 0.5, 2.0]),
)
def test_no_other_grouping_costs_less(
    lengths: list[int], budget: int, call_cost: int, copy_cost: float
) -> None:
    costs = {"call_cost": call_cost, "copy_cost": copy_cost}
    groups = group_by_length(np.array(lengths), budget, **costs)  # type: ignore[arg-type]
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    allowed = [
        cut
        for cut in all_cuts(rows)
        if all(len(g) == 1 or len(g) * lengths[g[0]] <= budget for g in cut)
    ]
    best = min(total_cost(cut, lengths, call_cost, copy_cost) for cut in allowed)
    assert total_cost(groups, lengths, call_cost, copy_cost) == best


def least_cost(lengths: list[int], budget: int, call_cost: int, copy_cost: float) -> float:
    """Of all groupings of rows in order, a cut allowed before each row."""
    rows = sorted(lengths, reverse=True)
    least = [0.0]
    for stop in range(1, len(rows) + 1):
        costs = [
            least[start]
            + (stop - start) * rows[start] * (1 + copy_cost * (rows[start] > rows[stop - 1]))
            + call_cost
            for start in range(stop)
            if start == stop - 1 or (stop - start) * rows[start] <= budget
        ]
        least.append(min(costs))
    return least[-1]


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 25)), max_size=8, unique_by=lambda run: run[0]
    ),
    st.integers(1, 400),
    st.integers(0, 90),
    st.sampled_from([0.0, 0.25, 0.5, 2.0]),
)
def test_many_rows_of_a_few_lengths_cost_no_more_than_with_a_cut_before_any(
    runs: list[tuple[int, int]], budget: int, call_cost: int, copy_cost: float
) -> None:
    lengths = [length for length, n in runs for _ in range(n)]
    groups = group_by_length(
        np.array(lengths, dtype=np.int64), budget, call_cost=call_cost, copy_cost=copy_cost
    )
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[row] for row in group) <= budget
    assert sorted(np.concatenate([np.zeros(0, int), *groups]).tolist()) == [*range(len(lengths))]
    found = total_cost(groups, lengths, call_cost, copy_cost)
    assert found == least_cost(lengths, budget, call_cost, copy_cost)


def test_long_rows_do_not_pad_short_ones() -> None:
    lengths = np.array([25] * 14 + [230] * 2)
    groups = group_by_length(lengths, 4096, call_cost=32)
    assert [len(group) for group in groups] == [2, 14]
    assert [len(group) for group in group_by_length(lengths, 4096, call_cost=10**6)] == [16]


def test_a_hundred_thousand_rows_are_grouped_in_time_that_grows_with_their_number() -> None:
    lengths = np.random.default_rng(0).integers(20, 256, 100_000)
    groups = group_by_length(lengths, 1024, call_cost=16, copy_cost=0.5)
    assert sum(len(group) for group in groups) == 100_000


def test_a_row_longer_than_the_budget_stands_alone() -> None:
    groups = group_by_length(np.array([4, 30, 4, 31]), 8)
    assert [group.tolist() for group in groups] == [[3], [1], [0, 2]]


@given(
    pieces=documents(),
    affixes=st.sampled_from(AFFIXES),
    window=st.integers(1, 12),
    data=st.data(),
    budget=st.integers(1, 80),
    flat=st.booleans(),
)
def test_links_lead_each_token_back_to_its_own_wordpieces(
    pieces: Wordpieces, affixes: Affixes, window: int, data: st.DataObject, budget: int, flat: bool
) -> None:
    stride = data.draw(st.integers(1, window))
    windows = make_windows(pieces.doc_lengths, window=window, stride=stride)
    inputs = pack(pieces, windows, affixes, max_batch_wordpieces=budget, flat=flat)

    spans = zip(pieces.token_starts, pieces.token_lengths, strict=True)
    own = [i for start, length in spans for i in range(start, start + length)]
    assert flat_ids(inputs)[inputs.links].tolist() == own
    assert inputs.token_lengths.tolist() == pieces.token_lengths.tolist()
    assert inputs.doc_tokens.tolist() == pieces.doc_tokens.tolist()


@given(
    pieces=documents(),
    affixes=st.sampled_from(AFFIXES),
    window=st.integers(1, 12),
    budget=st.integers(1, 80),
)
def test_each_row_is_a_window_between_its_special_tokens_then_padding(
    pieces: Wordpieces, affixes: Affixes, window: int, budget: int
) -> None:
    windows = make_windows(pieces.doc_lengths, window=window, stride=max(window // 2, 1))
    inputs = pack(pieces, windows, affixes, max_batch_wordpieces=budget)

    rows = []
    for batch in inputs.micro_batches:
        assert batch.lengths.max() == batch.ids.shape[1]
        assert batch.ids.size <= budget or len(batch.ids) == 1
        for ids, length in zip(batch.ids.tolist(), batch.lengths.tolist(), strict=True):
            assert set(ids[length:]) <= {PAD}
            rows.append(tuple(ids[:length]))
    expected = [
        (*affixes.prefix, *range(start, start + length), *affixes.suffix)
        for start, length in zip(windows.starts, windows.lengths, strict=True)
    ]
    assert sorted(rows) == sorted(expected)
    assert inputs.n_wordpieces == sum(map(len, expected))


def test_a_worked_example() -> None:
    # two documents of 5 and 2 wordpieces, windows of 3 with a stride of 2
    pieces = wordpieces([5, 2], [0, 2, 5, 6], [2, 3, 0, 1], [2, 2])
    windows = make_windows(pieces.doc_lengths, window=3, stride=2)
    inputs = pack(pieces, windows, Affixes((-2,), (-3,), PAD), max_batch_wordpieces=12)
    assert [batch.ids.tolist() for batch in inputs.micro_batches] == [
        [[-2, 0, 1, 2, -3], [-2, 2, 3, 4, -3]],
        [[-2, 5, 6, -3]],
    ]
    assert [batch.lengths.tolist() for batch in inputs.micro_batches] == [[5, 5], [4]]
    assert inputs.links.tolist() == [1, 2, 3, 7, 8, 12]
    assert inputs.n_wordpieces == 14


def test_shorter_windows_are_padded_at_their_end() -> None:
    pieces = wordpieces([1, 3], [0, 1], [1, 3], [1, 1])
    windows = make_windows(pieces.doc_lengths, window=8, stride=8)
    (batch,) = pack(
        pieces, windows, AFFIXES[1], max_batch_wordpieces=99, call_cost=99
    ).micro_batches
    assert batch.ids.tolist() == [[-2, 1, 2, 3, -3], [-2, 0, -3, PAD, PAD]]


@pytest.mark.parametrize("doc_lengths", [[], [0], [0, 0]])
def test_documents_without_wordpieces_make_no_micro_batch(doc_lengths: list[int]) -> None:
    n_tokens = len(doc_lengths)
    pieces = wordpieces(doc_lengths, [0] * n_tokens, [0] * n_tokens, [1] * n_tokens)
    windows = make_windows(pieces.doc_lengths, window=4, stride=2)
    inputs = pack(pieces, windows, AFFIXES[1], max_batch_wordpieces=10)
    assert inputs.micro_batches == []
    assert inputs.links.tolist() == []
    assert inputs.token_lengths.tolist() == [0] * n_tokens
    assert inputs.n_wordpieces == 0


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(packing).failed == 0
