"""Dependency parsing that documents without dependencies leave untouched."""

from typing import Any

from spacy.language import Language
from spacy.pipeline.dep_parser import DependencyParser

from .masking import AnnotatedOnly, GetExamples


class MaskedDependencyParser(AnnotatedOnly, DependencyParser):
    """spaCy's DependencyParser, which sees the documents with dependencies only.

    spaCy masks the others' gradient. But where a feature has no token, the gradient of its lower layer reads the
    vector of the batch's last token, whichever document that is in.
    """

    needs = "dependencies"

    def initialize(
        self,
        get_examples: GetExamples,
        nlp: Language | None = None,
        labels: dict[str, Any] | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)
