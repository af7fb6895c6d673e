"""Long documents are covered by overlapping windows, each wordpiece served where it is most central."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_mtl.text.windows import make_windows
from spacy_mtl.types import Windows


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Lengths of documents, a window and a stride."""
    window = draw(st.integers(1, 24))
    stride = draw(st.integers(1, window))
    lengths = st.one_of(st.integers(0, 80), st.integers(window - 1, window + 2))
    return draw(st.lists(lengths, max_size=6)), window, stride


def windows_of(lengths: list[int], window: int, stride: int) -> Windows:
    return make_windows(np.array(lengths, dtype=np.int64), window=window, stride=stride)


def by_document(lengths: list[int], windows: Windows) -> list[list[tuple[int, int, int]]]:
    """(number, start, stop) of each document's windows, offsets counted within the document."""
    found = []
    offset = 0
    for length in lengths:
        inside = [
            (number, int(start) - offset, int(start) - offset + int(size))
            for number, (start, size) in enumerate(
                zip(windows.starts, windows.lengths, strict=True)
            )
            if offset <= start < offset + length
        ]
        found.append(inside)
        offset += length
    return found


@given(shapes())
def test_no_window_is_longer_than_asked_empty_or_across_documents(
    shape: tuple[list[int], int, int],
) -> None:
    lengths, window, _ = shape
    windows = windows_of(*shape)
    grouped = by_document(lengths, windows)
    assert [number for doc in grouped for number, *_ in doc] == list(range(len(windows.starts)))
    for length, doc in zip(lengths, grouped, strict=True):
        for _, start, stop in doc:
            assert 0 <= start < stop <= length
            assert stop - start <= window


@given(shapes())
def test_every_wordpiece_is_inside_the_window_that_serves_it(
    shape: tuple[list[int], int, int],
) -> None:
    windows = windows_of(*shape)
    assert len(windows.served_by) == sum(shape[0])
    pieces = np.arange(len(windows.served_by))
    starts = windows.starts[windows.served_by]
    assert (starts <= pieces).all()
    assert (pieces < starts + windows.lengths[windows.served_by]).all()


@given(shapes())
def test_the_window_that_serves_a_wordpiece_is_one_where_it_is_most_central(
    shape: tuple[list[int], int, int],
) -> None:
    lengths = shape[0]
    windows = windows_of(*shape)
    grouped = by_document(lengths, windows)
    served_by = iter(windows.served_by.tolist())
    for length, doc in zip(lengths, grouped, strict=True):
        for piece in range(length):
            margin = {
                number: min(piece - start, stop - 1 - piece)
                for number, start, stop in doc
                if start <= piece < stop
            }
            assert margin[next(served_by)] == max(margin.values())


@given(shapes())
def test_neighbours_overlap_by_at_least_window_minus_stride(
    shape: tuple[list[int], int, int],
) -> None:
    lengths, window, stride = shape
    for doc in by_document(lengths, windows_of(*shape)):
        for (_, start, stop), (_, next_start, _) in pairwise(doc):
            assert start < next_start
            assert stop - next_start >= window - stride


@given(shapes())
def test_windows_of_a_document_are_equally_long_and_as_few_as_the_overlap_allows(
    shape: tuple[list[int], int, int],
) -> None:
    lengths, window, stride = shape
    for length, doc in zip(lengths, by_document(lengths, windows_of(*shape)), strict=True):
        assert len({stop - start for _, start, stop in doc}) <= 1
        fewest = 0 if length == 0 else 1
        while fewest and window + (fewest - 1) * stride < length:
            fewest += 1
        assert len(doc) == fewest


@given(shapes())
def test_a_documents_windows_do_not_depend_on_its_neighbours(
    shape: tuple[list[int], int, int],
) -> None:
    lengths, window, stride = shape
    together = by_document(lengths, windows_of(*shape))
    for length, doc in zip(lengths, together, strict=True):
        (alone,) = by_document([length], windows_of([length], window, stride))
        assert [span for _, *span in alone] == [span for _, *span in doc]


@pytest.mark.parametrize(
    ("length", "spans", "served_by"),
    [
        (0, [], []),
        (1, [(0, 1)], [0]),
        (6, [(0, 6)], [0] * 6),
        (7, [(0, 5), (2, 7)], [0, 0, 0, 0, 1, 1, 1]),
        (10, [(0, 6), (4, 10)], [0] * 5 + [1] * 5),
        (11, [(0, 5), (3, 8), (6, 11)], [0] * 4 + [1] * 3 + [2] * 4),
    ],
)
def test_windows_of_six_with_a_stride_of_four(
    length: int, spans: list[tuple[int, int]], served_by: list[int]
) -> None:
    windows = windows_of([length], 6, 4)
    assert [(start, stop) for _, start, stop in by_document([length], windows)[0]] == spans
    assert windows.served_by.tolist() == served_by


def test_a_window_of_one_serves_each_wordpiece_alone() -> None:
    windows = windows_of([3, 0, 2], 1, 1)
    assert windows.starts.tolist() == [0, 1, 2, 3, 4]
    assert windows.lengths.tolist() == [1] * 5
    assert windows.served_by.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_documents_without_wordpieces_have_no_window(lengths: list[int]) -> None:
    windows = windows_of(lengths, 5, 3)
    assert len(windows.starts) == len(windows.lengths) == len(windows.served_by) == 0
    assert windows.starts.dtype == windows.served_by.dtype == np.int64


def test_documents_of_a_million_wordpieces_are_windowed_at_once() -> None:
    windows = windows_of([1_000_000, 3, 1_000_000], 256, 224)
    assert windows.lengths.max() <= 256
    assert len(windows.served_by) == 2_000_003
    assert (np.diff(windows.served_by) >= 0).all()
