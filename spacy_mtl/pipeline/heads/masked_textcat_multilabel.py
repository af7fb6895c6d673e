"""Text classification with any number of classes that documents of sources for other heads leave untouched."""

from collections.abc import Iterable

from spacy.language import Language
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer

from .masking import AnnotatedOnly, GetExamples, add_labels


class MaskedMultiLabelTextCategorizer(AnnotatedOnly, MultiLabel_TextCategorizer):
    """spaCy's MultiLabel_TextCategorizer, which sees the documents only that have one of its categories.

    spaCy masks the categories that a document does not mention. Where two classifiers are in one pipeline, each with
    sources of its own, this one keeps to its own.
    """

    needs = "one of its categories"

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        labels = add_labels(self, labels)  # before anything asks which documents are annotated
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)
