"""Encoders of the BERT family: their layers' parameters, without their modules' own code.

For a short text what Python does between the matrix products takes as long as these: modules, hooks, masks, output
classes. Here it is some ten calls a layer. In prediction the numbers are those of Hugging Face's modules, in bf16 on a
processor rounded once more (`packed.py`), in 8-bit integers close to them (`int8.py`); in training (`trained.py`) they
are, with the masks of dropout. Whatever is not as Hugging Face has made it (adapters, hooks, quantised or compiled
layers) is left to the modules.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear
from torch.nn.modules import module as module_hooks
from transformers import PreTrainedModel

from ..types import MicroBatch
from .attention import DISTILBERT, FAMILIES, FlatRow, Group, attend, is_of, reads_flat
from .dropout import Masks
from .embeddings import rows_once
from .int8 import is_there
from .packed import MOST_BYTES, Products
from .products import GELU, Activation, Product
from .spare import SpareGradients
from .trained import attend_joined, drop, joined_products

_HOME = "transformers.models."
_LIBRARIES = ("transformers", "torch")
_HELD = {
    nn.Linear: {"weight", "bias"},
    nn.LayerNorm: {"weight", "bias"},
    nn.Embedding: {"weight"},
}
_OWN = {nn.Parameter, type(None)}
_COMPILED = "_compiled_call_impl"
_BEFORE = "_forward_pre_hooks"
_BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
_CAPTURES = (
    "transformers.utils.output_capturing"  # its hooks only listen, once all layers were asked for
)


class NotPlain(Exception):  # noqa: N818
    """Some part of an encoder is not Hugging Face's own."""


class _Parts:
    """Finds an encoder's parts and can tell, in a tenth of the time, whether they are still the same.

    train: for a backward pass, with dropout and biases.
    """

    def __init__(self, *, train: bool) -> None:
        self._train = train
        self._hooks = (_BEFORE, *_BACKWARD) if train else (_BEFORE,)
        self._modules: list[nn.Module] = []
        self._forwards: dict[type[nn.Module], Any] = {}
        self._scaled: list[tuple[dict[str, Any], Any]] = []
        self._lists: list[nn.Module] = []
        self._joined: list[Tensor | None] = []

    def home(self, module: Any) -> Any:
        """The module, if it is of a class of Hugging Face's. Raises NotPlain."""
        if not type(module).__module__.startswith(_HOME):
            raise NotPlain
        return self._own(module)

    def attention(self, module: Any) -> Any:
        """The same, of attention, whose scores are divided by the root of the heads' size. Raises NotPlain."""
        own = vars(module)
        scaling = own.get("scaling")  # in transformers 5
        if scaling not in (None, own.get("attention_head_size", 1) ** -0.5):
            raise NotPlain
        self._scaled.append((own, scaling))
        self.dropout(module)
        return self.home(module)

    def plain(self, module: Any, kind: type[Any]) -> Any:
        """The module, if it is torch's own, with parameters that are. Raises NotPlain."""
        own = vars(module)  # getattr is slow
        if type(module) is not kind or own.get("max_norm") is not None:
            raise NotPlain
        held = own["_parameters"]
        if held.keys() != _HELD[kind] or not {*map(type, held.values())} <= _OWN:
            raise NotPlain
        return self._own(module)

    def dropout(self, owner: Any) -> Any:
        """Its dropout, which does nothing in prediction. Raises NotPlain."""
        dropout = getattr(owner, "dropout", None)
        if type(dropout) is not nn.Dropout or (dropout.training and not self._train):
            raise NotPlain
        return self._own(dropout)

    def linear(self, *groups: Sequence[Any]) -> list[list[nn.Linear]]:
        """The modules, each as by `plain`. In training they are in fp32 and have a bias."""
        found = [[self.plain(module, nn.Linear) for module in group] for group in groups]
        held = [x for group in found for part in group for x in (part.weight, part.bias)]
        if self._train:
            self._joined += held
            if not all(map(_can_be_joined, held)):
                raise NotPlain
        return found

    def activation(self, module: Any) -> Any:
        """The module. Raises NotPlain."""
        if not isinstance(module, nn.Module):
            raise NotPlain
        return self._add(module)

    def each(self, modules: nn.ModuleList) -> Iterable[Any]:
        """The modules in a list."""
        self._lists.append(modules)
        return iter(modules)

    def _own(self, module: nn.Module) -> nn.Module:
        """The module, if nobody has put another `forward` into its class. Raises NotPlain."""
        kind = type(module)
        if not is_of(kind.forward, *_LIBRARIES):
            raise NotPlain
        self._forwards[kind] = kind.forward
        return self._add(module)

    def _add(self, module: nn.Module) -> nn.Module:
        own = vars(module)
        hooks = own["_forward_hooks"]
        seen = hooks and any(hook.__module__ != _CAPTURES for hook in hooks.values())
        if seen or any(own[kind] for kind in self._hooks) or _is_called_otherwise(own):
            raise NotPlain
        self._modules.append(module)
        return module

    def watch(self) -> Callable[[], bool]:
        """Whether all parts and parameters are still in their places, and nothing has been hooked in since."""
        modules, owns = self._modules, [vars(module) for module in self._modules]
        types = [*map(type, modules)]
        places = [own[key] for own in owns for key in ("_modules", "_parameters")]
        places += [vars(module)["_modules"] for module in self._lists]
        hooks = [own[kind] for own in owns for kind in self._hooks]
        after = [own["_forward_hooks"] for own in owns]
        silent = None if self._train else nn.Dropout
        dropouts = [own for own, kind in zip(owns, types, strict=True) if kind is silent]
        tables = [own for own, kind in zip(owns, types, strict=True) if kind is nn.Embedding]

        def inside() -> list[Any]:
            return [part for place in places for part in place.values()]

        parts, listening = inside(), [*map(tuple, after)]

        def is_as_found() -> bool:
            now = inside()
            return (
                len(now) == len(parts)
                and all(map(is_, now, parts))
                and [*map(type, modules)] == types
                and not any(hooks)
                and [*map(tuple, after)] == listening
                and not any(map(_is_called_otherwise, owns))
                and all(kind.forward is forward for kind, forward in self._forwards.items())
                and all(own.get("scaling") == scaling for own, scaling in self._scaled)
                and not any(own["training"] for own in dropouts)
                and all(own["max_norm"] is None for own in tables)
                and all(map(_can_be_joined, self._joined))
            )

        return is_as_found


def _can_be_joined(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.dtype is torch.float32


def _is_called_otherwise(own: dict[str, Any]) -> bool:
    """Of a module's variables: whether its class's `forward` is not what is called."""
    return "forward" in own or own.get(_COMPILED) is not None


class _Norm:
    """A layer norm without its module's code."""

    def __init__(self, part: nn.LayerNorm) -> None:
        self.part, self.weight, self.bias = part, part.weight, part.bias

    def __call__(self, X: Tensor) -> Tensor:
        part = self.part
        return torch.layer_norm(X, part.normalized_shape, self.weight, self.bias, part.eps)


@dataclass(frozen=True)
class Layer:
    """One layer's parts. mixed: the module of its attention. DistilBERT has no `attended_dropout`."""

    n_heads: int
    linear: list[list[nn.Linear]]
    mixed: Any
    attended_dropout: nn.Dropout | None
    attended_norm: _Norm
    activation: Any
    narrow_dropout: nn.Dropout
    narrow_norm: _Norm

    @classmethod
    def of(cls, layer: Any, parts: _Parts) -> "Layer":
        attention, wide, narrow = (
            parts.home(layer.attention),
            parts.home(layer.intermediate),
            parts.home(layer.output),
        )
        mixed = parts.attention(attention.self)
        attended = parts.home(attention.output)
        return cls(
            n_heads=mixed.num_attention_heads,
            mixed=mixed,
            attended_dropout=parts.dropout(attended),
            linear=parts.linear(
                (mixed.query, mixed.key, mixed.value),
                (attended.dense,),
                (wide.dense,),
                (narrow.dense,),
            ),
            attended_norm=_Norm(parts.plain(attended.LayerNorm, nn.LayerNorm)),
            activation=parts.activation(wide.intermediate_act_fn),
            narrow_dropout=parts.dropout(narrow),
            narrow_norm=_Norm(parts.plain(narrow.LayerNorm, nn.LayerNorm)),
        )

    @classmethod
    def of_distilbert(cls, layer: Any, parts: _Parts) -> "Layer":
        mixed = parts.attention(layer.attention)
        feed = parts.home(layer.ffn)
        return cls(
            n_heads=mixed.n_heads,
            mixed=mixed,
            attended_dropout=None,
            linear=parts.linear(
                (mixed.q_lin, mixed.k_lin, mixed.v_lin),
                (mixed.out_lin,),
                (feed.lin1,),
                (feed.lin2,),
            ),
            attended_norm=_Norm(parts.plain(layer.sa_layer_norm, nn.LayerNorm)),
            activation=parts.activation(feed.activation),
            narrow_dropout=parts.dropout(feed),
            narrow_norm=_Norm(parts.plain(layer.output_layer_norm, nn.LayerNorm)),
        )

    def __call__(self, X: Tensor, groups: Sequence[Group], products: Sequence[Product]) -> Tensor:
        """[wordpieces, width] to the same. products: of `linear`."""
        mixed, attended, wide, narrow = products
        n = X.shape[0]
        split = (n, self.n_heads, -1)
        q, k, v = (Y.view(split) for Y in mixed(X))
        (H,) = attended(attend(groups, q, k, v).reshape(n, -1), plus=X)
        H = self.attended_norm(H)
        (new,) = narrow(wide(H, _in_place(self.activation))[0], plus=H)
        return self.narrow_norm(new)

    @property
    def attention_dropout(self) -> float:
        """As the module has it, by itself in transformers 4, of its dropout since."""
        own = self.mixed
        return getattr(own, "dropout_prob", own.dropout.p) if own.training else 0.0

    def train(
        self,
        X: Tensor,
        groups: Sequence[Group],
        products: Sequence[Callable[[Tensor], Tensor]],
        masks: Masks,
    ) -> Tensor:
        """The same with dropout, and a graph."""
        mixed, attended, wide, narrow = products
        rate = self.attention_dropout
        H = attended(attend_joined(groups, mixed(X), self.n_heads, dropout=rate, masks=masks))
        H = self.attended_norm(_drop(H, self.attended_dropout, masks) + X)
        new = narrow(self.activation(wide(H)))
        return self.narrow_norm(_drop(new, self.narrow_dropout, masks) + H)


@dataclass(frozen=True)
class DirectEncoder:
    """An encoder's parts.

    words, positions, kinds: tables; DistilBERT has no kinds. dropout: of their sum. project: brings that to the width
    of the layers. is_as_found: whether all parts are still in their places, and plain.
    """

    words: nn.Embedding
    positions: nn.Embedding
    kinds: nn.Embedding | None
    norm: _Norm
    dropout: nn.Dropout
    project: nn.Linear | None
    layers: list[Layer]
    products: Products
    is_as_found: Callable[[], bool]

    @classmethod
    def of(cls, model: PreTrainedModel, *, int8: bool = False) -> "DirectEncoder | None":
        """The parts of an encoder that is read flat; None if one is not as Hugging Face has made it.

        None, too, without layers, and for prediction where dropout is on. int8: see `Products`.
        """
        if not _may_be_direct(model):
            return None
        parts = _Parts(train=torch.is_grad_enabled())
        try:
            whole: Any = parts.home(model)
            tables = parts.home(whole.embeddings)
            dropout = parts.dropout(tables)
            project, kinds = getattr(whole, "embeddings_project", None), None
            if model.config.model_type == DISTILBERT:
                stack, make = parts.home(whole.transformer), Layer.of_distilbert
            else:
                stack, make = parts.home(whole.encoder), Layer.of
                kinds = parts.plain(tables.token_type_embeddings, nn.Embedding)
            layers = [make(parts.home(layer), parts) for layer in parts.each(stack.layer)]
            if not layers:
                return None
            return cls(
                words=parts.plain(tables.word_embeddings, nn.Embedding),
                positions=parts.plain(tables.position_embeddings, nn.Embedding),
                kinds=kinds,
                norm=_Norm(parts.plain(tables.LayerNorm, nn.LayerNorm)),
                dropout=dropout,
                project=None if project is None else parts.plain(project, nn.Linear),
                layers=layers,
                products=Products([group for layer in layers for group in layer.linear], int8=int8),
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
        """As `encode_flat`. Without a graph."""
        multiple, compiles = _multiple_of_keys(device), self.products.are_int8
        flat = FlatRow.of(model, batches, device, multiple=multiple, compiles=compiles)
        X = embedding(flat.ids, self.words.weight)
        if self.kinds is not None:
            X += self.kinds.weight[0]
        X = self.norm(X.add_(embedding(flat.positions, self.positions.weight)))
        if self.project is not None:
            X = linear(X, self.project.weight, self.project.bias)
        products = iter(self.products(X.shape[0]))
        found = [X]
        for layer in self.layers:
            X = layer(X, flat.groups, [next(products) for _ in layer.linear])
            found.append(X)
        return [X[: flat.n] for X in (found if every else found[-1:])]

    def begin(
        self, model: PreTrainedModel, batches: Sequence[MicroBatch], spare: SpareGradients
    ) -> "DirectEncoder | Trainer":
        """What encodes some of these micro-batches at a time: this, or with a graph something else."""
        if not torch.is_grad_enabled():
            return self
        look_up = rows_once(model, batches, spare) or self.words
        return Trainer(self, look_up, joined_products(self.products.groups, spare), Masks())


@dataclass(frozen=True)
class Trainer:
    """An encoder in one batch's forward pass, for a backward pass. look_up: of wordpieces."""

    encoder: DirectEncoder
    look_up: Callable[[Tensor], Tensor]
    products: Sequence[Callable[[Tensor], Tensor]]
    masks: Masks

    def __call__(
        self,
        model: PreTrainedModel,
        batches: Sequence[MicroBatch],
        device: torch.device,
        *,
        every: bool,
    ) -> list[Tensor]:
        """As `encode_flat`."""
        own, masks = self.encoder, self.masks
        flat = FlatRow.of(model, batches, device)
        X = self.look_up(flat.ids)
        if own.kinds is not None:
            X = X + own.kinds.weight[0]
        X = _drop(own.norm(X + own.positions(flat.positions)), own.dropout, masks)
        if own.project is not None:
            X = own.project(X)
        products, found = iter(self.products), [X]
        for layer in own.layers:
            X = layer.train(X, flat.groups, [next(products) for _ in layer.linear], masks)
            found.append(X)
        return [X[: flat.n] for X in (found if every else found[-1:])]


class DirectReader:
    """Keeps the parts of the encoder that it read last, and the copies of their weights, for the next time.

    int8: see `Products`.
    """

    def __init__(self, *, int8: bool = False) -> None:
        self._int8 = int8
        self._last: dict[bool, tuple[PreTrainedModel, DirectEncoder]] = {}  # True: with a graph

    def of(self, model: PreTrainedModel) -> DirectEncoder | None:
        """As `DirectEncoder.of`."""
        train = torch.is_grad_enabled()
        last = self._last.get(train)
        if last and last[0] is model and _may_be_direct(model) and last[1].is_as_found():
            return last[1]
        self._last.pop(train, None)
        new = DirectEncoder.of(model, int8=self._int8)
        if new is not None:
            self._last[train] = (model, new)
        return new

    @property
    def is_int8(self) -> bool:
        """Whether predictions were made in 8-bit integers the last time."""
        last = self._last.get(False)
        return last is not None and last[1].products.are_int8

    def why_not_int8(self, model: PreTrainedModel) -> str:
        """What keeps an encoder that was not read so from it."""
        family, attention = model.config.model_type, model.config._attn_implementation
        if not is_there():
            return (
                "this build of torch does not multiply 8-bit integers with oneDNN on this processor"
            )
        if family not in FAMILIES:
            return f"it is for {', '.join(FAMILIES)}, not for `{family}`"
        if attention != "sdpa":
            return f"it needs the attention `sdpa`, and this encoder has `{attention}`"
        if not reads_flat(model, train=False):
            return "it needs absolute positions in a plain table, and an encoder that is no decoder"
        if False not in self._last:
            return "parts of the encoder are not as Hugging Face has made them (adapters, hooks, compiled layers)"
        most = f"{MOST_BYTES // 2**20} MB"
        return (
            "weights are not in fp32, were made in inference mode, or their copy needs more than "
            f"{most}; or a layer has no bias"
        )

    def forget(self) -> None:
        """Let go of copies: the weights are about to change, or have been written to without torch's counting it."""
        self._last.pop(False, None)

    def drop(self) -> None:
        """Let go of the encoder."""
        self._last.clear()


def _may_be_direct(model: PreTrainedModel) -> bool:
    train = torch.is_grad_enabled()
    kinds = (_BEFORE, "_forward_hooks", *(_BACKWARD if train else ()))
    hooked = any(getattr(module_hooks, f"_global{kind}") for kind in kinds)
    return not (hooked or (model.training and not train))


def _multiple_of_keys(device: torch.device) -> int:
    """What torch's attention wants the number of keys to be a multiple of.

    In bf16 a processor takes 1.2 to 2 times as long with 24, 28, 40, 100 or 250 keys as with the next multiple of 16,
    queries left as they are (project/benchmarks/NOTES.md); in fp32 there is nothing to gain.
    """
    low = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return 16 if low and torch.get_autocast_dtype("cpu") == torch.bfloat16 else 1


def _drop(X: Tensor, dropout: nn.Dropout | None, masks: Masks) -> Tensor:
    return drop(X, dropout.p, masks) if dropout is not None and dropout.training else X


def _in_place(activation: Any) -> Activation:
    """Works in place if it can."""
    return GELU if vars(activation).get("act") is gelu else activation
