"""Any text at all, through spaCy's tokenizer and each family's own."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.language import Language

from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.pipeline.shim import token_spans
from spacy_mtl.text.packing import pack
from spacy_mtl.text.windows import make_windows
from spacy_mtl.text.wordpieces import make_wordpieces
from spacy_mtl.types import Wordpieces

from ..families import FAMILIES

HARD_TEXTS = {
    "empty": "",
    "whitespace": " \t\n\n  \u2028 \u00a0\u3000",
    "NUL": "a\0b \0 c",
    "joined emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 family \u2764\ufe0f",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 world",
    "lone marks": "\u0301 \u0323\u0327\u0301 e\u0323\u0301\u0302 \u0345",
    "long token": "x" * 5000,
    "long token of emoji": "\U0001f600" * 1500,
    "special tokens": "[SEP] <s> </s> <mask> [MASK] <pad> [PAD] <extra_id_0>",
    "compatibility": "\ufb01\ufb02 \u00bd \u2460 \u1e9e \u0130 \uac01 \u1100\u1161\u11a8",
    "controls": "\ufeffa\u200bb\u00adc\x7f\x01 \ufffd \U0010ffff \ue000",
    "spaces": "  two  spaces   here \n\n new ",
}
# a few of everything that has ever split a character from its offset, and anything else
TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=sorted(set("".join(HARD_TEXTS.values()))), max_size=40),
    st.sampled_from(list(HARD_TEXTS.values())),
)
LAW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def english() -> Language:
    return spacy.blank("en")


@cache
def encoder_of(path: Path) -> HuggingFaceEncoder:
    return load_pretrained(str(path), transformer_config={}, tokenizer_config={})


def wordpieces_of(encoder: HuggingFaceEncoder, texts: list[str]) -> Wordpieces:
    docs = [english().make_doc(text) for text in texts]
    assert [doc.text for doc in docs] == texts
    pieces = make_wordpieces(encoder.tokenizer, texts, [token_spans(doc) for doc in docs])
    assert pieces.doc_tokens.tolist() == [len(doc) for doc in docs]
    return pieces


def vectors_of(encoder: HuggingFaceEncoder, pieces: Wordpieces) -> torch.Tensor:
    windows = make_windows(pieces.doc_lengths, window=120, stride=90)
    inputs = pack(pieces, windows, encoder.affixes, max_batch_wordpieces=8192)
    with torch.inference_mode():
        return encode_layers(
            encoder.model, inputs, pooling="mean", dtype=torch.float32, every=False
        )[-1]


def assert_vectors_where_there_are_wordpieces(
    encoder: HuggingFaceEncoder, texts: list[str]
) -> None:
    pieces = wordpieces_of(encoder, texts)
    vectors = vectors_of(encoder, pieces)
    assert vectors.shape == (int(pieces.doc_tokens.sum()), encoder.width)
    assert bool(torch.isfinite(vectors).all())
    assert (vectors != 0).any(1).tolist() == (pieces.token_lengths > 0).tolist()


@pytest.fixture(params=FAMILIES)
def encoder(
    request: pytest.FixtureRequest, family_dir: Callable[[str], Path]
) -> HuggingFaceEncoder:
    return encoder_of(family_dir(request.param))


@pytest.fixture
def bert(family_dir: Callable[[str], Path]) -> HuggingFaceEncoder:
    return encoder_of(family_dir("bert"))


@LAW
@given(text=TEXTS)
def test_a_token_owns_what_the_tokenizers_offsets_say(
    encoder: HuggingFaceEncoder, text: str
) -> None:
    doc = english().make_doc(text)
    pieces = wordpieces_of(encoder, [text])
    offsets = encoder.tokenizer.encode(text, add_special_tokens=False).offsets
    for i, token in enumerate(doc):
        stop = token.idx + len(token)
        sharing = [j for j, (a, b) in enumerate(offsets) if max(a, token.idx) < min(b, stop)]
        first, length = int(pieces.token_starts[i]), int(pieces.token_lengths[i])
        assert list(range(first, first + length)) == ([] if token.is_space else sharing)


@LAW
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_texts_wordpieces_do_not_depend_on_its_neighbours(
    encoder: HuggingFaceEncoder, texts: list[str]
) -> None:
    together = wordpieces_of(encoder, texts)
    alone = [wordpieces_of(encoder, [text]) for text in texts]
    assert together.ids.tolist() == [i for pieces in alone for i in pieces.ids.tolist()]
    lengths = [n for pieces in alone for n in pieces.token_lengths.tolist()]
    assert together.token_lengths.tolist() == lengths


@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS.keys())
def test_hard_texts_have_vectors_where_they_have_wordpieces(
    encoder: HuggingFaceEncoder, text: str
) -> None:
    assert_vectors_where_there_are_wordpieces(encoder, [text, "Hello world!", text])


@LAW
@given(texts=st.lists(TEXTS, max_size=3))
def test_any_texts_have_vectors_where_they_have_wordpieces(
    bert: HuggingFaceEncoder, texts: list[str]
) -> None:
    assert_vectors_where_there_are_wordpieces(bert, texts)


def test_words_and_punctuation_have_wordpieces_in_every_family(
    encoder: HuggingFaceEncoder,
) -> None:
    text = "Dr. Smith (67) doesn't mind:  naïve café, Привет 東京 😀!\n\nShe paid $3.14 - 50% off…"
    spaces = [token.is_space for token in english().make_doc(text)]
    pieces = wordpieces_of(encoder, [text])
    assert any(spaces)
    assert (pieces.token_lengths == 0).tolist() == spaces


@pytest.mark.slow
def test_a_text_of_a_million_characters_is_read_to_its_end(bert: HuggingFaceEncoder) -> None:
    sentence = "The quick brown fox doesn't mind unbelievable antidisestablishmentarianism! "
    text = (sentence * (1_000_000 // len(sentence) + 1))[:1_000_000]
    pieces = wordpieces_of(bert, [text])
    assert int(pieces.doc_lengths[0]) == len(bert.tokenizer.encode(text).ids) - 2
    vectors = vectors_of(bert, pieces)
    assert len(vectors) == int(pieces.doc_tokens[0]) > 100_000
    assert bool((vectors != 0).any(1).all())


def test_a_token_of_a_hundred_thousand_characters_owns_all_its_wordpieces(
    encoder: HuggingFaceEncoder,
) -> None:
    text = "ab" * 50_000
    spans = token_spans(spacy.tokens.Doc(english().vocab, words=[text], spaces=[False]))
    pieces = make_wordpieces(encoder.tokenizer, [text], [spans])
    assert pieces.token_starts.tolist() == [0]
    assert pieces.token_lengths.tolist() == pieces.doc_lengths.tolist() == [len(pieces.ids)]
    assert len(pieces.ids) > 0
    assert not np.isin(pieces.ids, encoder.affixes.suffix).any()
