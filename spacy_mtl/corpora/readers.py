"""The corpus reader for several sources."""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.util import dot_to_object

from .. import errors
from ..annotation import asks_tasks, layers_of
from .sampling import Mixer, Sampling, shuffled
from .sources import Source, SourcedExample


class MultiCorpus:
    """Reads several corpora, each annotated for some heads, as one (`spacy_mtl.MultiCorpus.v1`).

    What a source does not annotate is missing in its documents, even where the file says otherwise: a corpus without
    entity annotation does not teach that there are no entities.

    sources: blocks by name, each with `path` (a `.spacy` or `.jsonl` file, or a folder with such files) or `reader`
        (any reader of spaCy's), and optionally `tasks` (the heads that it is annotated for; default: whatever its
        documents are annotated with), `weight` (1.0), `limit` (0: all documents), `ignore_others` (true) and
        `max_length` (0).
        A line of JSON has `text` and annotation under the names that `Example.from_dict` takes: `entities` in
        characters, or as an IOB or BILUO tag for each token, `spans` in characters, `cats`, `words`, `tags`, ...
    sampling: `proportional` (every example once an epoch), `uniform` over sources, or `temperature`:
        `p ∝ weight * min(n, cap) ** alpha`. An epoch has as many draws as there are examples. Anything but proportional
        sampling with equal weights needs the batcher `spacy_mtl.BatchByWordpieces.v1`, or `stream`.
    alpha, cap, final_alpha, anneal_epochs: see `spacy_mtl.corpora.sampling.Sampling`.
    seed: of the order of examples. Default: drawn from Python's generator, which `[training] seed` fixes.
    stream: read again in every epoch and hold no more than one file and `shuffle_buffer` examples of each source in
        memory; needs `max_epochs = -1`. The sources are read once beforehand, to count them.
    shuffle_buffer: while streaming, examples of a source are shuffled within a window of so many.

    However often it is read, there is one place where its draws stand: two batchers at work at the same time want a
    corpus each.

    Raises ConfigError for settings that cannot work, and, when read, CorpusError for files that cannot be.
    """

    def __init__(
        self,
        sources: dict[str, dict[str, Any]],
        *,
        sampling: str = "proportional",
        alpha: float | None = None,
        cap: int | None = None,
        final_alpha: float | None = None,
        anneal_epochs: int | None = None,
        seed: int | None = None,
        stream: bool = False,
        shuffle_buffer: int = 1000,
    ) -> None:
        if not sources:
            raise errors.no_sources()
        if shuffle_buffer < 1:
            raise errors.bad_setting(shuffle_buffer, key="shuffle_buffer", need="at least 1")
        self.sources = [Source.from_config(name, block) for name, block in sources.items()]
        self.sampling = Sampling(sampling, alpha, cap, final_alpha, anneal_epochs)
        if seed is not None and seed < 0:
            raise errors.bad_setting(seed, key="seed", need="at least 0, or null")
        self.seed = seed
        self.stream = stream
        self.shuffle_buffer = shuffle_buffer
        self.mixer: Mixer | None = None
        self._state: dict[str, Any] | None = None
        self._exhausted = False  # whether all of the current epoch has been read from the stream

    def check(self, nlp: Language) -> None:
        """Raises ConfigError if the settings do not fit the pipeline, or its `[training]` if it trains on this."""
        for source in self.sources:
            source.heads(nlp)
        _check_shared_layers(self.sources, nlp)
        self._check_training(nlp)

    def __call__(self, nlp: Language) -> Iterator[SourcedExample]:
        """The examples of all sources; of one epoch, if they are streamed."""
        self.check(nlp)
        check_labels = self._is_train_corpus(nlp)
        return self._stream(nlp, check_labels) if self.stream else self._read(nlp, check_labels)

    def _read(self, nlp: Language, check_labels: bool) -> Iterator[SourcedExample]:
        if self.mixer is None:
            self.mixer = self._new_mixer([])  # the batcher knows which of the examples there are
        for source in self.sources:
            for example in source.examples(nlp, check_labels=check_labels):
                example.mixer = self.mixer
                yield example

    def _stream(self, nlp: Language, check_labels: bool) -> Iterator[SourcedExample]:
        if self.mixer is None:
            sizes = [sum(1 for _ in source.examples(nlp)) for source in self.sources]
            self.mixer = self._new_mixer(sizes)
        mixer = self.mixer
        if self._exhausted or mixer.resume_at >= sum(mixer.sizes):
            mixer.finish_epoch()  # not at the end of the last call: batches may still have to be made of its examples
        self._exhausted = False
        # Every call reads the epoch from its beginning: spaCy looks at its first examples before it trains on them.
        order = mixer.sources()
        start = mixer.resume_at
        used = np.bincount(order[:start], minlength=len(self.sources))
        endless = [
            self._endless(nlp, number, check_labels, skip=mixer.drawn[number] + int(used[number]))
            for number in range(len(self.sources))
        ]
        for position, number in enumerate(order[start:].tolist(), start + 1):
            example = next(endless[number])
            example.stream, example.position = mixer, position
            mixer.position = position
            yield example
        self._exhausted = True

    def _endless(
        self, nlp: Language, number: int, check_labels: bool, *, skip: int
    ) -> Iterator[SourcedExample]:
        """The examples of one source, pass after pass, without the first `skip`."""
        mixer, source = self.mixer, self.sources[number]
        assert mixer is not None
        size = mixer.sizes[number]
        for turn in count(skip // size):
            rng = np.random.default_rng([mixer.seed, number, turn])
            examples = source.examples(nlp, check_labels=check_labels)
            for place, example in enumerate(
                shuffled(examples, buffer=self.shuffle_buffer, rng=rng)
            ):
                if turn * size + place >= skip:
                    yield example

    def _new_mixer(self, sizes: list[int]) -> Mixer:
        if self.seed is None:
            self.seed = random.getrandbits(32)
        weights = [source.weight for source in self.sources]
        names = [source.name for source in self.sources]
        mixer = Mixer(sizes, weights, sampling=self.sampling, seed=self.seed, names=names)
        if self._state is not None:
            mixer.load_state_dict(self._state)
            self._state = None
        return mixer

    def state_dict(self) -> dict[str, Any]:
        """Where the stream of training examples stands: seed, epoch and position. Empty before anything was read."""
        if self.mixer is None:
            return dict(self._state or {})
        return self.mixer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, from the next call on.

        If the sources have other sizes now ConfigError is raised: by that call of a stream, else by the batcher.
        """
        self._state = dict(state) or None
        self.mixer = None
        self._exhausted = False

    # ---- what the config says about us

    def _check_training(self, nlp: Language) -> None:
        if not self._is_train_corpus(nlp):
            return
        training = nlp.config.interpolate()["training"]
        max_epochs = training.get("max_epochs", 0)
        if self.stream and max_epochs != -1:
            raise errors.stream_needs_epochs(max_epochs)
        if max_epochs == -1 and not self.stream:
            raise errors.epochs_need_stream()
        weights = {source.weight for source in self.sources}
        exact = self.sampling.scheme == "proportional" and len(weights) == 1
        batcher = str(training.get("batcher", {}).get("@batchers", ""))
        if not exact and not self.stream and not batcher.startswith("spacy_mtl."):
            reason = f'`sampling = "{self.sampling.scheme}"`'
            if self.sampling.scheme == "proportional":
                reason = "A `weight` of a source"
            raise errors.sampling_needs_batcher(reason)

    def _is_train_corpus(self, nlp: Language) -> bool:
        """True if the pipeline's config names these sources as its training corpus."""
        config = nlp.config.interpolate()
        try:
            block = dot_to_object(config, config["training"]["train_corpus"])
            described = {
                (name, _path(s.get("path")), tuple(s.get("tasks") or ()))
                for name, s in block["sources"].items()
            }
        except (KeyError, TypeError, AttributeError):
            return False
        return described == {(s.name, s.path, s.tasks or ()) for s in self.sources}


def _check_shared_layers(sources: list[Source], nlp: Language) -> None:
    """Raises ConfigError if a source is for one of two heads of a kind and the other would train on it all the same."""
    frozen = nlp.config.interpolate()["training"].get("frozen_components", ())
    heads = [(n, pipe, layers_of(pipe)) for n, pipe in nlp.pipeline if n not in frozen]
    for source in sources:
        if source.tasks is None or not source.ignore_others:
            continue
        kept = {
            layer for name, _, layers in heads if name in source.tasks for layer in layers or ()
        }
        for name, pipe, layers in heads:
            if name not in source.tasks and kept & (layers or set()) and not asks_tasks(pipe):
                raise errors.shares_annotation(source.name, name, tasks=source.tasks)


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)
