"""Wordpieces that are kept chunk by chunk are those that the tokenizer makes of the whole text."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from spacy_mtl.text import chunks
from spacy_mtl.text.chunks import ChunkedTokenizer
from spacy_mtl.text.wordpieces import make_wordpieces
from spacy_mtl.types import TokenSpans, Wordpieces

from ..families import FAMILIES, TEXT

CHUNKED = {"bert", "distilbert", "electra", "minilm"}
SOME = ["dog", "DOG.", "don't", "Ångström", "中文x", "[MASK]", "[SEP]a", "😀", "a\tb", "x" * 120]
ODD = ["\u0301", "\x00", "\x1c", "\u00a0", "\u2028", "\u200b", "\n", "\u017f", "Σ", "\ufffd", "İ"]
TEXTS = st.lists(
    st.one_of(st.sampled_from([*SOME, *ODD, "", " "]), st.text(max_size=5)), max_size=12
)


def load(family: str, family_dir: Callable[[str], Path]) -> Tokenizer:
    return Tokenizer.from_file(str(family_dir(family) / "tokenizer.json"))


@pytest.fixture
def tokenizer(family_dir: Callable[[str], Path]) -> Tokenizer:
    return load("bert", family_dir)


def spans_of(text: str) -> TokenSpans:
    """Tokens of one to four characters, spaces among them."""
    cuts = [0]
    while cuts[-1] < len(text):
        cuts.append(min(cuts[-1] + random.Random(len(cuts)).randint(1, 4), len(text)))
    ends = np.array(cuts[1:], dtype=np.int64)
    starts = np.array(cuts[:-1], dtype=np.int64)
    skip = np.array([text[a:b].isspace() for a, b in zip(starts, ends, strict=True)], dtype=bool)
    return TokenSpans(starts, ends, skip)


def assert_same(found: Wordpieces, expected: Wordpieces) -> None:
    for name, array in vars(expected).items():
        assert vars(found)[name].dtype == np.int64
        np.testing.assert_array_equal(vars(found)[name], array, err_msg=name)


def check(chunked: ChunkedTokenizer, texts: list[str]) -> None:
    spans = [spans_of(text) for text in texts]
    expected = make_wordpieces(chunked.tokenizer, texts, spans)
    assert_same(chunked.make_wordpieces(texts, spans), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_tokenizers_like_bert_s_are_cut_at_spaces(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    assert (ChunkedTokenizer.of(load(family, family_dir)) is not None) == (family in CHUNKED)


def shorten(tokenizer: Any) -> None:
    tokenizer.enable_truncation(4)


def fill_up(tokenizer: Any) -> None:
    tokenizer.enable_padding()


def add_a_line_break(tokenizer: Any) -> None:
    tokenizer.add_tokens(["\n"])  # the normaliser makes a space of it


def add_two_words_in_one(tokenizer: Any) -> None:
    tokenizer.add_tokens(["new\u00a0york"])


def add_two_words(tokenizer: Any) -> None:
    tokenizer.add_tokens(["New York"])


def strip_left(tokenizer: Any) -> None:
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True)])


CHANGES = [shorten, fill_up, add_a_line_break, add_two_words_in_one, add_two_words, strip_left]


@pytest.mark.parametrize("change", CHANGES)
def test_not_with_settings_that_look_beyond_a_space(
    change: Callable[[Any], None], tokenizer: Tokenizer
) -> None:
    change(tokenizer)
    assert ChunkedTokenizer.of(tokenizer) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(TEXTS.map(" ".join), min_size=1, max_size=5))
def test_they_are_those_of_the_whole_text(tokenizer: Tokenizer, texts: list[str]) -> None:
    chunked = ChunkedTokenizer.of(tokenizer)
    assert chunked is not None
    check(chunked, texts)
    known = len(chunked._known)
    check(chunked, texts[::-1])
    assert len(chunked._known) == known


@pytest.mark.parametrize("family", sorted(CHUNKED))
def test_more_new_chunks_than_go_to_the_tokenizer_together(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    chunked = ChunkedTokenizer.of(load(family, family_dir))
    assert chunked is not None
    words = TEXT.split()
    assert len(set(words)) > 2 * chunks._TOGETHER
    for seed in range(3):
        random.Random(seed).shuffle(words)
        check(chunked, [" ".join(words), "  ".join(words[:70]), "", " "])


def test_a_known_chunk_does_not_go_to_the_tokenizer_again(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked = ChunkedTokenizer(tokenizer)
    seen: list[list[str]] = []
    split = chunked._split
    monkeypatch.setattr(chunked, "_split", lambda new: seen.append(new) or split(new))
    for text in ("a dog", "the dog", "dog a  the"):
        chunked.make_wordpieces([text], [spans_of(text)])
    assert seen == [["a", "dog"], ["the"], [""]]


def test_too_many_chunks_are_forgotten_between_batches(tokenizer: Tokenizer) -> None:
    chunked = ChunkedTokenizer(tokenizer, limit=3)
    check(chunked, ["a b", "c"])
    assert len(chunked._known) == 3
    check(chunked, ["a b c d e f"])
    assert len(chunked._known) == 6
    check(chunked, ["f a"])
    assert len(chunked._known) == 2


def test_long_chunks_are_forgotten_sooner(tokenizer: Tokenizer) -> None:
    chunked = ChunkedTokenizer(tokenizer, limit=3)
    check(chunked, ["a" * 60])  # characters
    check(chunked, ["b"])
    assert len(chunked._known) == 1
    check(chunked, ["." * 40])  # wordpieces
    check(chunked, ["c"])
    assert len(chunked._known) == 1


def test_a_word_that_is_added_later_is_seen(tokenizer: Tokenizer) -> None:
    chunked = ChunkedTokenizer(tokenizer)
    check(chunked, ["abc a"])
    chunked.tokenizer.add_tokens(["abc"])
    check(chunked, ["abc a"])
    chunked.tokenizer.add_tokens(["c a"])
    check(chunked, ["abc a"])


def test_a_second_thread_does_not_wait(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a process that was forked while the first one was at work."""
    chunked = ChunkedTokenizer(tokenizer)
    inside, go = threading.Event(), threading.Event()
    split = chunked._split

    def slow(new: list[str]) -> None:
        inside.set()
        assert go.wait(20)
        split(new)

    monkeypatch.setattr(chunked, "_split", slow)
    thread = threading.Thread(target=check, args=(chunked, ["the dog"]))
    thread.start()
    assert inside.wait(20)
    check(chunked, ["a fox"])
    assert len(chunked._known) == 0
    go.set()
    thread.join()
    assert len(chunked._known) == 2


@pytest.mark.parametrize("array", ["_firsts", "_sizes", "_ids", "_begins", "_ends"])
def test_an_error_leaves_no_chunk_without_its_wordpieces(
    array: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked = ChunkedTokenizer(tokenizer)
    check(chunked, ["the fox"])
    with monkeypatch.context() as patched:
        patched.setattr(getattr(chunked, array), "extend", lambda values: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            chunked.make_wordpieces(["the dog"], [spans_of("the dog")])
    check(chunked, ["dog the fox"])


def test_no_texts_make_no_wordpieces(tokenizer: Tokenizer) -> None:
    found = ChunkedTokenizer(tokenizer).make_wordpieces([], [])
    assert [len(array) for array in vars(found).values()] == [0] * 5
