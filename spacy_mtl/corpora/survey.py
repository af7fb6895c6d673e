"""What the sources hold, before any training: documents, annotated units and labels of each head in each source."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import (
    count_units,
    has_negatives_only,
    is_initialized,
    labels_of,
    unit_of,
    unknown_labels,
)
from .readers import MultiCorpus
from .sampling import Mixer

Batcher = Callable[[Iterable[Example]], Iterable[Sequence[Example]]]


@dataclass
class TaskInSource:
    """One head in one source: documents annotated for it, units in them, labels with their counts.

    only_negative: documents that say nothing but "none here", such as no entity at all.
    """

    documents: int = 0
    units: int = 0
    only_negative: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)  # labels that the initialized head does not know


@dataclass
class SourceSurvey:
    """One source: its documents and words, and what it annotates.

    stated: the tasks that the config says it annotates, None if it says nothing.
    """

    name: str
    documents: int = 0
    words: int = 0
    stated: tuple[str, ...] | None = None
    tasks: dict[str, TaskInSource] = field(default_factory=dict)
    texts: set[int] = field(default_factory=set)  # hashes
    ready: frozenset[str] = frozenset()  # heads whose labels are fixed

    def add(self, reference: Doc, heads: dict[str, Any]) -> None:
        self.documents += 1
        self.words += len(reference)
        self.texts.add(hash(reference.text))
        for name, head in heads.items():
            units = count_units(head, reference)
            if not units:
                continue
            task = self.tasks[name]
            task.documents += 1
            task.units += units
            task.only_negative += has_negatives_only(head, reference)
            task.labels.update(labels_of(head, reference))
            if name in self.ready:
                task.unknown.update(unknown_labels(head, reference, others=list(heads.values())))


@dataclass
class Survey:
    """A corpus: its sources by name; units: what the units of each head are called."""

    sources: dict[str, SourceSurvey]
    units: dict[str, str]

    def annotated(self, task: str) -> list[SourceSurvey]:
        """The sources that annotate a head."""
        return [source for source in self.sources.values() if source.tasks[task].units]


@dataclass
class Exposure:
    """How much of a source the training will see.

    share: its part of the words of a batch, on average. epochs: how often each of its documents is drawn in the whole
    training; None if the length of the training is not known beforehand. draws: its part of the documents that the
    first epoch draws.
    """

    share: float
    epochs: float | None
    draws: float


def survey(
    corpus: Any, nlp: Language, heads: dict[str, Any], batcher: Batcher
) -> tuple[Survey, int]:
    """Read a corpus once, without keeping it. Returns what it holds, and how many batches it makes.

    A corpus that is not a `spacy_mtl.MultiCorpus.v1` counts as one source called `corpus`.
    """
    found: dict[str, SourceSurvey] = {}
    ready = frozenset(name for name, head in heads.items() if is_initialized(head))

    def read(
        name: str, stated: tuple[str, ...] | None, examples: Iterable[Example]
    ) -> Iterator[Example]:
        tasks = {task: TaskInSource() for task in heads}
        found[name] = SourceSurvey(name, stated=stated, tasks=tasks, ready=ready)
        for example in examples:
            found[name].add(example.reference, heads)
            yield example

    if isinstance(corpus, MultiCorpus):
        parts = [read(source.name, source.tasks, source.examples(nlp)) for source in corpus.sources]
    else:
        parts = [read("corpus", None, corpus(nlp))]
    n_batches = sum(1 for _ in batcher(chain.from_iterable(parts)))
    return Survey(found, {name: unit_of(head) for name, head in heads.items()}), n_batches


def exposure(
    corpus: Any,
    found: Survey,
    *,
    n_batches: int,
    max_steps: int,
    max_epochs: int,
) -> tuple[dict[str, Exposure], int]:
    """How much of each source the training will see, by the source's name; and the batches of an epoch.

    n_batches: that every document once makes. max_steps, max_epochs: of `[training]`; 0 and less: no limit.

    An epoch has as many draws as there are documents, but with sampling they may be longer or shorter ones.
    """
    epochs = _epochs(n_batches, max_steps, max_epochs)
    names = list(found.sources)
    sizes = [found.sources[name].documents for name in names]
    passes: dict[str, float] = dict.fromkeys(names, 1.0)  # how often one epoch draws a document
    draws: dict[str, float] = dict.fromkeys(names, 1.0)
    if isinstance(corpus, MultiCorpus):
        weights = [source.weight for source in corpus.sources]
        draws = dict(
            zip(names, corpus.sampling.probabilities(sizes, weights).tolist(), strict=True)
        )
        mixer = Mixer(sizes, weights, sampling=corpus.sampling, seed=0)
        if not mixer.is_exact:
            drawn: dict[str, list[float]] = defaultdict(list)
            for epoch in range(max(1, round(epochs or 1))):
                p = corpus.sampling.probabilities(sizes, weights, epoch=epoch)
                for name, size, share in zip(names, sizes, p.tolist(), strict=True):
                    drawn[name].append(share * sum(sizes) / size if size else 0.0)
            passes = {name: sum(values) / len(values) for name, values in drawn.items()}
    words = {name: passes[name] * found.sources[name].words for name in names}
    total = sum(words.values()) or 1.0
    per_epoch = round(n_batches * total / (sum(s.words for s in found.sources.values()) or 1))
    epochs = _epochs(per_epoch, max_steps, max_epochs)
    return {
        name: Exposure(
            words[name] / total,
            None if epochs is None else epochs * passes[name],
            draws[name],
        )
        for name in names
    }, per_epoch


def _epochs(per_epoch: int, max_steps: int, max_epochs: int) -> float | None:
    """Epochs until the training ends at the latest; None without a limit."""
    limits = [float(max_epochs)] if max_epochs > 0 else []
    if max_steps > 0 and per_epoch:
        limits.append(max_steps / per_epoch)
    return min(limits, default=None)


def few(names: Iterable[str], n: int = 5) -> str:
    """The first names in backticks, and how many more there are."""
    ordered = list(names)
    shown = ", ".join(f"`{name}`" for name in islice(ordered, n))
    return shown if len(ordered) <= n else f"{shown} and {len(ordered) - n} more"
