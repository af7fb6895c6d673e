"""What spaCy's parser and named entity recognizer need so that parts of a batch add up to the whole.

Two of their habits look at the batch as a whole. Where a feature has no token, the gradient of the lower layer reads
the vector of the batch's last token. And each update draws a number, which says where long documents are cut.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spacy.language import Language
from spacy.pipeline.transition_parser import Parser
from spacy.training import Example
from thinc.api import Model

from ..pipeline.heads.masking import AnnotatedOnly

LAYER = "precomputable_affine"


def make_exact(nlp: Language) -> None:
    """Let a feature without a token have no part in the gradient, whichever document stands last in the batch.

    The features read a row of zeros behind the last token instead.
    """
    for _, component in nlp.pipeline:
        if isinstance(component, Parser):
            for node in component.model.walk():
                if node.name == LAYER and not isinstance(node._func, ExactFeatures):
                    node._func = ExactFeatures(node._func)


class ExactFeatures:
    """The forward pass of spaCy's `PrecomputableAffine`, behind which index -1 is a row of zeros."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, model: Model, X: Any, is_train: bool) -> Any:
        """X: [T, width]. Returns [T + 1, features, out, pieces], the first row for padding; T + 2 rows in training."""
        if is_train:
            X = model.ops.xp.concatenate([X, model.ops.alloc2f(1, X.shape[1])])
        return self.forward(model, X, is_train)


class Cuts:
    """Keeps Python's generator, which spaCy shuffles the corpus with too, at one point on all ranks.

    What an update draws is forgotten, whichever component draws it; then as many numbers are drawn as spaCy's heads
    draw for the whole batch. A head that has gold for none of its documents draws nothing: with one such head in the
    pipeline all ranks cut alike; with two, a rank that has gold for the second only cuts its long documents where
    another rank cuts those of the first. Heads with a beam are not counted: whether they cut is a draw of its own.
    """

    def __init__(self, nlp: Language, *, exclude: Collection[str] = ()) -> None:
        self.heads = [
            pipe
            for name, pipe in nlp.pipeline
            if isinstance(pipe, Parser)
            and name not in exclude
            and pipe.cfg["update_with_oracle_cut_size"] >= 1
            and pipe.cfg["beam_width"] < 2
        ]

    def count(self, examples: Sequence[Example]) -> int:
        """How many numbers an update on these examples draws."""
        return sum(any(_has_gold(head, eg) for eg in examples) for head in self.heads)

    @contextmanager
    def drawn(self, whole: Sequence[Example]) -> Iterator[None]:
        """Around an update on a part of a batch, or on none of it: go on as after one on the whole."""
        before = random.getstate()
        yield
        random.setstate(before)
        for _ in range(self.count(whole)):
            random.random()


def _has_gold(head: Any, example: Example) -> bool:
    if isinstance(head, AnnotatedOnly) and not head.is_trained_on(example):
        return False
    return bool(head.moves.has_gold(example))
