"""One slot per task for the gradients that the heads hand back, until the encoder's backward pass."""

from collections.abc import Mapping, Sequence

import numpy as np
from thinc.api import get_array_module

from ..types import Array


class GradientBuffer:
    """Sums each task's gradients with respect to the token vectors of one batch.

    doc_starts: [D + 1] where the tokens of each document start in the flat gradients; the last is T.
    """

    def __init__(self, doc_starts: Sequence[int], width: int) -> None:
        self.doc_starts = list(doc_starts)
        self.width = width
        self.slots: dict[str, Array] = {}  # task -> [T, width]
        self.layer_weights: dict[str, Array] = {}  # of the tasks that mix layers: [n_layers]

    def add(
        self, task: str, gradients: Sequence[Array], docs: Sequence[int], factor: float
    ) -> None:
        """Add a head's gradient.

        gradients: one [tokens, width] per document. docs: which documents of the batch they belong to.
        factor: what the listener scales its gradient by.
        """
        total = self.slots.get(task)
        if total is None and list(docs) == list(range(len(self.doc_starts) - 1)):
            xp = get_array_module(gradients[0])
            total = xp.concatenate([g.astype("f", copy=False) for g in gradients])
            self.slots[task] = total * factor if factor != 1.0 else total
            return
        if total is None:
            xp = get_array_module(gradients[0])
            total = self.slots[task] = xp.zeros((self.doc_starts[-1], self.width), dtype="f")
        xp = get_array_module(total)
        # on a GPU a few launches in place of one a document
        if xp is not np and len(set(docs)) == len(docs) > 0:
            spans = [np.arange(self.doc_starts[doc], self.doc_starts[doc + 1]) for doc in docs]
            total[xp.asarray(np.concatenate(spans))] += xp.concatenate(list(gradients)) * factor
            return
        for gradient, doc in zip(gradients, docs, strict=True):
            start, stop = self.doc_starts[doc], self.doc_starts[doc + 1]
            total[start:stop] += gradient * factor if factor != 1.0 else gradient

    def __bool__(self) -> bool:
        return bool(self.slots)

    def clear(self) -> None:
        """Forget all gradients."""
        self.slots.clear()
        self.layer_weights.clear()

    def total(self, factors: Mapping[str, float] | None = None) -> Array:
        """The sum of the tasks' gradients, each multiplied by its factor if there are any.

        [T, width] with respect to the last layer; if a task mixes layers, [n_layers, T, width] with respect to all.
        Tasks are added in the order of their names, so that the order of the pipeline does not change a rounding.
        """
        tasks = sorted(self.slots)
        weighted = (
            self.slots[t] if factors is None or factors[t] == 1.0 else self.slots[t] * factors[t]
            for t in tasks
        )
        if self.layer_weights:
            weighted = (self.spread(t, g) for t, g in zip(tasks, weighted, strict=True))
        if len(tasks) == 1:
            return next(weighted)
        total = next(weighted) + next(weighted)
        for other in weighted:
            total += other
        return total

    def spread(self, task: str, gradient: Array | None = None) -> Array:
        """A task's gradient as the encoder's backward pass takes it: with respect to each layer if any task mixes them.

        gradient: [T, width]; default: the one that was handed in.
        """
        if gradient is None:
            gradient = self.slots[task]
        if not self.layer_weights:
            return gradient
        xp = get_array_module(gradient)
        weights = self.layer_weights.get(task)
        if weights is None:
            n_layers = len(next(iter(self.layer_weights.values())))
            weights = xp.zeros(n_layers, dtype="f")
            weights[-1] = 1.0
        return weights[:, None, None] * gradient
