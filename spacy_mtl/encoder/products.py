"""What computes linear layers in prediction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def probing() -> Iterator[None]:
    """For finding out whether operators compute what they should, whatever is going on: training, autocast, a default
    device. torch's random numbers go on afterwards as if nothing had been drawn.
    """
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.random.fork_rng(devices=[]),
        torch.device("cpu"),
    ):
        yield
