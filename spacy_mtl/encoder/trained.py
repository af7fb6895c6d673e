"""Products, dropout and attention in training, for encoders whose modules' own code is left out (`direct.py`).

Modules under autocast make each layer's input narrower three times for queries, keys and values, multiply three times,
and bring the three gradients together again. In bf16 with AMX a fifth of a training step were such copies
(project/benchmarks/NOTES.md). Here layers with the same input are one product, and attention with dropout is one
operation with a backward pass of its own. Gradients of weights in low precision are written into the memory of the
last ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, linear

from .attention import Group, attend
from .dropout import Masks, numbers
from .spare import SpareGradients


def joined_products(
    groups: Sequence[Sequence[nn.Linear]], spare: SpareGradients
) -> list[Callable[[Tensor], Tensor]]:
    """Linear layers for one batch's forward pass: [rows, in] to [rows, out] of all layers of a group, side by side.

    groups: layers with the same input, all with a bias. spare: what gradients are written into.
    """
    device = groups[0][0].weight.device.type
    low = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if low else torch.float32
    return [
        partial(
            linear,
            weight=_join([part.weight for part in group], dtype, spare),
            bias=_join([part.bias for part in group], dtype, spare),
        )
        for group in groups
    ]


def _join(parts: Sequence[Tensor], dtype: torch.dtype, spare: SpareGradients) -> Tensor:
    if len(parts) == 1 and parts[0].dtype == dtype:
        return parts[0]
    joined: Tensor = _Joined.apply(dtype, spare, *parts)  # type: ignore[no-untyped-call]
    return joined


class _Joined(torch.autograd.Function):
    """Parameters one below the other, in another precision."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, spare: SpareGradients, *parts: Tensor) -> Tensor:
        ctx.parts, ctx.spare = parts, spare
        if len(parts) == 1:
            return parts[0].to(dtype)
        sizes = [len(part) for part in parts]
        joined = parts[0].new_empty((sum(sizes), *parts[0].shape[1:]), dtype=dtype)
        for place, part in zip(joined.split_with_sizes(sizes), parts, strict=True):
            place.copy_(part)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        split = gradients[0].split_with_sizes([len(part) for part in ctx.parts])
        needed = ctx.needs_input_grad[2:]
        if gradients[0].dtype == ctx.parts[0].dtype:
            # they are parts of one memory
            own = split if all(needed) else [g.clone() for g in split]
            found = [g if need else None for g, need in zip(own, needed, strict=True)]
        else:
            found = [
                ctx.spare.filled(part, g) if need else None
                for part, g, need in zip(ctx.parts, split, needed, strict=True)
            ]
        return None, None, *found


def drop(X: Tensor, p: float, masks: Masks) -> Tensor:
    """Dropout in training."""
    if X.device.type == "cpu" and 0.0 < p < 1.0:
        return masks.drop(X, p)
    return dropout(X, p)


def attend_joined(
    groups: Sequence[Group], mixed: Tensor, n_heads: int, *, dropout: float, masks: Masks
) -> Tensor:
    """Attention within each window: [wordpieces, 3 * width], queries, keys, values, to [wordpieces, width]."""
    n = mixed.shape[0]
    if mixed.device.type != "cpu" or not 0.0 < dropout < 1.0:
        q, k, v = mixed.view(n, 3, n_heads, -1).unbind(1)
        return attend(groups, q, k, v, dropout=dropout).reshape(n, -1)
    sizes = [group.n for group in groups]
    over = n - sum(sizes)
    parts = mixed.split_with_sizes([*sizes, over]) if len(sizes) > 1 or over else [mixed]
    found: list[Tensor] = [
        _Attention.apply(part, group, n_heads, dropout, masks)  # type: ignore[no-untyped-call]
        for part, group in zip(parts, groups, strict=False)
    ]
    if over:
        found.append(found[0].new_zeros((over, found[0].shape[1])))
    return torch.cat(found) if len(found) > 1 else found[0]


class _Attention(torch.autograd.Function):
    """Attention with dropout within the windows of a group, on a processor.

    `softmax(q k^T / sqrt(size))`, dropped, times v (Vaswani et al. 2017, arXiv 1706.03762, equation 1); all heads of
    all windows in one product.
    """

    @staticmethod
    def forward(
        ctx: Any, mixed: Tensor, group: Group, n_heads: int, p: float, masks: Masks
    ) -> Tensor:
        rows, longest = group.shape
        taken = mixed if group.source is None else mixed.index_select(0, group.source)
        apart = taken.view(rows, longest, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
        whole = apart.clone(memory_format=torch.contiguous_format)
        whole = whole.view(3, rows * n_heads, longest, -1)
        ctx.scale = whole.shape[-1] ** -0.5
        whole[0] *= ctx.scale  # before the product, which might be too large for fp16
        q, k, v = whole[0], whole[1, :, : group.n_keys], whole[2, :, : group.n_keys]
        scores = torch.bmm(q, k.transpose(1, 2))
        if group.mask is not None:
            hidden = ~group.mask
            by_head = scores.view(rows, n_heads, longest, -1)
            by_head.masked_fill_(hidden, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1)
        mask, ctx.mask_scale = masks.draw(weights, p)
        ctx.save_for_backward(whole, weights, mask)
        ctx.group = group
        dropped = weights * numbers(mask, ctx.mask_scale, weights.dtype)
        found = torch.bmm(dropped, v).view(rows, n_heads, longest, -1).transpose(1, 2)
        flat = found.reshape(rows * longest, -1)
        return flat if group.kept is None else flat.index_select(0, group.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        whole, weights, mask = ctx.saved_tensors
        mask = numbers(mask, ctx.mask_scale, weights.dtype)
        group: Group = ctx.group
        rows, longest = group.shape
        n_keys, (_, n_windows, _, size) = group.n_keys, whole.shape
        q, k, v = whole[0], whole[1, :, :n_keys], whole[2, :, :n_keys]
        (d_flat,) = gradients
        if group.kept is not None:
            spread = d_flat.new_zeros((rows * longest, d_flat.shape[1]))
            d_flat = spread.index_copy_(0, group.kept, d_flat)
        d_found = d_flat.view(rows, longest, -1, size).transpose(1, 2)
        d_found = d_found.reshape(n_windows, longest, size)
        d_weights = torch.bmm(d_found, v.transpose(1, 2)).mul_(mask)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_whole = torch.zeros_like(whole) if n_keys < longest else torch.empty_like(whole)
        d_whole[0] = torch.bmm(d_scores, k).mul_(ctx.scale)
        d_whole[1, :, :n_keys] = torch.bmm(d_scores.transpose(1, 2), q)
        d_whole[2, :, :n_keys] = torch.bmm((weights * mask).transpose(1, 2), d_found)
        apart = d_whole.view(3, rows, -1, longest, size).permute(1, 3, 0, 2, 4)
        d_mixed = apart.reshape(rows * longest, -1)
        if group.kept is not None:
            d_mixed = d_mixed.index_select(0, group.kept)
        return d_mixed, None, None, None, None
