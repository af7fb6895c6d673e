"""The types that one stage hands to the next.

Letters in shapes: D documents, T tokens, P wordpieces, W windows, all counted over one batch of documents.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Pooling = Literal["mean", "first", "last", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
Precision = Literal["fp32", "bf16", "fp16", "int8", "auto"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True)
class TokenSpans:
    """Where the tokens of one document stand in its text.

    starts, ends: [T] character offsets. skip: [T] true for tokens that never get a vector (whitespace).
    """

    starts: Ints
    ends: Ints
    skip: Bools


@dataclass(frozen=True)
class Wordpieces:
    """The wordpieces of a batch of documents, and which of them each token owns.

    ids: [P] vocabulary ids without special tokens, document after document.
    doc_lengths: [D] number of wordpieces of each document.
    token_starts, token_lengths: [T] the wordpieces of token t are
        `ids[token_starts[t] : token_starts[t] + token_lengths[t]]`; length 0 where it has none.
    doc_tokens: [D] number of tokens of each document.
    """

    ids: Ints
    doc_lengths: Ints
    token_starts: Ints
    token_lengths: Ints
    doc_tokens: Ints


@dataclass(frozen=True)
class Windows:
    """Overlapping stretches of wordpieces, none crossing a document.

    starts, lengths: [W] first wordpiece (an index into `Wordpieces.ids`) and number of wordpieces.
    served_by: [P] the window that serves each wordpiece: the one in which it is most central.
    """

    starts: Ints
    lengths: Ints
    served_by: Ints


@dataclass(frozen=True)
class MicroBatch:
    """Padded encoder input. ids: [rows, longest] with special tokens; lengths: [rows] without the padding."""

    ids: Ints
    lengths: Ints


@dataclass(frozen=True)
class EncoderInput:
    """All that the encoder needs to know of a batch of documents.

    micro_batches: padded windows, longest first.
    links: [L] for each token in turn, the places of its wordpieces in the encoder's output rows, that is in the
        concatenation over micro-batches of the output seen as [rows * longest, width]; without the padding if `flat`.
    token_lengths: [T] how many links each token has (L = their sum).
    doc_tokens: [D] tokens of each document.
    flat: whether the encoder is to read micro-batches without padding, several in one call.
    budget: most wordpieces in such a call.
    types: token types; None if all are 0.
    """

    micro_batches: list[MicroBatch]
    links: Ints
    token_lengths: Ints
    doc_tokens: Ints
    flat: bool = False
    budget: int = 0
    types: "TokenTypes | None" = None

    @property
    def n_wordpieces(self) -> int:
        """Wordpieces that the encoder reads, special tokens counted, padding not."""
        return int(sum(int(batch.lengths.sum()) for batch in self.micro_batches))


@dataclass(frozen=True)
class TokenTypes:
    """The type ids that the tokenizer gives to what stands before a text, to its wordpieces, to what stands behind."""

    prefix: tuple[int, ...]
    text: int
    suffix: tuple[int, ...]


@dataclass(frozen=True)
class Affixes:
    """Special tokens that the tokenizer puts around a sequence, and the id used for padding.

    types: token types; None if all are 0.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int
    types: "TokenTypes | None" = None

    def __len__(self) -> int:
        return len(self.prefix) + len(self.suffix)


Array = Any  # a numpy or CuPy array: spaCy's heads get the one that their ops use
