"""Encoders of the BERT family without padding: one flat row of wordpieces, and attention within each window only.

All layers but attention look at one wordpiece at a time. So the windows of several micro-batches are laid one behind
the other, and pass through those layers as one matrix; attention takes them apart again, window by window.

    windows      [CLS] a b [SEP]   [CLS] c [SEP]
    flat         [CLS] a b [SEP] [CLS] c [SEP]        seven rows of a matrix, none of them padding
    positions      0   1 2   3     0   1   2

torch's attention is caught by a TorchFunctionMode, so that Hugging Face's own modules run as they are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .. import errors
from ..types import Bools, Ints, MicroBatch
from .layers import is_checkpointed
from .packed import compiled_rows

_WARN = "warn_if_padding_and_no_attention_mask"  # a method of Hugging Face's
_NO_PADDING = torch.ones((), dtype=torch.bool)  # on the processor
DISTILBERT = "distilbert"
FAMILIES = ("bert", "camembert", DISTILBERT, "electra", "roberta", "xlm-roberta")


def reads_flat(model: PreTrainedModel, *, train: bool = True) -> bool:
    """True for an encoder that this module can run: absolute positions, torch's attention, nothing computed again.

    train: whether there will be a backward pass. Looking for layers that are computed again then takes a while.
    """
    config = model.config
    if config.model_type == DISTILBERT and not _is_plain(model.embeddings.position_embeddings):
        return False
    return (
        config.model_type in FAMILIES
        and config._attn_implementation == "sdpa"
        and is_of(ALL_ATTENTION_FUNCTIONS["sdpa"], "transformers")
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and not getattr(config, "is_decoder", False)
        and not (train and is_checkpointed(model))
    )


def is_of(function: Any, *packages: str) -> bool:
    """Whether a function was written in one of these packages; what is not written in Python has no module."""
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in packages


def _is_plain(table: Any) -> bool:
    """Whether a lookup in a table of positions can be told by the table's own weight."""
    own = vars(table)
    return type(table) is nn.Embedding and "weight" in own["_parameters"] and "forward" not in own


def runs(batches: Sequence[MicroBatch], budget: int) -> Iterator[list[MicroBatch]]:
    """Gather micro-batches, in order, for one call of the encoder each: at most `budget` wordpieces without padding.

    They are about equally large: a small one at the end would take as long as a larger one, and the largest sets the
    memory.
    """
    sizes = [int(batch.lengths.sum()) for batch in batches]
    left = sum(sizes)
    share = _share(left, budget)
    gathered: list[MicroBatch] = []
    size = 0
    for batch, n in zip(batches, sizes, strict=True):
        if gathered and (size + n > budget or size + n / 2 > share):
            yield gathered
            left -= size
            gathered, size, share = [], 0, _share(left, budget)
        gathered.append(batch)
        size += n
    if gathered:
        yield gathered


def _share(left: int, budget: int) -> float:
    """Of the next one of as few calls as the budget allows."""
    return left / max(-(-left // budget), 1)


@dataclass(frozen=True)
class FlatRow:
    """Some micro-batches as one row.

    n: their wordpieces. ids, positions: [n or more], as the encoder's tables have them; what is over is computed for
    nothing, see `compiled_rows`.
    """

    n: int
    ids: Tensor
    positions: Tensor
    groups: "list[Group]"

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        batches: Sequence[MicroBatch],
        device: torch.device,
        *,
        multiple: int = 1,
        compiles: bool = False,
    ) -> "FlatRow":
        """multiple: see `Group.of`. compiles: see `compiled_rows`."""
        inside = [_inside(batch) for batch in batches]
        ids = [batch.ids[kept] for batch, kept in zip(batches, inside, strict=True)]
        first = _first_position(model)
        positions = [
            _positions(batch, kept, first) for batch, kept in zip(batches, inside, strict=True)
        ]
        n_rows = sum(map(len, ids))
        over = compiled_rows(n_rows, device, compiles=compiles) - n_rows
        row, places = (
            np.concatenate([*parts, parts[-1][-1:].repeat(over)]) for parts in (ids, positions)
        )
        places += first
        moved = [torch.from_numpy(x).to(device, non_blocking=True) for x in (row, places)]
        if len(inside) == len(inside[0]) == 1:
            groups = [Group.alone(n_rows, over, device, multiple=multiple)]
        else:
            groups = [Group.of(kept, device, multiple=multiple) for kept in inside]
        return cls(n_rows, moved[0], moved[1], groups)


def avoid_cudnn(device: torch.device) -> None:
    """Let torch leave attention on a GPU to its other kernels, in the whole process.

    On Hopper and Blackwell torch prefers cuDNN's, which makes a plan for each shape, some 30 ms each, and keeps them
    all (transformers#48163). Attention over windows has a new shape in nearly every call.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def encode_flat(
    model: PreTrainedModel, batches: Sequence[MicroBatch], device: torch.device, *, every: bool
) -> list[Tensor]:
    """Run some micro-batches as one flat row. Returns [wordpieces, width] of the last layer, or of all."""
    flat = FlatRow.of(model, batches, device)
    row = flat.ids[None]
    table: Any = None
    if model.config.model_type == DISTILBERT:
        table = model.embeddings.position_embeddings.weight
        given = {}
    else:
        given = {
            "position_ids": flat.positions[None],
            "token_type_ids": torch.zeros_like(row),
        }
    # it looks for padding in the ids, which has to wait for a GPU
    vars(model)[_WARN] = lambda *args: None
    try:
        with _AttentionWithin(flat, table) as within:
            # with scores to hand out transformers 4 would not call torch's attention
            output = model(
                input_ids=row, output_hidden_states=every, output_attentions=False, **given
            )
    finally:
        vars(model).pop(_WARN, None)
    if model.config.num_hidden_layers and not within.attends:
        raise errors.attention_not_seen(model.config.model_type)
    below = output.hidden_states[:-1] if every else ()
    return [layer[0, : flat.n] for layer in (*below, output.last_hidden_state)]


def _inside(batch: MicroBatch) -> Bools:
    """[rows, longest] false for padding."""
    return np.arange(batch.ids.shape[1])[None, :] < batch.lengths[:, None]


def _positions(batch: MicroBatch, kept: Bools, first: int) -> Ints:
    """Places of the wordpieces that are kept in their windows.

    RoBERTa's, whose positions start behind the padding's id, leave out what is padding by its id: the text `<pad>`.
    """
    found: Ints = kept.nonzero()[1]
    if not first:
        return found
    padding = kept & (batch.ids == first - 1)
    if padding.any():
        found = np.where(padding, -1, np.cumsum(kept & ~padding, axis=1) - 1)[kept]
    return found


def _first_position(model: PreTrainedModel) -> int:
    table = model.embeddings.position_embeddings
    return 0 if table.padding_idx is None else int(table.padding_idx) + 1


@dataclass(frozen=True)
class Group:
    """Windows that attend to themselves in one call.

    n: their wordpieces. shape: rows, and length of the longest. n_keys: of a row, padding included; of a window that is
    `alone` it may be less than its length. source: [rows * longest] the wordpiece that stands there as a query, any for
    padding; kept: [n] the inverse; None if all windows are of one length. keys: [rows * n_keys] the wordpiece that
    stands there as a key, any for padding; None for the first ones as they are. mask: [rows, 1, 1, n_keys] false for
    padding; None if there is none.
    """

    n: int
    shape: tuple[int, int]
    n_keys: int
    source: Tensor | None = None
    kept: Tensor | None = None
    keys: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def of(cls, inside: Bools, device: torch.device, *, multiple: int = 1) -> "Group":
        """inside: [rows, longest] false for padding. multiple: of what the number of keys is to be one."""
        rows, longest = inside.shape
        n, n_keys = int(inside.sum()), -(-longest // multiple) * multiple
        if n == rows * n_keys:
            return cls(n, (rows, longest), n_keys)
        wider = np.zeros((rows, n_keys), dtype=bool)
        wider[:, :longest] = inside
        places = np.where(wider, np.cumsum(wider).reshape(wider.shape) - 1, 0)

        def move(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device, non_blocking=True)

        keys, mask = move(places.ravel()), move(wider)[:, None, None, :]
        if n == rows * longest:
            return cls(n, (rows, longest), n_keys, keys=keys, mask=mask)
        source, kept = move(places[:, :longest].flatten()), move(np.flatnonzero(inside))
        return cls(n, (rows, longest), n_keys, source, kept, keys, mask)

    @classmethod
    def alone(cls, n: int, over: int, device: torch.device, *, multiple: int = 1) -> "Group":
        """The only window of a row of `n + over`. What is over asks too, and is padding as a key: nothing is moved."""
        n_keys = min(-(-n // multiple) * multiple, n + over)
        mask = None
        if n_keys > n:
            mask = (torch.arange(n_keys, device=device) < n)[None, None, None, :]
        return cls(n + over, (1, n + over), n_keys, mask=mask)

    def spread(self, flat: Tensor) -> Tensor:
        """Queries: [n, heads, size] to [rows, heads, longest, size]."""
        taken = flat if self.source is None else _take(flat, self.source)
        return taken.view(*self.shape, *flat.shape[1:]).transpose(1, 2)

    def spread_keys(self, flat: Tensor) -> Tensor:
        """Keys or values: [n, heads, size] to [rows, heads, n_keys, size]. The mask hides what stands for padding."""
        if self.keys is not None:
            taken = _take(flat, self.keys)
        else:
            n = self.shape[0] * self.n_keys
            taken = flat if n == flat.shape[0] else flat[:n]
        return taken.view(self.shape[0], self.n_keys, *flat.shape[1:]).transpose(1, 2)

    def gather(self, spread: Tensor) -> Tensor:
        """The inverse of `spread`."""
        flat = spread.transpose(1, 2).flatten(0, 1)
        return flat if self.kept is None else _take(flat, self.kept)


def attend(
    groups: Sequence[Group],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Attention within each window. All are [wordpieces, heads, size]; zeros for those at the end that are in none."""
    found = []
    sizes = [group.n for group in groups]
    over = query.shape[0] - sum(sizes)
    whole = query, key, value
    split: Iterable[Sequence[Tensor]] = [whole]
    if len(sizes) > 1 or over:
        # the gradients of slices would each be as long as the whole
        split = zip(*(torch.split_with_sizes(x, [*sizes, over]) for x in whole), strict=True)
    for group, (q, k, v) in zip(groups, split, strict=False):
        attended = scaled_dot_product_attention(
            group.spread(q),
            group.spread_keys(k),
            group.spread_keys(v),
            group.mask,
            dropout,
            scale=scale,
        )
        found.append(group.gather(attended))
    if over:
        found.append(found[0].new_zeros((over, *found[0].shape[1:])))
    return torch.cat(found) if len(found) > 1 else found[0]


def _take(flat: Tensor, places: Tensor) -> Tensor:
    """`flat[places]`, whose backward pass is fast on a processor too: that of an embedding."""
    return embedding(places, flat.flatten(1)).view(-1, *flat.shape[1:])


class _AttentionWithin(TorchFunctionMode):
    """Inside, torch's attention over one flat row is attention within each window of it.

    Before the first layer Hugging Face looks whether a mask of the row's shape hides anything, which has to wait for a
    GPU; it does not. table: of positions, for DistilBERT, which counts them itself.
    """

    def __init__(self, flat: FlatRow, table: Tensor | None) -> None:
        super().__init__()
        self._groups, self._positions = flat.groups, flat.positions[None]
        self._table = table
        self.attends = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        if not self.attends and func in (torch.all, Tensor.all) and self._is_mask(args, kwargs):
            return _NO_PADDING
        if self._table is not None and func is embedding and args[1] is self._table:
            args = (self._positions, *args[1:])
        return func(*args, **(kwargs or {}))

    def _is_mask(self, args: Sequence[Any], kwargs: dict[str, Any] | None) -> bool:
        return len(args) == 1 and not kwargs and args[0].shape == self._positions.shape

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,  # says that there is no padding
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        self.attends = True
        assert query.shape[0] == 1
        assert not is_causal
        assert not enable_gqa
        flat = [x[0].transpose(0, 1) for x in (query, key, value)]
        return attend(self._groups, *flat, dropout=dropout_p, scale=scale).transpose(0, 1)[None]
