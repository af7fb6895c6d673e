"""Windows to padded micro-batches within a budget of wordpieces, and the way back to tokens."""

import numpy as np

from ..types import Affixes, EncoderInput, Ints, MicroBatch, Windows, Wordpieces


def group_by_length(lengths: Ints, budget: int) -> list[Ints]:
    """Group rows of similar length so that rows x longest row stays within the budget.

    Returns arrays of row numbers, longest rows first; a row longer than the budget stands alone.

    >>> [group.tolist() for group in group_by_length(np.array([2, 9, 3, 3]), 10)]
    [[1], [2, 3, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    groups = []
    start = 0
    while start < len(order):
        rows = max(budget // max(int(lengths[order[start]]), 1), 1)
        groups.append(order[start : start + rows])
        start += rows
    return groups


def pack(
    pieces: Wordpieces, windows: Windows, affixes: Affixes, *, max_batch_wordpieces: int
) -> EncoderInput:
    """Lay the windows out as encoder input and note where each token's wordpieces come out.

    max_batch_wordpieces: budget of one micro-batch, special tokens and padding counted.
    """
    full_lengths = windows.lengths + len(affixes)
    micro_batches = []
    row_start = np.zeros(
        len(windows.starts), dtype=np.int64
    )  # of a window's row in the flat output
    offset = 0
    for rows in group_by_length(full_lengths, max_batch_wordpieces):
        batch = _pad(pieces.ids, windows.starts[rows], windows.lengths[rows], affixes)
        n_rows, longest = batch.ids.shape
        row_start[rows] = offset + np.arange(n_rows) * longest
        offset += n_rows * longest
        micro_batches.append(batch)
    served_by = windows.served_by
    in_window = np.arange(len(pieces.ids)) - windows.starts[served_by]
    place = row_start[served_by] + len(affixes.prefix) + in_window
    return EncoderInput(
        micro_batches=micro_batches,
        links=place[_ranges(pieces.token_starts, pieces.token_lengths)],
        token_lengths=pieces.token_lengths,
        doc_tokens=pieces.doc_tokens,
    )


def _pad(ids: Ints, starts: Ints, lengths: Ints, affixes: Affixes) -> MicroBatch:
    n_prefix = len(affixes.prefix)
    full_lengths = lengths + len(affixes)
    padded = np.full((len(starts), int(full_lengths.max())), affixes.pad_id, dtype=np.int64)
    padded[:, :n_prefix] = affixes.prefix
    for i, suffix in enumerate(affixes.suffix):
        padded[np.arange(len(starts)), n_prefix + lengths + i] = suffix
    column = np.arange(padded.shape[1] - n_prefix)
    inside = column[None, :] < lengths[:, None]
    padded[:, n_prefix:][inside] = ids[_ranges(starts, lengths)]
    return MicroBatch(padded, full_lengths)


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """Concatenate `range(start, start + length)` over all pairs.

    >>> _ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
