"""A setting that cannot work is named with its value and the fix, as early as it can be known."""

import re
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.lang.en import English
from thinc.api import Config, ConfigValidationError

from spacy_mtl.errors import ConfigError
from spacy_mtl.pipeline.architectures import make_listener

from .helpers import LISTENER, NAME, head, make_config, make_nlp
from .sentences import make_examples

ADAMW = "spacy_mtl.AdamW.v1"

# settings of the encoder that are wrong whatever the encoder, and what the error has to say
WRONG_MODEL: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "precision": ({"precision": "fp8"}, ("`model.precision = 'fp8'`", "`bf16`", "`auto`")),
    "pooling": ({"pooling": "sum"}, ("`model.pooling = 'sum'`", "`mean`", "`last`")),
    "no window": ({"window": 0}, ("`model.window = 0`", "at least 1")),
    "stride over window": (
        {"window": 10, "stride": 11},
        ("`model.stride = 11`", "from 1 to the window, 10"),
    ),
    "no stride": ({"stride": 0}, ("`model.stride = 0`", "from 1")),
    "negative budget": (
        {"max_batch_wordpieces": -1},
        ("`model.max_batch_wordpieces = -1`", "at least 1"),
    ),
    "unknown part to freeze": (
        {"freeze_layers": "bottom"},
        ("`model.freeze_layers = 'bottom'`", "`all`"),
    ),
    "negative layers to freeze": ({"freeze_layers": -1}, ("`model.freeze_layers = -1`", "`all`")),
    "attention": (
        {"transformer_config": {"attn_implementation": "flash_attention_2"}},
        ("`model.transformer_config.attn_implementation = 'flash_attention_2'`", "`sdpa`"),
    ),
}

# settings that need the encoder to be judged
WRONG_FOR_THIS_ENCODER: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "window": ({"window": 127}, ("`model.window = 127`", "at most 126")),
    "stride over its window": ({"stride": 127}, ("`model.stride = 127`", "the window, 126")),
    "layers to freeze": ({"freeze_layers": 3}, ("`model.freeze_layers = 3`", "0 to 2")),
    "another width": (
        {"transformer_config": {"hidden_size": 64}},
        ("cannot be loaded", "transformer_config"),
    ),
    "a setting of the wrong type": (
        {"transformer_config": {"hidden_dropout_prob": "high"}},
        ("cannot be loaded", "transformer_config"),
    ),
    "a setting it does not have": (
        {"transformer_config": {"hidden_drop": 0.1}},
        ("`model.transformer_config.hidden_drop", "`bert`"),
    ),
}

WRONG_OPTIMIZER: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "learn_rate": ({"learn_rate": -1e-3}, ("`optimizer.learn_rate = -0.001`", "at least 0")),
    "beta1": ({"beta1": 1.0}, ("`optimizer.beta1 = 1.0`", "below 1")),
    "beta2": ({"beta2": -0.1}, ("`optimizer.beta2 = -0.1`", "from 0")),
    "eps": ({"eps": 0.0}, ("`optimizer.eps = 0.0`", "above 0")),
    "no rates": ({"learn_rate": []}, ("`optimizer.learn_rate = []`", "a number or a schedule")),
    "weight_decay": ({"weight_decay": -0.1}, ("`optimizer.weight_decay = -0.1`", "at least 0")),
    "layer_decay": ({"layer_decay": 0.0}, ("`optimizer.layer_decay = 0.0`", "above 0")),
    "layer_decay over 1": ({"layer_decay": 1.1}, ("`optimizer.layer_decay = 1.1`", "at most 1")),
    "grad_clip": ({"grad_clip": -1.0}, ("`optimizer.grad_clip = -1.0`", "at least 0")),
}


def assert_says(error: BaseException, parts: tuple[str, ...]) -> None:
    assert [part for part in parts if part not in str(error)] == []


def test_an_encoder_without_a_name_is_asked_for_when_it_is_loaded() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("shared_transformer")
    nlp.add_pipe("biluo_ner")
    with pytest.raises(ConfigError) as error:
        nlp.initialize()
    assert_says(error.value, ("model] name` names no encoder", "`package:NAME/FOLDER`"))


def test_the_name_of_an_encoder_is_all_that_a_component_needs(encoder_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("shared_transformer", config={"model": {"name": str(encoder_path)}})
    nlp.initialize()
    assert nlp("Anna likes Riga").tensor.shape == (3, 32)


@pytest.mark.parametrize(("settings", "parts"), WRONG_MODEL.values(), ids=WRONG_MODEL)
def test_a_wrong_setting_of_the_encoder_is_found_when_the_config_is_read(
    settings: dict[str, Any], parts: tuple[str, ...], encoder_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, model=settings, initialize=False)
    assert_says(error.value, parts)


@pytest.mark.parametrize(
    ("settings", "parts"), WRONG_FOR_THIS_ENCODER.values(), ids=WRONG_FOR_THIS_ENCODER
)
def test_a_setting_that_this_encoder_cannot_take_is_found_when_the_pipeline_is_initialized(
    settings: dict[str, Any], parts: tuple[str, ...], encoder_path: Path
) -> None:
    nlp = make_nlp(encoder_path, model=settings, initialize=False)
    with pytest.raises(ConfigError) as error:
        nlp.initialize(lambda: make_examples(nlp.vocab))
    assert_says(error.value, parts)


@pytest.mark.parametrize(("settings", "parts"), WRONG_OPTIMIZER.values(), ids=WRONG_OPTIMIZER)
def test_a_wrong_setting_of_the_optimizer_is_found_when_the_config_is_read(
    settings: dict[str, Any], parts: tuple[str, ...], encoder_path: Path
) -> None:
    optimizer = {"@optimizers": ADAMW, **settings}
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, optimizer=optimizer, initialize=False)
    assert_says(error.value, parts)


@pytest.mark.parametrize(
    "model",
    [
        {"@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 10}
        | {"window_size": 1, "maxout_pieces": 2, "subword_features": False}
        | {"pretrained_vectors": None},
        {"@architectures": "spacy-transformers.TransformerModel.v3", "name": "bert"}
        | {"get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"}},
    ],
    ids=["tok2vec", "spacy-transformers"],
)
def test_another_encoder_than_ours_is_refused_when_the_config_is_read(
    model: dict[str, Any], encoder_path: Path
) -> None:
    """Who moves a config over may change the factory only."""
    if "transformers" in model["@architectures"]:
        pytest.importorskip("spacy_transformers")
    config = make_config(encoder_path)
    config["components"][NAME]["model"] = model
    with pytest.raises(ConfigError) as error:
        English.from_config(config)
    assert_says(error.value, (f"`components.{NAME}.model`", "spacy_mtl.TransformerEncoder.v1"))


def test_another_optimizer_than_ours_is_refused_when_the_config_is_read(encoder_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, optimizer={"@optimizers": "Adam.v1"}, initialize=False)
    assert_says(error.value, (f"components.{NAME}.optimizer", ADAMW, "`null`"))


def test_an_unknown_storage_is_refused_when_the_config_is_read(encoder_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, storage="int8", initialize=False)
    parts = (f"`components.{NAME}.storage = 'int8'`", "`fp32`", "`bf16`", "`fp16`")
    assert_says(error.value, parts)


def test_a_negative_interval_of_calibrations_is_refused(encoder_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        make_nlp(encoder_path, calibrate_every=-1, initialize=False)
    key = f"`components.{NAME}.calibrate_every = -1`"
    assert_says(error.value, (key, "a whole number, at least 0"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    nlp = make_nlp(tmp_path / "nowhere", initialize=False)
    with pytest.raises(ConfigError) as error:
        nlp.initialize()
    assert_says(error.value, (f"`{tmp_path / 'nowhere'}` cannot be loaded", "Set `model.name`"))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    nlp = make_nlp(tmp_path, initialize=False)
    with pytest.raises(ConfigError) as error:
        nlp.initialize()
    assert_says(error.value, (f"`{tmp_path}` cannot be loaded", "Set `model.name`"))


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        ("model", {"precison": "fp32"}),
        ("model", {"window": "wide"}),
        ("model", {"max_batch_wordpieces": 1.5}),
        ("component", {"save_optimiser": False}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_an_unknown_key_or_a_value_of_the_wrong_type_is_named_by_spacy(
    place: str, settings: dict[str, Any], encoder_path: Path
) -> None:
    config = make_config(encoder_path)
    component = config["components"][NAME]
    (component["model"] if place == "model" else component).update(settings)
    with pytest.raises(ConfigValidationError, match=next(iter(settings))):
        English.from_config(config)


def test_the_smallest_config_needs_nothing_but_a_name(encoder_path: Path) -> None:
    text = f"""
[nlp]
lang = "en"
pipeline = ["shared_transformer","tagger"]

[components]

[components.shared_transformer]
factory = "shared_transformer"

[components.shared_transformer.model]
@architectures = "spacy_mtl.TransformerEncoder.v1"
name = "{encoder_path.as_posix()}"

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
@architectures = "spacy_mtl.SharedTransformerListener.v1"
"""
    nlp = English.from_config(Config().from_str(text))
    nlp.initialize(lambda: make_examples(nlp.vocab))
    assert len(nlp("It runs").tensor) == 2
    assert nlp.config["components"][NAME]["model"]["precision"] == "auto"  # written out


def test_something_else_than_a_balancer_is_refused(encoder_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"components\.\w+\.balancer = 'magic'.*EqualProjection\.v1"
    ):
        make_nlp(encoder_path, initialize=False, balancer="magic")


def test_a_number_in_quotes_is_no_schedule(encoder_path: Path) -> None:
    quoted = "2e-4"
    optimizer = {"@optimizers": ADAMW, "learn_rate": quoted}
    with pytest.raises(ConfigError, match=r"`optimizer\.learn_rate = .*without quotes"):
        make_nlp(encoder_path, optimizer=optimizer)
    listener = {**LISTENER, "grad_factor": quoted}
    with pytest.raises(ConfigError, match=r"`tok2vec\.grad_factor = .*without quotes"):
        make_nlp(encoder_path, {"tagger": head("tagger", listener)})
    with pytest.raises(ConfigError, match=r"`tok2vec\.grad_factor = None`"):
        make_listener(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pipeline", "upstream", "said"),
    [
        ((NAME, "tagger"), "transfomer", f"that is called `transfomer`.*has `{NAME}`"),
        (("tagger", NAME), "*", f"The pipeline has `{NAME}`: let it stand before `tagger`"),
        (("tagger", NAME), NAME, f"The pipeline has `{NAME}`: let it stand before `tagger`"),
        (("tagger",), "*", 'factory = "shared_transformer".*Add one'),
    ],
)
def test_a_listener_that_finds_nobody_says_what_there_is(
    encoder_path: Path, pipeline: tuple[str, ...], upstream: str, said: str
) -> None:
    config = make_config(
        encoder_path, {"tagger": head("tagger", {**LISTENER, "upstream": upstream})}
    )
    config["nlp"]["pipeline"] = list(pipeline)
    config["components"] = {name: config["components"][name] for name in pipeline}
    nlp = English.from_config(config)
    with pytest.raises(ConfigError, match=f'`upstream = "{re.escape(upstream)}"`.*{said}') as error:
        nlp.initialize(lambda: make_examples(nlp.vocab))
    assert ("`components.tagger`: its listener's" in str(error.value)) == (NAME in pipeline)
