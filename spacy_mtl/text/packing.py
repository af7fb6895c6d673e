"""Windows to padded micro-batches within a budget of wordpieces, and the way back to tokens."""

from itertools import pairwise

import numpy as np

from ..types import Affixes, EncoderInput, Ints, MicroBatch, Windows, Wordpieces


def group_by_length(
    lengths: Ints, budget: int, *, call_cost: int = 0, copy_cost: float = 0.0
) -> list[Ints]:
    """Group rows of similar length so that the encoder computes as little padding as possible.

    Minimises the sum over groups of `rows x longest row + call_cost`, where rows x longest row stays within the budget;
    in a group of unequal rows, rows x longest row counts `1 + copy_cost` times.

    lengths: [rows]. budget: most wordpieces of a group, padding counted. call_cost: what one more call of the encoder
        costs, in wordpieces that could be computed in its time. copy_cost: of moving a wordpiece to its padded place
        and back, as a share of computing it.

    Returns arrays of row numbers, longest rows first; a row longer than the budget stands alone.

    >>> [group.tolist() for group in group_by_length(np.array([2, 9, 3, 3]), 100, call_cost=5)]
    [[1], [2, 3, 0]]
    >>> [group.tolist() for group in group_by_length(np.array([2, 9, 3, 3]), 100, call_cost=50)]
    [[1, 2, 3, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    fullest = _cuts(longest, budget)
    places = sorted(fullest)
    number = {place: k for k, place in enumerate(places)}
    starts = np.array(places[:-1], dtype=np.int64)
    heads = longest[starts]  # of each group that may start there the longest row
    least = np.zeros(len(places))  # [k]: cost of the first `places[k]` rows
    cut = [0] * len(places)  # [k]: where the last of their groups starts, an index of `places`
    for k, stop in enumerate(places[1:], 1):
        low = number[fullest[stop]]
        size = (stop - starts[low:k]) * heads[low:k]
        cost = least[low:k] + size + call_cost
        if copy_cost:
            cost += copy_cost * size * (heads[low:k] != longest[stop - 1])
        best = int(cost.argmin())
        least[k], cut[k] = cost[best], low + best
    groups = []
    k = len(places) - 1
    while k:
        groups.append(order[places[cut[k]] : places[k]])
        k = cut[k]
    return groups[::-1]


def _cuts(longest: Ints, budget: int) -> dict[int, int]:
    """Where groups of the least cost start and end; a few places are enough for an optimum.

    longest: [n] of rows, longest first. Returns for each place where the largest group starts that ends there.

    Among rows of one length there is a cut only where a group is full: rows that the next group has room for cost less
    there, or those behind a group of one length less in that.
    """
    rows, n = longest.tolist(), len(longest)
    fullest = [0] * (n + 1)  # [i]: where the largest group starts that ends with row i
    low = 0
    for stop in range(1, n + 1):
        while low < stop - 1 and (stop - low) * rows[low] > budget:
            low += 1
        fullest[stop] = low
    if not n:
        return {0: 0}
    bounds = [0, *(np.flatnonzero(np.diff(longest)) + 1).tolist(), n]
    found = set(bounds)
    for start, stop in pairwise(bounds):
        found.update(range(start, stop, max(budget // max(rows[start], 1), 1)))
    for place in list(found):
        before = fullest[place]
        while before not in found:
            found.add(before)
            before = fullest[before]
    return {place: fullest[place] for place in found}


def pack(
    pieces: Wordpieces,
    windows: Windows,
    affixes: Affixes,
    *,
    max_batch_wordpieces: int,
    call_cost: int = 0,
    copy_cost: float = 0.0,
    flat: bool = False,
) -> EncoderInput:
    """Lay the windows out as encoder input and note where each token's wordpieces come out.

    max_batch_wordpieces: budget of one micro-batch, special tokens and padding counted.
    call_cost, copy_cost: see `group_by_length`. flat: whether the encoder reads micro-batches without their padding.
    """
    links = ranges(pieces.token_starts, pieces.token_lengths)
    if len(windows.starts) == 1:  # as below, in a fifth of the time
        prefix, suffix = np.array(affixes.prefix, np.int64), np.array(affixes.suffix, np.int64)
        row = np.concatenate([prefix, pieces.ids, suffix])
        micro_batches = [MicroBatch(row[None], np.array([len(row)]))]
        links += len(affixes.prefix)
    else:
        full_lengths = windows.lengths + len(affixes)
        groups = group_by_length(
            full_lengths, max_batch_wordpieces, call_cost=call_cost, copy_cost=copy_cost
        )
        micro_batches = [
            _pad(pieces.ids, windows.starts[rows], windows.lengths[rows], affixes)
            for rows in groups
        ]
        # of a window's row in the flat output
        row_start = np.zeros(len(windows.starts), dtype=np.int64)
        offset = 0
        for rows, batch in zip(groups, micro_batches, strict=True):
            widths = full_lengths[rows] if flat else np.full(len(rows), batch.ids.shape[1])
            row_start[rows] = offset + np.cumsum(widths) - widths
            offset += int(widths.sum())
        served_by = windows.served_by
        in_window = np.arange(len(pieces.ids)) - windows.starts[served_by]
        links = (row_start[served_by] + len(affixes.prefix) + in_window)[links]
    return EncoderInput(
        micro_batches=micro_batches,
        links=links,
        token_lengths=pieces.token_lengths,
        doc_tokens=pieces.doc_tokens,
        flat=flat,
        budget=max_batch_wordpieces,
        types=affixes.types,
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
    padded[:, n_prefix:][inside] = ids[ranges(starts, lengths)]
    return MicroBatch(padded, full_lengths)


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """Concatenate `range(start, start + length)` over all pairs.

    >>> ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
