"""One encoded training batch, from the encoder's forward pass to its backward pass."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from spacy.tokens import Doc

from .. import errors
from ..types import Array
from .gradient_buffer import GradientBuffer


class SharedBatch:
    """What the listeners read and where their gradients go.

    docs: the batch's `predicted` documents. vectors: [tokens, width] for each of them.
    backprop: the encoder's backward pass for a flat [T, width] gradient; None if the encoder is frozen.
    step: how many optimizer steps the encoder had made.
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
    ) -> None:
        self.docs = list(docs)
        self.vectors = list(vectors)
        self.step = step
        self.upstream = upstream
        self.is_open = True
        self.buffer = GradientBuffer([0, *accumulate(len(v) for v in vectors)], width)
        self._backprop = backprop
        self._index = {id(doc): i for i, doc in enumerate(self.docs)}

    def find(self, docs: Sequence[Doc], *, task: str) -> list[int]:
        """Places of the documents in the batch. Raises ListenerError for one that is not in it or has changed."""
        places = []
        for doc in docs:
            place = self._index.get(id(doc))
            if place is None:
                raise errors.not_in_batch(task, upstream=self.upstream)
            n_vectors = len(self.vectors[place])
            if n_vectors != len(doc):
                raise errors.retokenized(
                    task, n_tokens=len(doc), n_vectors=n_vectors, upstream=self.upstream
                )
            places.append(place)
        return places

    def holds(self, docs: Sequence[Doc]) -> bool:
        """True if these are documents of this batch."""
        return all(id(doc) in self._index for doc in docs)

    def add_gradient(
        self, task: str, gradients: Sequence[Array], places: Sequence[int], factor: float = 1.0
    ) -> None:
        """Take the gradients that a head hands back. Raises ListenerError once the batch is closed."""
        if not self.is_open:
            raise errors.late_gradient(task, upstream=self.upstream)
        if self._backprop is not None and places:
            self.buffer.add(task, gradients, places, factor)

    def close(self) -> Array | None:
        """Run the encoder's backward pass for all that has been handed in.

        Returns the gradient [T, width] that it ran with, None if there was none.
        """
        total = self.buffer.total() if self.buffer else None
        if self._backprop is not None and total is not None:
            self._backprop(total)
        self.is_open = False
        self.buffer.slots.clear()
        self._backprop = None
        self.docs, self.vectors, self._index = [], [], {}
        return total
