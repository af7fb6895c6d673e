"""What the annotations of a document are, in the schema and the offsets that are promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_mtl.spark.annotations import KINDS, Categories, Reading, categories_of, utf16_units

from ..pipeline.sentences import SENTENCES, make_doc
from .texts import make_texts, oracle, simplified


@pytest.fixture
def doc() -> Doc:
    """`The dog likes Anna . It runs fast .` with gold annotation."""
    return make_doc(Vocab(), SENTENCES[1])


def test_each_kind_says_what_spacy_says(nlp: Language) -> None:
    texts = [text for text in make_texts(200, seed=1) if text]
    classifiers = categories_of(nlp)
    for doc in nlp.pipe(texts):
        reading = Reading(doc, classifiers)
        for kind, expected in oracle(doc).items():
            assert simplified(kind, KINDS[kind].read(reading)) == expected, (kind, doc.text)


def test_types_are_those_of_spark_nlp(doc: Doc) -> None:
    reading = Reading(doc, [Categories(("NEWS", "TALE"), None)])
    for kind, expected in {
        "document": "document", "sentence": "document", "token": "token", "pos": "pos", "tag": "pos",
        "lemma": "token", "entity": "chunk", "category": "category", "dependency": "dependency",
    }.items():  # fmt: skip
        assert KINDS[kind].annotator_type == expected
        assert {a.annotatorType for a in KINDS[kind].read(reading)} == {expected}


def test_the_sentence_s_number_is_in_the_metadata(doc: Doc) -> None:
    reading = Reading(doc)
    assert [a.metadata["sentence"] for a in KINDS["token"].read(reading)] == [*"00000", *"1111"]
    assert [a.metadata["sentence"] for a in KINDS["sentence"].read(reading)] == ["0", "1"]
    assert KINDS["entity"].read(reading)[0].metadata == {
        "entity": "PERSON", "sentence": "0", "chunk": "0", "kb_id": "Q2",
    }  # fmt: skip


def test_heads_are_counted_in_their_sentence(doc: Doc) -> None:
    found = KINDS["dependency"].read(Reading(doc))
    assert found[5].result == "runs"
    assert found[5].metadata == {
        "sentence": "1", "relation": "nsubj", "head": "2", "head.begin": "24", "head.end": "27",
    }  # fmt: skip
    assert (found[6].result, found[6].metadata["head"]) == ("ROOT", "0")


def test_a_document_without_sentences_is_one() -> None:
    doc = Doc(Vocab(), words=["a", "b"])
    assert simplified("sentence", KINDS["sentence"].read(Reading(doc))) == [(0, 2, "a b")]


def test_an_empty_document_ends_before_it_begins() -> None:
    reading = Reading(Doc(Vocab()))
    assert simplified("document", KINDS["document"].read(reading)) == [(0, -1, "")]
    assert all(KINDS[kind].read(reading) == [] for kind in ("sentence", "token", "entity"))


def test_an_exclusive_classifier_has_one_category_with_all_scores(doc: Doc) -> None:
    doc.cats = {"a": 0.2, "b": 0.8, "c": 0.6, "d": 0.4, "e": 0.7}
    classifiers = [Categories(("a", "b"), None), Categories(("c", "d"), 0.3)]
    found = KINDS["category"].read(Reading(doc, classifiers))
    assert [a.result for a in found] == ["b", "c", "d", "e"]
    assert dict(found[0].metadata) == {"sentence": "0", "a": "0.2", "b": "0.8"}


def test_a_label_called_sentence_keeps_its_score_and_the_number_of_the_sentence(doc: Doc) -> None:
    doc.cats = {"sentence": 0.75, "word": 0.25}
    [found] = KINDS["category"].read(Reading(doc, [Categories(("sentence", "word"), None)]))
    assert found.result == "sentence"
    assert dict(found.metadata) == {"sentence": "0", "label.sentence": "0.75", "word": "0.25"}


def test_vectors_are_the_tensor_s_rows_and_zero_is_out_of_vocabulary() -> None:
    doc = Doc(Vocab(), words=["a", "\n"])
    doc.tensor = np.array([[1.0, 2.0], [0.0, 0.0]], dtype="f")
    found = KINDS["embeddings"].read(Reading(doc))
    assert [list(a.embeddings) for a in found] == [[1.0, 2.0], [0.0, 0.0]]
    assert [a.metadata["isOOV"] for a in found] == ["false", "true"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_offsets_cut_the_tokens_out_of_the_text_in_both_units(words: list[str]) -> None:
    doc = Doc(Vocab(), words=words)
    for a in KINDS["token"].read(Reading(doc)):
        assert doc.text[a.begin : a.end + 1] == a.result
    encoded = doc.text.encode("utf-16-le")
    for a in KINDS["token"].read(Reading(doc, utf16=True)):
        assert encoded[2 * a.begin : 2 * a.end + 2].decode("utf-16-le") == a.result


def test_an_emoji_is_one_code_point_and_two_utf_16_units() -> None:
    doc = Doc(Vocab(), words=["😀", "Anna"])
    points = KINDS["token"].read(Reading(doc))
    units = KINDS["token"].read(Reading(doc, utf16=True))
    assert [(a.begin, a.end) for a in points] == [(0, 0), (2, 5)]
    assert [(a.begin, a.end) for a in units] == [(0, 1), (3, 6)]
    assert KINDS["document"].read(Reading(doc, utf16=True))[0].end == 7
    assert utf16_units("").tolist() == [0]
