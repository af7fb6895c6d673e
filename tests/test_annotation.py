"""What a head of the user's own has to learn from a document."""

from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, Span

from spacy_mtl.annotation import count_units

from .pipeline.sentences import SENTENCES, SPANS_KEY, make_doc


class Own:
    """Says itself which layers it learns from."""

    name = "own"

    def __init__(self, *layers: str) -> None:
        self.annotation_layers = layers


def empty() -> Doc:
    doc = spacy.blank("en").make_doc("It runs")
    doc.set_ents([], default="missing")
    return doc


N = len(SENTENCES[0].words.split())


@pytest.mark.parametrize(
    ("layer", "units"),
    [
        ("tag", N),
        ("pos", N),
        ("lemma", N),
        ("dep", N),
        ("ents", N),
        ("cats", 1),
        ("links", 2),
        (f"spans:{SPANS_KEY}", N),
        ("spans:*", N),
    ],
)
def test_units_of_each_layer(layer: str, units: int) -> None:
    own: Any = Own(layer)
    doc = make_doc(spacy.blank("en").vocab, SENTENCES[0])
    assert count_units(own, doc) == units
    assert count_units(own, empty()) == 0
    both: Any = Own(layer, "cats")
    assert count_units(both, doc) == max(units, 1)


def test_another_span_group_is_none_of_its_own() -> None:
    own: Any = Own("spans:other")
    doc = make_doc(spacy.blank("en").vocab, SENTENCES[0])
    assert count_units(own, doc) == 0
    doc.spans["other"] = [Span(doc, 0, 1, "X")]
    assert count_units(own, doc) == N
