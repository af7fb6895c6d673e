"""Prediction with encoders of the BERT family: their layers' parameters, without their modules' own code.

For a short text what Python does between the matrix products takes as long as these: modules, hooks, masks, output
classes. Here it is some ten calls a layer. The numbers are those of Hugging Face's modules, in bf16 on a processor
rounded once more (`packed.py`). Whatever is not as Hugging Face has made it (adapters, hooks, quantised or compiled
layers) is left to the modules.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear
from transformers import PreTrainedModel

from ..types import MicroBatch
from .attention import FlatRow, Group, attend
from .packed import GELU, Activation, Product, Products

_HOME = "transformers.models."
_COMPILED = "_compiled_call_impl"
_CAPTURES = (
    "transformers.utils.output_capturing"  # its hooks only listen, once all layers were asked for
)


class NotPlain(Exception):  # noqa: N818
    """Some part of an encoder is not Hugging Face's own."""


class _Parts:
    """Finds an encoder's parts and can tell, in a tenth of the time, whether they are still the same."""

    def __init__(self) -> None:
        self._modules: list[nn.Module] = []
        self._lists: list[nn.Module] = []

    def home(self, module: Any) -> Any:
        """The module, if it is of a class of Hugging Face's. Raises NotPlain."""
        if not type(module).__module__.startswith(_HOME):
            raise NotPlain
        return self._add(module)

    def plain(self, module: Any, kind: type[Any]) -> Any:
        """The module, if it is of torch's own class. Raises NotPlain."""
        if type(module) is not kind or vars(module).get("max_norm") is not None:  # getattr is slow
            raise NotPlain
        return self._add(module)

    def each(self, modules: Any) -> Iterable[Any]:
        """The modules in a list, whatever that is."""
        self._lists.append(modules)
        return iter(modules)

    def _add(self, module: nn.Module) -> nn.Module:
        own = vars(module)
        hooks = own["_forward_hooks"]
        seen = hooks and any(hook.__module__ != _CAPTURES for hook in hooks.values())
        if seen or own["_forward_pre_hooks"] or "forward" in own:
            raise NotPlain
        if own.get(_COMPILED) is not None:
            raise NotPlain
        self._modules.append(module)
        return module

    def watch(self) -> Callable[[], bool]:
        """Whether no part, parameter, hook or `forward` is new, or another one, since this was called."""
        modules, owns = self._modules, [vars(module) for module in self._modules]
        inside = [own[key] for own in owns for key in ("_modules", "_parameters")]
        inside += [vars(module)["_modules"] for module in self._lists]
        hooks = [own[key] for own in owns for key in ("_forward_hooks", "_forward_pre_hooks")]
        tables = [own for own in owns if "max_norm" in own]

        def parts() -> list[Any]:
            return [part for places in inside for part in places.values()]

        def state() -> list[Any]:
            return [
                [*map(type, modules)],
                [*map(tuple, hooks)] if any(hooks) else [],
                [own.get(_COMPILED) for own in owns if "forward" in own or _COMPILED in own],
                [table["max_norm"] for table in tables],
            ]

        old_parts, old_state = parts(), state()

        def is_as_found() -> bool:
            now = parts()
            same = len(now) == len(old_parts) and all(map(is_, now, old_parts))
            return same and state() == old_state

        return is_as_found


class _Norm:
    """A layer norm without its module's code."""

    def __init__(self, part: nn.LayerNorm) -> None:
        self.part, self.weight, self.bias = part, part.weight, part.bias

    def __call__(self, X: Tensor) -> Tensor:
        part = self.part
        return torch.layer_norm(X, part.normalized_shape, self.weight, self.bias, part.eps)


@dataclass(frozen=True)
class Layer:
    """One layer's parts. activation: works in place if it can."""

    attention: Any
    linear: list[list[nn.Linear]]
    attended_norm: _Norm
    activation: Activation
    narrow_norm: _Norm

    @classmethod
    def of(cls, layer: Any, parts: _Parts) -> "Layer":
        attention, wide, narrow = (
            parts.home(layer.attention),
            parts.home(layer.intermediate),
            parts.home(layer.output),
        )
        mixed, attended = parts.home(attention.self), parts.home(attention.output)
        groups = (
            (mixed.query, mixed.key, mixed.value),
            (attended.dense,),
            (wide.dense,),
            (narrow.dense,),
        )
        return cls(
            attention=mixed,
            linear=[[parts.plain(part, nn.Linear) for part in group] for group in groups],
            attended_norm=_Norm(parts.plain(attended.LayerNorm, nn.LayerNorm)),
            activation=_in_place(wide.intermediate_act_fn),
            narrow_norm=_Norm(parts.plain(narrow.LayerNorm, nn.LayerNorm)),
        )

    def __call__(self, X: Tensor, groups: Sequence[Group], products: Sequence[Product]) -> Tensor:
        """[wordpieces, width] to the same. products: of `linear`."""
        mixed, attended, wide, narrow = products
        n = X.shape[0]
        split = (n, self.attention.num_attention_heads, -1)
        q, k, v = (Y.view(split) for Y in mixed(X))
        (H,) = attended(attend(groups, q, k, v).reshape(n, -1), plus=X)
        H = self.attended_norm(H)
        (new,) = narrow(wide(H, self.activation)[0], plus=H)
        return self.narrow_norm(new)


@dataclass(frozen=True)
class DirectEncoder:
    """An encoder's parts.

    words, positions, kinds: tables. project: brings their sum to the width of the layers. is_as_found: whether all
    parts are still in their places, and plain.
    """

    words: nn.Embedding
    positions: nn.Embedding
    kinds: nn.Embedding
    norm: _Norm
    project: nn.Linear | None
    layers: list[Layer]
    products: Products
    is_as_found: Callable[[], bool]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "DirectEncoder | None":
        """The parts of an encoder that is read flat; None if one is not as Hugging Face has made it, or in training."""
        if model.training or torch.is_grad_enabled():
            return None
        parts = _Parts()
        try:
            whole: Any = parts.home(model)
            tables = parts.home(whole.embeddings)
            project = getattr(whole, "embeddings_project", None)
            stack = parts.each(parts.home(whole.encoder).layer)
            layers = [Layer.of(parts.home(layer), parts) for layer in stack]
            return cls(
                words=parts.plain(tables.word_embeddings, nn.Embedding),
                positions=parts.plain(tables.position_embeddings, nn.Embedding),
                kinds=parts.plain(tables.token_type_embeddings, nn.Embedding),
                norm=_Norm(parts.plain(tables.LayerNorm, nn.LayerNorm)),
                project=None if project is None else parts.plain(project, nn.Linear),
                layers=layers,
                products=Products([group for layer in layers for group in layer.linear]),
                is_as_found=parts.watch(),
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
        X = self.norm(X.add_(embedding(flat.positions, self.positions.weight)))
        if self.project is not None:
            X = linear(X, self.project.weight, self.project.bias)
        products = iter(self.products(X.shape[0]))
        found = [X]
        for layer in self.layers:
            X = layer(X, flat.groups, [next(products) for _ in layer.linear])
            found.append(X)
        return [X[: flat.n] for X in (found if every else found[-1:])]


class DirectReader:
    """Keeps the parts of the encoder that it read last, and the copies of their weights, for the next time."""

    def __init__(self) -> None:
        self._last: tuple[PreTrainedModel, DirectEncoder] | None = None

    def of(self, model: PreTrainedModel) -> DirectEncoder | None:
        """As `DirectEncoder.of`."""
        last = self._last
        if last and last[0] is model and not (model.training or torch.is_grad_enabled()):
            found = last[1]
            if found.is_as_found():
                return found
        new = DirectEncoder.of(model)
        self._last = None if new is None else (model, new)
        return new

    def forget(self) -> None:
        """Who writes to weights without torch's counting it has to call this: thinc, fused optimizers."""
        self._last = None


def _multiple_of_keys(device: torch.device) -> int:
    """What torch's attention wants the number of keys to be a multiple of.

    In bf16 a processor takes 1.2 to 2 times as long with 24, 28, 40, 100 or 250 keys as with the next multiple of 16,
    queries left as they are (project/benchmarks/NOTES.md); in fp32 there is nothing to gain.
    """
    low = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return 16 if low and torch.get_autocast_dtype("cpu") == torch.bfloat16 else 1


def _in_place(activation: Any) -> Activation:
    return GELU if getattr(activation, "act", None) is gelu else activation
