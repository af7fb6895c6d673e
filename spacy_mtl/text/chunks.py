"""Wordpieces of what stands between two spaces, kept.

BERT's tokenizer looks at no character beyond a space, and half of any text are the same few hundred words. So a text is
cut at its spaces, and only chunks that are new go to the tokenizer; the rest is arrays, for a whole batch at a time:

    text      Aarhus  is   in   Denmark.          chunks 0 to 3
    pieces    aa ##rh ##us | is | in | denmark .  3, 1, 1, 2 of them

That takes half of the tokenizer's own time from the start, a quarter once the words are known, and needs one thread
(project/benchmarks/NOTES.md).
"""

import threading
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from ..types import Ints, TokenSpans, Wordpieces
from .packing import ranges
from .wordpieces import align, make_wordpieces

LIMIT = 1 << 16  # chunks, of 8 wordpieces and 16 characters on average: some 40 MB
_SPACE = " "
_TOGETHER = 64


class ChunkedTokenizer:
    """Makes the wordpieces of texts as `make_wordpieces` does, and keeps those of their chunks.

    limit: most chunks; 8 times as many wordpieces, and 16 times as many characters. If there are more, it forgets all
        before the next batch.

    Several threads may use it: while one does, others get their wordpieces from the tokenizer itself.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int = LIMIT) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self._added = len(tokenizer.get_added_tokens_decoder())
        self._lock = threading.Lock()
        self._forget()

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "ChunkedTokenizer | None":
        """None for a tokenizer that may look beyond a space."""
        return cls(tokenizer) if _stops_at_spaces(tokenizer) else None

    def make_wordpieces(self, texts: Sequence[str], tokens: Sequence[TokenSpans]) -> Wordpieces:
        """Split each text into wordpieces and align them with its tokens. Nothing is truncated."""
        as_it_was = len(self.tokenizer.get_added_tokens_decoder()) == self._added
        if not texts or not as_it_was or not self._lock.acquire(blocking=False):
            return make_wordpieces(self.tokenizer, texts, tokens)
        try:
            return self._make(texts, tokens)
        except BaseException:  # it may have come while a chunk was half known
            self._forget()
            raise
        finally:
            self._lock.release()

    def _make(self, texts: Sequence[str], tokens: Sequence[TokenSpans]) -> Wordpieces:
        parts = [text.split(_SPACE) for text in texts]
        chunks = list(chain.from_iterable(parts))
        chunk = self._numbers(chunks)
        # texts are laid out one behind the other, a space between them
        widths = _ints(map(len, chunks), len(chunks)) + len(_SPACE)
        chunk_starts = _starts(widths)
        first_chunks = _starts(_ints(map(len, parts), len(parts)))
        text_starts = chunk_starts[first_chunks]

        sizes = self._sizes[chunk]
        places = ranges(self._firsts[chunk], sizes)
        offsets = np.repeat(chunk_starts, sizes)
        doc_tokens = _ints((len(spans.starts) for spans in tokens), len(tokens))
        moved = np.repeat(text_starts, doc_tokens)
        spans = TokenSpans(
            np.concatenate([spans.starts for spans in tokens]) + moved,
            np.concatenate([spans.ends for spans in tokens]) + moved,
            np.concatenate([spans.skip for spans in tokens]),
        )
        firsts, lengths = align(spans, self._begins[places] + offsets, self._ends[places] + offsets)
        return Wordpieces(
            ids=self._ids[places],
            doc_lengths=np.add.reduceat(sizes, first_chunks),
            token_starts=firsts,
            token_lengths=lengths,
            doc_tokens=doc_tokens,
        )

    def _numbers(self, chunks: list[str]) -> Ints:
        """Of each chunk; new ones are split first."""
        if max(len(self._known), len(self._ids) // 8, self._characters // 16) > self.limit:
            self._forget()
        known = self._known
        new = list(dict.fromkeys(chunk for chunk in chunks if chunk not in known))
        if new:
            self._split(new)
        return _ints(map(known.__getitem__, chunks), len(chunks))

    def _split(self, new: list[str]) -> None:
        """As texts of a few chunks each: the tokenizer takes four times as long for each by itself."""
        texts = [_SPACE.join(new[i : i + _TOGETHER]) for i in range(0, len(new), _TOGETHER)]
        encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        widths = _ints(map(len, new), len(new)) + len(_SPACE)
        chunk_starts = _starts(widths)
        counts = _ints(map(len, encodings), len(encodings))
        total = int(counts.sum())
        ids = _ints(chain.from_iterable(encoding.ids for encoding in encodings), total)
        flat = chain.from_iterable(chain.from_iterable(e.offsets) for e in encodings)
        spans = _ints(flat, 2 * total).reshape(-1, 2)
        spans += np.repeat(chunk_starts[::_TOGETHER], counts)[:, None]
        chunk = np.searchsorted(chunk_starts, spans[:, 0], side="right") - 1
        spans -= chunk_starts[chunk][:, None]
        sizes = np.bincount(chunk, minlength=len(new))
        self._firsts.extend(len(self._ids) + _starts(sizes))
        self._sizes.extend(sizes)
        self._ids.extend(ids)
        self._begins.extend(spans[:, 0])
        self._ends.extend(spans[:, 1])
        self._characters += int(widths.sum())
        self._known.update(zip(new, range(len(self._known), len(self._sizes)), strict=True))

    def _forget(self) -> None:
        """known: the number of each chunk. firsts, sizes: by number, its wordpieces; ids, begins, ends: of those.

        begins and ends are characters, from the chunk's first.
        """
        self._known: dict[str, int] = {}
        self._characters = 0
        self._firsts, self._sizes, self._ids, self._begins, self._ends = (
            _Growing() for _ in range(5)
        )


def _stops_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether each space is a boundary, whatever stands around it."""
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and tokenizer.truncation is None
        and tokenizer.padding is None
        # what is added may have white space in it, of which the normaliser makes spaces
        and not any(t.lstrip or t.rstrip or any(map(str.isspace, t.content)) for t in added)
    )


class _Growing:
    """An array that grows at its end."""

    def __init__(self) -> None:
        self._memory = np.empty(1024, dtype=np.int64)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, places: Ints) -> Ints:
        return self._memory[places]

    def extend(self, values: Ints) -> None:
        n = self._n + len(values)
        if n > len(self._memory):
            self._memory = np.resize(self._memory, max(n, 2 * len(self._memory)))
        self._memory[self._n : n] = values
        self._n = n


def _ints(values: Iterable[int], count: int) -> Ints:
    return np.fromiter(values, dtype=np.int64, count=count)


def _starts(sizes: Ints) -> Ints:
    """Where parts of these sizes begin, one behind the other."""
    starts: Ints = np.cumsum(sizes) - sizes
    return starts
