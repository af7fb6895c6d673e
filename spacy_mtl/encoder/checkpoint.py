"""An encoder on disk: Hugging Face's own files, and a manifest that says what they must be.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json ...  manifest.json

Nothing in the folder is executed: weights are safetensors, the config is stripped of keys that fetch code.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import CheckpointError, ConfigError, damaged, not_one_of
from .huggingface import HuggingFaceEncoder, assemble, config_json, empty_model

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MANIFEST = "manifest.json"
OPTIMIZER_FILE = "optimizer.safetensors"  # may lie beside the encoder's own files
FORMAT = 1
STORAGE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def to_files(
    encoder: HuggingFaceEncoder, *, storage: str = "fp32", extra: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """The encoder as file contents by name, manifest included.

    extra: further files for the same folder, which the manifest covers too.
    storage: `fp32`, `bf16` or `fp16`: the dtype of the weights in the file. They are fp32 again once loaded.
    """
    if storage not in STORAGE:
        raise not_one_of(storage, key="storage", choices=STORAGE)
    files = {
        CONFIG: config_json(encoder.model.config),
        WEIGHTS: weights_to_bytes(encoder.model.state_dict(), dtype=STORAGE[storage]),
        **encoder.tokenizer_files,
        **(extra or {}),
    }
    files[MANIFEST] = make_manifest(files)
    return files


def from_files(
    files: dict[str, bytes],
    *,
    where: str = "",
    attention: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> HuggingFaceEncoder:
    """Load an encoder from file contents. `where` is put before the file names in errors.

    attention: implementation to use; by default torch's fused one where the model has it.
    overrides: settings that replace those of config.json.

    Raises CheckpointError, with the file's name, if a file is missing, changed, cut off or not what it should be.
    """
    verify(files, where=where)
    for name in (CONFIG, WEIGHTS, "tokenizer.json"):
        if name not in files:
            raise damaged(where + name, "is missing")
    try:
        model = empty_model(json.loads(files[CONFIG]), attention=attention, overrides=overrides)
    except ConfigError:
        raise
    except Exception as error:  # whatever Hugging Face makes of a config that is not one
        raise CheckpointError(f"`{where}{CONFIG}` cannot be used: {error}") from error
    _fill(model, weights_from_bytes(files[WEIGHTS], file=where + WEIGHTS), file=where + WEIGHTS)
    others = (CONFIG, WEIGHTS, MANIFEST, OPTIMIZER_FILE)
    tokenizer_files = {k: v for k, v in files.items() if k not in others}
    try:
        return assemble(model.float().eval(), tokenizer_files)
    except Exception as error:  # `tokenizers` raises nothing more special
        raise damaged(where + "tokenizer.json", f"cannot be read ({error})") from error


def make_manifest(files: dict[str, bytes]) -> bytes:
    """SHA-256 and size in bytes of each file."""
    entries = {name: _entry(files[name]) for name in sorted(files)}
    return (json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n").encode("utf8")


def read_folder(folder: Path, *, optional: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Read the files that the folder's manifest lists. `optional` ones may be missing."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise damaged(str(folder / MANIFEST), "is missing") from None
    files = {MANIFEST: manifest}
    for name in _listed(manifest, where=f"{folder}/"):
        path = folder / name
        if path.parent != folder or name in ("", ".", ".."):
            raise damaged(str(folder / MANIFEST), f"lists `{name}`, which is not a file name")
        if path.is_file():
            files[name] = path.read_bytes()
        elif name not in optional:
            raise damaged(str(path), "is missing")
    return files


def write_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write the files, and remove those that an earlier save left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).is_file():
        for name in _listed((folder / MANIFEST).read_bytes(), where=f"{folder}/"):
            if name not in files and (folder / name).parent == folder:
                (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def verify(files: dict[str, bytes], *, where: str = "") -> None:
    """Compare file contents with the manifest among them. Files that it does not list are refused."""
    if MANIFEST not in files:
        raise damaged(where + MANIFEST, "is missing")
    entries = _listed(files[MANIFEST], where=where)
    for name, content in files.items():
        if name == MANIFEST:
            continue
        if name not in entries:
            raise damaged(where + name, f"is not listed in {MANIFEST}")
        expected = entries[name]
        if len(content) != expected["bytes"]:
            reason = f"has {len(content)} bytes instead of {expected['bytes']}"
            raise damaged(where + name, reason)
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise damaged(where + name, "differs from the SHA-256 in its manifest")


def weights_to_bytes(
    tensors: dict[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Tensors as safetensors. Tensors that share memory (tied weights) are written once."""
    seen: set[tuple[int, int]] = set()
    unique: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.numel())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        floating = dtype is not None and tensor.is_floating_point()
        unique[name] = tensor.detach().to("cpu", dtype if floating else tensor.dtype).contiguous()
    return safetensors.torch.save(unique, metadata={"format": "pt", **(metadata or {})})


def metadata_from_bytes(content: bytes, *, file: str) -> dict[str, str]:
    """The strings that `weights_to_bytes` stored beside the tensors."""
    try:
        size = int.from_bytes(content[:8], "little")
        found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, f"is not a safetensors file ({error})") from error


def weights_from_bytes(content: bytes, *, file: str) -> dict[str, Tensor]:
    """Tensors from safetensors. Raises CheckpointError for anything else."""
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        raise damaged(file, f"is not a safetensors file ({error})") from error


def _fill(model: torch.nn.Module, weights: dict[str, Tensor], *, file: str) -> None:
    own = model.state_dict()
    wrong = [n for n, t in weights.items() if n not in own or own[n].shape != t.shape]
    if wrong:
        raise damaged(file, f"does not fit {CONFIG}: unexpected tensor `{wrong[0]}`")
    filled = {own[name].data_ptr() for name in weights}
    lacking = [n for n, t in own.items() if n not in weights and t.data_ptr() not in filled]
    if lacking:
        raise damaged(file, f"lacks the tensor `{lacking[0]}`")
    model.load_state_dict(weights, strict=False)


def _listed(manifest: bytes, *, where: str) -> dict[str, Any]:
    try:
        values = json.loads(manifest)
        version = values["format"]
        files: dict[str, Any] = dict(values["files"])
        if not all(isinstance(e["bytes"], int) and e["sha256"] for e in files.values()):
            raise ValueError("an entry lacks its size or hash")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(where + MANIFEST, f"cannot be read ({error})") from error
    if version != FORMAT:
        raise CheckpointError(
            f"`{where}{MANIFEST}` has format {version!r}; this spacy_mtl reads format {FORMAT}. "
            "Install a newer spacy-mtl."
        )
    return files


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
