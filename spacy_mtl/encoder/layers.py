"""Which parameters belong to which depth of an encoder: for freezing and for layer-wise learning rates."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..errors import bad_setting, no_checkpoints, no_layers


def find_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of layers: the first list of modules as long as the config says.

    Raises ConfigError for a model that has none, such as ALBERT, whose layers share their weights.
    """
    return _stacks(model)[0]


def _stacks(model: nn.Module) -> list[nn.ModuleList]:
    """The stack of layers, and those beside it: XLM has one of attentions, one of feed-forward layers."""
    depth = getattr(model.config, "num_hidden_layers", None)
    found: dict[str, list[nn.ModuleList]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            found.setdefault(name.rpartition(".")[0], []).append(module)
    for beside in found.values():
        return beside
    raise no_layers(type(model).__name__, depth=depth)


def depths(model: nn.Module) -> dict[str, int]:
    """Depth of each parameter by name: 0 for embeddings, 1 to n for the layers, n + 1 for what follows them.

    Raises ConfigError for a model without a stack of layers.
    """
    stacks = _stacks(model)
    in_layer = {
        id(p): i
        for layers in stacks
        for i, layer in enumerate(layers, 1)
        for p in layer.parameters()
    }
    embedding = {id(p): 0 for module in _embeddings(model) for p in module.parameters()}
    depth = embedding | in_layer
    last = len(stacks[0]) + 1
    return {name: depth.get(id(p), last) for name, p in model.named_parameters()}


def freeze(model: nn.Module, *, layers: int | str, embeddings: bool) -> None:
    """Stop training the first `layers` layers (`"all"`: the whole encoder) and, if asked, the embeddings.

    Positions that are sines by design are never trained: `from_pretrained` forgets that they are not to be.
    """
    check_freeze_layers(layers, n_layers=getattr(model.config, "num_hidden_layers", None))
    if layers == "all":
        model.requires_grad_(False)
        return
    model.requires_grad_(True)
    for module in _sines(model):
        module.requires_grad_(False)
    if embeddings:
        for module in _embeddings(model):
            module.requires_grad_(False)
    if layers != 0:
        depth = depths(model)
        for name, parameter in model.named_parameters():
            if 1 <= depth[name] <= int(layers):
                parameter.requires_grad_(False)


def check_freeze_layers(layers: int | str, *, n_layers: int | None = None) -> None:
    """Raises ConfigError for a value that no encoder, or none of `n_layers` layers, can take."""
    if layers == "all":
        return
    is_count = isinstance(layers, int) and not isinstance(layers, bool) and layers >= 0
    if not is_count or (n_layers is not None and int(layers) > n_layers):
        most = "" if n_layers is None else f", 0 to {n_layers}"
        need = f"`all` or the number of layers to freeze from the bottom{most}"
        raise bad_setting(layers, key="model.freeze_layers", need=need)


def checkpoint_layers(model: nn.Module) -> None:
    """Let the backward pass compute each layer's activations again instead of keeping them.

    Raises ConfigError for a model that cannot do that.
    """
    new = "activation_checkpointing_enable"  # its name in transformers 5
    enable: Any = getattr(model, new if hasattr(model, new) else "gradient_checkpointing_enable")
    if not getattr(model, "supports_gradient_checkpointing", True):
        raise no_checkpoints(type(model).__name__)
    enable({"use_reentrant": False})
    if hasattr(
        model, "_require_grads_hooks"
    ):  # transformers 5 adds them; only reentrant checkpoints need them
        disable: Any = model.disable_input_require_grads
        disable()


def is_checkpointed(model: nn.Module) -> bool:
    """Whether `checkpoint_layers` has been called."""
    new = "is_activation_checkpointing"  # its name in transformers 5
    old = "is_gradient_checkpointing"
    return bool(getattr(model, new if hasattr(model, new) else old, False))


def _embeddings(model: nn.Module) -> list[nn.Module]:
    """Modules named after embeddings, and embedding tables, that are not inside a layer.

    DeBERTa's table of relative positions is not among them: each layer reads it, none of the text does.
    """
    inside = {
        id(inner)
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for inner in module.modules()
    }
    found = []
    for name, module in model.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        named = leaf in ("embeddings", "embed_tokens", "embeddings_project", "shared")
        table = isinstance(module, nn.Embedding) and leaf != "rel_embeddings"
        if (named or table) and id(module) not in inside:
            found.append(module)
    return found


def _sines(model: nn.Module) -> list[nn.Module]:
    """Tables of positions that are computed and not learned."""
    config: Any = model.config
    flags = ("sinusoidal_pos_embds", "sinusoidal_embeddings")  # of DistilBERT, of XLM
    by_config = any(getattr(config, flag, False) for flag in flags)
    return [
        module
        for name, module in model.named_modules()
        if "Sinusoidal" in type(module).__name__
        or (by_config and name.rsplit(".", 1)[-1] == "position_embeddings")
    ]


def max_positions(model: PreTrainedModel) -> int | None:
    """Most wordpieces in a window, special tokens counted; None where positions are relative."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, nn.Embedding):
        # RoBERTa's positions start behind the padding id.
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    positions = getattr(model.config, "max_position_embeddings", None)
    return int(positions) if positions and positions > 0 else None
