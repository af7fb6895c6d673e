"""`nlp.replace_listeners` gives a head an encoder of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language

from .helpers import LISTENER, NAME, encoder_model, head, make_nlp, shared, train, weights
from .sentences import TEXTS, annotations, make_examples

LISTENERS = {
    "ours": LISTENER,
    "spaCy's": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32},
}


@pytest.fixture(params=LISTENERS)
def nlp(request: pytest.FixtureRequest, encoder_path: Path) -> Language:
    heads = {
        "tagger": head("tagger", LISTENERS[request.param]),
        "textcat": head("textcat", LISTENERS[request.param]),
    }
    nlp = make_nlp(encoder_path, heads)
    train(nlp, 10)
    return nlp


def own_weights(nlp: Language) -> dict[str, Any]:
    """The weights of the tagger's own encoder."""
    (shim,) = [shim for node in nlp.get_pipe("tagger").model.walk() for shim in node.shims]  # type: ignore[attr-defined]
    named = shim.require().model.named_parameters()
    return {name: parameter.detach().numpy().copy() for name, parameter in named}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_the_head_predicts_the_same_and_listens_no_more(nlp: Language) -> None:
    before = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    assert shared(nlp).listening_components == ["textcat"]
    assert same(own_weights(nlp), weights(nlp))
    assert [annotations(doc) for doc in nlp.pipe(TEXTS)] == before


def test_the_config_names_the_encoder_and_the_pipeline_survives_the_disk(
    nlp: Language, encoder_path: Path, tmp_path: Path
) -> None:
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    before = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    written = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    expected = encoder_model(encoder_path)
    assert {key: written[key] for key in expected} == expected
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert [annotations(doc) for doc in loaded.pipe(TEXTS)] == before
    alone = spacy.load(tmp_path, exclude=[NAME, "textcat"])
    tags = [[t.tag_ for t in doc] for doc in alone.pipe(TEXTS)]
    assert tags == [answer["tags"] for answer in before]
    assert shared(loaded).listening_components == ["textcat"]


def test_the_head_s_copy_and_the_shared_encoder_train_on_their_own(nlp: Language) -> None:
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    own, common = own_weights(nlp), weights(nlp)
    train(nlp, 2, exclude=["textcat", NAME])
    assert not same(own, own_weights(nlp))
    assert same(common, weights(nlp))
    own = own_weights(nlp)
    train(nlp, 2, exclude=["tagger"])
    assert same(own, own_weights(nlp))
    assert not same(common, weights(nlp))
    losses = train(nlp, 40)
    assert all(losses[-1][name] < losses[0][name] for name in ("tagger", "textcat"))


def test_all_heads_can_be_replaced_and_the_encoder_be_removed(
    nlp: Language, tmp_path: Path
) -> None:
    before = [annotations(doc) for doc in nlp.pipe(TEXTS)]
    for name in ("tagger", "textcat"):
        nlp.replace_listeners(NAME, name, ["model.tok2vec"])
    nlp.remove_pipe(NAME)
    nlp.to_disk(tmp_path)
    for pipeline in (nlp, spacy.load(tmp_path)):
        assert [annotations(doc) for doc in pipeline.pipe(TEXTS)] == before


def test_a_step_that_is_still_owed_reaches_the_copy(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ["tagger", "textcat"])
    train(nlp, 2)  # the first gradient is zero: a new head's last layer is
    before = weights(nlp)
    train(nlp, 1)  # this loop steps the encoder when it is next looked at
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec"])
    assert not same(before, own_weights(nlp))
    assert same(weights(nlp), own_weights(nlp))


def test_an_encoder_can_be_a_head_s_own_from_the_start(encoder_path: Path, tmp_path: Path) -> None:
    config = {
        "nlp": {"lang": "en", "pipeline": ["tagger"]},
        "components": {"tagger": head("tagger", encoder_model(encoder_path))},
    }
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.initialize(lambda: make_examples(nlp.vocab))
    before = own_weights(nlp)
    losses = train(nlp, 40)
    assert losses[-1]["tagger"] < 0.5 * losses[0]["tagger"]
    assert not same(before, own_weights(nlp))
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for a, b in zip(nlp.pipe(TEXTS), loaded.pipe(TEXTS), strict=True):
        assert annotations(a) == annotations(b)


def test_a_head_can_be_sourced_with_its_listener_replaced(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path)
    config = {
        "nlp": {"lang": "en", "pipeline": ["tagger"]},
        "components": {"tagger": {"source": str(tmp_path), "replace_listeners": ["model.tok2vec"]}},
    }
    other = spacy.util.load_model_from_config(config, auto_fill=True)
    for a, b in zip(nlp.pipe(TEXTS), other.pipe(TEXTS), strict=True):
        assert [t.tag_ for t in a] == [t.tag_ for t in b]
