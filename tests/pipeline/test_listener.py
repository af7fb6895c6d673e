"""What a listener serves, what it refuses, and what it says then."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc

from spacy_mtl.errors import ConfigError, ListenerError
from spacy_mtl.pipeline.listener import SharedTransformerListener

from .helpers import LISTENER, NAME, WIDTH, head, make_nlp, shared, train, weights
from .sentences import TEXTS, make_examples


@pytest.fixture
def nlp(encoder_path: Path) -> Language:
    return make_nlp(encoder_path, ["tagger", "textcat"])


def listener_of(nlp: Language, name: str = "tagger") -> SharedTransformerListener:
    (listener,) = shared(nlp).listener_map[name]
    assert isinstance(listener, SharedTransformerListener)
    return listener


def encode(nlp: Language) -> list[Doc]:
    """Encode a training batch. Returns its documents."""
    examples = make_examples(nlp.vocab)
    shared(nlp).update(examples)
    return [example.predicted for example in examples]


def gradients(nlp: Language) -> list[np.ndarray]:
    named = shared(nlp).model.shims[0].require().model.named_parameters()
    return [p.grad.numpy().copy() for _, p in named if p.grad is not None]


# ---- what it serves


def test_reordered_documents_get_their_own_vectors_and_gradients(nlp: Language) -> None:
    rng = np.random.default_rng(0)
    docs = encode(nlp)
    in_order, backprop = listener_of(nlp)(docs, True)
    gradient = [rng.normal(size=v.shape).astype("f") for v in in_order]
    backprop(gradient)
    expected = gradients(nlp)
    shared(nlp).shim.drop_gradients()
    docs = encode(nlp)
    reordered, backprop = listener_of(nlp)(docs[::-1], True)
    for a, b in zip(in_order, reordered[::-1], strict=True):
        np.testing.assert_array_equal(a, b)
    backprop(gradient[::-1])
    for a, b in zip(expected, gradients(nlp), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_head_may_ask_for_some_of_the_documents(nlp: Language) -> None:
    docs = encode(nlp)
    (vectors,), backprop = listener_of(nlp)([docs[2]], True)
    np.testing.assert_array_equal(vectors, docs[2].tensor)
    backprop([np.ones_like(vectors)])
    buffer = shared(nlp)._batch.buffer.slots["tagger"]  # type: ignore[union-attr]
    assert buffer.sum() == vectors.size
    start = len(docs[0]) + len(docs[1])
    assert (buffer[start : start + len(docs[2])] == 1).all()


def test_a_copy_of_a_document_gets_the_vectors_of_its_original(nlp: Language) -> None:
    docs = encode(nlp)
    vectors, _ = listener_of(nlp)([docs[1].copy(), docs[0]], True)
    np.testing.assert_array_equal(vectors[0], docs[1].tensor)
    np.testing.assert_array_equal(vectors[1], docs[0].tensor)


def test_copies_of_equal_documents_are_told_apart_by_their_order(nlp: Language) -> None:
    examples = [*make_examples(nlp.vocab), *make_examples(nlp.vocab)]
    shared(nlp).update(examples)
    copies = [example.predicted.copy() for example in examples]
    _, backprop = listener_of(nlp)(copies, True)
    backprop([np.full((len(doc), WIDTH), i, dtype="f") for i, doc in enumerate(copies)])
    buffer = shared(nlp)._batch.buffer.slots["tagger"]  # type: ignore[union-attr]
    expected = np.concatenate([np.full(len(doc), i) for i, doc in enumerate(copies)])
    np.testing.assert_array_equal(buffer[:, 0], expected)


def test_components_that_annotate_during_training_leave_the_gradient_as_it_is(
    nlp: Language,
) -> None:
    train(nlp, 3)
    found = []
    for annotates in ([], [NAME, "tagger"]):
        nlp.update(make_examples(nlp.vocab), sgd=False, annotates=annotates)  # type: ignore[arg-type]
        found.append(gradients(nlp))
        shared(nlp).shim.drop_gradients()
    assert any(g.any() for g in found[0])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_outside_training_vectors_come_from_the_document(nlp: Language) -> None:
    doc = nlp.make_doc("two words")
    doc.tensor = np.arange(2 * WIDTH, dtype="f").reshape(2, WIDTH)
    (vectors,) = listener_of(nlp).predict([doc])
    np.testing.assert_array_equal(vectors, doc.tensor)


# ---- what it refuses


def test_a_document_that_is_not_in_the_batch_is_refused(nlp: Language) -> None:
    encode(nlp)
    with pytest.raises(ListenerError, match=r"`tagger`.*not in the batch that `shared_transf") as e:
        listener_of(nlp)([nlp.make_doc("a stranger")], True)
    assert "move it behind `tagger`" in str(e.value)


def test_a_document_that_was_retokenized_in_training_is_refused_with_both_lengths(
    nlp: Language,
) -> None:
    docs = encode(nlp)
    n_tokens = len(docs[0])
    with docs[0].retokenize() as retokenizer:
        retokenizer.merge(docs[0][0:2])
    message = rf"`textcat`.* of {n_tokens - 1} tokens that had {n_tokens} .*move it before"
    with pytest.raises(ListenerError, match=message):
        listener_of(nlp, "textcat")(docs, True)


def test_a_document_that_was_split_after_encoding_is_refused_at_prediction(nlp: Language) -> None:
    @Language.component("split_first_token")
    def split_first_token(doc: Doc) -> Doc:
        with doc.retokenize() as retokenizer:
            retokenizer.split(doc[0], [doc[0].text[:1], doc[0].text[1:]], heads=[doc[0], doc[0]])
        return doc

    nlp.add_pipe("split_first_token", after=NAME)
    with pytest.raises(ListenerError, match=r"3 tokens .*move it before `shared_trans"):
        nlp("some words")


def test_tokens_that_were_merged_after_encoding_keep_a_vector_at_prediction(nlp: Language) -> None:
    train(nlp, 1)

    @Language.component("merge_first_tokens")
    def merge_first_tokens(doc: Doc) -> Doc:
        with doc.retokenize() as retokenizer:
            retokenizer.merge(doc[0:2])
        return doc

    nlp.add_pipe("merge_first_tokens", after=NAME)
    doc = nlp("some more words")
    assert doc.tensor.shape == (len(doc), WIDTH) == (2, WIDTH)
    assert all(token.tag_ for token in doc)


@pytest.mark.parametrize("text", ["some words", " "], ids=["words", "whitespace"])
def test_a_disabled_encoder_is_named_at_prediction(nlp: Language, text: str) -> None:
    message = r"`tagger`.*`shared_transformer` is disabled or excluded, enable it"
    with nlp.select_pipes(disable=NAME), pytest.raises(ListenerError, match=message):
        nlp(text)
    assert len(nlp("some words").tensor)


@pytest.mark.parametrize("updates_before", [0, 1])
def test_a_frozen_encoder_that_does_not_annotate_is_named_with_the_fix(
    nlp: Language, updates_before: int
) -> None:
    train(nlp, updates_before)
    with pytest.raises(ListenerError, match=r"`\[training\] annotating_components`"):
        train(nlp, 1, exclude=[NAME])


def test_a_frozen_encoder_that_annotates_feeds_its_heads_and_keeps_its_weights(
    nlp: Language,
) -> None:
    train(nlp, 2)
    before = weights(nlp)
    losses = train(nlp, 40, exclude=[NAME], annotates=[NAME])
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert all(np.array_equal(before[name], value) for name, value in weights(nlp).items())


CLOSERS: dict[str, Callable[[Language], object]] = {
    "prediction": lambda nlp: nlp(TEXTS[0]),
    "another batch": encode,
    "a save": lambda nlp: shared(nlp).to_bytes(),
}


@pytest.mark.parametrize("closer", CLOSERS)
def test_a_gradient_that_comes_too_late_is_refused_and_not_lost(nlp: Language, closer: str) -> None:
    docs = encode(nlp)
    vectors, backprop = listener_of(nlp)(docs, True)
    CLOSERS[closer](nlp)
    with pytest.raises(ListenerError, match=r"`tagger`.*would be lost\. Call `nlp\.update` once"):
        backprop([np.ones_like(v) for v in vectors])


def test_a_head_that_trains_after_the_backward_pass_is_refused(nlp: Language) -> None:
    examples = make_examples(nlp.vocab)
    shared(nlp).update(examples)
    nlp.get_pipe("tagger").update(examples)  # type: ignore[attr-defined]
    assert shared(nlp).model is not None  # whoever looks at the weights closes the batch
    with pytest.raises(ListenerError, match=r"`textcat`.*has already run"):
        nlp.get_pipe("textcat").update(examples)  # type: ignore[attr-defined]


def test_a_grad_factor_of_zero_keeps_a_head_from_changing_the_encoder(encoder_path: Path) -> None:
    deaf = {"tagger": head("tagger", {**LISTENER, "grad_factor": 0.0})}
    nlp = make_nlp(encoder_path, deaf)
    before = weights(nlp)
    losses = train(nlp, 30)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert all(np.array_equal(before[name], value) for name, value in weights(nlp).items())


# ---- found before training starts


def test_a_listener_without_an_upstream_is_named_when_the_pipeline_is_initialized() -> None:
    config = {
        "nlp": {"lang": "en", "pipeline": ["tagger"]},
        "components": {"tagger": head("tagger")},
    }
    nlp = English.from_config(config)
    message = r'`upstream = "\*"`.*needs a component with `factory = "shared_transformer"`'
    with pytest.raises(ConfigError, match=message):
        nlp.initialize(lambda: make_examples(nlp.vocab))
