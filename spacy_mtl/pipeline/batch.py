"""One encoded training batch, from the encoder's forward pass to its backward pass."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from spacy.attrs import ORTH, SPACY
from spacy.tokens import Doc
from spacy.training import Example

from .. import errors
from ..types import Array
from .gradient_buffer import GradientBuffer

_BATCHES: "weakref.WeakSet[SharedBatch]" = weakref.WeakSet()


class WholeBatch(Protocol):
    """A batch of which this process has a part, and others the rest: what is counted and measured is that of the whole.

    examples: all of them.
    """

    examples: Sequence[Example]
    shares: Mapping[str, float]

    def sum(self, array: Array) -> Array:
        """Over all processes."""

    def complete(self, slots: Mapping[str, Array], zeros: Callable[[], Array]) -> dict[str, Array]:
        """The gradients of all tasks that have one in any process."""

    def rescale(self, slots: dict[str, Array]) -> None:
        """Make the gradients of parts add up to that of the whole."""


class SharedBatch:
    """What the listeners read and where their gradients go.

    docs: the batch's `predicted` documents. vectors: [tokens, width] for each of them.
    backprop: the encoder's backward pass for a flat [T, width] gradient, or for one of every layer, [n_layers, T,
        width]; None if the encoder is frozen.
    step: how many optimizer steps the encoder had made.
    layers: [T, width] each, if a listener mixes them. tasks: heads that are served.
    """

    def __init__(
        self,
        docs: Sequence[Doc],
        vectors: Sequence[Array],
        backprop: Callable[[Array], Any] | None,
        *,
        width: int,
        step: int,
        upstream: str,
        layers: Sequence[Array] = (),
        tasks: Iterable[str] = (),
    ) -> None:
        self.docs = list(docs)
        self.vectors = list(vectors)
        self.layers = list(layers)
        self.step = step
        self.upstream = upstream
        self.tasks = frozenset(tasks)
        self.is_open = True
        self.buffer = GradientBuffer([0, *accumulate(len(v) for v in vectors)], width)
        self._backprop = backprop
        self._index = {id(doc): i for i, doc in enumerate(self.docs)}
        _BATCHES.add(self)

    def find(self, docs: Sequence[Doc], *, task: str) -> list[int]:
        """Places of the documents in the batch. Raises ListenerError for one that is not in it or has changed."""
        places: list[int] = []
        for doc in docs:
            place = self._index.get(id(doc))
            if place is None:
                place = self._original_of(doc, taken=places)
            if place is None:
                raise errors.not_in_batch(task, upstream=self.upstream)
            n_vectors = len(self.vectors[place])
            if n_vectors != len(doc):
                raise errors.retokenized(
                    task, n_tokens=len(doc), n_vectors=n_vectors, upstream=self.upstream
                )
            places.append(place)
        return places

    def _original_of(self, doc: Doc, *, taken: list[int]) -> int | None:
        """The document that this one is a copy of: spaCy's entity linker trains on copies with gold entities.

        A copy brings its original's vectors along; a document of another batch has none. Of several with the same
        words, the first that is not taken yet.
        """
        if doc.tensor is None or len(doc.tensor) != len(doc):
            return None
        words = _words(doc)
        for place, original in enumerate(self.docs):
            if place not in taken and len(original) == len(doc) and _words(original) == words:
                return place
        return None

    def holds(self, docs: Sequence[Doc]) -> bool:
        """True if these are documents of this batch."""
        return all(id(doc) in self._index for doc in docs)

    @classmethod
    def open_with(cls, docs: Sequence[Doc], upstream: str | None) -> "SharedBatch | None":
        """The batch that these documents are in, of this encoder or of any, if its backward pass has still to run."""
        found = [
            batch
            for batch in tuple(_BATCHES)
            if batch.is_open and upstream in (None, batch.upstream) and batch.holds(docs)
        ]
        return min(found, key=lambda batch: batch.upstream) if docs and found else None

    @classmethod
    def read_from(cls, doc: Doc) -> "SharedBatch | None":
        """The batch in training whose vectors are those in `doc.tensor`."""
        for batch in tuple(_BATCHES):
            place = batch._index.get(id(doc)) if batch.is_open else None
            if place is not None and batch.vectors[place] is doc.tensor:
                return batch
        return None

    def abandon(self) -> None:
        """Take no more gradients, and forget those that are in: half of them make no step."""
        self.is_open = False
        self.buffer.clear()
        self._backprop = None

    def refuse_late(self, docs: Sequence[Doc], *, task: str) -> None:
        """Raises ListenerError if the backward pass for one of these documents has already run."""
        if not self.is_open and any(id(doc) in self._index for doc in docs):
            raise errors.late_gradient(task, upstream=self.upstream)

    def add_gradient(
        self,
        task: str,
        gradients: Sequence[Array],
        places: Sequence[int],
        factor: float = 1.0,
        *,
        layer_weights: Array | None = None,
    ) -> None:
        """Take the gradients that a head hands back. Raises ListenerError once the batch is closed.

        layer_weights: [n_layers] of a head that mixes layers.
        """
        if not self.is_open:
            raise errors.late_gradient(task, upstream=self.upstream)
        if self._backprop is not None and places:
            self.buffer.add(task, gradients, places, factor)
            if layer_weights is not None:
                self.buffer.layer_weights[task] = layer_weights

    def close(self, factors: Mapping[str, float] | None = None) -> Array | None:
        """Run the encoder's backward pass for all that has been handed in.

        factors: on each task's gradient; None: 1 for all.
        Returns the gradient that it ran with, [T, width] or [n_layers, T, width]; None if there was none.
        """
        total = self.buffer.total(factors) if self.buffer else None
        if self._backprop is not None and total is not None:
            self._backprop(total)
        self.is_open = False
        self.buffer.clear()
        if self._backprop is None:
            self._index = {}
        self._backprop = None
        self.vectors, self.layers = [], []
        return total


def _words(doc: Doc) -> bytes:
    """A document's words and spaces."""
    content: bytes = doc.to_array([ORTH, SPACY]).tobytes()
    return content
