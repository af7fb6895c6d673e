"""`spacy train`, from .spacy files and a config to a saved pipeline."""

from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.cli.train import train as spacy_train
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as training_loop
from spacy.vocab import Vocab
from thinc.api import Config

from spacy_mtl.errors import ConfigError

from .helpers import NAME, Settings, make_config, make_nlp, shared, train
from .sentences import SENTENCES, TEXTS, annotations, make_doc

STEPS = 60
ADAMW = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.003}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences as a .spacy file."""
    path = tmp_path_factory.mktemp("corpus") / "sentences.spacy"
    DocBin(docs=[make_doc(Vocab(), sentence) for sentence in SENTENCES]).to_disk(path)
    return path


def training(corpus: Path, **settings: object) -> Settings:
    reader = {"@readers": "spacy.Corpus.v1", "path": str(corpus)}
    return {
        "corpora": {"train": reader, "dev": reader},
        "training": {
            "max_steps": STEPS,
            "eval_frequency": STEPS,
            "dropout": 0.0,
            "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 2},
            "optimizer": {
                "@optimizers": "Adam.v1",
                "learn_rate": 0.003,
                "use_averages": False,
                "grad_clip": 1.0,
            },
            **settings,
        },
    }


def filled(config: Settings) -> Config:
    """With spaCy's defaults for the sections that the config leaves out."""
    return Config(English().config).merge(config)


def assert_same_predictions(a: Language, b: Language) -> None:
    for one, other in zip(a.pipe(TEXTS), b.pipe(TEXTS), strict=True):
        assert annotations(one) == annotations(other)
        np.testing.assert_allclose(one.tensor, other.tensor, atol=1e-5)


@pytest.mark.parametrize("optimizer", [None, ADAMW], ids=["one optimizer", "an encoder's own"])
def test_the_best_model_on_disk_predicts_what_the_trained_pipeline_predicts(
    optimizer: Settings | None, encoder_path: Path, corpus: Path, tmp_path: Path
) -> None:
    config = make_config(encoder_path, optimizer=optimizer) | training(corpus)
    nlp, _ = training_loop(init_nlp(filled(config)), tmp_path)
    best = spacy.load(tmp_path / "model-best")
    assert_same_predictions(nlp, best)
    assert shared(best).cfg["steps"] == shared(nlp).cfg["steps"] == STEPS + 1
    for doc, sentence in zip(best.pipe(TEXTS), SENTENCES, strict=True):
        assert [t.tag_ for t in doc] == sentence.tags.split()
        assert [(e.start, e.end, e.label_) for e in doc.ents] == list(sentence.ents)
        assert max(doc.cats, key=doc.cats.__getitem__) == sentence.cat


def test_the_train_command_writes_pipelines_that_load_without_the_pretrained_encoder(
    encoder_path: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "encoder"
    moved.symlink_to(encoder_path)
    config = make_config(moved) | training(corpus, accumulate_gradient=2)
    filled(config).to_disk(tmp_path / "config.cfg")
    spacy_train(
        tmp_path / "config.cfg",
        tmp_path / "out",
        overrides={"training.max_steps": 4, "training.eval_frequency": 2},
    )
    assert "Saved pipeline to output directory" in capsys.readouterr().out
    moved.unlink()
    for name in ("model-best", "model-last"):
        nlp = spacy.load(tmp_path / "out" / name)
        assert nlp.meta["performance"].keys() >= {"tag_acc", "ents_f", "cats_score"}
        assert all(doc.tensor.any() for doc in nlp.pipe(TEXTS))


def test_averaged_weights_are_what_is_saved(
    encoder_path: Path, corpus: Path, tmp_path: Path
) -> None:
    averaging = {"@optimizers": "Adam.v1", "learn_rate": 0.01, "use_averages": True}
    config = make_config(encoder_path, ["tagger"]) | training(
        corpus, optimizer=averaging, max_steps=4, eval_frequency=2
    )
    nlp, _ = training_loop(init_nlp(filled(config)), tmp_path)
    saved = spacy.load(tmp_path / "model-last")
    assert not np.allclose(nlp(TEXTS[0]).tensor, saved(TEXTS[0]).tensor)


def test_a_sourced_frozen_encoder_that_annotates_feeds_a_new_head_and_stays_as_it_is(
    encoder_path: Path, corpus: Path, tmp_path: Path
) -> None:
    old = make_nlp(encoder_path, ["textcat"])
    train(old, 5)
    old.to_disk(tmp_path / "old")
    config = make_config(encoder_path, ["tagger"]) | training(
        corpus,
        max_steps=120,
        eval_frequency=120,
        frozen_components=[NAME],
        annotating_components=[NAME],
    )
    config["components"][NAME] = {"source": str(tmp_path / "old")}
    training_loop(init_nlp(filled(config)), tmp_path)
    best = spacy.load(tmp_path / "model-best")
    for doc, before in zip(best.pipe(TEXTS), old.pipe(TEXTS), strict=True):
        np.testing.assert_array_equal(doc.tensor, before.tensor)
    assert best.meta["performance"]["tag_acc"] > 0.9


def test_a_frozen_encoder_without_weights_is_named_before_training_starts(
    encoder_path: Path, corpus: Path
) -> None:
    config = make_config(encoder_path) | training(
        corpus, frozen_components=[NAME], annotating_components=[NAME]
    )
    with pytest.raises(ConfigError, match=r"frozen_components.*freeze_layers = \"all\"`"):
        init_nlp(filled(config))
