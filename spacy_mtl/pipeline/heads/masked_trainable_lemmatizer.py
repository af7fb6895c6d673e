"""Lemmatization for which an edit tree that is not among the labels is unknown, rather than the first label."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.edit_tree_lemmatizer import EditTreeLemmatizer
from spacy.training import Example, validate_examples
from thinc.api import SequenceCategoricalCrossentropy

from ...types import Array
from .masking import AnnotatedOnly, GetExamples

MISSING = -1


class MaskedEditTreeLemmatizer(AnnotatedOnly, EditTreeLemmatizer):
    """spaCy's EditTreeLemmatizer, except for a lemma that none of its edit trees gives.

    Rare trees are pruned (`min_tree_freq`), and data may bring new ones. spaCy trains their tokens towards label 0,
    whichever tree that is. Here they have neither loss nor gradient, like tokens without a lemma.

    spaCy does not know the label of any tree after loading, so that it trains all tokens towards label 0. Here labels
    are known again.
    """

    needs = "lemmas"

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Array]
    ) -> tuple[float, list[Array]]:
        """Loss (a sum over tokens whose edit tree is a label) and gradients [tokens, labels] of each document."""
        examples = list(examples)
        validate_examples(examples, "MaskedEditTreeLemmatizer.get_loss")
        loss_func = SequenceCategoricalCrossentropy(normalize=False, missing_value=MISSING)
        d_scores, loss = loss_func(scores, [self._label_ids(example) for example in examples])
        if self.model.ops.xp.isnan(loss):
            raise ValueError(Errors.E910.format(name=self.name))
        return float(loss), d_scores

    def _label_ids(self, example: Example) -> list[int]:
        """[tokens] the label of each predicted token, or MISSING."""
        lemmas = example.get_aligned("LEMMA", as_string=True)
        return [
            self.tree2label.get(self.trees.add(token.text, lemma), MISSING) if lemma else MISSING
            for token, lemma in zip(example.predicted, lemmas, strict=True)
        ]

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: dict[str, Any] | None = None,
    ) -> None:
        """As in spaCy, from annotated examples. Raises ConfigError if there are none."""
        examples = self.annotated_examples(get_examples, labels)
        super().initialize(examples, nlp=nlp, labels=labels)

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = ()
    ) -> "MaskedEditTreeLemmatizer":
        """As in spaCy."""
        super().from_bytes(bytes_data, exclude=exclude)
        self._know_labels()
        return self

    def from_disk(
        self, path: str | Path, exclude: Iterable[str] = ()
    ) -> "MaskedEditTreeLemmatizer":
        """As in spaCy."""
        super().from_disk(path, exclude=exclude)
        self._know_labels()
        return self

    def _know_labels(self) -> None:
        self.tree2label = {tree: label for label, tree in enumerate(self.cfg["labels"])}
