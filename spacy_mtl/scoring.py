"""Scorers that look at annotated documents only."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.scorer import Scorer
from spacy.training import Example


def masked_textcat_score(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """`Scorer.score_cats` for exclusive classes, over the documents that have gold categories.

    spaCy's own scorer counts a prediction on a document without any as a false positive. Every score is None if no
    document has categories.
    """
    annotated = [example for example in examples if example.reference.cats]
    scores = Scorer.score_cats(annotated, "cats", multi_label=False, **kwargs)
    return scores if annotated else dict.fromkeys(scores)


def make_masked_textcat_scorer() -> Callable[..., dict[str, Any]]:
    """Scorer of `masked_textcat` (`spacy_mtl.MaskedTextcatScorer.v1`)."""
    return masked_textcat_score
