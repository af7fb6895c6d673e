"""Dropout masks that a processor draws fast.

torch draws a processor's masks number by number, at some 8 nanoseconds each: a tenth of a training step of a small
encoder in fp32, more in bf16 (`project/benchmarks/NOTES.md`). Here they are 16 random bits for each number, drawn in
bulk. The probability is rounded to a multiple of 2**-16 and the rest scaled by what it is then.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from .layers import is_checkpointed

_LEVELS = 1 << 16


def fast_dropout(
    model: PreTrainedModel, device: torch.device
) -> contextlib.AbstractContextManager[Any]:
    """The context of an encoder's forward pass; does nothing outside of training, and where masks must be torch's."""
    if not model.training or device.type != "cpu" or is_checkpointed(model):
        return contextlib.nullcontext()
    return FastDropout()


def numbers(mask: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """What dropout multiplies by, from a mask that `Masks` has drawn.

    Multiplying is four times as fast as torch's selection by a mask.
    """
    return mask if mask.dtype == dtype else mask.to(dtype).mul_(scale)


class _Drop(torch.autograd.Function):
    """values * mask, which is held as it was drawn until the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return values * numbers(mask, scale, values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        (mask,) = ctx.saved_tensors
        return gradient * numbers(mask, ctx.scale, gradient.dtype), None, None


class Masks:
    """Draws masks, which follow from torch's seed at the first one."""

    @cached_property
    def _random(self) -> np.random.SFC64:
        return np.random.SFC64(int(torch.randint(2**62, ())))

    def draw(self, like: Tensor, p: float) -> tuple[Tensor, float]:
        """A mask of a tensor's shape, and the scale of what is kept. p: above 0 and below 1.

        For two-byte numbers it is what `numbers` gives. For others it is true for what is kept, a quarter of that.
        """
        threshold = min(round(p * _LEVELS), _LEVELS - 1)
        n = like.numel()
        bits = self._random.random_raw(-(-n // 4)).view(np.uint16)[:n]
        kept = torch.from_numpy(bits >= threshold).view(like.shape)
        scale = _LEVELS / (_LEVELS - threshold)
        return (numbers(kept, scale, like.dtype) if like.itemsize == 2 else kept), scale

    def drop(self, values: Tensor, p: float) -> Tensor:
        """Dropout on a processor."""
        dropped: Tensor = _Drop.apply(values, *self.draw(values, p))  # type: ignore[no-untyped-call]
        return dropped


class FastDropout(TorchFunctionMode):
    """Inside, dropout on a processor draws its masks in bulk; by itself, and in torch's attention.

    The backward pass needs no context, but nothing of the forward pass may be computed again in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._masks = Masks()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is dropout:
            return self._dropout(*args, **kwargs)
        if func is scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or not 0.0 < p < 1.0 or inplace or input.device.type != "cpu":
            return dropout(input, p, training, inplace)
        return self._masks.drop(input, p)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """torch's definition of it; with dropout, a processor's own is no more than that either."""
        simple = query.device.type == "cpu" and not is_causal and not enable_gqa
        if not simple or not 0.0 < dropout_p < 1.0:
            own = (query, key, value, attn_mask, dropout_p, is_causal)
            return scaled_dot_product_attention(*own, scale=scale, enable_gqa=enable_gqa)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = (query * scale) @ key.transpose(-2, -1)
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._masks.drop(scores.softmax(dim=-1), dropout_p).to(value.dtype) @ value
