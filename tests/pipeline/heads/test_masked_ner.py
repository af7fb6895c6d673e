"""What counts as entity annotation for `masked_ner`."""

import numpy as np
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example

from .tiny import make, train, untrained

KEY = "mistakes"


def annotated(nlp: Language) -> list[Example]:
    return [untrained(nlp, "Anna likes Riga", ents=["B-PERSON", "O", "B-PLACE"])]


def mistaken(nlp: Language) -> Example:
    """A document of which it is only known that its first word is no person."""
    example = untrained(nlp, "Berlin is far")
    reference = example.reference
    reference.set_ents([], default="missing")
    reference.spans[KEY] = [Span(reference, 0, 1, "PERSON")]
    return example


def nothing(nlp: Language) -> Example:
    example = untrained(nlp, "who knows")
    example.reference.set_ents([], default="missing")
    return example


def test_known_mistakes_train_the_head_as_in_spacy() -> None:
    trained = []
    for factory in ("ner", "masked_ner"):
        nlp, _ = make(factory, annotated, incorrect_spans_key=KEY)
        trained.append(train(nlp, [mistaken(nlp)]))
    nlp, _ = make("masked_ner", annotated, incorrect_spans_key=KEY)
    untouched = train(nlp, [nothing(nlp)])
    theirs, ours = trained
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(abs(a - b).max() > 0 for a, b in zip(ours, untouched, strict=True))


def test_a_document_that_is_known_to_have_no_entities_is_annotated() -> None:
    nlp, head = make("masked_ner", annotated)
    empty = nothing(nlp)
    assert not head.is_trained_on(empty)
    empty.reference.ents = []
    assert head.is_trained_on(empty)
