"""Law 8: nothing in a model's folder is executed, and nothing is fetched because it says so."""

import contextlib
import json
import pickle
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from spacy_mtl.encoder.checkpoint import (
    from_files,
    make_manifest,
    read_folder,
    to_files,
    write_folder,
)
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained, strip_code_keys
from spacy_mtl.errors import CheckpointError, ConfigError

from ..families import FAMILIES

EVIL_KEYS: dict[str, Any] = {
    "auto_map": {
        "AutoConfig": "evil.Config",
        "AutoModel": "evil.Model",
        "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    },
    "custom_pipelines": {"evil": {"impl": "evil.Pipeline", "pt": ["AutoModel"]}},
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "attn_implementation": "evil/kernel:x",
    "_attn_implementation": "evil/kernel:x",
    "_attn_implementation_internal": "evil/kernel:x",
    "experts_implementation": "evil/kernel:x",
    "_experts_implementation": "evil/kernel:x",
    "kernel_config": {"kernel_mapping": {"RMSNorm": "evil/kernel:x"}},
    "use_kernels": True,
}


def evil_module(marker: Path) -> str:
    return f"from pathlib import Path\nPath({str(marker)!r}).write_text('run')\n"


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is not there as long as nobody runs evil code. The network is watched as well."""
    marker = tmp_path / "marker"

    def refuse(*args: Any, **kwargs: Any) -> None:
        marker.write_text(f"asked the network for {args!r}")
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return marker


@pytest.fixture
def evil_folder(family_dir: Callable[[str], Path], tmp_path: Path, marker: Path) -> Path:
    """A BERT that asks for evil code wherever Hugging Face might look for it."""
    folder = tmp_path / "model"
    shutil.copytree(family_dir("bert"), folder)
    (folder / "evil.py").write_text(evil_module(marker))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(evil_module(marker))
    config = json.loads((folder / "config.json").read_text())
    nested = {"text_config": dict(EVIL_KEYS), "deeper": {"still": dict(EVIL_KEYS)}}
    (folder / "config.json").write_text(json.dumps(config | EVIL_KEYS | nested))
    for name in ("tokenizer_config.json", "processor_config.json", "generation_config.json"):
        path = folder / name
        values = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(values | {"auto_map": EVIL_KEYS["auto_map"]}))
    return folder


def load(folder: Path, **settings: Any) -> HuggingFaceEncoder:
    return load_pretrained(
        str(folder), **({"transformer_config": {}, "tokenizer_config": {}} | settings)
    )


def hidden(encoder: HuggingFaceEncoder) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = encoder.model(input_ids=torch.tensor([[2, 9, 8, 7, 3]]))[0]
    return output


def mentions(value: Any, words: tuple[str, ...]) -> bool:
    text = json.dumps(value)
    return any(word in text for word in words)


def assert_untouched(marker: Path) -> None:
    assert not marker.exists(), marker.read_text()
    assert not any("evil" in name for name in sys.modules)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tokenizer_config": {"trust_remote_code": True}},
        {
            "transformer_config": {
                "trust_remote_code": True,
                **EVIL_KEYS,
                "attn_implementation": "eager",
            }
        },
    ],
    ids=["plain", "trusting tokenizer", "trusting model"],
)
def test_code_beside_a_model_is_never_run(
    evil_folder: Path, family_dir: Callable[[str], Path], marker: Path, settings: dict[str, Any]
) -> None:
    encoder = load(evil_folder, **settings)
    assert torch.allclose(hidden(encoder), hidden(load(family_dir("bert"))), atol=1e-6)
    assert encoder.model.config._attn_implementation in ("eager", "sdpa")
    assert_untouched(marker)


def test_what_asks_for_code_is_not_saved(evil_folder: Path, marker: Path) -> None:
    files = to_files(load(evil_folder))
    for name, content in files.items():
        if name.endswith(".json"):
            assert not mentions(json.loads(content), ("evil", *EVIL_KEYS)), name
    assert "evil.py" not in files
    assert_untouched(marker)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_config_never_names_an_attention_or_a_source(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    config = json.loads(to_files(load(family_dir(family)))["config.json"])
    assert not mentions(config, ("_implementation", "auto_map", "_name_or_path", "_commit_hash"))


def test_a_saved_config_that_was_edited_runs_nothing(
    evil_folder: Path, tmp_path: Path, marker: Path
) -> None:
    files = to_files(load(evil_folder))
    del files["manifest.json"]
    files["config.json"] = (evil_folder / "config.json").read_bytes()
    files["evil.py"] = (evil_folder / "evil.py").read_bytes()
    files["tokenizer_config.json"] = (evil_folder / "tokenizer_config.json").read_bytes()
    files["manifest.json"] = make_manifest(files)
    write_folder(files, tmp_path / "saved")
    encoder = from_files(read_folder(tmp_path / "saved"))
    assert torch.equal(hidden(encoder), hidden(load(evil_folder)))
    assert_untouched(marker)


def test_a_model_that_needs_its_own_code_is_refused(evil_folder: Path, marker: Path) -> None:
    values = json.loads((evil_folder / "config.json").read_text()) | {"model_type": "evil"}
    (evil_folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="`model_type` is `evil`"):
        load(evil_folder)
    assert_untouched(marker)


def test_a_tokenizer_that_needs_its_own_code_is_not_run(evil_folder: Path, marker: Path) -> None:
    path = evil_folder / "tokenizer_config.json"
    values = json.loads(path.read_text()) | {"tokenizer_class": "EvilTokenizer"}
    path.write_text(json.dumps(values))
    with contextlib.suppress(ConfigError):  # transformers 4 refuses, 5 takes tokenizer.json alone
        load(evil_folder)
    assert_untouched(marker)


def test_an_evil_pickle_is_not_unpickled(
    family_dir: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(family_dir("bert"), folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights | {"evil": Touch(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert_untouched(marker)


def test_a_pickle_in_place_of_saved_weights_is_not_unpickled(
    family_dir: Callable[[str], Path], marker: Path
) -> None:
    files = to_files(load(family_dir("bert")))
    del files["manifest.json"]
    files["model.safetensors"] = pickle.dumps(Touch(marker))
    files["manifest.json"] = make_manifest(files)
    with pytest.raises(CheckpointError, match=r"`model.safetensors` is not a safetensors file"):
        from_files(files)
    assert_untouched(marker)


@pytest.mark.parametrize("key", EVIL_KEYS)
def test_a_key_that_asks_for_code_is_stripped_at_any_depth(key: str) -> None:
    harmless = {"hidden_size": 32, "id2label": {"0": "a"}, "layer_types": ["full", "local"]}
    evil = harmless | {key: EVIL_KEYS[key]}
    assert strip_code_keys(evil) == harmless
    assert strip_code_keys({"a": {"b": evil}, **evil}) == {"a": {"b": harmless}, **harmless}
    assert key in evil  # the argument is left as it was


def test_keys_that_ask_for_code_are_stripped_inside_lists_too() -> None:
    evil = {"hidden_size": 32, **EVIL_KEYS}
    assert strip_code_keys({"a": [evil, [evil], 3]}) == {
        "a": [{"hidden_size": 32}, [{"hidden_size": 32}], 3]
    }
