"""Named entity recognition that documents without entity annotation leave untouched."""

from typing import Any

from spacy.language import Language
from spacy.pipeline.ner import EntityRecognizer
from spacy.training import Example

from .masking import AnnotatedOnly, GetExamples


class MaskedEntityRecognizer(AnnotatedOnly, EntityRecognizer):
    """spaCy's EntityRecognizer, which sees the documents with entity annotation only.

    spaCy masks the others' gradient. But where a feature has no token, the gradient of its lower layer reads the
    vector of the batch's last token, whichever document that is in.

    As in spaCy, `doc.ents = []` says that there are no entities, and a document that has only known mistakes, under
    `incorrect_spans_key`, is annotated.
    """

    needs = "entity annotation"

    def is_trained_on(self, example: Example) -> bool:
        """True if a token's entity tag is known, or there are spans that are known to be wrong."""
        if super().is_trained_on(example):
            return True
        key = self.incorrect_spans_key
        return key is not None and len(example.reference.spans.get(key, ())) > 0

    def initialize(
        self,
        get_examples: GetExamples,
        nlp: Language | None = None,
        labels: dict[str, Any] | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)
