"""Law 2 for `masked_textcat`: a document without categories changes neither gradient nor score."""

from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.training import Example
from thinc.api import SGD

from spacy_mtl.scoring import masked_textcat_score

GOLD = [("good and cheap", "good"), ("a bad thing", "bad"), ("it works well", "good")]
OTHER = ["what is this", "nobody asked anyone about it", "one", ""]
MODEL = {
    "@architectures": "spacy.TextCatReduce.v1",
    "exclusive_classes": True,
    "use_reduce_first": False,
    "use_reduce_last": False,
    "use_reduce_max": False,
    "use_reduce_mean": True,
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 16,
        "depth": 1,
        "embed_size": 100,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": False,
    },
}


def examples(nlp: Language, *, with_other: bool) -> list[Example]:
    annotated = [
        Example.from_dict(nlp.make_doc(t), {"cats": {"good": c == "good", "bad": c == "bad"}})
        for t, c in GOLD
    ]
    other = [Example.from_dict(nlp.make_doc(t), {}) for t in OTHER] if with_other else []
    return [*other[:2], *annotated, *other[2:]]


def make(factory: str) -> Language:
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": MODEL})
    nlp.initialize(lambda: examples(nlp, with_other=False))
    return nlp


def parameters(nlp: Language, factory: str) -> list[np.ndarray]:
    nodes = list(nlp.get_pipe(factory).model.walk())
    return [n.get_param(p).copy() for n in nodes for p in n.param_names if n.has_param(p)]


def train(factory: str, *, with_other: bool) -> list[np.ndarray]:
    nlp = make(factory)
    sgd = SGD(0.05, use_averages=False)
    for _ in range(10):
        nlp.update(examples(nlp, with_other=with_other), sgd=sgd)
    return parameters(nlp, factory)


def test_documents_without_categories_do_not_change_the_weights() -> None:
    pairs = zip(
        train("masked_textcat", with_other=False),
        train("masked_textcat", with_other=True),
        strict=True,
    )
    for alone, mixed in pairs:
        np.testing.assert_allclose(alone, mixed, rtol=1e-5, atol=1e-7)


def test_spacys_own_head_is_changed_by_them_so_the_test_above_can_fail() -> None:
    pairs = zip(train("textcat", with_other=False), train("textcat", with_other=True), strict=True)
    assert any(abs(alone - mixed).max() > 1e-3 for alone, mixed in pairs)


def test_fully_annotated_data_train_as_in_spacys_own_head() -> None:
    ours, theirs = train("masked_textcat", with_other=False), train("textcat", with_other=False)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_loss_is_a_mean_over_annotated_documents() -> None:
    nlp = make("masked_textcat")
    losses: list[float] = []
    for with_other in (False, True):
        found: dict[str, Any] = {}
        nlp.update(examples(nlp, with_other=with_other), sgd=False, losses=found)
        losses.append(found["masked_textcat"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_documents_without_categories_do_not_change_the_score() -> None:
    nlp = make("masked_textcat")
    alone = nlp.evaluate(examples(nlp, with_other=False))
    mixed = nlp.evaluate(examples(nlp, with_other=True))
    for key in ("cats_score", "cats_micro_f", "cats_macro_auc", "cats_f_per_type"):
        assert alone[key] == mixed[key]


def test_scores_equal_spacys_where_everything_is_annotated() -> None:
    nlp = make("masked_textcat")
    scored = [
        Example(nlp(eg.reference.text), eg.reference) for eg in examples(nlp, with_other=False)
    ]
    labels = nlp.get_pipe("masked_textcat").labels
    expected = Scorer.score_cats(scored, "cats", labels=labels, multi_label=False)
    assert masked_textcat_score(scored, labels=labels) == expected


def test_without_any_annotated_document_there_is_no_score() -> None:
    nlp = make("masked_textcat")
    scores = nlp.evaluate([Example.from_dict(nlp.make_doc("what is this"), {})])
    assert scores["cats_score"] is None


# ---- two classifiers in one pipeline

TONES, TOPICS = ("good", "bad"), ("food", "film")


def two_classifiers(nlp: Language) -> list[Example]:
    """Documents with a tone, with a topic, and with both."""
    cats = [
        {"good": 1.0, "bad": 0.0},
        {"food": 1.0, "film": 0.0},
        {"good": 0.0, "bad": 1.0, "food": 0.0, "film": 1.0},
    ]
    texts = ["good and cheap", "fish and chips", "a bad film"]
    return [
        Example.from_dict(nlp.make_doc(text), {"cats": c})
        for text, c in zip(texts, cats, strict=True)
    ]


def make_two(factory: str = "masked_textcat") -> Language:
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    for name, labels in (("tone", TONES), ("topic", TOPICS)):
        nlp.add_pipe(factory, name=name, config={"model": MODEL})
        nlp.config["initialize"]["components"][name] = {"labels": list(labels)}
    nlp.initialize(lambda: two_classifiers(nlp))
    return nlp


def test_two_classifiers_learn_their_own_categories_from_shared_documents() -> None:
    nlp = make_two()
    assert nlp.get_pipe("tone").labels == TONES  # type: ignore[attr-defined]
    assert nlp.get_pipe("topic").labels == TOPICS  # type: ignore[attr-defined]
    for _ in range(60):
        nlp.update(two_classifiers(nlp), sgd=SGD(0.5))
    found = nlp("a bad film").cats
    assert found["bad"] > 0.5 < found["film"]


def test_spacys_own_classifiers_refuse_to_share_documents() -> None:
    with pytest.raises(ValueError, match="E895"):
        make_two("textcat")


def test_the_categories_of_another_classifier_do_not_train_this_one() -> None:
    def tone_after(*, with_topics: bool) -> list[np.ndarray]:
        nlp = make_two()
        tone, topic, both = two_classifiers(nlp)
        batch = [tone, topic, both] if with_topics else [tone, both]
        for _ in range(8):
            nlp.update(batch, sgd=SGD(0.05, use_averages=False))
        return parameters(nlp, "tone")

    pairs = zip(tone_after(with_topics=False), tone_after(with_topics=True), strict=True)
    for alone, mixed in pairs:
        np.testing.assert_allclose(alone, mixed, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_asked_for_directly_leaves_out_unannotated_documents() -> None:
    nlp = make_two()
    tone: Any = nlp.get_pipe("tone")
    batch = two_classifiers(nlp)
    scores = tone.model.predict([example.predicted for example in batch])
    loss, d_scores = tone.get_loss(batch, scores)
    expected_loss, expected = tone.get_loss([batch[0], batch[2]], scores[[0, 2]])
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_array_equal(d_scores[[0, 2]], expected)
    assert not d_scores[1].any()


@pytest.mark.parametrize(
    ("cats", "message"), [({"good": 1.0, "bad": 1.0}, "E895"), ({"good": 0.5}, "E851")]
)
def test_a_document_in_two_of_its_own_classes_or_half_in_one_is_refused(
    cats: dict[str, float], message: str
) -> None:
    nlp = make_two()
    with pytest.raises(ValueError, match=message):
        nlp.update([Example.from_dict(nlp.make_doc("so so"), {"cats": cats})], sgd=SGD(0.1))
