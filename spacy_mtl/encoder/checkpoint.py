"""An encoder on disk: Hugging Face's own files, and a manifest that says what they must be.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json ...  manifest.json

Nothing in the folder is executed: weights are safetensors, the config is stripped of keys that fetch code.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, ConfigError, damaged, not_one_of
from .huggingface import HuggingFaceEncoder, assemble, config_json, empty_model

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MANIFEST = "manifest.json"
OPTIMIZER_FILE = "optimizer.safetensors"  # may lie beside the encoder's own files
FORMAT = 1
STORAGE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Windows does not let a file be replaced while it is mapped: a loaded pipeline could not be saved to its own folder.
CAN_MAP = os.name == "posix"

# Buffers that follow from the config; versions of transformers differ in whether they are stored
_COMPUTED = ("inv_freq", "position_ids")

Content = bytes | Path  # of a file; or where it lies, to be mapped into memory


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
    files: dict[str, Content],
    *,
    where: str = "",
    attention: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> HuggingFaceEncoder:
    """Load an encoder from file contents. `where` is put before the file names in errors.

    Weights that are mapped are read when they are first used, and pages that are never written are shared with other
    processes.

    attention: implementation to use; by default torch's fused one where the model has it.
    overrides: settings that replace those of config.json.

    Raises CheckpointError, with the file's name, if a file is missing, changed, cut off or not what it should be.
    """
    verify(files, where=where)
    for name in (CONFIG, WEIGHTS, "tokenizer.json"):
        if name not in files:
            raise damaged(where + name, "is missing")
    try:
        config = json.loads(_in_memory(files[CONFIG]))
        model = empty_model(config, attention=attention, overrides=overrides)
    except ConfigError:
        raise
    except Exception as error:  # whatever Hugging Face makes of a config that is not one
        raise CheckpointError(f"`{where}{CONFIG}` cannot be used: {error}") from error
    weights = read_weights(files[WEIGHTS], file=where + WEIGHTS)
    _fill(model, weights, file=where + WEIGHTS, version=config.get("transformers_version"))
    others = (CONFIG, WEIGHTS, MANIFEST, OPTIMIZER_FILE)
    tokenizer_files = {k: _in_memory(v) for k, v in files.items() if k not in others}
    try:
        return assemble(model.float().eval(), tokenizer_files)
    except Exception as error:  # `tokenizers` raises nothing more special
        raise damaged(where + "tokenizer.json", f"cannot be read ({error})") from error


def make_manifest(files: dict[str, bytes]) -> bytes:
    """SHA-256 and size in bytes of each file."""
    entries = {
        name: {"bytes": len(files[name]), "sha256": _sha256(files[name])} for name in sorted(files)
    }
    return (json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n").encode("utf8")


def read_folder(
    folder: Path, *, optional: tuple[str, ...] = (), mapped: bool = False
) -> dict[str, Content]:
    """Read the files that the folder's manifest lists. `optional` ones may be missing.

    mapped: leave weights where they are, to be mapped into memory, where the operating system is up to it.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise damaged(str(folder / MANIFEST), "is missing") from None
    files: dict[str, Content] = {MANIFEST: manifest}
    for name in _listed(manifest, where=f"{folder}/"):
        path = folder / name
        if path.parent != folder or name in ("", ".", ".."):
            raise damaged(str(folder / MANIFEST), f"lists `{name}`, which is not a file name")
        if path.is_file():
            maps = mapped and CAN_MAP and path.suffix == ".safetensors"
            files[name] = path if maps else path.read_bytes()
        elif name not in optional:
            raise damaged(str(path), "is missing")
    return files


def write_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write the files, and remove those that an earlier save left behind.

    A file is replaced as a whole: whoever has mapped the old one keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).is_file():
        for name in _listed((folder / MANIFEST).read_bytes(), where=f"{folder}/"):
            if name not in files and (folder / name).parent == folder:
                (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        unfinished = folder / f"{name}.unfinished"
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)


def verify(files: dict[str, Content], *, where: str = "") -> None:
    """Compare file contents with the manifest among them. Files that it does not list are refused."""
    if MANIFEST not in files:
        raise damaged(where + MANIFEST, "is missing")
    entries = _listed(_in_memory(files[MANIFEST]), where=where)
    for name, content in files.items():
        if name == MANIFEST:
            continue
        if name not in entries:
            raise damaged(where + name, f"is not listed in {MANIFEST}")
        expected = entries[name]
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size != expected["bytes"]:
            reason = f"has {size} bytes instead of {expected['bytes']}"
            raise damaged(where + name, reason)
        if _sha256(content) != expected["sha256"]:
            raise damaged(where + name, "differs from the SHA-256 in its manifest")


def weights_to_bytes(
    tensors: dict[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Tensors as safetensors. Tensors that share memory (tied weights) are written once.

    metadata: one string by name; safetensors writes several in any order. Default: the one that Hugging Face asks for.
    """
    seen: set[tuple[int, int]] = set()
    unique: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.numel())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        floating = dtype is not None and tensor.is_floating_point()
        unique[name] = tensor.detach().to("cpu", dtype if floating else tensor.dtype).contiguous()
    return safetensors.torch.save(unique, metadata=metadata or {"format": "pt"})


def read_metadata(content: Content, *, file: str) -> dict[str, str]:
    """The strings that `weights_to_bytes` stored beside the tensors."""
    try:
        if isinstance(content, Path):
            with safe_open(content, framework="pt") as opened:
                return dict(opened.metadata())
        size = int.from_bytes(content[:8], "little")
        return dict(json.loads(content[8 : 8 + size])["__metadata__"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(file, f"is not a safetensors file ({error})") from error


def read_weights(content: Content, *, file: str) -> dict[str, Tensor]:
    """Tensors from safetensors; those of a path are mapped. Raises CheckpointError for anything else."""
    try:
        if isinstance(content, Path):
            with safe_open(content, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        raise damaged(file, f"is not a safetensors file ({error})") from error


def _fill(
    model: torch.nn.Module, weights: dict[str, Tensor], *, file: str, version: str | None
) -> None:
    """version: of transformers that has written the file."""
    own = model.state_dict()
    n_own = len(own)
    computed = {name for name, _ in model.named_buffers() if name.endswith(_COMPUTED)}
    weights = {n: t for n, t in weights.items() if n in own or not n.endswith(_COMPUTED)}
    own = {n: t for n, t in own.items() if n in weights or n not in computed}
    wrong = [n for n, t in weights.items() if n not in own or own[n].shape != t.shape]
    if wrong and version not in (None, transformers.__version__):
        raise CheckpointError(
            f"`{file}` was written with transformers {version}, and what is installed, {transformers.__version__}, has "
            f"no place for its tensor `{wrong[0]}`. Install transformers {version}, and look for `{wrong[0]}` in the "
            "changes of the model since then."
        )
    if wrong:
        raise damaged(file, f"does not fit {CONFIG}: unexpected tensor `{wrong[0]}`")
    filled = {own[name].data_ptr() for name in weights}
    lacking = [n for n, t in own.items() if n not in weights and t.data_ptr() not in filled]
    if lacking:
        raise damaged(file, f"lacks the tensor `{lacking[0]}`")
    # Taken as they are, unless some of them stand for several parameters, which would come apart.
    complete = len(weights) == n_own
    model.load_state_dict(weights, strict=False, assign=complete)


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


def _in_memory(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _sha256(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    found = hashlib.sha256()
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()
