"""What computes linear layers in prediction."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]
GELU: Activation = torch.ops.aten.gelu_.default


class Product(Protocol):
    """Of layers with the same input, and that: [rows, in] to [rows, out] each, and what `activation` makes of it.

    plus: [rows, out] that is added to the product of a single layer. X may be written to then.
    """

    def __call__(
        self, X: Tensor, activation: Activation | None = None, plus: Tensor | None = None
    ) -> Sequence[Tensor]: ...
