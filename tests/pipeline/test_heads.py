"""spaCy's own heads, and `biluo_ner`, learn and predict on the shared token vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spacy.kb import InMemoryLookupKB
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

from .helpers import LISTENER, WIDTH, Settings, head, make_config, make_nlp, train, weights
from .sentences import PEOPLE, SENTENCES, SPANS_KEY, TEXTS, make_doc, make_examples

NGRAMS = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]}
EXTRA: dict[str, Settings] = {
    "parser": {"min_action_freq": 1},
    "spancat": {"suggester": NGRAMS, "spans_key": SPANS_KEY},
    "span_finder": {"spans_key": SPANS_KEY, "max_length": 3},
    "trainable_lemmatizer": {"min_tree_freq": 1},
}
HEADS = (
    "tagger",
    "morphologizer",
    "senter",
    "trainable_lemmatizer",
    "ner",
    "biluo_ner",
    "parser",
    "textcat",
    "textcat_multilabel",
    "spancat",
    "span_finder",
)


def written(doc: Doc, name: str) -> Any:
    """What a head has to say about a document."""
    spans = doc.spans.get(SPANS_KEY, ())
    answers: dict[str, Any] = {
        "tagger": lambda: [t.tag_ for t in doc],
        "morphologizer": lambda: [(t.pos_, str(t.morph)) for t in doc],
        "senter": lambda: [s.start for s in doc.sents],
        "trainable_lemmatizer": lambda: [t.lemma_ for t in doc],
        "ner": lambda: [(e.start, e.end, e.label_) for e in doc.ents],
        "biluo_ner": lambda: [(e.start, e.end, e.label_) for e in doc.ents],
        "parser": lambda: [(t.head.i, t.dep_) for t in doc],
        "textcat": lambda: {cat for cat, score in doc.cats.items() if score > 0.5},
        "textcat_multilabel": lambda: {cat for cat, score in doc.cats.items() if score > 0.5},
        "spancat": lambda: {(s.start, s.end, s.label_) for s in spans},
        "span_finder": lambda: {(s.start, s.end) for s in spans},
    }
    return answers[name]()


def changed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return any(not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_fits_a_few_sentences_through_the_shared_encoder(
    name: str, encoder_path: Path
) -> None:
    nlp = make_nlp(encoder_path, {name: {**head(name), **EXTRA.get(name, {})}})
    before = weights(nlp)
    losses = [loss[name] for loss in train(nlp, 80)]
    assert losses[-1] < 0.2 * losses[0]
    assert changed(before, weights(nlp))
    for doc, sentence in zip(nlp.pipe(TEXTS), SENTENCES, strict=True):
        assert written(doc, name) == written(make_doc(nlp.vocab, sentence), name)


LINKED = tuple(s for s in SENTENCES if s.kb)


def make_people(vocab: Vocab) -> list[Example]:
    """Sentences about an Anna, without the entities that the knowledge base does not know."""
    examples = make_examples(vocab, LINKED)
    for example in examples:
        example.reference.ents = [e for e in example.reference.ents if e.label_ == PEOPLE]
    return examples


def make_kb(vocab: Vocab, vector_length: int) -> InMemoryLookupKB:
    """Two people who are both called Anna, Anna Smith even."""
    kb = InMemoryLookupKB(vocab, entity_vector_length=vector_length)
    kb.add_entity("Q1", freq=10, entity_vector=[1.0, 0.0] * (vector_length // 2))
    kb.add_entity("Q2", freq=10, entity_vector=[0.0, 1.0] * (vector_length // 2))
    for alias in ("Anna", "Anna Smith"):
        kb.add_alias(alias, ["Q1", "Q2"], probabilities=[0.5, 0.5])
    return kb


def make_linker(
    path: Path, listener: Settings = LISTENER, *, vector_length: int = WIDTH
) -> Language:
    """A pipeline that finds every Anna and links her by the sentence alone. Not initialized.

    vector_length: of the knowledge base.
    """
    linker = {"entity_vector_length": vector_length, "incl_prior": False}
    heads = {
        "sentencizer": {"factory": "sentencizer"},
        "entity_ruler": {"factory": "entity_ruler"},
        "entity_linker": {**head("entity_linker", listener), **linker},
    }
    config = make_config(path, heads)
    pattern = [{"ORTH": "Anna"}, {"ORTH": "Smith", "OP": "?"}]
    ruler = {"patterns": [{"label": PEOPLE, "pattern": pattern}]}
    nlp = English.from_config({**config, "initialize": {"components": {"entity_ruler": ruler}}})
    nlp.get_pipe("entity_linker").set_kb(lambda vocab: make_kb(vocab, vector_length))  # type: ignore[attr-defined]
    return nlp


def test_the_entity_linker_tells_two_annas_apart_by_their_context(encoder_path: Path) -> None:
    nlp = make_linker(encoder_path)
    nlp.initialize(lambda: make_people(nlp.vocab))
    before = weights(nlp)
    losses = [loss["entity_linker"] for loss in train(nlp, 80, examples=make_people(nlp.vocab))]
    assert losses[-1] < 0.2 * losses[0]
    assert changed(before, weights(nlp))
    for doc, sentence in zip(nlp.pipe([s.words for s in LINKED]), LINKED, strict=True):
        assert [e.kb_id_ for e in doc.ents if e.label_ == PEOPLE] == [sentence.kb]
