"""Configs that were written for spaCy's Tok2Vec or for spacy-transformers run on a shared_transformer."""

import copy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import spacy
from numpy.typing import NDArray
from spacy.lang.en import English
from spacy.language import Language

from spacy_mtl.errors import ConfigError

from .helpers import (
    LISTENER,
    NAME,
    WIDTH,
    Settings,
    head,
    make_config,
    make_nlp,
    shared,
    train,
    weights,
)
from .sentences import SENTENCES, TEXTS, annotations, make_examples
from .test_documents import blank_examples
from .test_heads import make_linker, make_people

TOK2VEC: Settings = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
TRF: Settings = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
needs_trf = pytest.mark.skipif(
    find_spec("spacy_transformers") is None, reason="spacy-transformers is not installed"
)
BOTH = pytest.mark.parametrize(
    "listener",
    [
        pytest.param(TOK2VEC, id="spaCy"),
        pytest.param(TRF, id="spacy-transformers", marks=needs_trf),
    ],
)
HEADS = ("tagger", "ner", "textcat")


def with_listener(listener: Settings, names: tuple[str, ...] = HEADS) -> dict[str, Settings]:
    return {name: head(name, listener) for name in names}


def gradients(nlp: Language, name: str = NAME) -> dict[str, NDArray[np.float32]]:
    """The encoder's gradients after one update without a step."""
    nlp.update(make_examples(nlp.vocab), sgd=False)  # type: ignore[arg-type]
    model = shared(nlp, name).model.shims[0].require().model
    return {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}


def copy_heads(source: Language, target: Language) -> None:
    """Give the heads of one pipeline the weights of another's. Their listeners are not the same layers."""
    for name in source.pipe_names[1:]:
        ours = [n for n in source.get_pipe(name).model.walk() if n.param_names]  # type: ignore[attr-defined]
        theirs = [n for n in target.get_pipe(name).model.walk() if n.param_names]  # type: ignore[attr-defined]
        for a, b in zip(ours, theirs, strict=True):
            for param in a.param_names:
                b.set_param(param, a.get_param(param).copy())


@BOTH
@pytest.mark.parametrize("name", [NAME, "transformer", "tok2vec"])
def test_a_neighbour_s_listener_predicts_and_sends_back_what_ours_does(
    listener: Settings, name: str, encoder_path: Path
) -> None:
    theirs = make_nlp(encoder_path, with_listener(listener), name=name)
    ours = make_nlp(encoder_path, with_listener(LISTENER))
    copy_heads(theirs, ours)
    for a, b in zip(theirs.pipe(TEXTS), ours.pipe(TEXTS), strict=True):
        assert annotations(a) == annotations(b)
        np.testing.assert_array_equal(a.tensor, b.tensor)
    expected, found = gradients(ours), gradients(theirs, name)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


@BOTH
def test_a_pipeline_with_a_neighbour_s_listener_learns_and_survives_the_disk(
    listener: Settings, encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, with_listener(listener))
    before = weights(nlp)
    losses = train(nlp, 40)
    assert all(losses[-1][name] < 0.5 * losses[0][name] for name in HEADS)
    after = weights(nlp)
    assert all(not np.array_equal(before[key], after[key]) for key in before)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for a, b in zip(nlp.pipe(TEXTS), loaded.pipe(TEXTS), strict=True):
        assert annotations(a) == annotations(b)
        assert [t.tag_ for t in a]


@needs_trf
def test_the_grad_factor_of_spacy_transformers_scales_the_gradient(encoder_path: Path) -> None:
    whole = make_nlp(encoder_path, with_listener(TRF, ("tagger",)))
    part = make_nlp(encoder_path, with_listener({**TRF, "grad_factor": 0.25}, ("tagger",)))
    for nlp in (whole, part):  # a new tagger's last layer is zero, and so is its gradient
        layer = nlp.get_pipe("tagger").model.get_ref("softmax")  # type: ignore[attr-defined]
        W = layer.get_param("W")
        layer.set_param("W", np.linspace(-1, 1, W.size, dtype="f").reshape(W.shape))
    expected, found = gradients(whole), gradients(part)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], 0.25 * value, rtol=1e-4, atol=1e-6, err_msg=key)


@needs_trf
def test_trf_data_holds_one_vector_per_token_when_somebody_reads_it(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, with_listener(TRF, ("tagger",)))
    assert "last_hidden_state" not in nlp("")._.trf_data.model_output  # spacy-transformers' way
    for doc in nlp.pipe([*TEXTS, " "]):
        data = doc._.trf_data
        assert data.model_output.last_hidden_state.shape == (1, len(doc), WIDTH)
        np.testing.assert_array_equal(data.model_output.last_hidden_state[0], doc.tensor)
        assert data.align.lengths.tolist() == [1] * len(doc)


@BOTH
def test_neighbours_and_our_own_listener_share_one_encoder(
    listener: Settings, encoder_path: Path
) -> None:
    heads = with_listener(listener, ("tagger",)) | with_listener(LISTENER, ("textcat",))
    nlp = make_nlp(encoder_path, heads)
    assert shared(nlp).listening_components == ["tagger", "textcat"]
    losses = train(nlp, 60)
    assert all(losses[-1][name] < 0.3 * losses[0][name] for name in heads)


@BOTH
def test_a_neighbour_s_listener_reads_a_frozen_encoder_that_annotates(
    listener: Settings, encoder_path: Path
) -> None:
    nlp = make_nlp(encoder_path, with_listener(listener, ("tagger",)))
    train(nlp, 2)
    before = weights(nlp)
    losses = train(nlp, 40, exclude=[NAME], annotates=[NAME])
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    after = weights(nlp)
    assert all(np.array_equal(before[key], after[key]) for key in before)


@BOTH
def test_neighbours_train_on_batches_with_empty_and_blank_documents(
    listener: Settings, encoder_path: Path
) -> None:
    nlp = make_nlp(encoder_path, with_listener(listener, ("tagger", "textcat")))
    examples = [*blank_examples(nlp.vocab), *make_examples(nlp.vocab)]
    losses = train(nlp, 40, examples=examples)
    assert losses[-1]["tagger"] < 0.5 * losses[0]["tagger"]


@BOTH
def test_a_copy_serves_heads_that_are_enabled_later(
    listener: Settings, encoder_path: Path, tmp_path: Path
) -> None:
    trained = make_nlp(encoder_path, with_listener(listener))
    train(trained, 20)
    trained.to_disk(tmp_path)
    expected = [annotations(doc) for doc in spacy.load(tmp_path).pipe(TEXTS)]
    nlp = copy.deepcopy(spacy.load(tmp_path, disable=HEADS))
    for name in HEADS:
        nlp.enable_pipe(name)
    assert [annotations(doc) for doc in nlp.pipe(TEXTS)] == expected


def test_a_wrong_width_is_named_with_its_place_and_the_right_one(encoder_path: Path) -> None:
    heads = with_listener({**TOK2VEC, "width": 64}, ("tagger",))
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, heads)
    message = str(error.value)
    assert "`[components.tagger.model.tok2vec] width = 64`" in message
    assert "`width = 32`" in message
    assert NAME in message


def test_a_narrow_entity_linker_works_where_the_width_is_written_down(encoder_path: Path) -> None:
    nlp = make_linker(encoder_path, TOK2VEC, vector_length=4)
    nlp.initialize(lambda: make_people(nlp.vocab))
    losses = train(nlp, 60, examples=make_people(nlp.vocab))
    assert losses[-1]["entity_linker"] < 0.5 * losses[0]["entity_linker"]


@pytest.mark.parametrize("vector_length", [4, 64])
def test_the_entity_linker_needs_no_width(
    encoder_path: Path, tmp_path: Path, vector_length: int
) -> None:
    nlp = make_linker(encoder_path, vector_length=vector_length)
    nlp.initialize(lambda: make_people(nlp.vocab))
    losses = train(nlp, 60, examples=make_people(nlp.vocab))
    assert losses[-1]["entity_linker"] < 0.5 * losses[0]["entity_linker"]
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    texts = [eg.reference.text for eg in make_people(nlp.vocab)]
    links = [[e.kb_id_ for e in doc.ents] for doc in nlp.pipe(texts)]
    assert [[e.kb_id_ for e in doc.ents] for doc in loaded.pipe(texts)] == links


def test_a_component_called_tok2vec_moves_over_by_its_factory_alone(encoder_path: Path) -> None:
    config = make_config(
        encoder_path, with_listener({**TOK2VEC, "upstream": "tok2vec"}), name="tok2vec"
    )
    nlp = English.from_config(config)
    nlp.initialize(lambda: make_examples(nlp.vocab))
    assert shared(nlp, "tok2vec").listening_components == list(HEADS)
    train(nlp, 60)
    tags = [t.tag_ for doc in nlp.pipe(TEXTS) for t in doc]
    assert tags == [tag for sentence in SENTENCES for tag in sentence.tags.split()]
