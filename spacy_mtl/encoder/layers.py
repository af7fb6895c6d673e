"""Which parameters belong to which depth of an encoder: for freezing and for layer-wise learning rates."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..errors import bad_setting


def find_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of layers: the first list of modules as long as the config says."""
    depth = getattr(model.config, "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise ValueError(f"`{type(model).__name__}` has no list of {depth} layers.")


def depths(model: nn.Module) -> dict[str, int]:
    """Depth of each parameter by name: 0 for embeddings, 1 to n for the layers, n + 1 for what follows them."""
    layers = find_layers(model)
    in_layer = {id(p): i for i, layer in enumerate(layers, 1) for p in layer.parameters()}
    embedding = {id(p) for module in _embeddings(model, layers) for p in module.parameters()}
    last = len(layers) + 1
    return {
        name: 0 if id(p) in embedding else in_layer.get(id(p), last)
        for name, p in model.named_parameters()
    }


def freeze(model: nn.Module, *, layers: int | str, embeddings: bool) -> None:
    """Stop training the first `layers` layers (`"all"`: the whole encoder) and, if asked, the embeddings."""
    check_freeze_layers(layers, n_layers=len(find_layers(model)))
    depth = depths(model)
    for name, parameter in model.named_parameters():
        frozen = layers == "all" or (embeddings and depth[name] == 0)
        if layers != "all" and 1 <= depth[name] <= int(layers):
            frozen = True
        parameter.requires_grad_(not frozen)


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
    """Let the backward pass compute each layer's activations again instead of keeping them."""
    new = "activation_checkpointing_enable"  # its name in transformers 5
    enable: Any = getattr(model, new if hasattr(model, new) else "gradient_checkpointing_enable")
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


def _embeddings(model: nn.Module, layers: nn.ModuleList) -> list[nn.Module]:
    """Modules named after embeddings, and embedding tables, that are not inside a layer."""
    inside = {id(module) for module in layers.modules()}
    found = []
    for name, module in model.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        named = leaf in ("embeddings", "embed_tokens", "embeddings_project", "shared")
        if named and id(module) not in inside:
            found.append(module)
    return found


def max_positions(model: PreTrainedModel) -> int | None:
    """Most wordpieces in a window, special tokens counted; None where positions are relative."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, nn.Embedding):
        # RoBERTa's positions start behind the padding id.
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    positions = getattr(model.config, "max_position_embeddings", None)
    return int(positions) if positions and positions > 0 else None
