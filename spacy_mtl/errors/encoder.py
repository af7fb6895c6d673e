"""Encoders that cannot be loaded."""

from collections.abc import Iterable

from .base import ConfigError, listed


def cannot_load(
    name: str, *, key: str, reason: object, overrides: Iterable[str] = ()
) -> ConfigError:
    replaced = listed(overrides)
    fix = f" If it loads without {replaced}, correct `model.transformer_config`."
    hint = fix if replaced else ""
    return ConfigError(
        f"The encoder `{name}` cannot be loaded: {reason} "
        f"Set `{key}` to a folder with a Hugging Face model or to the name of one on a model hub that this "
        f"machine can reach.{hint}"
    )


def no_such_setting(key: str, value: object, *, model_type: str) -> ConfigError:
    return ConfigError(
        f"`model.transformer_config.{key} = {value!r}` would change nothing: the config of a `{model_type}` has no "
        "such setting. Take it out, or spell it as in the encoder's config.json."
    )


def no_fast_tokenizer(name: str, *, key: str) -> ConfigError:
    return ConfigError(
        f"The encoder `{name}` has no fast tokenizer, which is needed to align wordpieces with tokens. "
        f"Set `{key}` to a model that ships a `tokenizer.json`, or convert its tokenizer with "
        "`transformers.AutoTokenizer.from_pretrained(name, use_fast=True).save_pretrained(folder)`."
    )


def no_layers(model: str, *, depth: int | None) -> ConfigError:
    return ConfigError(
        f"`{model}` has no list of {depth} layers, each with weights of its own, so layers cannot be frozen or learn "
        'at rates of their own. Set `model.freeze_layers` to 0 or `"all"`, and `optimizer.layer_decay` to 1.0.'
    )


def no_checkpoints(model: str) -> ConfigError:
    return ConfigError(
        f"`model.gradient_checkpointing = true`: `{model}` cannot compute activations again. Set it to `false`."
    )


def only_in_fp32(model_type: str, precision: str) -> ConfigError:
    return ConfigError(
        f"`model.precision = {precision!r}` cannot be used: a `{model_type}` computes in fp32 only. Set "
        "`model.precision` to `fp32` or `auto`."
    )


def attention_not_seen(model_type: str) -> ConfigError:
    return ConfigError(
        f"This `{model_type}` computes attention otherwise than by torch's function, so its windows cannot be read "
        'without padding. Set `model.transformer_config.attn_implementation = "eager"`, with which they are padded.'
    )
