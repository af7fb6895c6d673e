"""A head's own mix of the encoder's layers.

`mix = scale * sum_l s_l h_l` with `s = softmax(mix weights)`, over the embeddings and all layers (Peters et al. 2018,
arXiv 1802.05365, equation 1). Both are parameters of the listener, and are trained by the optimizer of its head.
"""

from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from ..types import Array

LAYERS = ("last", "mix")
EXTENSION = "task_vectors"  # `doc._.task_vectors`: task -> [tokens, width], what mixing listeners read in prediction


def install() -> None:
    """Register `doc._.task_vectors`."""
    if not Doc.has_extension(EXTENSION):
        Doc.set_extension(EXTENSION, default=None)


def start(model: Model, n_layers: int) -> None:
    """Begin with the mean of all layers."""
    if model.has_param("mix") is not True:
        model.set_param("mix", model.ops.alloc1f(n_layers))
        model.set_param("scale", model.ops.alloc1f(1) + 1.0)


def layer_weights(model: Model) -> Array:
    """[n_layers] what each layer is multiplied with: `scale * softmax(mix)`."""
    return model.get_param("scale")[0] * _shares(model)


def mixed(layers: Sequence[Array], weights: Array) -> Array:
    """[T, width] the weighted sum of the layers, [T, width] each."""
    total = layers[0] * weights[0]
    for layer, weight in zip(layers[1:], weights[1:], strict=True):
        total += layer * weight
    return total


def backpropagate(model: Model, layers: Sequence[Array], d_mixed: Array) -> None:
    """Add to the gradients of the listener's parameters. d_mixed: [T, width] gradient of what `mixed` gave."""
    xp = model.ops.xp
    shares, scale = _shares(model), model.get_param("scale")[0]
    d_layers = xp.stack([(layer * d_mixed).sum() for layer in layers])
    mean = (shares * d_layers).sum()
    model.inc_grad("scale", mean.reshape(1))
    model.inc_grad("mix", scale * shares * (d_layers - mean))


def _shares(model: Model) -> Array:
    shares: Any = model.ops.softmax(model.get_param("mix").reshape(1, -1)).ravel()
    return shares
