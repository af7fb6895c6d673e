"""The encoder's forward pass: padded micro-batches of wordpieces in, token vectors out."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..types import EncoderInput, MicroBatch, Pooling
from .embeddings import looked_up_once
from .pooling import pool
from .precision import autocast


def encode_tokens(
    model: PreTrainedModel,
    inputs: EncoderInput,
    *,
    pooling: Pooling,
    dtype: torch.dtype,
) -> Tensor:
    """Encode a batch of documents.

    Returns fp32 token vectors [T, width], documents one after the other; zeros for tokens without wordpieces.
    Gradients reach the encoder's parameters through autograd when it is enabled.
    dtype: of the matrix products, see `resolve_precision`.
    """
    device = next(model.parameters()).device
    if not inputs.micro_batches:
        return torch.zeros((len(inputs.token_lengths), model.config.hidden_size), device=device)
    with autocast(device, dtype), looked_up_once(model, inputs.micro_batches):
        rows = [_encode(model, batch, device) for batch in inputs.micro_batches]
    hidden = torch.cat([r.flatten(0, 1) for r in rows])
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    links = torch.from_numpy(inputs.links).to(device, non_blocking=True)
    lengths = torch.from_numpy(inputs.token_lengths).to(device, non_blocking=True)
    return pool(hidden, links, lengths, pooling)


def _encode(model: PreTrainedModel, batch: MicroBatch, device: torch.device) -> Tensor:
    """Run one micro-batch. Returns [rows, longest, width] in the encoder's own dtype."""
    ids = torch.from_numpy(batch.ids).to(device, non_blocking=True)
    longest = batch.ids.shape[1]
    mask = None
    if (batch.lengths < longest).any():
        lengths = torch.from_numpy(batch.lengths).to(device, non_blocking=True)
        mask = (torch.arange(longest, device=device)[None, :] < lengths[:, None]).long()
    output: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return output
