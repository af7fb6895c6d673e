"""Exclusive text classification for which a document without categories is not annotated, rather than in no class."""

from collections.abc import Iterable

from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.training import Example

from ...types import Array
from .masking import AnnotatedOnly, GetExamples, add_labels


class MaskedTextCategorizer(AnnotatedOnly, TextCategorizer):
    """spaCy's TextCategorizer, except for documents without any of its categories: they have neither loss nor gradient.

    spaCy trains such a document towards zero for every class. A document that has some of the head's categories is
    complete, as in spaCy: the classes that it does not mention are 0. The loss is the mean squared error over annotated
    documents.

    Several classifiers can share documents: the categories of another one are no annotation for this one, and do not
    have to exclude its own. Give each its own in `[initialize.components.NAME.labels]`; without, a classifier takes all
    that it finds.
    """

    needs = "one of its categories"

    def get_loss(self, examples: Iterable[Example], scores: Array) -> tuple[float, Array]:
        """Loss (a mean over annotated documents and labels) and gradient [documents, labels]."""
        examples = list(examples)
        loss, d_scores = super().get_loss(examples, scores)
        annotated = [self.is_trained_on(example) for example in examples]
        if all(annotated):
            return loss, d_scores
        d_scores = d_scores * self.model.ops.asarray2f([[float(a)] for a in annotated])
        n_scores = max(sum(annotated), 1) * max(len(self.labels), 1)
        return float((d_scores**2).sum()) / n_scores, d_scores

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        labels = add_labels(self, labels)  # before anything asks which documents are annotated
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels, positive_label=positive_label)

    def _validate_categories(self, examples: Iterable[Example]) -> None:
        """Raises ValueError if a document is in two of the head's classes, or in a class by a number but 0 and 1."""
        own = set(self.labels)
        for example in examples:
            cats = {
                cat: value for cat, value in example.reference.cats.items() if not own or cat in own
            }
            if list(cats.values()).count(1.0) > 1:
                raise ValueError(Errors.E895.format(value=cats))
            for value in cats.values():
                if value not in (0.0, 1.0):
                    raise ValueError(Errors.E851.format(val=value))
