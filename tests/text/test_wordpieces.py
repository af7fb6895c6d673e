"""A token owns the wordpieces that share a character with it."""

import doctest
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from spacy_mtl.text import wordpieces
from spacy_mtl.text.wordpieces import align, find_affixes, make_wordpieces
from spacy_mtl.types import Affixes, TokenSpans

from ..families import FAMILIES

Spans = list[tuple[int, int]]
LENGTH = 24


@st.composite
def tokenizations(draw: st.DrawFn) -> Spans:
    """Tokens in order, none empty, with gaps between them or not."""
    cuts = sorted(draw(st.sets(st.integers(0, LENGTH), max_size=14)))
    return [span for span in pairwise(cuts) if draw(st.booleans())]


@st.composite
def rising_pieces(draw: st.DrawFn) -> Spans:
    """Wordpieces in order. Some share characters, as the bytes of an emoji do; some are empty."""
    n = draw(st.integers(0, 14))
    offsets = st.lists(st.integers(0, LENGTH), min_size=n, max_size=n).map(sorted)
    starts, ends = draw(offsets), draw(offsets)
    return [(min(pair), max(pair)) for pair in zip(starts, ends, strict=True)]


def any_pieces() -> st.SearchStrategy[Spans]:
    """Wordpieces in any order."""
    offsets = st.integers(0, LENGTH)
    return st.lists(st.tuples(offsets, offsets).map(lambda x: (min(x), max(x))), max_size=14)


def owned(tokens: Spans, pieces: Spans, skip: list[bool] | None = None) -> list[list[int]]:
    """The wordpieces of each token, as `align` has it."""
    token_array = np.array(tokens, dtype=np.int64).reshape(-1, 2)
    piece_array = np.array(pieces, dtype=np.int64).reshape(-1, 2)
    skipped = np.zeros(len(tokens), dtype=bool) if skip is None else np.array(skip, dtype=bool)
    spans = TokenSpans(token_array[:, 0], token_array[:, 1], skipped)
    first, length = align(spans, piece_array[:, 0], piece_array[:, 1])
    assert (length >= 0).all()
    assert first.dtype == length.dtype == np.int64
    return [list(range(a, a + n)) for a, n in zip(first.tolist(), length.tolist(), strict=True)]


def sharing(token: tuple[int, int], pieces: Spans) -> list[int]:
    """The wordpieces that share a character with a token, by brute force."""
    return [i for i, (start, end) in enumerate(pieces) if max(start, token[0]) < min(end, token[1])]


@given(tokenizations(), rising_pieces())
def test_a_token_owns_exactly_the_wordpieces_that_share_a_character_with_it(
    tokens: Spans, pieces: Spans
) -> None:
    for token, own in zip(tokens, owned(tokens, pieces), strict=True):
        expected = sharing(token, pieces)
        extra = set(own) - set(expected)
        assert set(expected) <= set(own)
        # an empty wordpiece shares no character; one strictly inside the token is its own
        assert all(token[0] < pieces[i][0] == pieces[i][1] < token[1] for i in extra)


@given(tokenizations(), any_pieces())
def test_no_wordpiece_is_lost_even_where_offsets_do_not_rise(tokens: Spans, pieces: Spans) -> None:
    for token, own in zip(tokens, owned(tokens, pieces), strict=True):
        assert set(sharing(token, pieces)) <= set(own)


@given(tokenizations(), rising_pieces(), st.data())
def test_skipped_tokens_own_nothing_and_change_nothing_for_others(
    tokens: Spans, pieces: Spans, data: st.DataObject
) -> None:
    skip = [data.draw(st.booleans()) for _ in tokens]
    without = owned(tokens, pieces)
    with_skip = owned(tokens, pieces, skip)
    assert with_skip == [[] if s else own for s, own in zip(skip, without, strict=True)]


@pytest.mark.parametrize(
    ("tokens", "pieces", "expected"),
    [
        ([], [], []),
        ([(0, 3)], [], [[]]),
        ([], [(0, 3)], []),
        ([(0, 2), (3, 9)], [(0, 2), (3, 6), (6, 9)], [[0], [1, 2]]),
        # a space before a wordpiece belongs to no token
        ([(0, 2), (3, 5)], [(0, 2), (2, 5)], [[0], [1]]),
        # one wordpiece for two tokens, as `don't` for `do n't`
        ([(0, 2), (2, 5)], [(0, 5)], [[0], [0]]),
        # a token between two wordpieces has none
        ([(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)], [[0], [], [1]]),
        # four bytes of one emoji
        ([(0, 1), (1, 2)], [(0, 1), (0, 1), (0, 1), (0, 1), (1, 2)], [[0, 1, 2, 3], [4]]),
        # neighbours swapped by a normaliser
        ([(0, 2), (2, 3)], [(1, 2), (0, 1), (2, 3)], [[0, 1], [2]]),
    ],
)
def test_worked_examples(tokens: Spans, pieces: Spans, expected: list[list[int]]) -> None:
    assert owned(tokens, pieces) == expected


TOKENS = TokenSpans(np.array([0, 6, 10]), np.array([5, 9, 13]), np.array([False, False, False]))
AFFIXES = {
    "bert": ("[CLS]", "[SEP]"),
    "roberta": ("<s>", "</s>"),
    "xlm-roberta": ("<s>", "</s>"),
    "electra": ("[CLS]", "[SEP]"),
    "deberta-v2": ("[CLS]", "[SEP]"),
    "deberta-v3": ("[CLS]", "[SEP]"),
    "distilbert": ("[CLS]", "[SEP]"),
    "minilm": ("[CLS]", "[SEP]"),
    "modernbert": ("[CLS]", "[SEP]"),
    "t5": ("", "</s>"),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def tokenizer(family: str, family_dir: Callable[[str], Path]) -> Tokenizer:
    return Tokenizer.from_file(str(family_dir(family) / "tokenizer.json"))


def test_special_tokens_of_each_family_are_found(family: str, tokenizer: Tokenizer) -> None:
    prefix, suffix = (
        tuple(tokenizer.token_to_id(token) for token in tokens.split())
        for tokens in AFFIXES[family]
    )
    assert find_affixes(tokenizer, 7) == Affixes(prefix, suffix, 7)
    assert len(find_affixes(tokenizer, 7)) == len(prefix) + len(suffix)


@pytest.mark.parametrize("letter", ["a", "日", "я"])
def test_special_tokens_are_found_of_a_tokenizer_that_drops_other_letters(letter: str) -> None:
    tokenizer = Tokenizer(BPE({"[CLS]": 0, "[SEP]": 1, letter: 2}, []))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    special = [("[CLS]", 0), ("[SEP]", 1)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    assert find_affixes(tokenizer, 7) == Affixes((0,), (1,), 7)


def test_wordpieces_between_the_affixes_are_what_the_tokenizer_itself_gives(
    tokenizer: Tokenizer,
) -> None:
    affixes = find_affixes(tokenizer, 0)
    pieces = make_wordpieces(tokenizer, ["Hello the dog"], [TOKENS])
    own = (*affixes.prefix, *pieces.ids.tolist(), *affixes.suffix)
    assert list(own) == tokenizer.encode("Hello the dog").ids


def test_the_wordpieces_of_a_token_spell_it(family: str, tokenizer: Tokenizer) -> None:
    pieces = make_wordpieces(tokenizer, ["Hello the dog"], [TOKENS])
    spelled = []
    for start, length in zip(pieces.token_starts, pieces.token_lengths, strict=True):
        texts = [tokenizer.id_to_token(i) for i in pieces.ids[start : start + length].tolist()]
        text = "".join(text.removeprefix("##").strip("▁Ġ") for text in texts)
        spelled.append(text.lower())
    assert spelled == ["hello", "the", "dog"]


def test_documents_stand_one_after_the_other(tokenizer: Tokenizer) -> None:
    texts = ["Hello the dog", "", "Hello the dog"]
    none = TokenSpans(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, bool))
    pieces = make_wordpieces(tokenizer, texts, [TOKENS, none, TOKENS])
    n = int(pieces.doc_lengths[0])
    assert pieces.doc_lengths.tolist() == [n, 0, n]
    assert pieces.doc_tokens.tolist() == [3, 0, 3]
    assert pieces.ids[:n].tolist() == pieces.ids[n:].tolist()
    assert (pieces.token_starts[:3] + n).tolist() == pieces.token_starts[3:].tolist()
    assert pieces.token_lengths[:3].tolist() == pieces.token_lengths[3:].tolist()


def test_no_documents_make_no_wordpieces(tokenizer: Tokenizer) -> None:
    pieces = make_wordpieces(tokenizer, [], [])
    assert [len(array) for array in vars(pieces).values()] == [0] * 5


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(wordpieces).failed == 0
