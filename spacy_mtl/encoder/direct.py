"""Prediction with encoders of the BERT family: their layers' parameters, without their modules' own code.

For a short text what Python does between the matrix products takes as long as these: modules, hooks, masks, output
classes. Here it is some ten calls a layer. The numbers are those of Hugging Face's modules, in bf16 on a processor
rounded once more (`packed.py`). Whatever is not as Hugging Face has made it (adapters, hooks, quantised or compiled
layers) is left to the modules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, layer_norm, linear
from transformers import PreTrainedModel

from ..types import MicroBatch
from .attention import FlatRow, Group, attend
from .packed import GELU, Activation, Products, products_for

_HOME = "transformers.models."
_CAPTURES = (
    "transformers.utils.output_capturing"  # its hooks only listen, once all layers were asked for
)


class NotPlain(Exception):  # noqa: N818
    """Some part of an encoder is not Hugging Face's own."""


@dataclass(frozen=True)
class Layer:
    """One layer's parts. activation: works in place if it can."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attended: nn.Linear
    attended_norm: nn.LayerNorm
    wide: nn.Linear
    activation: Activation
    narrow: nn.Linear
    narrow_norm: nn.LayerNorm
    n_heads: int

    @classmethod
    def of(cls, layer: Any) -> "Layer":
        attention, wide, narrow = (
            _home(layer.attention),
            _home(layer.intermediate),
            _home(layer.output),
        )
        mixed, attended = _home(attention.self), _home(attention.output)
        return cls(
            query=_plain(mixed.query, nn.Linear),
            key=_plain(mixed.key, nn.Linear),
            value=_plain(mixed.value, nn.Linear),
            attended=_plain(attended.dense, nn.Linear),
            attended_norm=_plain(attended.LayerNorm, nn.LayerNorm),
            wide=_plain(wide.dense, nn.Linear),
            activation=_in_place(wide.intermediate_act_fn),
            narrow=_plain(narrow.dense, nn.Linear),
            narrow_norm=_plain(narrow.LayerNorm, nn.LayerNorm),
            n_heads=int(mixed.num_attention_heads),
        )

    @property
    def linear(self) -> list[nn.Linear]:
        """All linear layers."""
        return [self.query, self.key, self.value, self.attended, self.wide, self.narrow]

    def __call__(self, X: Tensor, groups: Sequence[Group], products: Products) -> Tensor:
        """[wordpieces, width] to the same."""
        split = (len(X), self.n_heads, -1)
        q, k, v = (Y.view(split) for Y in products((self.query, self.key, self.value), X))
        attended = attend(groups, q, k, v).reshape(len(X), -1)
        (H,) = products((self.attended,), attended, plus=X)
        H = _norm(self.attended_norm, H)
        (wide,) = products((self.wide,), H, self.activation)
        (new,) = products((self.narrow,), wide, plus=H)
        return _norm(self.narrow_norm, new)


@dataclass(frozen=True)
class DirectEncoder:
    """An encoder's parts. words, positions, kinds: tables. project: brings their sum to the width of the layers."""

    words: nn.Embedding
    positions: nn.Embedding
    kinds: nn.Embedding
    norm: nn.LayerNorm
    project: nn.Linear | None
    layers: list[Layer]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "DirectEncoder | None":
        """The parts of an encoder that is read flat; None if one is not as Hugging Face has made it, or in training."""
        if model.training or torch.is_grad_enabled():
            return None
        try:
            whole: Any = _home(model)
            tables = _home(whole.embeddings)
            project = getattr(whole, "embeddings_project", None)
            return cls(
                words=_plain(tables.word_embeddings, nn.Embedding),
                positions=_plain(tables.position_embeddings, nn.Embedding),
                kinds=_plain(tables.token_type_embeddings, nn.Embedding),
                norm=_plain(tables.LayerNorm, nn.LayerNorm),
                project=None if project is None else _plain(project, nn.Linear),
                layers=[Layer.of(_home(layer)) for layer in _home(whole.encoder).layer],
            )
        except NotPlain:
            return None

    def __call__(
        self,
        model: PreTrainedModel,
        batches: Sequence[MicroBatch],
        device: torch.device,
        *,
        every: bool,
    ) -> list[Tensor]:
        """As `encode_flat`, without a graph."""
        flat = FlatRow.of(model, batches, device, multiple=_multiple_of_keys(device))
        X = embedding(flat.ids, self.words.weight) + self.kinds.weight[0]
        X = _norm(self.norm, X.add_(embedding(flat.positions, self.positions.weight)))
        if self.project is not None:
            X = linear(X, self.project.weight, self.project.bias)
        products = products_for([part for layer in self.layers for part in layer.linear], len(X))
        found = [X]
        for layer in self.layers:
            X = layer(X, flat.groups, products)
            found.append(X)
        return [X[: flat.n] for X in (found if every else found[-1:])]


def _multiple_of_keys(device: torch.device) -> int:
    """What torch's attention wants the number of keys to be a multiple of.

    In bf16 a processor takes 1.2 to 2 times as long with 24, 28, 40, 100 or 250 keys as with the next multiple of 16,
    queries left as they are (project/benchmarks/NOTES.md); in fp32 there is nothing to gain.
    """
    low = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return 16 if low and torch.get_autocast_dtype("cpu") == torch.bfloat16 else 1


def _home(module: Any) -> Any:
    """The module, if it is of a class of Hugging Face's. Raises NotPlain."""
    if not type(module).__module__.startswith(_HOME):
        raise NotPlain
    _check(module)
    return module


def _plain(module: Any, kind: type[Any]) -> Any:
    """The module, if it is of torch's own class. Raises NotPlain."""
    if type(module) is not kind or vars(module).get("max_norm") is not None:  # getattr is slow
        raise NotPlain
    _check(module)
    return module


def _check(module: nn.Module) -> None:
    own = vars(module)
    hooks = own["_forward_hooks"]
    seen = hooks and any(hook.__module__ != _CAPTURES for hook in hooks.values())
    if seen or own["_forward_pre_hooks"] or "forward" in own:
        raise NotPlain
    if own.get("_compiled_call_impl") is not None:
        raise NotPlain


def _in_place(activation: Any) -> Activation:
    return GELU if getattr(activation, "act", None) is gelu else activation


def _norm(part: nn.LayerNorm, X: Tensor) -> Tensor:
    return layer_norm(X, part.normalized_shape, part.weight, part.bias, part.eps)
