"""Nothing is lost by a start that fails, and what rank 0 draws stays its own."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy import registry
from spacy.language import Language
from spacy.training import Corpus, Example
from thinc.api import Config

from spacy_mtl.distributed import checkpoint
from spacy_mtl.distributed.randomness import OwnRandomness
from spacy_mtl.distributed.replica import Replica

from .helpers import heads, make_training, start, train_together, write_corpora

TWO = heads(tagger="tagger", textcat="masked_textcat")


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    write_corpora(tmp_path, {"tagger": ("tag",), "textcat": ("cats",)}, n_docs=6)
    return tmp_path


def make(encoder: Path, corpora: Path, **training: Any) -> Config:
    settings = {"max_steps": 3, "eval_frequency": 2, **training}
    return make_training(encoder, corpora, TWO, training=settings)


def steps(output: Path) -> int:
    """How many the saved pipeline has been trained for."""
    saved: int = spacy.load(output / "model-last").get_pipe("shared_transformer").cfg["steps"]  # type: ignore[attr-defined]
    return saved


def test_a_start_that_fails_leaves_what_an_earlier_training_has_made(
    encoder_path: Path, corpora: Path
) -> None:
    """Whether it was to go on, with another config, or to begin anew, with one that cannot work."""
    config, output = make(encoder_path, corpora), corpora / "out"
    train_together(config, output, size=1)
    assert steps(output) == 4
    shorter = make(encoder_path, corpora, max_steps=1)
    ranks = start(shorter, output, size=1, resume=True)
    assert ranks.join() == [1]
    assert "corpora and batches are not those" in ranks.said(0)
    assert steps(output) == 4
    refused = make(encoder_path, corpora)
    refused["training"]["logger"] = {"@loggers": "spacy_mtl.TaskLogger.v1", "audit_every": 5}
    ranks = start(refused, output, size=1)
    assert ranks.join() == [1]
    assert "works in one process only" in ranks.said(0)
    assert steps(output) == 4
    assert checkpoint.find(output / checkpoint.FOLDER) == output / checkpoint.FOLDER


@pytest.mark.slow
def test_what_is_drawn_in_an_evaluation_does_not_move_the_corpus(
    encoder_path: Path, corpora: Path
) -> None:
    """Rank 0 alone evaluates; the epochs after it are shuffled alike, and so they are when the training is resumed."""

    @registry.readers("spacy_mtl_tests.drawing_corpus")
    def make_reader(path: Path) -> Callable[[Language], Iterator[Example]]:
        def read(nlp: Language) -> Iterator[Example]:
            random.random()
            yield from Corpus(path)(nlp)

        return read

    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": 2}
    epochs = {"max_steps": 0, "max_epochs": 2, "batcher": batcher}
    config, output = make(encoder_path, corpora, **epochs), corpora / "out"
    config["corpora"]["train"] = {
        "@readers": "spacy.Corpus.v1",
        "path": str(corpora / "dev.spacy"),
    }
    config["corpora"]["dev"] = {
        "@readers": "spacy_mtl_tests.drawing_corpus",
        "path": str(corpora / "dev.spacy"),
    }
    train_together(config, output)
    train_together(config, output, resume=True)


def test_what_only_rank_0_logs_is_not_kept_elsewhere(
    encoder_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detach = Replica.detach

    def counted(self: Replica) -> None:
        log = self.shared[0].statistics.gradients  # type: ignore[union-attr]
        print("KEPT", len(log._pending), "OF", log.n_batches, flush=True)  # type: ignore[union-attr]
        detach(self)

    monkeypatch.setattr(Replica, "detach", counted)
    config = make(
        encoder_path, corpora, max_steps=2, logger={"@loggers": "spacy_mtl.TaskLogger.v1"}
    )
    ranks = start(config, corpora / "out")
    ranks.finish()
    assert "KEPT 0 OF 3" in ranks.said(1)


def test_the_seed_may_be_a_variable(
    encoder_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seeded(self: OwnRandomness, seed: int, rank: int) -> None:
        print("SEED", seed, flush=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(OwnRandomness, "__init__", seeded)
    config = make(encoder_path, corpora, seed="${system.seed}")
    config["system"]["seed"] = 7
    ranks = start(config, corpora / "out", size=1)
    assert ranks.join() == [1]
    assert "SEED 7" in ranks.said(0)
