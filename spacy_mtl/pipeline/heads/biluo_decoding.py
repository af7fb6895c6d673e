"""The best valid sequence of BILUO tags for a whole batch: exact, and without a step for each token.

Between two tokens there are only 1 + L states: outside of entities, or inside one of the L labels. Viterbi's algorithm
takes a step for each token; but most tokens are outside for certain, and split a document into short stretches that are
independent of each other:

    tokens   the  king  of  Norway  met  Anna  Maria  Berg  in  Oslo
    open      -    -    -     -      -    x     x      x     -   -       one stretch of three tokens

A token is certainly outside on both sides (its tag is O or U) if no path gains by going through it: wherever an entity
covers token t, it can be cut out of the entity, at the price of other tags for t and its two neighbours, for instance
`B I L` -> `U O U`. If the better of O and U at t is worth more than what that costs at worst, every best path takes it.
All stretches of a batch then go through Viterbi's algorithm side by side, or, where there are only a few, one after the
other: NumPy takes 25 us for a step of any number of them, Python 5 for one.
"""

import numpy as np
from numpy.typing import NDArray

from ...types import Bools, Ints

Floats = NDArray[np.float32]
_NEVER = np.float32(-1e9)
_FEW = 3  # stretches


def decode(scores: Floats, *, last: Bools, blank: Bools, fixed: Bools) -> Ints:
    """The valid tags with the highest sum of scores.

    scores: [T, 1 + 4 L] of the tags of `biluo_tags`, token after token and document after document; overwritten.
    last: [T] true where an entity may not go on behind the token: at the end of a document or of a sentence.
    blank: [T] true where an entity may neither begin nor end: whitespace.
    fixed: [T] true where there may be no entity: tokens that others have annotated.

    Returns [T].
    """
    n_tokens, n_tags = scores.shape
    if n_tags == 1 or n_tokens == 0:
        return np.zeros(n_tokens, dtype=np.int64)
    begin, inner, end, unit = _by_kind(scores)
    _forbid(scores, last=last, blank=blank, fixed=fixed)
    outer = scores[:, 0]
    best_unit = unit.argmax(axis=1)
    unit_score = unit[np.arange(n_tokens), best_unit]
    tags = np.where(unit_score > outer, 4 * best_unit + 4, 0)
    shut = np.maximum(outer, unit_score)
    is_open = ~_certain(shut, begin, inner, end, unit)
    firsts = is_open.copy()
    firsts[1:] &= ~is_open[:-1] | last[:-1]
    starts = np.flatnonzero(firsts)
    if len(starts):
        lengths = np.add.reduceat(is_open.astype(np.int64), starts)
        if len(starts) <= _FEW:
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                at = slice(start, start + length)
                tags[at] = _viterbi_of_one(tags[at], shut[at], begin[at], inner[at], end[at])
        else:
            _viterbi(tags, shut, begin, inner, end, starts, lengths)
    return tags


def _by_kind(scores: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Views of the scores of B, I, L and U, [T, L] each."""
    kinds = scores[:, 1:].reshape(len(scores), -1, 4)
    assert np.shares_memory(kinds, scores)
    return kinds[..., 0], kinds[..., 1], kinds[..., 2], kinds[..., 3]


def _forbid(scores: Floats, *, last: Bools, blank: Bools, fixed: Bools) -> None:
    begin, inner, end, unit = _by_kind(scores)
    first = np.append(True, last[:-1])
    for kind, where in (
        (begin, last | blank),
        (inner, last | first),
        (end, first | blank),
        (unit, blank),
    ):
        kind[where] = _NEVER
    scores[fixed, 1:] = _NEVER


def _certain(shut: Floats, begin: Floats, inner: Floats, end: Floats, unit: Floats) -> Bools:
    """[T] whether the best of O and U is part of every best path."""
    ends_here = np.maximum(begin - unit, inner - end)  # what ending an entity here costs at worst
    begins_here = np.maximum(inner - begin, end - unit)
    before = np.full_like(ends_here, _NEVER)
    before[1:] = ends_here[:-1]
    behind = np.full_like(begins_here, _NEVER)
    behind[:-1] = begins_here[1:]
    through = np.maximum(begin + behind, end + before)
    np.maximum(through, inner + before + behind, out=through)
    certain: Bools = through.max(axis=1) < shut
    return certain


def _viterbi(
    tags: Ints,
    shut: Floats,
    begin: Floats,
    inner: Floats,
    end: Floats,
    starts: Ints,
    lengths: Ints,
) -> None:
    """Write the best tags of some stretches into `tags`, which has the best of O and U everywhere.

    starts, lengths: [S] stretches at whose edges no entity is open.
    """
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    active = [int(np.searchsorted(-lengths, -step, side="left")) for step in range(lengths[0])]
    n_labels = begin.shape[1]
    outside = np.zeros(len(starts), dtype=np.float32)
    inside = np.full((len(starts), n_labels), _NEVER, dtype=np.float32)
    closes: list[Ints] = []  # of each step: [active] the label whose L ends here, or -1
    goes_on: list[
        Bools
    ] = []  # of each step: [active, L] whether inside comes from I and not from B
    for step, n in enumerate(active):
        at = starts[:n] + step
        closing = inside[:n] + end[at]
        label = closing.argmax(axis=1)
        closed = closing[np.arange(n), label]
        stay = outside[:n] + shut[at]
        opened, kept = outside[:n, None] + begin[at], inside[:n] + inner[at]
        closes.append(np.where(closed > stay, label, -1))
        goes_on.append(kept > opened)
        outside[:n] = np.maximum(stay, closed)
        inside[:n] = np.maximum(opened, kept)
    state = np.full(
        len(starts), -1, dtype=np.int64
    )  # behind the token: the label inside which we are, or -1
    for step in range(len(active) - 1, -1, -1):
        n = active[step]
        at, now = starts[:n] + step, state[:n]
        is_in = now >= 0
        label = np.where(is_in, now, closes[step])
        from_in = goes_on[step][np.arange(n), np.maximum(now, 0)]
        kind = np.where(is_in, np.where(from_in, 2, 1), 3)
        tags[at] = np.where(label >= 0, 4 * label + kind, tags[at])
        state[:n] = np.where(is_in & ~from_in, -1, label)


def _viterbi_of_one(
    tags: Ints, shut: Floats, begin: Floats, inner: Floats, end: Floats
) -> list[int]:
    """The best tags of one stretch, at whose edges no entity is open; `tags` are the best of O and U."""
    outside, inside = 0.0, [float(_NEVER)] * begin.shape[1]
    closes: list[int] = []  # at each token: the label whose L ends here, or -1
    goes_on: list[list[bool]] = []  # at each token: whether inside a label comes from I, not from B
    rows = (scores.tolist() for scores in (shut, begin, inner, end))
    for stay, from_b, from_i, from_l in zip(*rows, strict=True):
        closing = [score + more for score, more in zip(inside, from_l, strict=True)]
        opened = [outside + more for more in from_b]
        kept = [score + more for score, more in zip(inside, from_i, strict=True)]
        closed, stay = max(closing), outside + stay
        closes.append(closing.index(closed) if closed > stay else -1)
        goes_on.append([k > o for k, o in zip(kept, opened, strict=True)])
        outside = max(stay, closed)
        inside = [max(k, o) for k, o in zip(kept, opened, strict=True)]
    best: list[int] = tags.tolist()
    label = -1  # of the entity that goes on behind the token, or -1
    for at in range(len(best) - 1, -1, -1):
        if label >= 0:
            is_first = not goes_on[at][label]
            best[at] = 4 * label + (1 if is_first else 2)
            label = -1 if is_first else label
        elif closes[at] >= 0:
            label = closes[at]
            best[at] = 4 * label + 3
    return best
