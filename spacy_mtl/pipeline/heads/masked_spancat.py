"""Span categorization for which a document without the span group is not annotated, rather than without spans."""

from collections.abc import Iterable

import numpy as np
from spacy.language import Language
from spacy.pipeline.spancat import SpanCategorizer
from spacy.training import Example
from thinc.types import Ragged

from ...types import Array
from .masking import AnnotatedOnly, GetExamples


class MaskedSpanCategorizer(AnnotatedOnly, SpanCategorizer):
    """spaCy's SpanCategorizer, except for documents without the span group `spans_key`.

    spaCy trains every suggested span of such a document towards no label. Here it has neither loss nor gradient. An
    empty group says that there are no spans, as in spaCy: `doc.spans["sc"] = []`.
    """

    @property
    def needs(self) -> str:  # type: ignore[override]
        return f"the span group `{self.key}` (`components.{self.name}.spans_key`)"

    def get_loss(
        self, examples: Iterable[Example], spans_scores: tuple[Ragged, Array]
    ) -> tuple[float, Array]:
        """Loss (a sum over spans of annotated documents) and gradient [spans, labels]."""
        examples = list(examples)
        loss, d_scores = super().get_loss(examples, spans_scores)
        annotated = [self.is_trained_on(example) for example in examples]
        if all(annotated):
            return loss, d_scores
        ops = self.model.ops
        rows = np.repeat(annotated, ops.to_numpy(spans_scores[0].lengths))
        d_scores = d_scores * ops.asarray2f(rows[:, None])
        return float((d_scores**2).sum()), d_scores

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)
