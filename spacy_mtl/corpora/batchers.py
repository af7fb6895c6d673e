"""Batches with a budget of wordpieces, mixed from several sources."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from spacy.training import Example

from .. import errors
from .sampling import Mixer
from .sources import SourcedExample

# in `user_data` of predicted documents, so that each is counted once
LENGTH_KEY = "spacy_mtl.wordpieces"
CHUNK = 512

Batch = list[Example]


class BatchByWordpieces:
    """Batches of examples with at most `size` wordpieces (`spacy_mtl.BatchByWordpieces.v1`).

    Wordpieces are counted by the tokenizer of the pipeline's shared_transformer, special tokens left out. Examples of a
    `spacy_mtl.MultiCorpus.v1` that is not streamed are drawn as its `sampling` says, anew in every epoch; others come
    in the order in which they arrive.

    size: most wordpieces in a batch, a number or a schedule. A longer document makes a batch of its own. When
        the corpus is resumed with `load_state_dict`, a schedule begins anew. Default: 2000.
    mix: whether a batch may hold examples of several sources. Default: true.
    discard_oversize: leave out documents that are longer than `size`. Default: false.

    Raises ConfigError if the pipeline has no shared_transformer.
    """

    def __init__(
        self, size: int | Sequence[int] = 2000, *, mix: bool = True, discard_oversize: bool = False
    ) -> None:
        if isinstance(size, int) and size < 1:
            raise errors.bad_setting(size, key="batcher.size", need="at least 1")
        if isinstance(size, list | tuple) and not size:
            raise errors.bad_setting(size, key="batcher.size", need="a number or a schedule")
        self.size = size
        self.mix = mix
        self.discard_oversize = discard_oversize

    def __call__(self, examples: Iterable[Example]) -> Iterator[Batch]:
        """The batches of one epoch."""
        stream = iter(examples)
        first = next(stream, None)
        if first is None:
            return
        stream = itertools.chain([first], stream)
        if isinstance(first, SourcedExample) and first.mixer is not None:
            yield from self._mixed(list(stream))
        else:
            yield from self._batches(stream)

    def _mixed(self, examples: list[Example]) -> Iterator[Batch]:
        by_source: dict[str, list[SourcedExample]] = defaultdict(list)
        mixer: Mixer | None = getattr(examples[0], "mixer", None)
        for example in examples:
            if not isinstance(example, SourcedExample) or example.mixer is not mixer:
                raise errors.several_corpora()
            by_source[example.source].append(example)
        assert mixer is not None
        # The order of arrival is spaCy's shuffle; ours must not depend on it.
        sources = [by_source[name] for name in mixer.names]
        for source in sources:
            source.sort(key=lambda example: example.index)
        mixer.begin([len(source) for source in sources])  # a caller may have left out some
        drawn = (sources[s][i] for s, i in mixer.draws())
        done, resume_at = 0, mixer.resume_at
        for batch in self._batches(drawn):
            used, done = max(resume_at - done, 0), done + len(batch)
            if used < len(batch):
                mixer.position = done
                yield batch[used:]
        mixer.finish_epoch()

    def _batches(self, examples: Iterator[Example]) -> Iterator[Batch]:
        sizes = itertools.repeat(self.size) if isinstance(self.size, int) else iter(self.size)
        limit = next(sizes)
        open_batches: dict[Any, tuple[Batch, int]] = {}
        for example, length in with_lengths(examples):
            if length > limit and self.discard_oversize:
                continue
            key = None if self.mix else getattr(example, "source", None)
            batch, total = open_batches.get(key, ([], 0))
            if batch and total + length > limit:
                del open_batches[key]
                _commit(batch, [*(other for other, _ in open_batches.values()), [example]])
                yield batch
                limit = next(sizes, limit)
                batch, total = [], 0
            batch.append(example)
            open_batches[key] = (batch, total + length)
        rest = [batch for batch, _ in open_batches.values()]
        for number, batch in enumerate(rest, start=1):
            _commit(batch, rest[number:])
            yield batch


def _commit(batch: Batch, waiting: list[Batch]) -> None:
    """Let a streamed corpus know how far its examples have been used, and not how far they have been read.

    A resumed stream starts with the oldest example that no batch has had; with `mix = false` some come twice then.
    """
    mixer = getattr(batch[0], "stream", None)
    if mixer is not None:
        unused = [getattr(example, "position", 1) for other in waiting for example in other]
        mixer.position = min(unused) - 1 if unused else sum(mixer.sizes)


def with_lengths(examples: Iterator[Example]) -> Iterator[tuple[Example, int]]:
    """Each example with its number of wordpieces. Raises ConfigError if there is no encoder to ask."""
    while chunk := list(itertools.islice(examples, CHUNK)):
        new = [eg for eg in chunk if LENGTH_KEY not in eg.predicted.user_data]
        if new:
            count = counter_for(new[0])
            for example, length in zip(new, count([eg.text for eg in new]), strict=True):
                example.predicted.user_data[LENGTH_KEY] = length
        for example in chunk:
            yield example, example.predicted.user_data[LENGTH_KEY]


def counter_for(example: Example) -> Callable[[list[str]], list[int]]:
    """How the encoder of an example's pipeline counts the wordpieces of texts."""
    from ..pipeline.shared_transformer import find_by_vocab

    component = find_by_vocab(example.predicted.vocab)
    if component is None or component.shim.encoder is None:
        raise errors.no_encoder_for_batches()
    return component.shim.count_wordpieces
