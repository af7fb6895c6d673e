"""The encoder's forward pass: micro-batches of wordpieces in, token vectors out."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from ..types import EncoderInput, Ints, MicroBatch, Pooling, TokenTypes
from .attention import encode_flat, runs
from .direct import DirectReader
from .dropout import fast_dropout
from .embeddings import fill_id, looked_up_once
from .layers import max_positions
from .packed import compiled_shape
from .pooling import choose, pool
from .precision import autocast
from .spare import SpareGradients

# They mix neighbours, or all wordpieces, without a mask: with them a window is read beside others of its length only
_SEE_PADDING = ("convbert", "fnet", "funnel", "mobilebert", "nystromformer", "yoso")
_BLIND_TO_PADDING = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "rembert",
    "roberta",
    "roformer",
    "t5",
    "xlm",
    "xlm-roberta",
    "xlnet",
)


def count_layers(model: PreTrainedModel) -> int:
    """How many vectors `encode_layers` can give for a token: one of the embeddings, and one of each layer."""
    return int(model.config.num_hidden_layers) + 1


def encode_layers(
    model: PreTrainedModel,
    inputs: EncoderInput,
    *,
    pooling: Pooling,
    dtype: torch.dtype,
    every: bool,
    spare: SpareGradients | None = None,
    direct: DirectReader | None = None,
) -> list[Tensor]:
    """Encode a batch of documents.

    Returns fp32 token vectors of the last layer, or of all from the embeddings up if `every`: [T, width] each,
    documents one after the other; zeros for tokens without wordpieces. Gradients reach the encoder's parameters through
    autograd when it is enabled.
    dtype: of the matrix products, see `resolve_precision`. spare: what gradients are written into. direct:
    knows the encoder from the last time.
    """
    device = next(model.parameters()).device
    if not inputs.micro_batches:
        shape = (len(inputs.token_lengths), model.config.hidden_size)
        return [torch.zeros(shape, device=device)] * (count_layers(model) if every else 1)
    # before the encoder is launched: a GPU may make a large copy wait for what it was given before
    links, lengths = (
        torch.from_numpy(chosen).to(device, non_blocking=True)
        for chosen in choose(inputs.links, inputs.token_lengths, pooling)
    )
    spare = spare or SpareGradients()
    with autocast(device, dtype):
        own = (direct or DirectReader()).of(model) if inputs.flat else None
        if own is None:
            encoded = _encode_by_modules(model, inputs, device, every=every, spare=spare)
        else:
            read = own.begin(model, inputs.micro_batches, spare)
            encoded = [
                read(model, run, device, every=every)
                for run in runs(inputs.micro_batches, inputs.budget)
            ]
    found = []
    for rows in zip(*encoded, strict=True):
        hidden = torch.cat(rows) if len(rows) > 1 else rows[0]
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        found.append(pool(hidden, links, lengths, pooling))
    return found


def _encode_by_modules(
    model: PreTrainedModel,
    inputs: EncoderInput,
    device: torch.device,
    *,
    every: bool,
    spare: SpareGradients,
) -> list[list[Tensor]]:
    with (
        looked_up_once(model, inputs.micro_batches, spare),
        fast_dropout(model, device),
    ):
        if inputs.flat:
            return [
                encode_flat(model, run, device, every=every)
                for run in runs(inputs.micro_batches, inputs.budget)
            ]
        return [
            _encode(model, b, device, every=every, types=inputs.types) for b in inputs.micro_batches
        ]


def _encode(
    model: PreTrainedModel,
    batch: MicroBatch,
    device: torch.device,
    *,
    every: bool,
    types: TokenTypes | None,
) -> list[Tensor]:
    """Run one micro-batch. Returns [rows * longest, width] of the last layer, or of all, in the encoder's own dtype."""
    rows, longest = batch.ids.shape
    if model.config.model_type in _SEE_PADDING and (batch.lengths < longest).any():
        return _encode_by_lengths(model, batch, device, every=every, types=types)
    ids, lengths = _fill(batch, compiled_shape(rows, longest, device), model)
    given = torch.from_numpy(ids).to(device, non_blocking=True)
    more: dict[str, Tensor] = {}
    if (lengths < ids.shape[1]).any():
        ends = torch.from_numpy(lengths).to(device, non_blocking=True)
        inside = torch.arange(ids.shape[1], device=device)[None, :] < ends[:, None]
        more["attention_mask"] = inside.long()
    if types is not None and "token_type_ids" in inspect.signature(type(model).forward).parameters:
        filled = torch.from_numpy(_token_types(types, ids.shape, lengths))
        more["token_type_ids"] = filled.to(device, non_blocking=True)
    _attend_sparsely(model, ids.shape[1])
    output = model(input_ids=given, output_hidden_states=every, **more)
    below = output.hidden_states[:-1] if every else ()
    layers = (*below, output.last_hidden_state)
    return [layer[:rows, :longest].flatten(0, 1) for layer in layers]


def _token_types(types: TokenTypes, shape: tuple[int, int], lengths: Ints) -> Ints:
    """[rows, longest] what Hugging Face's tokenizer gives for windows of these lengths."""
    found = np.full(shape, types.text, np.int64)
    found[:, : len(types.prefix)] = types.prefix
    for place, kind in enumerate(reversed(types.suffix), 1):
        found[np.arange(shape[0]), lengths - place] = kind
    return found


def _encode_by_lengths(
    model: PreTrainedModel,
    batch: MicroBatch,
    device: torch.device,
    *,
    every: bool,
    types: TokenTypes | None,
) -> list[Tensor]:
    """`_encode`, for windows of each length by themselves; zeros where padding would be."""
    longest = batch.ids.shape[1]
    order, parts = [], []
    for length in np.unique(batch.lengths):
        rows = np.flatnonzero(batch.lengths == length)
        order.append(rows)
        some = MicroBatch(batch.ids[rows, :length], batch.lengths[rows])
        layers = _encode(model, some, device, every=every, types=types)
        parts.append(
            [pad(x.view(len(rows), length, -1), (0, 0, 0, longest - length)) for x in layers]
        )
    back = torch.from_numpy(np.concatenate(order).argsort()).to(device)
    return [torch.cat(layer)[back].flatten(0, 1) for layer in zip(*parts, strict=True)]


def _attend_sparsely(model: PreTrainedModel, length: int) -> None:
    """BigBird takes full attention for a short window, and would for all that come after it, too."""
    if getattr(model.config, "attention_type", None) != "block_sparse":
        return
    config: Any = model.config
    short = (5 + 2 * config.num_random_blocks) * config.block_size
    if length > short and model.attention_type != "block_sparse":
        model.set_attention_type("block_sparse")


def _fill(batch: MicroBatch, shape: tuple[int, int], model: PreTrainedModel) -> tuple[Ints, Ints]:
    """ids and lengths of a larger shape: padding at the end of the rows, and the last row again and again.

    Rows are as long as they were if the encoder has no positions for more, or if padding might be seen by others.
    """
    rows, longest = batch.ids.shape
    if shape == (rows, longest):
        return batch.ids, batch.lengths
    most = max_positions(model)
    fits = model.config.model_type in _BLIND_TO_PADDING and (most is None or shape[1] <= most)
    over = shape[1] - longest if fits else 0
    ids = np.pad(batch.ids, ((0, 0), (0, over)), constant_values=fill_id(model))
    ids = np.pad(ids, ((0, shape[0] - rows), (0, 0)), mode="edge")
    return ids, np.pad(batch.lengths, (0, shape[0] - rows), mode="edge")
