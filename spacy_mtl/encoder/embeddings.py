"""One gradient of the embedding table for a whole batch, where autograd would make one for each micro-batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..types import MicroBatch


@contextmanager
def looked_up_once(model: PreTrainedModel, batches: Sequence[MicroBatch]) -> Iterator[None]:
    """Inside, the encoder takes the embeddings of these micro-batches from a copy of the rows that they need.

    The gradient of an embedding table is dense: [V, width], nearly all zeros, filled and added up once for each lookup.
    With the rows as a common source it is made once. Values and gradients are those of the plain lookup.
    Does nothing without gradients, for a single micro-batch, and for embeddings that are not torch's plain ones.
    """
    table = model.get_input_embeddings()
    if len(batches) < 2 or not torch.is_grad_enabled() or not _is_plain(table):
        yield
        return
    assert isinstance(table, nn.Embedding)
    device = table.weight.device
    unique = np.unique(np.concatenate([batch.ids.ravel() for batch in batches]))
    ids = torch.from_numpy(unique).to(device, non_blocking=True)
    rows = nn.functional.embedding(ids, table.weight, table.padding_idx)

    def look_up(wanted: Tensor) -> Tensor:
        return nn.functional.embedding(torch.searchsorted(ids, wanted), rows)

    vars(table)["forward"] = look_up
    try:
        yield
    finally:
        del vars(table)["forward"]


def _is_plain(table: nn.Module) -> bool:
    return (
        type(table) is nn.Embedding
        and table.weight.requires_grad
        and not (table.sparse or table.scale_grad_by_freq or table.max_norm)
        and "forward" not in vars(table)
    )
