"""One gradient of the embedding table for a whole batch, where autograd would make one for each micro-batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from ..types import MicroBatch
from .spare import SpareGradients


@contextmanager
def looked_up_once(
    model: PreTrainedModel, batches: Sequence[MicroBatch], spare: SpareGradients
) -> Iterator[None]:
    """Inside, the encoder takes the embeddings of these micro-batches as `rows_once` does, if it can."""
    look_up = rows_once(model, batches, spare)
    if look_up is None:
        yield
        return
    table = model.get_input_embeddings()
    vars(table)["forward"] = look_up
    try:
        yield
    finally:
        del vars(table)["forward"]


def rows_once(
    model: PreTrainedModel, batches: Sequence[MicroBatch], spare: SpareGradients
) -> Callable[[Tensor], Tensor] | None:
    """A lookup of the embeddings of these micro-batches in a copy of the rows that they need.

    The gradient of an embedding table is dense: [V, width], nearly all zeros, filled and added up once for each lookup.
    With the rows as a common source it is made once, in the memory of the last one if `spare` holds that. Values and
    gradients are those of the plain lookup. None without gradients, and for embeddings that are not torch's plain ones.
    """
    table = model.get_input_embeddings()
    if not batches or not torch.is_grad_enabled() or not _is_plain(table):
        return None
    device = table.weight.device
    padding = [fill_id(model)]  # batches may be filled up with it
    unique = np.unique(np.concatenate([padding, *(batch.ids.ravel() for batch in batches)]))
    ids = torch.from_numpy(unique).to(device, non_blocking=True)
    rows = _Rows.apply(table.weight, ids, table.padding_idx, spare)  # type: ignore[no-untyped-call]
    return lambda wanted: nn.functional.embedding(torch.searchsorted(ids, wanted), rows)


def fill_id(model: PreTrainedModel) -> int:
    """What stands for padding: the id of the config, 0 if it has none that the table has."""
    padding, table = model.config.pad_token_id, model.get_input_embeddings()
    n_rows = getattr(table, "num_embeddings", 0)
    return padding if padding is not None and 0 <= padding < n_rows else 0


class _Rows(torch.autograd.Function):
    """weight[ids], each once. padding: the row that has no gradient, or None."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, spare: SpareGradients
    ) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding, ctx.spare = weight, padding, spare
        return weight.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (ids,) = ctx.saved_tensors
        found: Tensor = ctx.spare.zeros_like(ctx.weight)
        found.index_copy_(0, ids, gradients[0])
        if ctx.padding is not None:
            found[ctx.padding] = 0.0
        return found, None, None, None


def _is_plain(table: nn.Module) -> TypeGuard[nn.Embedding]:
    return (
        type(table) is nn.Embedding
        and table.weight.requires_grad
        and not (table.sparse or table.scale_grad_by_freq or table.max_norm)
        and "forward" not in vars(table)
    )
