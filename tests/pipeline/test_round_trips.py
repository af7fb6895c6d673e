"""Law 7: a pipeline that was saved, sent or copied predicts what it predicted before."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.lang.en import English
from spacy.language import Language

from spacy_mtl.errors import ConfigError

from .helpers import NAME, Settings, make_config, make_nlp, make_optimizer, shared, train, weights
from .sentences import TEXTS, annotations, make_examples

HEADS = ("tagger", "ner", "textcat")
ADAMW = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.002}


@pytest.fixture
def nlp(encoder_path: Path) -> Language:
    """A pipeline that has learned something, by a loop that leaves the last step to be done."""
    nlp = make_nlp(encoder_path, HEADS)
    train(nlp, 5)
    return nlp


def predictions(nlp: Language) -> list[dict[str, Any]]:
    return [annotations(doc) for doc in nlp.pipe([*TEXTS, "", "one more"])]


def same_weights(a: Language, b: Language) -> bool:
    one, other = weights(a), weights(b)
    return all(np.array_equal(one[name], other[name]) for name in one)


def through_disk(nlp: Language, tmp_path: Path) -> Language:
    nlp.to_disk(tmp_path / "model")
    return spacy.load(tmp_path / "model")


def through_bytes(nlp: Language, tmp_path: Path) -> Language:
    return English.from_config(nlp.config).from_bytes(nlp.to_bytes())


def through_pickle(nlp: Language, tmp_path: Path) -> Language:
    loaded: Language = pickle.loads(pickle.dumps(nlp))
    return loaded


def through_deepcopy(nlp: Language, tmp_path: Path) -> Language:
    return copy.deepcopy(nlp)


TRIPS: list[Callable[[Language, Path], Language]] = [
    through_disk,
    through_bytes,
    through_pickle,
    through_deepcopy,
]


@pytest.mark.parametrize("optimizer", [None, ADAMW], ids=["one optimizer", "the encoder's own"])
@pytest.mark.parametrize("trip", TRIPS)
def test_a_pipeline_predicts_the_same_after(
    trip: Callable[[Language, Path], Language],
    optimizer: Settings | None,
    encoder_path: Path,
    tmp_path: Path,
) -> None:
    nlp = make_nlp(encoder_path, HEADS, optimizer=optimizer)
    train(nlp, 5)
    other = trip(nlp, tmp_path)
    assert predictions(other) == predictions(nlp)
    assert same_weights(nlp, other)
    assert shared(other).listening_components == list(HEADS)


def test_loading_draws_no_random_weights(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp.to_disk(tmp_path)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights were initialised at random before those of the file")

    for name in ("normal_", "trunc_normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, refuse)
    monkeypatch.setattr(torch.Tensor, "normal_", refuse)
    monkeypatch.setattr(torch.Tensor, "uniform_", refuse)
    assert same_weights(nlp, spacy.load(tmp_path))


@pytest.mark.parametrize("trip", TRIPS)
def test_a_copy_and_its_original_train_on_without_each_other(
    trip: Callable[[Language, Path], Language], nlp: Language, tmp_path: Path
) -> None:
    other = trip(nlp, tmp_path)
    before = predictions(nlp)
    kept = weights(nlp)
    losses = train(other, 15)
    assert losses[-1]["tagger"] < 0.9 * losses[0]["tagger"]
    assert predictions(nlp) == before
    assert all(np.array_equal(kept[name], value) for name, value in weights(nlp).items())


@pytest.mark.parametrize("trip", [through_pickle, through_deepcopy])
def test_a_copy_trains_on_exactly_as_its_original_would(
    trip: Callable[[Language, Path], Language], encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, ["tagger", "textcat"], optimizer=ADAMW)  # ner updates at random
    nlp._optimizer = make_optimizer()
    train(nlp, 3, nlp._optimizer)
    other = trip(nlp, tmp_path)
    train(nlp, 3, nlp._optimizer)
    train(other, 3, other._optimizer)
    assert same_weights(nlp, other)


@pytest.mark.parametrize("trip", TRIPS)
def test_a_pipeline_that_was_not_initialized_can_be_sent_and_initialized_there(
    trip: Callable[[Language, Path], Language], encoder_path: Path, tmp_path: Path
) -> None:
    other = trip(make_nlp(encoder_path, HEADS, initialize=False), tmp_path)
    with pytest.raises(ConfigError, match=r"no weights yet.*`nlp\.initialize\(\)`"):
        other("text")
    other.initialize(lambda: make_examples(other.vocab))
    assert len(other("text").tensor)


@pytest.mark.parametrize("trip", TRIPS)
def test_settings_of_the_encoder_survive(
    trip: Callable[[Language, Path], Language], encoder_path: Path, tmp_path: Path
) -> None:
    eager = {"attn_implementation": "eager"}  # which no config.json may hold
    settings = {"pooling": "last", "window": 7, "stride": 5, "freeze_layers": 1}
    settings["transformer_config"] = eager
    nlp = make_nlp(encoder_path, HEADS, model=settings)
    other = trip(nlp, tmp_path)
    shim = shared(other).shim
    assert (shim.window, shim.stride) == (7, 5)
    assert shim.settings.pooling == "last"
    assert shim.require().model.config._attn_implementation == "eager"
    frozen = [n for n, p in shim.require().model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all("layer.0." in name for name in frozen)
    assert predictions(other) == predictions(nlp)


def test_settings_of_the_encoder_can_be_changed_when_a_pipeline_is_loaded(
    encoder_path: Path, tmp_path: Path
) -> None:
    settings = {"transformer_config": {"hidden_dropout_prob": 0.0}}
    make_nlp(encoder_path, ["tagger"], model=settings).to_disk(tmp_path)
    model = f"components.{NAME}.model"
    changes = {
        f"{model}.pooling": "first",
        f"{model}.freeze_layers": "all",
        f"{model}.transformer_config.hidden_dropout_prob": 0.25,
    }
    shim = shared(spacy.load(tmp_path, config=changes)).shim
    assert shim.settings.pooling == "first"
    assert shim.is_frozen
    assert shim.require().model.config.hidden_dropout_prob == 0.25


@pytest.mark.parametrize(("storage", "tolerance"), [("bf16", 2e-2), ("fp16", 2e-3)])
def test_weights_may_be_stored_in_half_the_space(
    storage: str, tolerance: float, encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, HEADS, storage=storage)
    train(nlp, 30)
    nlp.to_disk(tmp_path / "half")
    shared(nlp).storage = "fp32"
    nlp.to_disk(tmp_path / "whole")
    half, whole = (
        (tmp_path / name / NAME / "model" / "model.safetensors").stat().st_size
        for name in ("half", "whole")
    )
    assert half < 0.6 * whole
    loaded = spacy.load(tmp_path / "half")
    for name, value in weights(nlp).items():
        np.testing.assert_allclose(weights(loaded)[name], value, rtol=tolerance, atol=tolerance)
    rounded = loaded.config["components"][NAME]["storage"]
    assert rounded == storage
    for a, b in zip(nlp.pipe(TEXTS), loaded.pipe(TEXTS), strict=True):
        assert [t.tag_ for t in a] == [t.tag_ for t in b]
        assert [e.label_ for e in a.ents] == [e.label_ for e in b.ents]
    again = through_disk(loaded, tmp_path)  # rounding twice changes nothing
    assert same_weights(loaded, again)


@pytest.mark.parametrize("how", ["disable", "exclude"])
def test_the_other_heads_predict_the_same_without_one_of_them(
    how: str, nlp: Language, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path)
    part = spacy.load(tmp_path, **{how: ["tagger"]})
    assert "tagger" not in part.pipe_names
    for a, b in zip(predictions(part), predictions(nlp), strict=True):
        assert not any(a.pop("tags"))
        b.pop("tags")
        assert a == b


def test_a_head_that_was_disabled_at_load_can_be_enabled_later(
    nlp: Language, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path)
    part = spacy.load(tmp_path, disable=["tagger"])
    part.enable_pipe("tagger")
    assert predictions(part) == predictions(nlp)


def test_sourced_components_predict_the_same_in_another_pipeline(nlp: Language) -> None:
    other = spacy.blank("en")
    for name in (NAME, "textcat", "tagger"):
        other.add_pipe(name, source=nlp)
    for a, b in zip(predictions(other), predictions(nlp), strict=True):
        assert (a["tags"], a["cats"]) == (b["tags"], b["cats"])


def test_sourced_components_may_take_another_name(nlp: Language, tmp_path: Path) -> None:
    expected = predictions(nlp)
    other = spacy.blank("en")
    other.add_pipe(NAME, source=nlp, name="trf")
    other.add_pipe("tagger", source=nlp, name="pos")
    assert shared(other, "trf").listening_components == ["pos"]
    loaded = through_disk(other, tmp_path)
    for pipeline in (other, loaded):
        assert [p["tags"] for p in predictions(pipeline)] == [p["tags"] for p in expected]


def test_a_config_can_source_the_encoder_and_its_heads_from_a_saved_pipeline(
    nlp: Language, encoder_path: Path, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path)
    config = make_config(encoder_path, HEADS)
    config["components"] = {name: {"source": str(tmp_path)} for name in (NAME, *HEADS)}
    assert predictions(English.from_config(config)) == predictions(nlp)


def test_a_saved_model_holds_no_trace_of_the_machine_and_loads_in_hugging_face(
    nlp: Language, encoder_path: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel

    nlp.to_disk(tmp_path)
    folder = tmp_path / NAME / "model"
    for path in folder.iterdir():
        assert str(encoder_path).encode() not in path.read_bytes()
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.detach().numpy(), weights(nlp)[name])
