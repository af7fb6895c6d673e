"""The encoder as a thinc layer from documents to token vectors."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from .. import errors
from ..types import Array
from .shim import EncoderSettings, EncoderShim

__all__ = ["EncoderSettings", "is_encoder", "make_encoder_layer", "set_width", "shim_of"]


def make_encoder_layer(settings: EncoderSettings) -> Model[list[Doc], list[Array]]:
    """The layer that `spacy_mtl.TransformerEncoder.v1` stands for; its weights are loaded later."""
    return Model(
        "transformer-encoder",
        _forward,
        init=_init,
        dims={"nO": None},
        attrs={"replace_listener": _replace_listener, "replace_listener_cfg": _replace_config},
        shims=[EncoderShim(settings)],
    )


def is_encoder(model: object) -> bool:
    """True for a model that `make_encoder_layer` made."""
    shims = model.shims if isinstance(model, Model) else []
    return bool(shims) and isinstance(shims[0], EncoderShim)


def shim_of(model: Model) -> EncoderShim:
    """The shim of a model that TransformerEncoder made."""
    shim = model.shims[0]
    assert isinstance(shim, EncoderShim)
    return shim


def _forward(
    model: Model, docs: list[Doc], is_train: bool
) -> tuple[list[Array], Callable[[list[Array] | Array], list[Any]]]:
    """Encode documents. The backward pass takes one gradient per document, or all of them as one flat array."""
    shim = shim_of(model)
    docs = docs if isinstance(docs, list) else list(docs)
    if is_train:
        inputs, (Y, backprop_flat) = shim.begin_update_docs(docs)
    else:
        inputs, Y = shim.predict_docs(docs)
        backprop_flat = _no_backprop
    stops = list(accumulate(inputs.doc_tokens.tolist()))
    vectors = [Y[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def backprop(dY: list[Array] | Array) -> list[Any]:
        flat = model.ops.xp.concatenate(dY) if isinstance(dY, list) else dY
        return backprop_flat(flat)

    return vectors, backprop


def _no_backprop(dY: Array) -> list[Any]:
    return []


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    shim = shim_of(model)
    if shim.encoder is None:
        shim.load()
    set_width(model)


def set_width(model: Model) -> None:
    """Tell thinc the encoder's width, once it is loaded."""
    encoder = shim_of(model).encoder
    if encoder is not None:
        model.set_dim("nO", encoder.width)


def _replace_listener(copied: Model) -> Model:
    """`nlp.replace_listeners` gives a head an encoder of its own: the copy will do, without layers for other heads."""
    shim_of(copied).every_layer = False
    return copied


def _replace_config(encoder: dict[str, Any], listener: dict[str, Any]) -> dict[str, Any]:
    if listener.get("layers", "last") != "last":
        raise errors.mix_cannot_be_replaced()
    return dict(encoder)
