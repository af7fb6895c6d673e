"""Several processes make the same pipeline as one.

spaCy's own heads and ours hand back gradients that are sums over what they are annotated for, so those of a batch's
parts add up (`test_sums.py`). What is left is rounding.
"""

from pathlib import Path
from typing import Any

import pytest
import srsly

from spacy_mtl.distributed import train

from ..pipeline.helpers import Settings, make_nlp
from .helpers import (
    Ranks,
    distance,
    heads,
    make_training,
    train_alone,
    train_together,
    weights,
    write_corpora,
)

SAME = 1e-5
# Softmax does not change if all keys are shifted: the true gradient is 0, and Adam makes steps of what is rounding.
WITHOUT_GRADIENT = ".key.bias"
THREE = heads(tagger="tagger", ner="ner", textcat="masked_textcat")
THREE_LAYERS = {"tagger": ("tag",), "ner": ("ents",), "textcat": ("cats",)}
SGD: Settings = {
    "@optimizers": "SGD.v1",
    "learn_rate": 0.02,
    "use_averages": True,
    "grad_clip": 1.0,
    "L2": 0.0,
}
ADAMW: Settings = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.002}
SPANS: Settings = {"spans_key": "sc"}
OTHERS: dict[str, tuple[tuple[str, ...], Settings]] = {
    "morphologizer": (("pos", "morph"), {}),
    "senter": (("sents",), {}),
    "trainable_lemmatizer": (("lemma",), {"min_tree_freq": 1}),
    "parser": (("dep", "sents"), {"min_action_freq": 1}),
    "textcat_multilabel": (("cats",), {}),
    "spancat": (
        ("spans:sc",),
        {**SPANS, "suggester": {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]}},
    ),
    "span_finder": (("spans:sc",), {**SPANS, "max_length": 3}),
}


def assert_same_weights(alone: Path, together: Path) -> None:
    trained = weights(alone)
    found = distance(trained, weights(together))
    far = {n: d for n, d in found.items() if not d <= SAME and not n.endswith(WITHOUT_GRADIENT)}
    assert far == {}


def both(config: Any, folder: Path, *, size: int = 2) -> tuple[Path, Path]:
    """The pipeline that one process trains, and the one that several do."""
    return train_alone(config, folder / "one"), train_together(config, folder / "many", size=size)


def test_two_processes_train_what_one_does(encoder_path: Path, tmp_path: Path) -> None:
    """Every batch is annotated for one of three heads."""
    write_corpora(tmp_path, THREE_LAYERS, n_docs=8)
    config = make_training(
        encoder_path, tmp_path, THREE, training={"max_steps": 5, "eval_frequency": 5}
    )
    assert_same_weights(*both(config, tmp_path))


def test_a_head_of_another_pipeline_is_trained_along(encoder_path: Path, tmp_path: Path) -> None:
    """While the pipeline is initialized it is disabled, and spaCy does not link it."""
    write_corpora(tmp_path, THREE_LAYERS, n_docs=8)
    make_nlp(encoder_path, ["tagger"]).to_disk(tmp_path / "other")
    config = make_training(
        encoder_path,
        tmp_path,
        THREE,
        training={"max_steps": 3, "eval_frequency": 3},
        balancer={"@balancers": "spacy_mtl.NormEqual.v1"},
    )
    config["components"]["tagger"] = {"source": str(tmp_path / "other")}
    assert_same_weights(*both(config, tmp_path))


@pytest.mark.parametrize("has_output", [True, False], ids=["with output", "without output"])
def test_every_process_returns_where_the_pipeline_is(
    has_output: bool, encoder_path: Path, tmp_path: Path
) -> None:
    """Spark's TorchDistributor keeps what the last process to end on the driver returns."""
    write_corpora(tmp_path, {"tagger": ("tag",)}, n_docs=4)
    settings = {"max_steps": 1, "eval_frequency": 1}
    config = make_training(encoder_path, tmp_path, heads(tagger="tagger"), training=settings)
    config.to_disk(tmp_path / "config.cfg")
    output = tmp_path / "out" if has_output else None

    def run(rank: int) -> None:
        (tmp_path / f"returned{rank}").write_text(repr(train(tmp_path / "config.cfg", output)))

    Ranks(run, tmp_path / "logs").finish()
    last = repr(str(tmp_path / "out" / "model-last")) if has_output else "None"
    assert [(tmp_path / f"returned{rank}").read_text() for rank in (0, 1)] == [last, last]


@pytest.mark.slow
@pytest.mark.parametrize("mix", [True, False], ids=["mixed batches", "one task in a batch"])
@pytest.mark.parametrize(
    ("training", "shared"),
    [
        ({}, {}),
        ({"optimizer": SGD}, {}),
        ({"accumulate_gradient": 2}, {"optimizer": ADAMW}),
        ({"accumulate_gradient": 2}, {"balancer": {"@balancers": "spacy_mtl.NormEqual.v1"}}),
        ({"accumulate_gradient": 2}, {"balancer": {"@balancers": "spacy_mtl.PCGrad.v1"}}),
        ({}, {"balancer": {"@balancers": "spacy_mtl.NormEqual.v1"}}),
        ({}, {"balancer": {"@balancers": "spacy_mtl.CAGrad.v1"}, "optimizer": ADAMW}),
        ({}, {"balancer": {"@balancers": "spacy_mtl.FAMO.v1"}}),
    ],
    ids=lambda settings: (
        ",".join(
            str(value.get("@balancers", value.get("@optimizers")))
            if isinstance(value, dict)
            else key
            for key, value in settings.items()
        )
        or "plain"
    ),
)
def test_the_weights_are_the_same_after_fifty_steps(
    training: Settings, shared: Settings, mix: bool, encoder_path: Path, tmp_path: Path
) -> None:
    write_corpora(tmp_path, THREE_LAYERS)
    config = make_training(
        encoder_path, tmp_path, THREE, size=120, mix=mix, training=training, **shared
    )
    one, many = both(config, tmp_path)
    assert_same_weights(one, many)
    if "balancer" in shared:
        states = [
            srsly.read_json(path / "shared_transformer" / "balancer.json") for path in (one, many)
        ]
        assert states[0]["factors"].keys() == states[1]["factors"].keys() == THREE.keys()
        for task, factor in states[0]["factors"].items():
            assert states[1]["factors"][task] == pytest.approx(factor, rel=1e-3)


@pytest.mark.slow
def test_three_processes_train_what_one_does(encoder_path: Path, tmp_path: Path) -> None:
    """Some batches have fewer documents than there are processes."""
    write_corpora(tmp_path, THREE_LAYERS)
    config = make_training(encoder_path, tmp_path, THREE, size=40, mix=True)
    assert_same_weights(*both(config, tmp_path, size=3))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "spaCy's"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_weights_of_every_other_head_are_the_same(
    name: str, masked: bool, encoder_path: Path, tmp_path: Path
) -> None:
    """Together with a tagger, in batches that are annotated for both, one or the other."""
    layers, settings = OTHERS[name]
    write_corpora(tmp_path, {"tagger": ("tag",), name: layers}, n_docs=16)
    components = heads(tagger="tagger", **{name: f"masked_{name}" if masked else name})
    components[name].update(settings)
    config = make_training(
        encoder_path,
        tmp_path,
        components,
        size=100,
        mix=True,
        training={"max_steps": 19, "eval_frequency": 19},
    )
    assert_same_weights(*both(config, tmp_path))


@pytest.mark.slow
def test_a_mix_of_layers_and_a_corpus_of_spacy_s_are_the_same(
    encoder_path: Path, tmp_path: Path
) -> None:
    write_corpora(tmp_path, THREE_LAYERS)
    components = heads(tagger="tagger", ner="masked_ner")
    components["tagger"]["model"]["tok2vec"]["layers"] = "mix"
    config = make_training(
        encoder_path,
        tmp_path,
        components,
        training={
            "batcher": {"@batchers": "spacy.batch_by_words.v1", "size": 60, "tolerance": 0.2}
        },
    )
    config["corpora"]["train"] = {
        "@readers": "spacy.Corpus.v1",
        "path": str(tmp_path / "dev.spacy"),
        "max_length": 0,
    }
    assert_same_weights(*both(config, tmp_path))
