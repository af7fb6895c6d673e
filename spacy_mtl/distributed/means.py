"""Heads whose gradient is a mean over the batch: their part of it, weighed by the documents or units that they saw.

The gradients of all of spaCy's heads and ours are sums, over tokens (tagger, morphologizer, senter, lemmatizer,
span_finder), documents (textcat), suggested spans (spancat), states (parser, ner) or entities (entity_linker); only the
losses that textcat and entity_linker report are means. Sums over parts of a batch add up, and need no denominator.

A component of another kind may have an attribute `gradient_mean`: `"documents"` if it divides by the documents of its
batch, `"units"` if it does by the annotated units (see `spacy_mtl.annotation.count_units`). Its loss is taken for the
same mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from spacy.language import Language
from spacy.training import Example

from .. import errors
from ..annotation import count_units, heads_of
from .gradients import Parameter, parameters_of

KINDS = ("documents", "units")


def mean_heads(nlp: Language) -> dict[str, Any]:
    """The components with an attribute `gradient_mean`. Raises ConfigError for another value."""
    found = {n: c for n, c in heads_of(nlp).items() if getattr(c, "gradient_mean", None)}
    for name, component in found.items():
        if component.gradient_mean not in KINDS:
            raise errors.not_one_of(
                component.gradient_mean, key=f"{name}.gradient_mean", choices=KINDS
            )
    return found


def share(head: Any, part: Sequence[Example], whole: Sequence[Example]) -> float:
    """How much of the whole batch's mean a part's mean is."""
    if head.gradient_mean == "documents":
        return len(part) / len(whole) if whole else 0.0
    own, every = (sum(count_units(head, eg.reference) for eg in egs) for egs in (part, whole))
    return own / every if every else 0.0


class MeanGradients:
    """Scales what an update adds to the gradients of such heads' own parameters."""

    def __init__(self, nlp: Language) -> None:
        self.heads = mean_heads(nlp)
        self.parameters: dict[str, list[Parameter]] = {}
        for name in self.heads:
            others = [other for other in nlp.pipe_names if other != name]
            self.parameters[name] = parameters_of(nlp, exclude=others)

    def shares(self, part: Sequence[Example], whole: Sequence[Example]) -> dict[str, float]:
        """By the names of the heads."""
        return {name: share(head, part, whole) for name, head in self.heads.items()}

    @contextmanager
    def scaled(self, shares: dict[str, float]) -> Iterator[None]:
        """Around an update of the pipeline."""
        before = {
            p: p.gradient().clone()
            for name in shares
            for p in self.parameters[name]
            if p.has_gradient
        }
        yield
        for name, factor in shares.items():
            for p in self.parameters[name]:
                if p.has_gradient:
                    gradient = p.gradient()
                    earlier = before.get(p, torch.zeros(()))
                    gradient.sub_(earlier).mul_(factor).add_(earlier)
