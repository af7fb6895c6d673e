"""BILUO tags as numbers, and the way between them and a document's entity attributes, for a whole batch at once.

O is 0. Label j has B = 1 + 4j, I = 2 + 4j, L = 3 + 4j, U = 4 + 4j, so a label that is added later moves none.

    tokens   Anna  Maria  of  Riga  .
    tags     B-PER L-PER  O   U-LOC O
    numbers  1     3      0   8     0        labels = [PER, LOC]
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...types import Bools, Ints

Hashes = NDArray[np.uint64]

BEGIN, IN, LAST, UNIT = 1, 2, 3, 4
UNKNOWN = -1  # the tag of a token whose annotation is missing
_IOB_IN, _IOB_OUT, _IOB_BEGIN = 1, 2, 3  # spaCy's numbers; 0 is missing


def n_tags(n_labels: int) -> int:
    """How many tags there are for so many labels."""
    return 1 + 4 * n_labels


def to_tags(
    iob: Ints, types: Hashes, *, labels: Sequence[int], doc_starts: Bools, is_space: Bools
) -> Ints:
    """Entity attributes to tags.

    iob: [T] spaCy's ENT_IOB. types: [T] ENT_TYPE. labels: hash of each label. doc_starts: [T] true for the first token
        of a document. is_space: [T] true for whitespace, which is outside where nothing is said of it, as in spaCy.

    Returns [T]; UNKNOWN where the annotation is missing. Raises KeyError with the hash of a label that is not there.
    """
    typed = types != 0
    inside = typed & ((iob == _IOB_IN) | (iob == _IOB_BEGIN))
    goes_on = inside & (iob == _IOB_IN) & ~doc_starts
    goes_on[1:] &= inside[:-1] & (types[1:] == types[:-1])
    continued = np.append(goes_on[1:], False)  # by the next token
    kind = np.where(goes_on, np.where(continued, IN, LAST), np.where(continued, BEGIN, UNIT))
    tags = np.full(len(iob), UNKNOWN, dtype=np.int64)
    tags[(iob == _IOB_OUT) | is_space] = 0
    tags[inside] = 4 * _index(types[inside], labels) + kind[inside]
    return tags


def _index(types: Hashes, labels: Sequence[int]) -> Ints:
    numbers = {label: i for i, label in enumerate(labels)}
    unique, inverse = np.unique(types, return_inverse=True)
    return np.array([numbers[int(t)] for t in unique], dtype=np.int64)[inverse]


def from_tags(tags: Ints, labels: Sequence[int]) -> tuple[Hashes, Hashes]:
    """Tags, none of them UNKNOWN, to ENT_IOB and ENT_TYPE, both [T]."""
    kinds = [_IOB_BEGIN, _IOB_IN, _IOB_IN, _IOB_BEGIN]
    iob = np.array([_IOB_OUT, *kinds * len(labels)], dtype=np.uint64)
    types = np.array([0, *np.repeat(np.array(labels, dtype=np.uint64), 4)], dtype=np.uint64)
    return iob[tags], types[tags]


def spans_of(tags: Ints) -> list[tuple[int, int, int]]:
    """(start, end, label number) of each entity in a valid sequence of tags, in order; end is exclusive."""
    kind = (tags - 1) % 4 + 1
    starts = np.flatnonzero((tags > 0) & ((kind == BEGIN) | (kind == UNIT)))
    ends = np.flatnonzero((tags > 0) & ((kind == LAST) | (kind == UNIT))) + 1
    numbers = (tags[starts] - 1) // 4
    return list(zip(starts.tolist(), ends.tolist(), numbers.tolist(), strict=True))
