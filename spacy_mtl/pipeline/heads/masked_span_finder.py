"""Span boundaries for which a document without the span group is not annotated, rather than without spans."""

from collections.abc import Iterable
from typing import Any

from spacy.language import Language
from spacy.pipeline.span_finder import SpanFinder
from spacy.training import Example

from ...types import Array
from .masking import AnnotatedOnly, GetExamples


class MaskedSpanFinder(AnnotatedOnly, SpanFinder):
    """spaCy's SpanFinder, except for documents without the span group `spans_key`.

    spaCy trains every token of such a document towards "no start, no end". Here it has neither loss nor gradient. An
    empty group says that there are no spans, as in spaCy: `doc.spans["sc"] = []`.
    """

    takes_labels = False

    @property
    def needs(self) -> str:  # type: ignore[override]
        return f"the span group `{self.cfg['spans_key']}` (`components.{self.name}.spans_key`)"

    def _get_aligned_truth_scores(
        self, examples: Iterable[Example], ops: Any
    ) -> tuple[Array, Array]:
        """Truths and mask, [tokens, 2] each: whether a span starts, or ends, at a token. spaCy's `get_loss` and
        `initialize` call it."""
        examples = list(examples)
        truths, mask = super()._get_aligned_truth_scores(examples, ops)
        start = 0
        for example in examples:
            end = start + len(example.predicted)
            if not self.is_trained_on(example):
                mask[start:end] = 0
            start = end
        return truths, mask

    def initialize(self, get_examples: GetExamples, *, nlp: Language | None = None) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        super().initialize(self.annotated_examples(get_examples), nlp=nlp)
