"""A saved encoder that was damaged or changed is refused, and the error names the file."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from spacy_mtl.encoder.checkpoint import (
    from_files,
    make_manifest,
    read_folder,
    read_metadata,
    read_weights,
    to_files,
    verify,
    weights_to_bytes,
    write_folder,
)
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.errors import CheckpointError

NAMES: tuple[str, ...] = ("config.json", "manifest.json", "model.safetensors", "tokenizer.json")
NAMES += ("tokenizer_config.json",)
CONTENT_NAMES = tuple(name for name in NAMES if name != "manifest.json")


@pytest.fixture(scope="module")
def files(family_dir: Callable[[str], Path]) -> dict[str, bytes]:
    encoder = load_pretrained(str(family_dir("bert")), transformer_config={}, tokenizer_config={})
    return to_files(encoder)


def flip(content: bytes, position: int, bit: int = 0) -> bytes:
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def positions(size: int, n: int = 60) -> list[int]:
    """The first and last bytes, and a sample of those between."""
    inner = random.Random(size).sample(range(size), min(n, size))
    return sorted({*range(min(16, size)), *range(max(size - 16, 0), size), *inner})


def loads_as(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def refuse(files: dict[str, bytes], *, name: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        from_files(files, where="saved/")
    assert f"`saved/{name}`" in str(caught.value)
    return str(caught.value)


def test_an_encoder_is_five_files(files: dict[str, bytes]) -> None:
    assert tuple(sorted(files)) == NAMES
    verify(files)


@pytest.mark.parametrize("name", CONTENT_NAMES)
def test_a_flipped_byte_anywhere_in_a_file_is_found(files: dict[str, bytes], name: str) -> None:
    for position in positions(len(files[name])):
        changed = files | {name: flip(files[name], position, position % 8)}
        assert "differs from the SHA-256" in refuse(changed, name=name)


def test_a_flipped_bit_anywhere_in_the_manifest_is_found_or_means_the_same(
    files: dict[str, bytes],
) -> None:
    manifest = files["manifest.json"]
    original = json.loads(manifest)
    for position in range(len(manifest)):
        changed = flip(manifest, position, position % 8)
        if loads_as(changed) == original:
            continue
        with pytest.raises(CheckpointError) as caught:
            verify(files | {"manifest.json": changed}, where="saved/")
        assert any(f"`saved/{name}`" in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", CONTENT_NAMES)
@pytest.mark.parametrize("keep", [0, 1, 8, -1])
def test_a_truncated_file_is_named_with_both_sizes(
    files: dict[str, bytes], name: str, keep: int
) -> None:
    message = refuse(files | {name: files[name][:keep]}, name=name)
    assert f"instead of {len(files[name])}" in message


@pytest.mark.parametrize("keep", [0, 1, 40, -10])
def test_a_truncated_manifest_is_named(files: dict[str, bytes], keep: int) -> None:
    message = refuse(files | {"manifest.json": files["manifest.json"][:keep]}, name="manifest.json")
    assert "cannot be read" in message


@pytest.mark.parametrize("name", NAMES[:-1])  # only Hugging Face reads the last one
def test_a_missing_file_is_named(files: dict[str, bytes], name: str) -> None:
    assert "is missing" in refuse({k: v for k, v in files.items() if k != name}, name=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_missing_from_the_folder_is_named(
    files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    write_folder(files, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_folder(tmp_path)
    assert f"`{tmp_path / name}` is missing" in str(caught.value)


def test_an_optional_file_may_be_missing_from_the_folder(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    write_folder(files, tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json" not in read_folder(tmp_path, optional=("tokenizer_config.json",))


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["extra.json", "modeling.py", "pytorch_model.bin"])
def test_a_file_that_the_manifest_does_not_list_is_refused(
    files: dict[str, bytes], name: str
) -> None:
    assert "is not listed in manifest.json" in refuse(files | {name: b"x"}, name=name)


def test_a_file_that_the_manifest_does_not_list_is_not_even_read(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    write_folder(files, tmp_path)
    (tmp_path / "modeling.py").write_text("raise SystemExit")
    assert read_folder(tmp_path) == files


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/b", "", ".", "..", "a/../x"])
def test_a_manifest_cannot_point_outside_its_folder(
    files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "saved"
    write_folder(files, folder)
    (tmp_path / "x").write_bytes(b"secret")
    (folder / "a").mkdir()
    (folder / "a" / "b").write_bytes(b"secret")
    manifest = json.loads(files["manifest.json"])
    manifest["files"][name] = {"bytes": 6, "sha256": "0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError) as caught:
        read_folder(folder)
    assert f"`{folder / 'manifest.json'}` lists `{name}`" in str(caught.value)


def test_a_save_never_deletes_outside_its_folder(files: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (tmp_path / "x").write_bytes(b"precious")
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["../x"] = {"bytes": 6, "sha256": "0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_folder(files, folder)
    assert (tmp_path / "x").read_bytes() == b"precious"


MALFORMED: list[Any] = [
    [],
    None,
    "manifest",
    {},
    {"format": 1},
    {"files": {}},
    {"format": 1, "files": None},
    {"format": 1, "files": [1]},
    {"format": 1, "files": {"config.json": None}},
    {"format": 1, "files": {"config.json": {}}},
    {"format": 1, "files": {"config.json": {"bytes": "3", "sha256": "0"}}},
    {"format": 1, "files": {"config.json": {"bytes": 3, "sha256": ""}}},
    {"format": 1, "files": {"config.json": ["bytes", "sha256"]}},
]


@pytest.mark.parametrize("value", MALFORMED, ids=repr)
def test_a_malformed_manifest_is_named(files: dict[str, bytes], value: Any) -> None:
    changed = files | {"manifest.json": json.dumps(value).encode()}
    assert "cannot be read" in refuse(changed, name="manifest.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"\x00", b"[" * 100_000])
def test_a_manifest_that_is_not_json_is_named(files: dict[str, bytes], content: bytes) -> None:
    assert "cannot be read" in refuse(files | {"manifest.json": content}, name="manifest.json")


def test_a_manifest_of_a_later_format_asks_for_a_newer_version(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["manifest.json"]) | {"format": 2}
    message = refuse(files | {"manifest.json": json.dumps(manifest).encode()}, name="manifest.json")
    assert "has format 2" in message
    assert "Install a newer spacy-mtl" in message


def with_manifest(files: dict[str, bytes], **changed: bytes) -> dict[str, bytes]:
    """Files that somebody changed together with their manifest."""
    files = {k: v for k, v in files.items() if k != "manifest.json"} | changed
    return files | {"manifest.json": make_manifest(files)}


BERT = b'{"model_type": "bert", '
CONFIGS = [b"", b"{", b"[]", b"{}", b"null", b'{"model_type": 3}', b'{"model_type": "nope"}']
CONFIGS += [b'{"model_type": ["bert"]}', BERT + b'"hidden_size": "wide"}']
CONFIGS += [BERT + b'"num_attention_heads": 0}', BERT + b'"num_attention_heads": 7}']
CONFIGS += [BERT + b'"vocab_size": -1}', BERT + b'"hidden_act": "no such function"}']


@pytest.mark.parametrize("content", CONFIGS, ids=repr)
def test_a_config_that_cannot_be_used_is_named(files: dict[str, bytes], content: bytes) -> None:
    refuse(with_manifest(files, **{"config.json": content}), name="config.json")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, b"\xff" * 8, b"\x02" + bytes(7) + b"{}", b"PK\x03\x04" + bytes(50)]
)
def test_weights_that_are_not_safetensors_are_named(
    files: dict[str, bytes], content: bytes
) -> None:
    refuse(with_manifest(files, **{"model.safetensors": content}), name="model.safetensors")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff"])
def test_a_tokenizer_that_cannot_be_read_is_named(files: dict[str, bytes], content: bytes) -> None:
    refuse(with_manifest(files, **{"tokenizer.json": content}), name="tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 20, b"\x02" + bytes(7) + b"[]"])
def test_metadata_of_something_else_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="`some file` is not a safetensors file"):
        read_metadata(content, file="some file")
    with pytest.raises(CheckpointError, match="`some file` is not a safetensors file"):
        read_weights(content[:1], file="some file")


def test_metadata_comes_back() -> None:
    content = weights_to_bytes({}, metadata={"step": "3"})
    assert read_metadata(content, file="x") == {"step": "3"}
    assert read_metadata(weights_to_bytes({}), file="x") == {"format": "pt"}


def with_tensor(
    files: dict[str, bytes], name: str, *, version: str | None = None
) -> dict[str, bytes]:
    """The files with one more tensor, and as another version of transformers would have written them."""
    tensors = read_weights(files["model.safetensors"], file="model.safetensors")
    changed = dict(files)
    changed["model.safetensors"] = weights_to_bytes({**tensors, name: torch.ones(2)})
    if version is not None:
        config = json.loads(files["config.json"]) | {"transformers_version": version}
        changed["config.json"] = json.dumps(config).encode()
    del changed["manifest.json"]
    return {**changed, "manifest.json": make_manifest(changed)}


def test_a_tensor_that_another_version_has_written_is_not_called_damage(
    files: dict[str, bytes],
) -> None:
    other = refuse(with_tensor(files, "extra", version="3.0.2"), name="model.safetensors")
    assert "was written with transformers 3.0.2" in other
    assert f"what is installed, {transformers.__version__}, has no place for its tensor" in other
    assert "damaged" not in other
    assert "damaged" in refuse(with_tensor(files, "extra"), name="model.safetensors")


def test_what_follows_from_the_config_need_not_fit(files: dict[str, bytes]) -> None:
    """transformers 4 and 5 differ in whether they store ESM's rotary frequencies, and BERT's numbers of positions."""
    plain = from_files(files).model.state_dict()
    for name in ("encoder.rotary_embeddings.inv_freq", "embeddings.position_ids"):
        found = from_files(with_tensor(files, name)).model.state_dict()
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[key], plain[key]) for key in plain)
