"""The law on which training in parts rests: a head's gradient is a sum over what its batch is annotated for."""

import random
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.shims import Shim

from spacy_mtl.distributed.gradients import check_gradients
from spacy_mtl.distributed.means import MeanGradients, mean_heads
from spacy_mtl.distributed.replica import _weight
from spacy_mtl.distributed.transitions import Cuts, make_exact
from spacy_mtl.errors import ConfigError
from spacy_mtl.pipeline.heads.masked_textcat import MaskedTextCategorizer

from ..pipeline.heads.tiny import TOK2VEC
from ..pipeline.sentences import make_examples
from .helpers import heads

SPANS = {"spans_key": "sc"}
NGRAMS = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]}
HEADS: dict[str, dict[str, Any]] = {
    "tagger": {},
    "morphologizer": {},
    "senter": {},
    "trainable_lemmatizer": {"min_tree_freq": 1},
    "ner": {},
    "parser": {"min_action_freq": 1},
    "textcat": {},
    "textcat_multilabel": {},
    "spancat": {**SPANS, "suggester": NGRAMS},
    "span_finder": {**SPANS, "max_length": 3},
}


def examples_of(nlp: Language) -> list[Example]:
    return make_examples(nlp.vocab)


def make_head(name: str, **settings: Any) -> tuple[Language, Any]:
    """A pipeline of one head with a tok2vec of its own."""
    nlp = spacy.blank("en")
    plain = name.removeprefix("masked_").removeprefix("beam_")
    model = {**heads(**{name: name})[name]["model"], "tok2vec": TOK2VEC}
    component = nlp.add_pipe(name, config={"model": model, **HEADS[plain], **settings})
    nlp.initialize(lambda: examples_of(nlp))
    rng = np.random.default_rng(0)
    for node in component.model.walk():  # spaCy begins with zeros, which hand back no gradient
        for param in node.param_names:
            node.set_param(param, rng.normal(size=node.get_param(param).shape).astype("f"))
    return nlp, component


def gradients(component: Any, *batches: list[Example]) -> dict[str, Any]:
    """What updates on these batches add up to in all parameters; the weights do not change."""
    for node in component.model.walk():
        for param in node.param_names:
            node.set_grad(param, np.zeros_like(node.get_param(param)))
    for batch in batches:
        component.update([Example(eg.predicted.copy(), eg.reference) for eg in batch])
    nodes = enumerate(component.model.walk())
    return {f"{i}.{p}": node.get_grad(p).copy() for i, node in nodes for p in node.param_names}


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "spaCy's"])
@pytest.mark.parametrize("name", HEADS)
def test_the_gradients_of_two_parts_add_up_to_that_of_the_batch(name: str, masked: bool) -> None:
    nlp, component = make_head(f"masked_{name}" if masked else name)
    make_exact(nlp)
    assert_sums(nlp, component)


@pytest.mark.parametrize("name", ["ner", "parser"])
def test_without_exact_features_they_would_not(name: str) -> None:
    nlp, component = make_head(name)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_sums(nlp, component)


def assert_sums(nlp: Language, component: Any) -> None:
    batch = examples_of(nlp)
    whole, parts = gradients(component, batch), gradients(component, batch[:1], batch[1:])
    assert any(gradient.any() for gradient in whole.values())
    for key, gradient in whole.items():
        scale = max(np.abs(gradient).max(), 1.0)
        np.testing.assert_allclose(parts[key], gradient, atol=1e-5 * scale)


class Averaging(MaskedTextCategorizer):
    """A head that divides by the documents that it is given, which are those that are annotated."""

    gradient_mean = "units"

    def get_loss(self, examples: Any, scores: Any) -> tuple[float, Any]:
        loss, d_scores = super().get_loss(examples, scores)
        return loss, d_scores / len(d_scores)


def test_parts_of_a_mean_are_weighed_by_what_they_saw() -> None:
    """Whatever was accumulated before stays as it is."""
    nlp, component = make_head("masked_textcat")
    component.__class__ = Averaging
    batch = examples_of(nlp)
    batch[0].reference.cats = {}
    before = gradients(component, batch[1:3])
    whole = gradients(component, batch)
    means = MeanGradients(nlp)
    for part in (batch[:2], batch[2:]):
        shares = means.shares(part, batch)
        gradients(component, batch[1:3])
        with means.scaled(shares):
            component.update([Example(eg.predicted.copy(), eg.reference) for eg in part])
        for i, node in enumerate(component.model.walk()):
            for param in node.param_names:
                whole[f"{i}.{param}"] -= node.get_grad(param) - before[f"{i}.{param}"]
    assert all(np.abs(rest).max() < 1e-4 for rest in whole.values())


def test_the_loss_of_a_mean_is_weighed_by_what_a_part_saw() -> None:
    nlp, component = make_head("masked_tagger")
    batch = examples_of(nlp)
    component.__class__ = type("Odd", (component.__class__,), {"gradient_mean": "documents"})
    assert [_weight(component, part) for part in (batch[:1], batch)] == [1, len(batch)]
    component.__class__.gradient_mean = "units"
    assert _weight(component, batch) == sum(len(eg.predicted) for eg in batch)


def test_a_component_whose_gradients_cannot_be_found_is_refused() -> None:
    """Unless it is frozen."""
    nlp, component = make_head("masked_textcat")
    check_gradients(nlp)
    shim = Shim(object())
    component.model.layers[0].shims.append(shim)
    with pytest.raises(ConfigError, match=r"`components.masked_textcat` cannot .* a `Shim`"):
        check_gradients(nlp)
    component.model = object()
    with pytest.raises(ConfigError, match=r"`components.masked_textcat` cannot .* a `object`"):
        check_gradients(nlp)
    check_gradients(nlp, exclude=["masked_textcat"])


def test_another_kind_of_mean_is_refused() -> None:
    nlp, component = make_head("masked_textcat")
    component.__class__ = type("Odd", (MaskedTextCategorizer,), {"gradient_mean": "tokens"})
    with pytest.raises(
        ConfigError, match=r"`masked_textcat.gradient_mean = 'tokens'` is not supported"
    ):
        mean_heads(nlp)


def test_ranks_draw_as_many_random_numbers_as_one_process() -> None:
    """spaCy's ner draws one in each update that has gold for it."""
    nlp, component = make_head("masked_ner")
    batch = examples_of(nlp)
    for example in batch[1:]:
        example.reference.set_ents([], default="missing")
    cuts = Cuts(nlp)
    random.seed(0)
    component.update(batch)
    expected = random.getstate()
    for part in (batch[:1], batch[1:], []):
        random.seed(0)
        with cuts.drawn(batch):
            component.update(part)
        assert random.getstate() == expected
    assert Cuts(nlp, exclude=["masked_ner"]).count(batch) == 0


@pytest.mark.parametrize("name", ["beam_ner", "beam_parser"])
def test_ranks_draw_alike_whether_or_not_a_beam_searches(name: str) -> None:
    """Each rank decides for itself, with the generator of its dropout."""
    nlp, component = make_head(name, beam_update_prob=0.5)
    batch = examples_of(nlp)
    cuts = Cuts(nlp)
    found = set()
    for seed in range(8):
        np.random.seed(seed)
        random.seed(0)
        with cuts.drawn(batch):
            component.update(batch)
        found.add(random.getstate())
    assert len(found) == 1
