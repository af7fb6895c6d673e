"""Tokens of which it is not known whether a sentence starts there do not train `masked_senter`."""

import numpy as np
import pytest
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from .tiny import gradient, make, untrained

WORDS = "one two three four five six"


def marked(nlp: Language, *marks: int) -> Example:
    return untrained(nlp, WORDS, sent_starts=list(marks))


def complete(nlp: Language) -> list[Example]:
    return [marked(nlp, 1, -1, -1, 1, -1, -1)]


def test_tokens_without_a_mark_have_no_gradient_and_the_others_have_spacys() -> None:
    _, spacys = make("senter", complete)
    nlp, ours = make("masked_senter", complete)
    loss, (d_scores,) = gradient(ours, [marked(nlp, 1, -1, 0, 0, 1, -1)])
    _, (expected,) = gradient(spacys, [marked(nlp, 1, -1, -1, -1, 1, -1)])
    known = [0, 1, 4, 5]
    np.testing.assert_array_equal(d_scores[known], expected[known])
    assert not d_scores[[2, 3]].any()
    assert loss == pytest.approx(float((expected[known] ** 2).sum()))


def test_a_document_that_marks_starts_only_is_complete() -> None:
    nlp, ours = make("masked_senter", complete)
    _, (starts_only,) = gradient(ours, [marked(nlp, 1, 0, 0, 1, 0, 0)])
    _, (all_marked,) = gradient(ours, complete(nlp))
    np.testing.assert_array_equal(starts_only, all_marked)


@pytest.mark.parametrize("words", [WORDS, "one"])
def test_a_document_without_marks_has_neither_loss_nor_gradient(words: str) -> None:
    nlp, ours = make("masked_senter", complete)
    loss, (d_scores,) = gradient(ours, [untrained(nlp, words)])
    assert loss == 0
    assert d_scores.shape == (len(words.split()), 2)
    assert not d_scores.any()


def test_what_is_known_follows_the_tokens_of_the_prediction() -> None:
    nlp, ours = make("masked_senter", complete)
    reference = Doc(
        nlp.vocab,
        words=["a", "b", "c", "d", "e"],
        spaces=[True, False, True, False, False],
        sent_starts=[1, -1, 0, 1, -1],
    )
    joined = Doc(nlp.vocab, words=["a", "bc", "de"], spaces=[True, True, False])
    _, (d_scores,) = gradient(ours, [Example(joined, reference)])
    assert [bool(row.any()) for row in d_scores] == [True, False, False]
    split = Doc(
        nlp.vocab, words=["a", "b", "c", "d", "e"], spaces=[True, False, True, False, False]
    )
    _, (d_scores,) = gradient(ours, [Example(split, reference)])
    assert [bool(row.any()) for row in d_scores] == [True, True, False, True, True]
