"""A lemma that no edit tree of the head gives does not train `masked_trainable_lemmatizer`."""

from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from .tiny import gradient, make, train, untrained


def common(nlp: Language) -> list[Example]:
    return [
        untrained(nlp, "cats dogs run", lemmas=["cat", "dog", "run"]),
        untrained(nlp, "birds sing", lemmas=["bird", "sing"]),
    ]


def partly_unseen(nlp: Language, second: str = "mouse", third: str = "go") -> Example:
    return untrained(nlp, "dogs mice went", lemmas=["dog", second, third])


def test_an_unseen_edit_tree_has_no_gradient_where_spacy_trains_towards_the_first_label() -> None:
    _, spacys = make("trainable_lemmatizer", common, min_tree_freq=1)
    nlp, ours = make("masked_trainable_lemmatizer", common, min_tree_freq=1)
    _, (expected,) = gradient(spacys, [partly_unseen(nlp)])
    loss, (d_scores,) = gradient(ours, [partly_unseen(nlp)])
    np.testing.assert_array_equal(d_scores[0], expected[0])
    assert (expected[1:, 0] < 0).all()
    assert not d_scores[1:].any()
    assert loss == float((d_scores**2).sum())


def test_a_pruned_edit_tree_has_no_gradient() -> None:
    def with_a_rare_one(nlp: Language) -> list[Example]:
        return [*common(nlp), partly_unseen(nlp)]

    nlp, ours = make("masked_trainable_lemmatizer", with_a_rare_one, min_tree_freq=2)
    _, (d_scores,) = gradient(ours, [partly_unseen(nlp)])
    assert [bool(row.any()) for row in d_scores] == [True, False, False]


def test_an_unseen_edit_tree_trains_like_a_missing_lemma() -> None:
    nlp, _ = make("masked_trainable_lemmatizer", common, min_tree_freq=1)
    unseen = train(nlp, [*common(nlp), partly_unseen(nlp)])
    nlp, _ = make("masked_trainable_lemmatizer", common, min_tree_freq=1)
    missing = train(nlp, [*common(nlp), partly_unseen(nlp, "", "")])
    for a, b in zip(unseen, missing, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kept", ["disk", "bytes"])
def test_a_loaded_head_trains_as_the_one_that_was_saved(tmp_path: Path, kept: str) -> None:
    nlp, saved = make("masked_trainable_lemmatizer", common, min_tree_freq=1)
    if kept == "disk":
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    else:
        other, _ = make("masked_trainable_lemmatizer", common, min_tree_freq=1)
        other.get_pipe("masked_trainable_lemmatizer").tree2label.clear()  # type: ignore[attr-defined]
        other.from_bytes(nlp.to_bytes())
    expected_loss, expected = gradient(saved, common(nlp))
    loss, found = gradient(other.get_pipe("masked_trainable_lemmatizer"), common(other))
    assert loss == expected_loss > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
