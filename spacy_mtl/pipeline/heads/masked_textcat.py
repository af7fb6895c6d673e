"""Exclusive text classification for which a document without categories is not annotated, rather than in no class."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example, validate_examples
from thinc.api import Model

from ...types import Array


class MaskedTextCategorizer(TextCategorizer):
    """spaCy's TextCategorizer, except for documents without any category: they have neither loss nor gradient.

    spaCy trains such a document towards zero for every class. A document that has some category is complete, as in
    spaCy: the classes that it does not mention are 0. The loss is the mean squared error over annotated documents.
    """

    def get_loss(self, examples: Iterable[Example], scores: Array) -> tuple[float, Array]:
        """Loss (a mean over annotated documents and labels) and gradient [documents, labels]."""
        examples = list(examples)
        validate_examples(examples, "MaskedTextCategorizer.get_loss")
        self._validate_categories(examples)
        truths, _ = self._examples_to_truth(examples)
        annotated = [[1.0 if example.reference.cats else 0.0] for example in examples]
        d_scores = (scores - truths) * self.model.ops.asarray2f(annotated)
        n_annotated = max(sum(row[0] for row in annotated), 1.0)
        loss = float((d_scores**2).sum()) / (n_annotated * max(len(self.labels), 1))
        return loss, d_scores


def make_masked_textcat(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    scorer: Callable[..., dict[str, Any]] | None,
) -> MaskedTextCategorizer:
    """Build a `masked_textcat`; the arguments are those of spaCy's `textcat`."""
    return MaskedTextCategorizer(nlp.vocab, model, name, threshold=threshold, scorer=scorer)
