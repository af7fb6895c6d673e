"""Two encoders in one pipeline, and heads with more than one listener."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, concatenate

from spacy_mtl.errors import ConfigError, ListenerError

from ..families import NO_DROPOUT, make_encoder
from .helpers import (
    LISTENER,
    NAME,
    WIDTH,
    Settings,
    encoder_model,
    head,
    make_nlp,
    shared,
    train,
    weights,
)
from .sentences import SENTENCES, TEXTS, annotations, make_examples

FIRST, SECOND = "first_encoder", "second_encoder"
JOINED = "spacy_mtl_tests.JoinedListeners.v1"


@registry.architectures(JOINED)
def join_listeners(
    left: Model[list[Doc], Any], right: Model[list[Doc], Any]
) -> Model[list[Doc], Any]:
    """Two listeners side by side: vectors of twice the width."""
    return concatenate(left, right)


def listen_to(upstream: str) -> Settings:
    return {**LISTENER, "upstream": upstream}


def joined(left: str, right: str) -> Settings:
    return {"@architectures": JOINED, "left": listen_to(left), "right": listen_to(right)}


def make_two(
    path: Path, order: tuple[str, ...], heads: dict[str, Settings], *, other: Path | None = None
) -> Language:
    """A pipeline of two encoders and the heads, in this order."""
    encoders = {
        FIRST: {"factory": NAME, "model": encoder_model(path)},
        SECOND: {"factory": NAME, "model": encoder_model(other or path)},
    }
    config = {"nlp": {"lang": "en", "pipeline": list(order)}, "components": {**encoders, **heads}}
    nlp = English.from_config(config)
    nlp.initialize(lambda: make_examples(nlp.vocab))
    return nlp


@pytest.fixture(scope="module")
def wide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "bert"
    return make_encoder("bert", path, hidden_size=64, **NO_DROPOUT["bert"])


def moved(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return any(not np.array_equal(before[name], after[name]) for name in before)


def fits(nlp: Language) -> bool:
    tags = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    return tags == [sentence.tags.split() for sentence in SENTENCES]


@pytest.mark.parametrize("by_name", [True, False], ids=["by name", "by order"])
def test_each_of_two_encoders_serves_the_heads_that_follow_it(
    by_name: bool, encoder_path: Path, wide_path: Path, tmp_path: Path
) -> None:
    heads = {
        "tagger": head("tagger", listen_to(FIRST if by_name else "*")),
        "textcat": head("textcat", {**listen_to(SECOND if by_name else "*"), "grad_factor": 0.0}),
    }
    other = wide_path if by_name else encoder_path
    nlp = make_two(encoder_path, (FIRST, "tagger", SECOND, "textcat"), heads, other=other)
    assert shared(nlp, SECOND).listening_components == ["textcat"]
    first, second = weights(nlp, FIRST), weights(nlp, SECOND)
    losses = train(nlp, 80)
    assert moved(first, weights(nlp, FIRST))
    assert not moved(second, weights(nlp, SECOND))
    assert losses[-1]["textcat"] < losses[0]["textcat"]
    assert fits(nlp)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for a, b in zip(nlp.pipe(TEXTS), loaded.pipe(TEXTS), strict=True):
        assert annotations(a) == annotations(b)


@pytest.mark.parametrize(
    "tok2vec", [listen_to(FIRST), joined(FIRST, SECOND)], ids=["the first", "both"]
)
def test_a_head_whose_vectors_another_encoder_would_replace_is_refused(
    tok2vec: Settings, encoder_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        make_two(encoder_path, (FIRST, SECOND, "tagger"), {"tagger": head("tagger", tok2vec)})
    message = str(error.value)
    assert f"`tagger` listens to `{FIRST}`, but `{SECOND}` stands between" in message
    assert "`doc.tensor`" in message
    assert "[nlp] pipeline" in message


def test_a_head_whose_vectors_spacy_s_tok2vec_would_replace_is_refused(encoder_path: Path) -> None:
    heads = {"tok2vec": {"factory": "tok2vec"}, "tagger": head("tagger")}
    with pytest.raises(ConfigError, match="`tok2vec` stands between them"):
        make_nlp(encoder_path, heads)


def test_two_listeners_of_one_head_add_their_gradients(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, {"tagger": head("tagger", joined(NAME, NAME))})
    assert len(shared(nlp).listener_map["tagger"]) == 2
    examples = make_examples(nlp.vocab)
    shared(nlp).update(examples)
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")  # type: ignore[attr-defined]
    vectors, backprop = tok2vec.begin_update([example.predicted for example in examples])
    for v, example in zip(vectors, examples, strict=True):
        np.testing.assert_array_equal(v[:, :WIDTH], v[:, WIDTH:])
        np.testing.assert_array_equal(v[:, :WIDTH], example.predicted.tensor)
    gradient = np.repeat([1.0, 2.0], WIDTH).astype("f")
    backprop([np.tile(gradient, (len(v), 1)) for v in vectors])
    slots = shared(nlp)._batch.buffer.slots  # type: ignore[union-attr]
    assert list(slots) == ["tagger"]
    assert (slots["tagger"] == 3.0).all()


def test_a_head_with_two_listeners_learns_and_survives_their_replacement(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, {"tagger": head("tagger", joined(NAME, NAME))})
    train(nlp, 80)
    assert fits(nlp)
    nlp.replace_listeners(NAME, "tagger", ["model.tok2vec.left", "model.tok2vec.right"])
    assert shared(nlp).listeners == []
    nlp.to_disk(tmp_path)
    assert fits(nlp)
    assert fits(spacy.load(tmp_path))


def test_one_listener_on_two_encoders_of_different_width_is_refused(
    encoder_path: Path, wide_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        make_two(
            encoder_path, (FIRST, SECOND, "tagger"), {"tagger": head("tagger")}, other=wide_path
        )
    message = str(error.value)
    assert all(part in message for part in ("`tagger`", "32", "64", f"`{SECOND}`", "`upstream`"))


@pytest.mark.parametrize("annotates", [(), (SECOND,)])
def test_a_head_of_a_frozen_encoder_does_not_train_on_another_s_vectors(
    encoder_path: Path, annotates: tuple[str, ...]
) -> None:
    heads = {
        "tagger": head("tagger", listen_to(FIRST)),
        "textcat": head("textcat", listen_to(SECOND)),
    }
    nlp = make_two(encoder_path, (FIRST, "tagger", SECOND, "textcat"), heads)

    def update() -> None:
        nlp.update(make_examples(nlp.vocab), exclude=[SECOND], annotates=annotates)

    if SECOND in annotates:
        update()
        return
    with pytest.raises(ListenerError, match=rf"`{SECOND}` has not .* the vectors of `{FIRST}`"):
        update()
