"""Morphology for which a token with a part of speech but no features is unknown, rather than without features."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from spacy.attrs import MORPH, POS
from spacy.language import Language
from spacy.morphology import Morphology
from spacy.parts_of_speech import IDS as POS_IDS
from spacy.pipeline.morphologizer import Morphologizer
from spacy.tokens import Doc
from spacy.training import Example

from ... import errors
from ...types import Array
from .masking import AnnotatedOnly, BoolArray, GetExamples, align_known, mask_tokens

Labels = dict[str, dict[str, Any]]


class MaskedMorphologizer(AnnotatedOnly, Morphologizer):
    """spaCy's Morphologizer, except for tokens that have only one of part of speech and features.

    spaCy's labels are a part of speech and features in one. It makes a token that has no features annotated learn "no
    features", and one that has no part of speech annotated learn "no part of speech", so that a corpus with parts of
    speech only spoils what another corpus teaches. Here such tokens have neither loss nor gradient and make no labels,
    if the head knows both layers. If all the data have one layer only, it is trained as in spaCy.

    An empty annotation is not a missing one: `token.set_morph("")`, or `_` in CoNLL-U, says that there are no features.
    """

    needs = "parts of speech or morphological features"

    def is_trained_on(self, example: Example) -> bool:
        """True if a token has all that the head's labels say."""
        pos, morph = _present(example.reference)
        return bool((pos & morph if self._knows_both else pos | morph).any())

    @property
    def _knows_both(self) -> bool:
        return any(self.cfg["labels_pos"].values()) and any(self.cfg["labels_morph"].values())

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Array]
    ) -> tuple[float, list[Array]]:
        """Loss (a sum over known tokens) and gradients [tokens, labels] of each document."""
        examples = list(examples)
        loss, d_scores = super().get_loss(examples, scores)
        if not self._knows_both:
            return loss, d_scores
        known = [align_known(eg, ~np.logical_xor(*_present(eg.reference))) for eg in examples]
        return mask_tokens(self.model.ops, loss, d_scores, known)

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Labels | None = None,
    ) -> None:
        """As in spaCy, from annotated examples and, if the data have both layers, from tokens that have both.

        Raises ConfigError if no example is annotated, or if the data have both layers but never on one token.
        """
        examples = self.annotated_examples(get_examples, labels)
        if labels is None and _is_mixed(examples()):
            labels = self._labels_of_complete_tokens(examples())
            if not labels["morph"]:
                needs = "a token with both a part of speech and morphological features"
                raise errors.nothing_annotated(self.name, needs=needs, takes_labels=True)
        super().initialize(examples, nlp=nlp, labels=labels)

    def _labels_of_complete_tokens(self, examples: Iterable[Example]) -> Labels:
        """spaCy's labels, in the order of the data, of tokens that have both a part of speech and features."""
        labels: Labels = {"morph": {}, "pos": {}}
        for example in examples:
            for token in example.reference:
                if token.pos and token.has_morph():
                    morph = str(token.morph)
                    features = {**Morphology.feats_to_dict(morph), self.POS_FEAT: token.pos_}
                    label = self.vocab.strings[self.vocab.morphology.add(features)]
                    labels["morph"].setdefault(label, morph)
                    labels["pos"].setdefault(label, POS_IDS[token.pos_])
        return labels


def _present(doc: Doc) -> tuple[BoolArray, BoolArray]:
    """[tokens] whether a part of speech is annotated, [tokens] whether features are, be they empty."""
    values = doc.to_array([POS, MORPH]).reshape(len(doc), 2) != 0
    return values[:, 0], values[:, 1]


def _is_mixed(examples: Iterable[Example]) -> bool:
    """True if there are parts of speech and features, but not on every annotated token."""
    has_pos = has_features = has_partial = False
    for example in examples:
        pos, morph = _present(example.reference)
        has_pos |= bool(pos.any())
        has_partial |= bool((pos != morph).any())
        has_features = has_features or any(
            str(example.reference[int(i)].morph) for i in np.flatnonzero(morph)
        )
        if has_pos and has_features and has_partial:
            return True
    return False
