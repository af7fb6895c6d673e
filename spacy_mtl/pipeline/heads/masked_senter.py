"""Sentence segmentation for which a token without a mark is unknown, rather than inside a sentence."""

from collections.abc import Iterable, Sequence

from spacy.language import Language
from spacy.pipeline.senter import SentenceRecognizer
from spacy.training import Example

from ... import annotation
from ...types import Array
from .masking import AnnotatedOnly, GetExamples, align_known, mask_tokens


class MaskedSentenceRecognizer(AnnotatedOnly, SentenceRecognizer):
    """spaCy's SentenceRecognizer, except for tokens of which it is not known whether a sentence starts there.

    spaCy trains every token of a document without sentence boundaries towards "no start", and takes the first token,
    which it marks by itself, for a start. Here such a document has neither loss nor gradient, nor has an unmarked token
    in a document that marks some tokens as "not a start". A document that marks starts only is complete, as in spaCy.

    A document of one token always looks unannotated, and teaches nothing.
    """

    needs = "sentence boundaries"
    takes_labels = False

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Array]
    ) -> tuple[float, list[Array]]:
        """Loss (a sum over known tokens) and gradients [tokens, 2] of each document."""
        examples = list(examples)
        loss, d_scores = super().get_loss(examples, scores)
        known = [align_known(eg, annotation.known_sentence_starts(eg.reference)) for eg in examples]
        return mask_tokens(self.model.ops, loss, d_scores, known)

    def initialize(self, get_examples: GetExamples, *, nlp: Language | None = None) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        super().initialize(self.annotated_examples(get_examples), nlp=nlp)
