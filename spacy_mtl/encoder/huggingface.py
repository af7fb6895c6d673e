"""Hugging Face models and tokenizers: found by name or path, stripped of whatever would fetch or run code."""

import contextlib
import importlib.util
import inspect
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from ..errors import (
    ConfigError,
    bad_setting,
    cannot_load,
    no_fast_tokenizer,
    no_such_setting,
    not_one_of,
)
from ..text.wordpieces import find_affixes
from ..types import Affixes
from .layers import max_positions

ATTENTION = ("sdpa", "eager")
_CODE_KEYS = (
    "auto_map",
    "custom_pipelines",
    "fusion_config",
    "kernel_config",
    "quantization_config",
    "use_kernels",
)
_CODE_KEY_PARTS = ("attn_implementation", "experts_implementation")
_PRIVATE_KEYS = ("_name_or_path", "name_or_path", "_commit_hash")


# transformers 5 would compute what it does not store, such as a scale, in the precision of the file
_IN_FP32: dict[str, Any] = (
    {"dtype": torch.float32} if int(transformers.__version__.split(".")[0]) >= 5 else {}
)
# What transformers 4 calls the settings of rotary positions, by the kind of attention
_OLDER_ROPE = {
    "": {
        "rope_theta": ("rotary_emb_base", "rope_theta"),
        "partial_rotary_factor": ("rotary_pct", "partial_rotary_factor"),
    },
    "full_attention": {"rope_theta": ("global_rope_theta", "rope_theta")},
    "sliding_attention": {"rope_theta": ("local_rope_theta", "rope_local_base_freq")},
}


@dataclass
class HuggingFaceEncoder:
    """A loaded encoder: the torch module, its tokenizer, and the tokenizer's files as they go to disk."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    tokenizer_files: dict[str, bytes]
    affixes: Affixes

    @property
    def width(self) -> int:
        """Width of the encoder's output vectors."""
        return int(self.model.config.hidden_size)

    @property
    def max_window(self) -> int | None:
        """Most wordpieces that fit beside the special tokens; None where positions are relative."""
        positions = max_positions(self.model)
        return None if positions is None else positions - len(self.affixes)


def load_pretrained(
    name: str, *, transformer_config: dict[str, Any], tokenizer_config: dict[str, Any]
) -> HuggingFaceEncoder:
    """Load a pretrained encoder with its fast tokenizer. Code that a repository brings is never run.

    name: a folder, a name on a model hub, or `package:NAME/FOLDER` for a folder inside an installed Python package.
    transformer_config: settings that replace those of its config.json,
        and `attn_implementation`. tokenizer_config: keyword arguments for its tokenizer.

    Raises ConfigError where the model or a fast tokenizer cannot be had.
    """
    name = resolve_name(name)
    attention = transformer_config.get("attn_implementation")
    overrides = {k: v for k, v in transformer_config.items() if k != "attn_implementation"}
    with quiet():
        try:
            raw, _ = PretrainedConfig.get_config_dict(name)
            _check_overrides(make_config(raw), overrides)
            config = make_config({**raw, **overrides})
            cls = model_class(config)
            model, report = cls.from_pretrained(
                name,
                config=with_attention(config, cls, attention),
                trust_remote_code=False,
                output_loading_info=True,
                **_without_pooler(cls),
                **_IN_FP32,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                name, **{**tokenizer_config, "use_fast": True, "trust_remote_code": False}
            )
        except ConfigError:
            raise
        except Exception as error:  # Hugging Face, safetensors and tokenizers share no base class
            reason = _first_line(error)
            raise cannot_load(name, key="model.name", reason=reason, overrides=overrides) from error
        lacking = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
        if lacking:
            reason = f"its weights lack `{lacking[0]}`, so they are not those of `{cls.__name__}` with this config."
            raise cannot_load(name, key="model.name", reason=reason)
        if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
            raise no_fast_tokenizer(name, key="model.name")
        if not _has_files(name, tokenizer):
            raise cannot_load(name, key="model.name", reason="it has no tokenizer files.")
        n_ids, n_vectors = len(tokenizer), _n_vectors(model)
        if n_vectors is None:
            reason = f"`{cls.__name__}` has no table of wordpieces."
            raise cannot_load(name, key="model.name", reason=reason)
        if n_ids > n_vectors:
            reason = f"its tokenizer has {n_ids} entries, its embeddings have {n_vectors}."
            raise cannot_load(name, key="model.name", reason=reason)
        files = _tokenizer_files(tokenizer)
    return assemble(model.float(), files)


def _n_vectors(model: PreTrainedModel) -> int | None:
    """Rows of the table of wordpieces; None for a model that reads something else, such as characters."""
    try:
        weight = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return None
    return int(weight.shape[0])


def _check_overrides(config: PretrainedConfig, overrides: dict[str, Any]) -> None:
    for key, value in strip_code_keys(overrides).items():
        if not hasattr(config, key) and key != "trust_remote_code":
            raise no_such_setting(key, value, model_type=config.model_type)


def resolve_name(name: str) -> str:
    """Turn `package:NAME/FOLDER` into a path, without importing the package; other names stay as they are."""
    if not name.startswith("package:"):
        return name
    package, _, folder = name.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        reason = f"the Python package `{package}` is not installed."
        raise cannot_load(name, key="model.name", reason=f"{reason} Install it with pip.")
    return str(Path(spec.submodule_search_locations[0]) / folder)


def assemble(model: PreTrainedModel, tokenizer_files: dict[str, bytes]) -> HuggingFaceEncoder:
    """Put a model and the files of its tokenizer together."""
    tokenizer = Tokenizer.from_str(tokenizer_files["tokenizer.json"].decode("utf8"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    settings = json.loads(tokenizer_files.get("tokenizer_config.json", b"{}"))
    tokenizer.encode_special_tokens = bool(settings.get("split_special_tokens", False))
    pad_id = model.config.pad_token_id
    affixes = find_affixes(tokenizer, 0 if pad_id is None else int(pad_id))
    return HuggingFaceEncoder(model, tokenizer, tokenizer_files, affixes)


def empty_model(
    config_values: dict[str, Any],
    *,
    attention: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> PreTrainedModel:
    """Build the module that a config describes, with weights that are still to be filled in."""
    config = make_config({**config_values, **(overrides or {})})
    cls = model_class(config)
    with quiet(), _no_init_weights():
        model = cls(with_attention(config, cls, attention), **_without_pooler(cls))
        model.tie_weights()
    return model


def make_config(values: dict[str, Any]) -> PretrainedConfig:
    """Make a config from the contents of a config.json, without the keys that would fetch or run code."""
    values = strip_code_keys(values)
    model_type = values.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ValueError("its config.json has no `model_type`.")
    if isinstance(values.get("pruned_heads"), dict):  # JSON has no numbers for keys
        values["pruned_heads"] = {int(k): heads for k, heads in values["pruned_heads"].items()}
    try:
        config = AutoConfig.for_model(model_type, **values)
    except ValueError as error:
        raise ValueError(
            f"its `model_type` is `{model_type}`, which the installed transformers "
            f"{transformers.__version__} does not know."
        ) from error
    if isinstance(values.get("rope_parameters"), dict):
        kind = type(config)
        known = kind()
        if not hasattr(known, "rope_parameters"):
            return kind(**_with_older_rope(values, known))
    return config


def _with_older_rope(values: dict[str, Any], known: PretrainedConfig) -> dict[str, Any]:
    """Rotary positions as transformers 4 reads them, of a config.json that transformers 5 has written.

    known: a config of that type with the defaults of the installed version, which ignores what it does not know.
    Raises ValueError for what transformers 4 cannot be told: it would compute other positions.
    """
    rope = values["rope_parameters"]
    kinds = rope if any(isinstance(v, dict) for v in rope.values()) else {"": rope}
    older: dict[str, Any] = {}
    for kind, settings in kinds.items():
        names = _OLDER_ROPE.get(kind, {})
        rest = {k: v for k, v in (settings or {}).items() if k not in names}
        if rest.get("rope_type", "default") != "default":
            older["rope_scaling"], rest = rest, {}
        given = {k: v for k, v in (settings or {}).items() if k in names}
        for key, value in given.items():
            found = [name for name in names[key] if hasattr(known, name)]
            older.update({found[0]: value} if found else {key: value})
        rest.pop("rope_type", None)
        older.update(rest)
    unknown = [key for key in older if not hasattr(known, key)]
    if unknown:
        raise ValueError(
            f"its `rope_parameters` have `{unknown[0]}`, which transformers {transformers.__version__} does not know "
            f"of a `{known.model_type}`; transformers 5 does."
        )
    return {**{k: v for k, v in values.items() if k != "rope_parameters"}, **older}


def strip_code_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Drop every key, at any depth, that makes Hugging Face fetch kernels or run a repository's code."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in _CODE_KEYS or key in _PRIVATE_KEYS or any(p in key for p in _CODE_KEY_PARTS):
            continue
        kept[key] = _strip_inside(value)
    return kept


def _strip_inside(value: Any) -> Any:
    if isinstance(value, dict):
        return strip_code_keys(value)
    return [_strip_inside(item) for item in value] if isinstance(value, list) else value


def config_json(config: PretrainedConfig) -> bytes:
    """A config.json that Hugging Face reads back, without traces of the machine that wrote it."""
    values = strip_code_keys(json.loads(config.to_json_string(use_diff=True)))
    for key in (
        "dtype",
        "torch_dtype",
    ):  # ours are the weights' own, not those of the checkpoint we began with
        values.pop(key, None)
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode("utf8")


def model_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class of the bare encoder: for encoder-decoder models such as T5, of its encoder alone."""
    mapping = (
        transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
        if config.is_encoder_decoder or config.model_type in ("t5", "mt5", "umt5")
        else transformers.MODEL_MAPPING
    )
    try:
        found = mapping[type(config)]
    except KeyError:
        raise ValueError(
            f"its `model_type` is `{config.model_type}`, which has no encoder that reads text on its own."
        ) from None
    return found[0] if isinstance(found, (tuple, list)) else found


def with_attention(
    config: PretrainedConfig, cls: type[PreTrainedModel], attention: str | None
) -> PretrainedConfig:
    """Choose the attention implementation: what was asked for, else torch's fused one where the model has it."""
    check_attention(attention)
    fused = getattr(cls, "_supports_sdpa", False)
    if attention == "sdpa" and not fused:
        raise ConfigError(
            f"`model.transformer_config.attn_implementation = 'sdpa'`: `{cls.__name__}` has no such attention. "
            "Leave the key out or set it to `eager`."
        )
    if getattr(config, "reference_compile", False) is None:
        config.reference_compile = (
            False  # ModernBERT would compile itself anew for many input shapes
        )
    config._attn_implementation = attention or ("sdpa" if fused else "eager")
    return config


def check_attention(attention: str | None) -> None:
    """Raises ConfigError for an attention implementation that we do not have."""
    if attention is not None and attention not in ATTENTION:
        key = "model.transformer_config.attn_implementation"
        raise not_one_of(attention, key=key, choices=ATTENTION)


def check_window(window: int | None, stride: int | None, *, limit: int | None) -> tuple[int, int]:
    """Resolve window and stride, in wordpieces without special tokens, against what the encoder can read.

    Defaults: a window of 256, or all that the encoder reads if that is less; windows overlap by 16 wordpieces, or an
    eighth of a window if that is less, so that each wordpiece is served with at least half of it on both sides. Twice
    as much gains nothing (project/benchmarks/windows.py).
    """
    if window is None:
        window = 256 if limit is None else min(256, limit)
    if window < 1 or (limit is not None and window > limit):
        most = "" if limit is None else f" and at most {limit}, which is what this encoder can read"
        raise bad_setting(window, key="model.window", need=f"at least 1{most}")
    if stride is None:
        stride = max(window - min(16, window // 8), 1)
    if not 1 <= stride <= window:
        raise bad_setting(stride, key="model.stride", need=f"from 1 to the window, {window}")
    return window, stride


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Hugging Face's loading reports: a missing pooler is what we want, progress bars are not."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _no_init_weights() -> contextlib.AbstractContextManager[None]:
    try:  # transformers 5
        from transformers.initialization import no_init_weights
    except ImportError:
        from transformers.modeling_utils import no_init_weights
    context: contextlib.AbstractContextManager[None] = no_init_weights()
    return context


def _without_pooler(cls: type[PreTrainedModel]) -> dict[str, bool]:
    """BERT's pooler on top of [CLS] gets no gradient from token vectors: leave it out."""
    takes = "add_pooling_layer" in inspect.signature(cls.__init__).parameters
    return {"add_pooling_layer": False} if takes else {}


def _tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    """The tokenizer in the form that every version of transformers reads back as it is.

    The generic class takes tokenizer.json at its word; the model's own class would rebuild parts of it.
    """
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": min(int(tokenizer.model_max_length), 10**9),
        "clean_up_tokenization_spaces": False,
        **{k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)},
    }
    if getattr(tokenizer, "split_special_tokens", False):  # tokenizer.json does not hold it
        settings["split_special_tokens"] = True
    return {
        "tokenizer.json": tokenizer.backend_tokenizer.to_str().encode("utf8"),
        "tokenizer_config.json": (json.dumps(settings, indent=2) + "\n").encode("utf8"),
    }


def _has_files(name: str, tokenizer: Any) -> bool:
    """False if the tokenizer is made up: transformers 5 gives an empty one where there are no files."""
    names = {"tokenizer.json", *type(tokenizer).vocab_files_names.values()}
    return any(
        cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        for file in sorted(names)
    )


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return line if line.endswith(".") else f"{line}."
