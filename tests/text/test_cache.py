"""Texts that come again are not split again."""

from collections.abc import Sequence

import numpy as np

from spacy_mtl.text.cache import WordpieceCache
from spacy_mtl.text.wordpieces import TextPieces, gather


class Splitter:
    """Text `n` has `n` wordpieces with the id `n`, one for each token."""

    def __init__(self, keys: Sequence[int]) -> None:
        self.keys = keys
        self.calls: list[list[int]] = []

    def __call__(self, places: list[int]) -> list[TextPieces]:
        self.calls.append([self.keys[i] for i in places])
        return [text_pieces(self.keys[i]) for i in places]


def text_pieces(n: int) -> TextPieces:
    return TextPieces(np.full(n, n), np.arange(n), np.ones(n, dtype=np.int64))


def read(cache: WordpieceCache, keys: Sequence[int]) -> list[list[int]]:
    """Reads texts, checks what comes, and returns which of them were split."""
    splitter = Splitter(keys)
    found, expected = gather(cache.get(keys, splitter)), gather([text_pieces(n) for n in keys])
    for name, array in vars(found).items():
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, getattr(expected, name))
    return splitter.calls


def test_a_text_is_split_when_it_comes_first() -> None:
    cache = WordpieceCache()
    assert read(cache, [3, 1, 3, 0]) == [[3, 1, 3, 0]]
    assert read(cache, [0, 3]) == []
    assert read(cache, [1, 2, 3]) == [[2]]
    assert read(cache, []) == []
    assert (len(cache), cache.size) == (4, 3 + 1 + 1 + 2)


def test_a_full_cache_keeps_what_it_has() -> None:
    cache = WordpieceCache(limit=5)
    assert read(cache, [3, 4, 2]) == [[3, 4, 2]]
    assert cache.size == 5
    for _ in range(2):
        assert read(cache, [4, 3, 0, 2]) == [[4, 0]]
    assert (len(cache), cache.size) == (2, 5)
