"""Linear layers for few rows on a processor, with weights that lie in memory as its matrix product wants them.

A product with few rows spends most of its time on bringing the weights into that order, each time anew, and in one
thread. oneDNN takes weights that are in order already: with two threads and 20 to 130 rows it is 1.3 to 2 times as
fast as the plain product, with 1,000 it is not (project/benchmarks/NOTES.md). Costs a copy of the weights, made when
few rows come for the first time, and made again when the weights have changed.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

FEW_ROWS = 256
MOST_BYTES = 512 * 2**20  # of an encoder's weights: a larger one is not copied
_ROWS = 64  # that the order is best for


class _Copy:
    """Weights in order, and what they are a copy of."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.state = state_of(parts)
        weight = torch.cat([part.weight.detach() for part in parts])
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self.bias = torch.cat([part.bias.detach() for part in parts])


_COPIES: "WeakKeyDictionary[nn.Linear, _Copy]" = WeakKeyDictionary()


def state_of(parts: Sequence[nn.Linear]) -> tuple[Any, ...]:
    """Where weights are, and how often torch has written to them."""
    return tuple((x.data_ptr(), x._version) for part in parts for x in (part.weight, part.bias))


def products(parts: Sequence[nn.Linear], X: Tensor) -> Sequence[Tensor]:
    """The outputs of some layers with the same input, [rows, in] to [rows, out] each. Inference only."""
    copy = _COPIES.get(parts[0])
    if copy is None or copy.state != state_of(parts):
        copy = _COPIES[parts[0]] = _Copy(parts)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(X, copy.weight, copy.bias, "none", [], "")
    return torch.split_with_sizes(found, [part.out_features for part in parts], dim=1)


def forget(model: nn.Module) -> None:
    """Drop the copies. Who writes to weights without torch's counting it has to call this: thinc, fused optimizers."""
    if not _COPIES:
        return
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _COPIES.pop(module, None)


def can_pack(parts: Sequence[nn.Linear]) -> bool:
    """Whether all weights of an encoder's layers can be copied for this processor, and are not too many."""
    if not _is_there() or torch.is_autocast_enabled("cpu"):
        return False
    size = 0
    for part in parts:
        weight, bias = part.weight, part.bias
        plain = weight.device.type == "cpu" and weight.dtype == torch.float32
        if bias is None or not plain or weight.is_inference() or bias.is_inference():
            return False
        size += weight.numel() * 4
    return size <= MOST_BYTES


@cache
def _is_there() -> bool:
    """Whether this torch has the operators, which it keeps for its own compiler, and they compute what they should."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode(False), torch.no_grad():
        layer, X = nn.Linear(4, 6), torch.eye(4)
        try:
            (found,) = products([layer], X)
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            return False
        return torch.allclose(found, layer(X), atol=1e-5)
