"""Missing annotation is missing: what the masked heads share.

A head that sees an unannotated document may be trained towards "nothing there", and the document's vectors may get into
its gradients in smaller ways. So the document is taken out of the batch before the head sees it; what is unknown inside
an annotated document is taken out of the gradient.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example, validate_examples, validate_get_examples
from thinc.api import Optimizer

from ... import annotation, errors
from ...types import Array
from ..listener import SharedTransformerListener
from ..neighbours import is_listener

GetExamples = Callable[[], Iterable[Example]]
BoolArray = NDArray[np.bool_]

PLACEHOLDER = ["x", "y", "z"]  # the document that `nlp.initialize()` makes up without examples


class AnnotatedOnly(TrainablePipe):
    """Put before one of spaCy's heads among the base classes: it trains on annotated documents only.

    A layer that is fed by spaCy's or spacy-transformers' listener has to see the whole batch: then the batch stays as
    it is, and what the head's own `get_loss` masks is all that is masked.
    """

    needs = "annotation"  # what the head learns from, for error messages
    takes_labels = True  # whether `initialize` has an argument `labels`

    def is_trained_on(self, example: Example) -> bool:
        """True if the head has something to learn from an example."""
        return annotation.is_annotated(self, example.reference)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from the annotated examples of a batch. Without any there is neither a gradient nor a step."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        if not self._needs_whole_batch():
            examples = [example for example in examples if self.is_trained_on(example)]
        if examples:
            super().update(examples, drop=drop, sgd=sgd, losses=losses)
        return losses

    def _needs_whole_batch(self) -> bool:
        """True if a listener of another package is inside: it refuses a part of the batch."""
        return any(
            is_listener(node) and not isinstance(node, SharedTransformerListener)
            for node in self.model.walk()
        )

    def annotated_examples(self, get_examples: GetExamples, labels: Any = None) -> GetExamples:
        """The annotated ones among the examples that a head is initialized with: it looks at its first ten.

        labels: the argument of `initialize`, if the head has it. With labels that are known, or without any examples,
        unannotated ones do, as in spaCy. Raises ConfigError otherwise if none is annotated.
        """
        method = f"{type(self).__name__}.initialize"
        if not callable(get_examples):
            validate_get_examples(get_examples, method)

        def annotated() -> Iterator[Example]:
            for example in get_examples():
                validate_examples([example], method)
                if self.is_trained_on(example):
                    yield example

        if next(annotated(), None) is not None:
            return annotated
        labels_known = self.takes_labels and bool(labels or self.labels)
        if labels_known or _is_placeholder(get_examples()):
            return get_examples
        raise errors.nothing_annotated(self.name, needs=self.needs, takes_labels=self.takes_labels)


def add_labels(head: TrainablePipe, labels: Iterable[str] | None) -> list[str] | None:
    """Add the labels that `initialize` was given, if any, and return them."""
    if labels is None:
        return None
    labels = list(labels)
    for label in labels:
        head.add_label(label)
    return labels


def _is_placeholder(examples: Iterable[Example]) -> bool:
    words = [[token.text for token in eg.reference] for eg in islice(examples, 2)]
    return words in ([], [PLACEHOLDER])


def align_known(example: Example, known: BoolArray) -> BoolArray:
    """From the reference's tokens to the predicted ones: known where all that a token is aligned with is known."""
    x2y = example.alignment.x2y
    aligned = np.ones(len(example.predicted), dtype=bool)
    owners = np.repeat(np.arange(len(aligned)), x2y.lengths)
    aligned[owners[~known[x2y.data]]] = False
    return aligned


def mask_tokens(
    ops: Any, loss: float, d_scores: Sequence[Array], known: Sequence[BoolArray]
) -> tuple[float, list[Array]]:
    """Loss and gradients without the unknown tokens.

    loss: with them; a sum of squares over d_scores. d_scores: [tokens, labels] for each document. known: [tokens] for
        each document.
    """
    if all(k.all() for k in known):
        return loss, list(d_scores)
    masked = [d * ops.asarray2f(k[:, None]) for d, k in zip(d_scores, known, strict=True)]
    return sum(float((d**2).sum()) for d in masked), masked
