"""A document without the head's span group trains neither `masked_spancat` nor `masked_span_finder`."""

from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example

from ..helpers import Settings
from .tiny import TOK2VEC, gradient, make, train, untrained

SINGLE_LABEL: Settings = {
    "@architectures": "spacy.SpanCategorizer.v1",
    "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 8},
    "scorer": {"@layers": "Softmax.v2", "nO": None, "nI": None},
    "tok2vec": TOK2VEC,
}
CATEGORIZERS: dict[str, Settings] = {
    "masked_spancat": {},
    "masked_spancat_singlelabel": {"model": SINGLE_LABEL, "negative_weight": 0.5},
}


def with_spans(nlp: Language, words: str, *spans: tuple[int, int], key: str = "sc") -> Example:
    example = untrained(nlp, words)
    reference = example.reference
    reference.spans[key] = [Span(reference, start, end, "A") for start, end in spans]
    return example


def annotated(nlp: Language) -> list[Example]:
    return [with_spans(nlp, "one two three", (0, 2)), with_spans(nlp, "four five")]


def others(nlp: Language) -> list[Example]:
    return [untrained(nlp, "who knows about this"), untrained(nlp, "one")]


def make_head(factory: str) -> tuple[Language, Any]:
    if factory == "masked_span_finder":
        return make(factory, annotated)
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    if "single" in factory:
        component = nlp.add_pipe(factory, config=CATEGORIZERS[factory])
        nlp.initialize(lambda: annotated(nlp))
        return nlp, component
    return make(factory, annotated)


def span_gradient(component: Any, examples: list[Example]) -> tuple[float, Any]:
    indices, scores = component.predict([example.predicted for example in examples])
    loss, d_scores = component.get_loss(examples, (indices, scores))
    return loss, np.split(d_scores, np.cumsum(indices.lengths)[:-1])


@pytest.mark.parametrize("factory", CATEGORIZERS)
def test_a_loss_that_is_asked_for_directly_leaves_out_their_spans(factory: str) -> None:
    nlp, head = make_head(factory)
    first, second = annotated(nlp)
    unknown, one = others(nlp)
    expected_loss, expected = span_gradient(head, [first, second])
    loss, (d_unknown, d_first, d_one, d_second) = span_gradient(head, [unknown, first, one, second])
    assert loss == pytest.approx(expected_loss)
    assert not d_unknown.any()
    assert not d_one.any()
    for found, wanted in zip((d_first, d_second), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert found.any()  # of the second, an empty group: there are no spans in it


def test_a_loss_that_is_asked_for_directly_leaves_out_their_tokens() -> None:
    nlp, head = make_head("masked_span_finder")
    first, second = annotated(nlp)
    unknown, one = others(nlp)
    expected_loss, expected = gradient(head, [first, second])
    loss, d_scores = gradient(head, [unknown, first, one, second])
    assert loss == pytest.approx(expected_loss)
    assert not np.any(d_scores[:4])
    np.testing.assert_allclose(d_scores[4:7], expected[:3], rtol=1e-5)
    assert not np.any(d_scores[7:8])
    np.testing.assert_allclose(d_scores[8:], expected[3:], rtol=1e-5)
    assert np.all(np.any(expected[3:], axis=1))


@pytest.mark.parametrize("factory", ["masked_spancat", "masked_span_finder"])
def test_the_span_group_of_another_head_is_no_annotation(factory: str) -> None:
    nlp, _ = make_head(factory)
    alone = train(nlp, annotated(nlp))
    nlp, _ = make_head(factory)
    other = with_spans(nlp, "London is far", (0, 1), key="places")
    mixed = train(nlp, [other, *annotated(nlp)])
    for a, b in zip(alone, mixed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
