"""A training that was cut short goes on from its last checkpoint as if it had not been.

What a resume is: the same command with `--resume`. The batches until the checkpoint are drawn again and passed by; then
the pipeline, the optimizers, the balancer and all random generators are those of the checkpoint.
"""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy import registry
from spacy.language import Language
from spacy.training.initialize import init_nlp
from thinc.api import Config, Optimizer

from spacy_mtl.distributed import checkpoint, launch
from spacy_mtl.distributed.checkpoint import Progress
from spacy_mtl.pipeline.diagnostics import GradientLog
from spacy_mtl.pipeline.statistics import TaskStatistics

from ..pipeline.helpers import Settings
from .helpers import distance, heads, make_training, start, train_together, weights, write_corpora

THREE = heads(tagger="tagger", ner="masked_ner", textcat="masked_textcat")
KILLED_AT = "SPACY_MTL_TESTS_KILLED_AT"


@registry.callbacks("spacy_mtl_tests.kill_rank_1")
def make_killer() -> Callable[[Language, dict[str, Any]], None]:
    def kill(nlp: Language, args: dict[str, Any]) -> None:
        if os.environ["RANK"] == "1" and str(args["step"]) == os.environ.get(KILLED_AT):
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def make_config(encoder: Path, corpora: Path, *, steps: int, **shared: Any) -> Config:
    """With dropout, and an evaluation every five steps."""
    training = {
        "max_steps": steps,
        "eval_frequency": 5,
        "dropout": 0.2,
        "before_update": {"@callbacks": "spacy_mtl_tests.kill_rank_1"},
        "logger": {"@loggers": "spacy_mtl.TaskLogger.v1"},
        "optimizer": {
            "@optimizers": "Adam.v1",
            "use_averages": True,
            "learn_rate": {
                "@schedules": "warmup_linear.v1",
                "initial_rate": 0.003,
                "warmup_steps": 6,
                "total_steps": 40,
            },
        },
    }
    return make_training(encoder, corpora, THREE, size=60, mix=True, training=training, **shared)


def assert_same(a: Path, b: Path) -> None:
    found = distance(weights(a), weights(b))
    assert {name: d for name, d in found.items() if d != 0} == {}


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    write_corpora(tmp_path, {"tagger": ("tag",), "ner": ("ents",), "textcat": ("cats",)}, n_docs=10)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "shared",
    [
        {"balancer": {"@balancers": "spacy_mtl.NormEqual.v1"}, "storage": "bf16"},
        {"optimizer": {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.003}},
    ],
    ids=["one optimizer", "an encoder's own"],
)
def test_a_killed_training_that_is_resumed_ends_with_the_same_weights(
    shared: Settings, encoder_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, with dropout, through several epochs; not even the rounding is another."""
    config = make_config(encoder_path, corpora, steps=24, **shared)
    straight = train_together(config, corpora / "straight")
    monkeypatch.setenv(KILLED_AT, "18")
    ranks = start(config, corpora / "cut")
    assert ranks.join(timeout=120) == [1, -signal.SIGKILL]
    assert "Rank 1 (process" in ranks.said(0)
    state = srsly.read_json(corpora / "cut" / "checkpoint" / "state.json")
    assert state["step"] == 15
    monkeypatch.delenv(KILLED_AT)
    assert_same(straight, train_together(config, corpora / "cut", resume=True))
    one, other = (
        srsly.read_json(corpora / n / "model-best/meta.json") for n in ("straight", "cut")
    )
    assert one["performance"] == other["performance"]
    assert one["best_steps"] == other["best_steps"]


@pytest.mark.slow
def test_a_checkpoint_is_read_by_the_same_training_only(
    encoder_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many processes, on the same documents, and whole."""
    config = make_config(encoder_path, corpora, steps=6)
    output = corpora / "out"
    ranks = start(config, output, resume=True)
    assert ranks.join() == [1, 1]
    assert "CheckpointError: There is no checkpoint in" in ranks.said(0)
    train_together(config, output)
    ranks = start(config, output, size=1, resume=True)
    assert ranks.join() == [1]
    assert (
        "ConfigError: The checkpoint was written by 2 processes, and now there are 1"
        in ranks.said(0)
    )
    assert_not_resumed(config, output, "corpora and batches are not those", **{"batcher.size": 61})
    assert_not_resumed(config, output, "corpora and batches are not those", eval_frequency=4)
    assert_not_resumed(config, output, "corpora and batches are not those", max_steps=2)
    damaged = output / checkpoint.FOLDER / checkpoint.OPTIMIZER
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert_not_resumed(config, output, "is damaged")


@pytest.mark.slow
def test_processes_that_torchrun_starts_again_resume_by_themselves(
    encoder_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first evaluation; nothing is trained anew, so the killer does not strike again.

    Another torchrun, which has been started later, starts anew.
    """
    config = make_config(encoder_path, corpora, steps=2)
    monkeypatch.setenv(KILLED_AT, "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert start(config, corpora / "out").join() == [1, -signal.SIGKILL]
    state = corpora / "out" / "checkpoint" / "state.json"
    before = state.stat().st_mtime_ns
    monkeypatch.setenv(KILLED_AT, "3")
    train_together(config, corpora / "out")
    assert state.stat().st_mtime_ns == before
    resumed = spacy.load(corpora / "out" / "model-last").get_pipe("shared_transformer")
    assert resumed.cfg["steps"] == 3  # type: ignore[attr-defined]
    monkeypatch.setattr(launch, "_started", lambda pid: "later")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train_together(config, corpora / "out")
    assert state.stat().st_mtime_ns != before


def assert_not_resumed(config: Config, output: Path, reason: str, **training: Any) -> None:
    changed = config.copy()
    for key, value in training.items():
        *sections, last = key.split(".")
        block = changed["training"]
        for section in sections:
            block = block[section]
        block[last] = value
    copy = output.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(output, copy)
    ranks = start(changed, copy, resume=True)
    assert ranks.join() == [1, 1]
    assert reason in ranks.said(0)
    assert (copy / checkpoint.FOLDER / checkpoint.STATE).exists()
    assert_same(output / "model-last", copy / "model-last")


def test_the_old_checkpoint_is_found_if_the_new_one_was_cut_short(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert checkpoint.find(folder) is None
    (tmp_path / "checkpoint.new").mkdir()
    (tmp_path / "checkpoint.old").mkdir()
    (tmp_path / "checkpoint.old" / checkpoint.STATE).touch()
    assert checkpoint.find(folder) == tmp_path / "checkpoint.old"
    (tmp_path / "checkpoint.new" / checkpoint.STATE).touch()
    assert checkpoint.find(folder) == tmp_path / "checkpoint.new"
    checkpoint.clear(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", ["before the first rename", "between two renames"])
def test_a_save_that_is_cut_short_leaves_the_checkpoint_before_it(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the save before it was cut short as well."""
    nlp, folder = spacy.blank("en"), tmp_path / "checkpoint"
    save(nlp, folder, step=0)
    folder.rename(tmp_path / "checkpoint.old")
    if cut == "between two renames":
        save(nlp, folder, step=1)
        folder.rename(tmp_path / "checkpoint.new")

    def fail(*args: Any) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="disk is full"):
        save(nlp, folder, step=2)
    found = checkpoint.find(folder)
    assert found is not None
    step = checkpoint.read_progress(found, world_size=1).step
    assert step == (1 if cut == "between two renames" else 0)


def save(nlp: Language, folder: Path, *, step: int) -> None:
    checkpoint.save(folder, nlp, Optimizer(0.1), Progress(world_size=1, step=step))


def test_the_loss_scale_of_fp16_is_in_the_checkpoint(encoder_path: Path, corpora: Path) -> None:
    pipelines = [init_nlp(make_config(encoder_path, corpora, steps=1)) for _ in range(2)]
    scales = [nlp.get_pipe("shared_transformer").shim.loss_scale for nlp in pipelines]  # type: ignore[attr-defined]
    scales[0].value, scales[0].good_steps = 1024.0, 77
    folder = corpora / "checkpoint"
    save(pipelines[0], folder, step=0)
    progress = checkpoint.read_progress(folder, world_size=1)
    checkpoint.load_into(pipelines[1], Optimizer(0.1), progress, folder)
    assert (scales[1].value, scales[1].good_steps) == (1024.0, 77)


def test_held_scores_and_the_count_of_batches_are_in_the_checkpoint(
    encoder_path: Path, corpora: Path
) -> None:
    pipelines = [init_nlp(make_config(encoder_path, corpora, steps=1)) for _ in range(2)]
    logs = [GradientLog() for _ in pipelines]
    for nlp, log in zip(pipelines, logs, strict=True):
        pipe: Any = nlp.get_pipe("shared_transformer")
        pipe.statistics = TaskStatistics.of(nlp)
        pipe.statistics.gradients = log
    logs[0].n_batches = 77
    scorers: list[Any] = [nlp.get_pipe("tagger").scorer for nlp in pipelines]  # type: ignore[attr-defined]
    scorers[0].last = {"tag_acc": 0.5}
    folder = corpora / "checkpoint"
    save(pipelines[0], folder, step=0)
    progress = checkpoint.read_progress(folder, world_size=1)
    checkpoint.load_into(pipelines[1], Optimizer(0.1), progress, folder)
    assert logs[1].n_batches == 77
    assert scorers[1].last == {"tag_acc": 0.5}
