"""A corpus with parts of speech only does not teach `masked_morphologizer` that words have no features."""

from typing import Any

import numpy as np
import pytest
from spacy.language import Language
from spacy.training import Example

from spacy_mtl.errors import ConfigError

from .tiny import gradient, make, train, untrained

WORDS = "dogs bark ."
POS = ["NOUN", "VERB", "PUNCT"]
MORPHS = ["Number=Plur", "Tense=Pres", ""]  # the last word has no features, and that is known


def both(nlp: Language) -> Example:
    return untrained(nlp, WORDS, pos=POS, morphs=MORPHS)


def pos_only(nlp: Language) -> Example:
    return untrained(nlp, WORDS, pos=POS)


def morph_only(nlp: Language) -> Example:
    return untrained(nlp, WORDS, morphs=MORPHS)


def mixed(nlp: Language) -> list[Example]:
    return [pos_only(nlp), both(nlp), morph_only(nlp)]


def test_tokens_with_one_of_the_two_make_no_labels() -> None:
    _, spacys = make("morphologizer", mixed)
    _, ours = make("masked_morphologizer", mixed)
    assert "POS=NOUN" in spacys.labels
    assert ours.labels == ("Number=Plur|POS=NOUN", "POS=VERB|Tense=Pres", "POS=PUNCT")
    _, complete = make("morphologizer", lambda nlp: [both(nlp)])
    assert ours.label_data == complete.label_data


def weights_after(factory: str, batch: Any) -> list[Any]:
    nlp, _ = make(factory, lambda nlp: [both(nlp)])
    return train(nlp, batch(nlp))


def test_tokens_with_one_of_the_two_do_not_change_the_weights() -> None:
    alone = weights_after("masked_morphologizer", lambda nlp: [both(nlp)])
    for a, b in zip(alone, weights_after("masked_morphologizer", mixed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_they_change_those_of_spacys_head_so_the_test_above_can_fail() -> None:
    def learned_from(batch: Any) -> list[Any]:
        nlp, _ = make("morphologizer", mixed)  # knows "POS=NOUN" as a label
        return train(nlp, batch(nlp))

    pairs = zip(learned_from(lambda nlp: [both(nlp)]), learned_from(mixed), strict=True)
    assert any(abs(a - b).max() > 1e-3 for a, b in pairs)


def test_inside_a_document_only_its_incomplete_tokens_are_masked() -> None:
    nlp, ours = make("masked_morphologizer", mixed)
    example = both(nlp)
    example.reference[0].pos = 0
    example.reference[1].set_morph(None)
    _, (d_scores,) = gradient(ours, [example])
    assert [bool(row.any()) for row in d_scores] == [False, False, True]


@pytest.mark.parametrize("kind", [pos_only, morph_only])
def test_data_with_one_layer_only_train_as_in_spacys_head(kind: Any) -> None:
    trained = []
    for factory in ("morphologizer", "masked_morphologizer"):
        nlp, component = make(factory, lambda nlp: [kind(nlp)])
        trained.append((component.label_data, train(nlp, [kind(nlp)])))
    (labels, theirs), (our_labels, ours) = trained
    assert our_labels == labels
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_corpora_that_have_one_layer_each_are_refused() -> None:
    with pytest.raises(ConfigError, match="a token with both a part of speech and"):
        make("masked_morphologizer", lambda nlp: [pos_only(nlp), morph_only(nlp)])
