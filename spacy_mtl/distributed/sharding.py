"""Who of several processes takes which documents of a batch. Pure: lengths and words in, places and numbers out."""

import zlib
from collections.abc import Iterable, Sequence

from spacy.attrs import ORTH
from spacy.tokens import Doc


def split(lengths: Sequence[int], n_ranks: int) -> list[list[int]]:
    """The places of a batch's documents that each rank takes: each place once, in the order of the batch.

    The longest document that is left goes to the rank with the fewest tokens so far (Graham 1969, "Bounds on
    multiprocessing timing anomalies"). A batch with fewer documents than ranks leaves some without any.

    lengths: tokens of each document.

    >>> split([3, 9, 4, 1], 2)
    [[1], [0, 2, 3]]
    """
    parts: list[list[int]] = [[] for _ in range(n_ranks)]
    loads = [0] * n_ranks
    for place in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        rank = loads.index(min(loads))
        parts[rank].append(place)
        loads[rank] += max(lengths[place], 1)
    return [sorted(part) for part in parts]


def digest(docs: Iterable[Doc], start: int = 0) -> int:
    """A number from 0 to 2³² - 1 for the words of documents and their order. start: the number of those before."""
    for doc in docs:
        start = zlib.crc32(b"%d " % len(doc), start)
        start = zlib.crc32(doc.to_array([ORTH]).tobytes(), start)
    return start
