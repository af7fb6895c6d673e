"""What cannot be loaded is named, with its place in the config and the fix."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file, save_file

from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained
from spacy_mtl.errors import ConfigError

from ..families import make_encoder


def load(name: str | Path, **settings: Any) -> HuggingFaceEncoder:
    return load_pretrained(
        str(name), **({"transformer_config": {}, "tokenizer_config": {}} | settings)
    )


def refuse(name: str | Path, **settings: Any) -> str:
    """The message, which always names the value, the key and the fix."""
    with pytest.raises(ConfigError) as caught:
        load(name, **settings)
    message = str(caught.value)
    assert f"`{name}`" in message
    assert "Set `model.name` to " in message
    return message


@pytest.fixture
def folder(family_dir: Callable[[str], Path], tmp_path: Path) -> Path:
    """A BERT of one's own, to be damaged."""
    return Path(shutil.copytree(family_dir("bert"), tmp_path / "model"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert "cannot be loaded" in refuse(tmp_path / "nowhere" / "at" / "all")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    refuse(tmp_path)


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b/c", "../x", "\0", "a" * 300])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    refuse(name)


@pytest.mark.parametrize(
    "name", ["package:not_installed_anywhere/x", "package:", "package:/x", "package:../x"]
)
def test_a_package_that_is_not_installed_is_named(name: str) -> None:
    refuse(name)


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    refuse(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"hidden_size": 3}'])
def test_a_config_that_says_nothing_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refuse(folder)


def test_an_unknown_model_type_is_named_with_the_version(folder: Path) -> None:
    edit(folder / "config.json", model_type="brand-new")
    message = refuse(folder)
    assert "`brand-new`" in message
    assert transformers.__version__ in message


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refuse(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refuse(folder)


def test_weights_that_lack_a_tensor_are_refused_not_made_up(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    assert "encoder.layer.1.output.dense.weight" in refuse(folder)


def test_weights_of_another_model_are_refused_not_made_up(folder: Path, tmp_path: Path) -> None:
    other = make_encoder("distilbert", tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    refuse(folder)


@pytest.mark.parametrize(
    "settings",
    [{"hidden_size": 64}, {"num_hidden_layers": 4}, {"num_attention_heads": 5}],
    ids=str,
)
def test_settings_that_the_weights_do_not_fit_are_refused(
    folder: Path, settings: dict[str, Any]
) -> None:
    refuse(folder, transformer_config=settings)


@pytest.mark.parametrize("settings", [{"hidden_size": "wide"}, {"hidden_act": "nope"}], ids=str)
def test_settings_of_the_wrong_kind_are_refused(folder: Path, settings: dict[str, Any]) -> None:
    refuse(folder, transformer_config=settings)


def test_an_encoder_decoder_without_an_encoder_of_its_own_is_refused(folder: Path) -> None:
    sizes = dict.fromkeys(["encoder_layers", "decoder_layers", "max_position_embeddings"], 1)
    sizes |= dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim", "d_model"], 8)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 8}
    config = transformers.BartConfig(**sizes, **heads)
    transformers.BartModel(config).save_pretrained(folder)
    assert "`model_type` is `bart`, which has no encoder that reads text" in refuse(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    refuse(folder)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_a_damaged_tokenizer_is_refused(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    refuse(folder)


def test_a_slow_tokenizer_is_refused_with_a_way_to_convert_it(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "ByT5Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    message = refuse(folder)
    assert "no fast tokenizer" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize("attention", ["flash_attention_2", "evil/kernel:x", "", 3, ["sdpa"]])
def test_an_attention_that_we_do_not_know_is_refused(
    family_dir: Callable[[str], Path], attention: Any
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(family_dir("bert"), transformer_config={"attn_implementation": attention})
    message = str(caught.value)
    assert f"`model.transformer_config.attn_implementation = {attention!r}`" in message
    assert "`sdpa`, `eager`" in message


def test_an_attention_that_the_model_does_not_have_is_refused(
    family_dir: Callable[[str], Path],
) -> None:
    with pytest.raises(ConfigError, match=r"`DebertaV2Model` has no such attention.*`eager`"):
        load(family_dir("deberta-v3"), transformer_config={"attn_implementation": "sdpa"})
