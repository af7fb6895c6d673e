"""Texts to wordpieces, and the alignment of tokens with wordpieces by character offsets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from ..types import Affixes, Ints, TokenSpans, TokenTypes, Wordpieces

# Texts to ask a tokenizer with; one without Latin letters may drop the first
_PROBES = ("a", "1", ".", "я", "ب", "अ", "日", "か", "가")


def find_affixes(tokenizer: Tokenizer, pad_id: int) -> Affixes:
    """Ask the tokenizer which special tokens it puts before and after a single sequence."""
    for probe in _PROBES:
        bare = tokenizer.encode(probe, add_special_tokens=False).ids
        if bare:
            break
    encoding = tokenizer.encode(probe, add_special_tokens=True)
    full, types = encoding.ids, encoding.type_ids
    for start in range(len(full) - len(bare) + 1):
        stop = start + len(bare)
        if full[start:stop] == bare:
            found = TokenTypes(tuple(types[:start]), types[start], tuple(types[stop:]))
            kept = found if any(types) else None
            return Affixes(tuple(full[:start]), tuple(full[stop:]), pad_id, kept)
    return Affixes((), (), pad_id)


def align(tokens: TokenSpans, piece_starts: Ints, piece_ends: Ints) -> tuple[Ints, Ints]:
    """Find the wordpieces that share a character with each token, or are an empty one inside of it.

    piece_starts, piece_ends: [P] character offsets of the wordpieces of the same text.
    Returns (first, length), both [T]; length is 0 for a token without a wordpiece.

    >>> spans = TokenSpans(np.array([0, 3]), np.array([2, 9]), np.array([False, False]))
    >>> align(spans, np.array([0, 3, 6]), np.array([2, 6, 9]))
    (array([0, 1]), array([1, 2]))
    """
    # Offsets rise with the wordpieces, but a normaliser may swap neighbours: monotone envelopes lose no piece.
    starts = np.minimum.accumulate(piece_starts[::-1])[::-1]
    ends = np.maximum.accumulate(piece_ends)
    first = np.searchsorted(ends, tokens.starts, side="right")
    stop = np.searchsorted(starts, tokens.ends, side="left")
    length = np.where(tokens.skip, 0, np.maximum(stop - first, 0))
    return first.astype(np.int64), length.astype(np.int64)


@dataclass(frozen=True)
class TextPieces:
    """The wordpieces of one text. ids: [P]. firsts, lengths: [T] the wordpieces of each token, see `align`."""

    ids: Ints
    firsts: Ints
    lengths: Ints


def split(
    tokenizer: Tokenizer, texts: Sequence[str], tokens: Sequence[TokenSpans]
) -> list[TextPieces]:
    """Split each text into wordpieces and align them with its tokens. Nothing is truncated."""
    found = []
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    for encoding, spans in zip(encodings, tokens, strict=True):
        chars = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        firsts, lengths = align(spans, chars[:, 0], chars[:, 1])
        found.append(TextPieces(np.asarray(encoding.ids, dtype=np.int64), firsts, lengths))
    return found


def gather(texts: Sequence[TextPieces]) -> Wordpieces:
    """One text's wordpieces behind the other's."""
    doc_lengths = np.array([len(text.ids) for text in texts], dtype=np.int64)
    doc_tokens = np.array([len(text.lengths) for text in texts], dtype=np.int64)
    firsts = _concatenate([text.firsts for text in texts])
    return Wordpieces(
        ids=_concatenate([text.ids for text in texts]),
        doc_lengths=doc_lengths,
        token_starts=firsts + np.repeat(np.cumsum(doc_lengths) - doc_lengths, doc_tokens),
        token_lengths=_concatenate([text.lengths for text in texts]),
        doc_tokens=doc_tokens,
    )


def make_wordpieces(
    tokenizer: Tokenizer, texts: Sequence[str], tokens: Sequence[TokenSpans]
) -> Wordpieces:
    """Split each text into wordpieces and align them with its tokens. Nothing is truncated."""
    return gather(split(tokenizer, texts, tokens))


def _concatenate(arrays: list[Ints]) -> Ints:
    return np.concatenate(arrays, dtype=np.int64) if arrays else np.zeros(0, dtype=np.int64)
