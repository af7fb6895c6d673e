"""Tagging that documents of sources for other heads leave untouched."""

from typing import Any

from spacy.language import Language
from spacy.pipeline.tagger import Tagger

from .masking import AnnotatedOnly, GetExamples


class MaskedTagger(AnnotatedOnly, Tagger):
    """spaCy's Tagger, which sees the documents only that are annotated for it.

    spaCy masks tokens without a tag. It is this head's turn where two taggers are in one pipeline, each with a tag set
    and sources of its own.

    Of two taggers only the first writes `token.tag_`, or the last that has `overwrite = true`, and the scores of both
    are those of what is written. The other one is an auxiliary task: it trains the encoder.
    """

    needs = "tags"

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Any = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)
