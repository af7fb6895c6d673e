"""Law 2: documents without an annotation change neither a head that learns it, nor the encoder, nor the head's score.

Compared after eight updates, with and without such documents in the batch. Plain SGD: the difference is rounding then,
which Adam would blow up. It is measured by how far the weights have moved: the largest difference in a head, or in the
encoder, is below TOLERANCE of the largest movement there; with spaCy's heads that fail it is above FAILURE.
"""

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import spacy
from numpy.typing import NDArray
from spacy import util
from spacy.lang.xx import MultiLanguage
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SGD, Model

from spacy_mtl.errors import ConfigError

from ..families import NO_DROPOUT, make_encoder
from ..pipeline.helpers import LISTENER, Settings, head, make_config, shared, weights
from ..pipeline.sentences import TEXTS, annotations, make_examples
from ..pipeline.test_heads import EXTRA, make_linker, make_people

TOLERANCE = 1e-4
FAILURE = 1e-2
STEPS = 8
RATE = 0.002

SINGLE_LABEL: Settings = {
    "@architectures": "spacy.SpanCategorizer.v1",
    "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 32},
    "scorer": {"@layers": "Softmax.v2", "nO": None, "nI": None},
    "tok2vec": LISTENER,
}
AS_THEY_ARE = ("tagger", "morphologizer", "textcat_multilabel", "entity_linker", "biluo_ner")
REPLACED = (
    "senter",
    "morphologizer",
    "trainable_lemmatizer",
    "parser",
    "ner",
    "textcat",
    "spancat",
    "spancat_singlelabel",
    "span_finder",
)
MASKED = tuple(f"masked_{name}" for name in REPLACED)
# spaCy's morphologizer and lemmatizer fail on annotated documents only: on tokens with a part of them, or a rare lemma
TRAIN_ON_ABSENCE = tuple(n for n in REPLACED if n not in ("morphologizer", "trainable_lemmatizer"))
OTHER_TEXTS = (
    "Nobody has asked anyone in London about this one , and so Anna went on and on . Is it a tale ?",
    "one",
    "",
    "Who knows ?",
)

Arrays = dict[str, NDArray[np.float32]]


class Trained(NamedTuple):
    """A pipeline after its updates, and the weights before and after. name: of its head."""

    nlp: Language
    name: str
    before: dict[str, Arrays]
    after: dict[str, Arrays]


Train = Callable[..., Trained]


def base(factory: str) -> str:
    return factory.removeprefix("masked_")


def component(factory: str) -> Settings:
    name = base(factory)
    if name == "spancat_singlelabel":
        return {"model": SINGLE_LABEL, **EXTRA["spancat"], "factory": factory}
    return {**head(name), **EXTRA.get(name, {}), "factory": factory}


def from_config(config: Settings) -> Language:
    """A pipeline of no language: English has tokenizer exceptions, which take longer than all the rest."""
    config["nlp"]["lang"] = "xx"
    return MultiLanguage.from_config(config)


def make(path: Path, factory: str) -> Language:
    """A pipeline with an encoder and one head, which is not initialized."""
    if factory == "entity_linker":
        return make_linker(path)
    return from_config(make_config(path, {"head": component(factory)}))


def annotated(nlp: Language) -> list[Example]:
    return make_people(nlp.vocab) if "entity_linker" in nlp.pipe_names else make_examples(nlp.vocab)


def others(nlp: Language) -> list[Example]:
    return [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in OTHER_TEXTS]


def mixed(nlp: Language) -> list[Example]:
    """Unannotated documents before, between and after the annotated ones."""
    first, *rest = annotated(nlp)
    long, one, empty, short = others(nlp)
    return [one, long, empty, first, short, *others(nlp), *rest, *others(nlp)]


def pipe(nlp: Language) -> Any:
    return nlp.get_pipe(nlp.pipe_names[-1])


def parameters(model: Model) -> Arrays:
    nodes = [(f"{i} {node.name}", node) for i, node in enumerate(model.walk())]
    return {
        f"{name} {p}": node.get_param(p).copy()
        for name, node in nodes
        for p in node.param_names
        if node.has_param(p)
    }


def all_weights(nlp: Language) -> dict[str, Arrays]:
    return {"encoder": weights(nlp), "head": parameters(pipe(nlp).model)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "bert"
    return make_encoder("bert", folder, **NO_DROPOUT["bert"])


@pytest.fixture(scope="module")
def train(path: Path) -> Train:
    """`train(factory, with_others=False)`: each pipeline is trained once. Do not change it."""

    @cache
    def run(factory: str, *, with_others: bool = False) -> Trained:
        util.fix_random_seed(0)
        nlp = make(path, factory)
        nlp.initialize(lambda: annotated(nlp))
        before = all_weights(nlp)
        util.fix_random_seed(1)
        sgd = SGD(RATE, use_averages=False, grad_clip=0.0)
        for _ in range(STEPS):
            nlp.update(mixed(nlp) if with_others else annotated(nlp), drop=0.0, sgd=sgd)
        return Trained(nlp, nlp.pipe_names[-1], before, all_weights(nlp))

    return run


def differences(alone: Trained, mixed: Trained) -> dict[str, float]:
    """The largest difference in the head and in the encoder, as a share of the largest movement there."""
    found = {}
    for part, after in alone.after.items():
        moved = max(abs(after[key] - alone.before[part][key]).max() for key in after)
        assert moved > 1e-4
        found[part] = max(abs(after[key] - mixed.after[part][key]).max() for key in after) / moved
    return found


def scores(nlp: Language, examples: list[Example]) -> dict[str, Any]:
    """All scores but those of the tokenizer, which has nothing to do with annotation, and of the machine."""
    found = nlp.evaluate(examples)
    return {k: v for k, v in found.items() if k != "speed" and not k.startswith("token_")}


@pytest.mark.parametrize("factory", AS_THEY_ARE + MASKED)
def test_unannotated_documents_change_neither_the_head_nor_the_encoder(
    factory: str, train: Train
) -> None:
    found = differences(train(factory), train(factory, with_others=True))
    assert max(found.values()) < TOLERANCE


@pytest.mark.parametrize("factory", TRAIN_ON_ABSENCE)
def test_they_change_spacys_own_head_so_the_test_above_can_fail(factory: str, train: Train) -> None:
    found = differences(train(factory), train(factory, with_others=True))
    assert found["head"] > FAILURE


@pytest.mark.parametrize("factory", AS_THEY_ARE + MASKED)
def test_unannotated_documents_do_not_change_the_score(factory: str, train: Train) -> None:
    nlp = train(factory).nlp
    alone = scores(nlp, annotated(nlp))
    assert any(value is not None for value in alone.values())
    assert scores(nlp, mixed(nlp)) == alone


@pytest.mark.parametrize("factory", MASKED)
def test_annotated_data_train_and_score_exactly_as_in_spacys_own_head(
    factory: str, train: Train
) -> None:
    ours, theirs = train(factory), train(base(factory))
    for part in ours.after:
        assert_equal(ours.after[part], theirs.after[part])
    assert scores(ours.nlp, annotated(ours.nlp)) == scores(theirs.nlp, annotated(theirs.nlp))


# ---- all masked heads in one pipeline, under the names of their factories


def make_all(path: Path, examples: Callable[[Language], list[Example]] | None) -> Language:
    """All masked heads on one encoder, initialized with these examples, if any."""
    util.fix_random_seed(0)
    nlp = from_config(make_config(path, {factory: component(factory) for factory in MASKED}))
    if examples is not None:
        nlp.initialize(lambda: examples(nlp))
    return nlp


@pytest.fixture(scope="module")
def all_heads(path: Path) -> Language:
    """Initialized and trained a little. Do not change it."""
    nlp = make_all(path, annotated)
    nlp.update(annotated(nlp), sgd=SGD(RATE))
    return nlp


@pytest.fixture(scope="module")
def blank(path: Path) -> Language:
    """Not initialized, but for the encoder. Do not change it."""
    nlp = make_all(path, None)
    shared(nlp).initialize(lambda: others(nlp), nlp=nlp)
    return nlp


def head_parameters(nlp: Language) -> Arrays:
    return {
        f"{name} {key}": array
        for name in MASKED
        for key, array in parameters(nlp.get_pipe(name).model).items()  # type: ignore[attr-defined]
    }


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_a_batch_without_annotation_has_no_loss_and_makes_no_step(path: Path) -> None:
    nlp = make_all(path, annotated)
    heads, encoder = head_parameters(nlp), weights(nlp)
    losses: dict[str, float] = {}
    sgd = SGD(1.0, L2=0.5)  # a step without a gradient would still decay the weights
    examples = others(nlp)
    shared(nlp).update(examples)
    for factory in MASKED:
        nlp.get_pipe(factory).update(examples, sgd=sgd, losses=losses)  # type: ignore[attr-defined]
    assert losses == dict.fromkeys(MASKED, 0.0)
    assert_equal(head_parameters(nlp), heads)
    assert_equal(weights(nlp), encoder)


def test_heads_are_initialized_from_the_annotated_documents_wherever_they_stand(path: Path) -> None:
    def late(nlp: Language) -> list[Example]:
        return [*others(nlp)[1:3] * 6, *mixed(nlp)]  # more than the ten that spaCy looks at

    ours, expected = make_all(path, late), make_all(path, annotated)
    assert_equal(head_parameters(ours), head_parameters(expected))
    for factory in MASKED:
        assert ours.get_pipe(factory).label_data == expected.get_pipe(factory).label_data  # type: ignore[attr-defined]


@pytest.mark.parametrize("factory", MASKED)
def test_a_head_that_nothing_is_annotated_for_is_named(factory: str, blank: Language) -> None:
    message = f"`{factory}` has nothing to learn from.*take `{factory}` out"
    with pytest.raises(ConfigError, match=message):
        blank.get_pipe(factory).initialize(lambda: others(blank), nlp=blank)  # type: ignore[attr-defined]


def test_with_known_labels_unannotated_documents_do_to_initialize_a_head(
    path: Path, all_heads: Language
) -> None:
    nlp = make_all(path, None)
    shared(nlp).initialize(lambda: others(nlp), nlp=nlp)
    labelled = [f for f in MASKED if base(f) not in ("senter", "span_finder")]
    for factory in labelled:
        labels = all_heads.get_pipe(factory).label_data  # type: ignore[attr-defined]
        pipe: Any = nlp.get_pipe(factory)
        pipe.initialize(lambda: others(nlp)[:1], nlp=nlp, labels=labels)
        assert pipe.label_data == labels
    found, expected = head_parameters(nlp), head_parameters(all_heads)
    for key, array in found.items():
        assert array.shape == expected[key].shape


def test_without_any_examples_spacy_decides_what_is_lacking() -> None:
    nlp = spacy.blank("en")
    for name in ("masked_senter", "masked_span_finder", "masked_parser", "masked_ner"):
        nlp.add_pipe(name)
    nlp.initialize()
    nlp.add_pipe("masked_spancat")
    with pytest.raises(ValueError, match="E143"):
        nlp.initialize()


def test_heads_come_back_from_bytes(path: Path, all_heads: Language) -> None:
    again = make_all(path, None).from_bytes(all_heads.to_bytes())
    assert_same(again, all_heads)


def test_heads_come_back_from_disk(all_heads: Language, tmp_path: Path) -> None:
    all_heads.to_disk(tmp_path / "pipeline")
    assert_same(spacy.load(tmp_path / "pipeline"), all_heads)


def assert_same(nlp: Language, expected: Language) -> None:
    """The same heads with the same weights and answers."""
    for factory in MASKED:
        assert type(nlp.get_pipe(factory)) is type(expected.get_pipe(factory))
    assert_equal(head_parameters(nlp), head_parameters(expected))
    for a, b in zip(nlp.pipe(TEXTS), expected.pipe(TEXTS), strict=True):
        assert annotations(a) == annotations(b)


# The model of spaCy's span_finder cannot be pickled: one of its layers is a local function.
@pytest.mark.parametrize("factory", [f for f in MASKED if f != "masked_span_finder"])
def test_a_head_comes_back_from_a_pickle(factory: str, all_heads: Language) -> None:
    head: Any = all_heads.get_pipe(factory)
    copy = pickle.loads(pickle.dumps(head))
    assert type(copy) is type(head)
    assert_equal(parameters(copy.model), parameters(head.model))
    for text in TEXTS:
        doc = shared(all_heads)(all_heads.make_doc(text))
        again = Doc(all_heads.vocab).from_bytes(doc.to_bytes())
        assert annotations(copy(again)) == annotations(head(doc))


# ---- without an encoder


@pytest.mark.parametrize("factory", MASKED)
def test_a_head_takes_the_place_of_spacys_by_its_name_alone(factory: str) -> None:
    nlp = spacy.blank("en")
    ours, theirs = (nlp.get_factory_meta(name) for name in (factory, base(factory)))
    changed = {"scorer"} if factory == "masked_textcat" else set()
    for key, value in theirs.default_config.items():
        assert key in changed or ours.default_config[key] == value
    assert list(ours.default_config) == list(theirs.default_config)
    for key in ("assigns", "requires", "scores", "default_score_weights", "retokenizes"):
        assert getattr(ours, key) == getattr(theirs, key)


@pytest.mark.parametrize("factory", MASKED)
def test_a_head_works_with_its_default_config(factory: str) -> None:
    nlp = spacy.blank("en")
    frequent = {"config": {"min_action_freq": 1}} if factory == "masked_parser" else {}
    assert nlp.add_pipe(factory, **frequent).name == factory  # type: ignore[attr-defined]
    nlp.initialize(lambda: make_examples(nlp.vocab))
    losses: dict[str, float] = {}
    nlp.update(make_examples(nlp.vocab), losses=losses)
    assert losses[factory] > 0
    assert len(nlp("Anna likes Riga .")) == 4
