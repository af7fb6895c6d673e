"""Whatever goes wrong in one process, all end soon, and say which one it was."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from spacy import registry
from spacy.language import Language
from spacy.training import Corpus, Example
from thinc.api import Config

from spacy_mtl import errors
from spacy_mtl.distributed import launch, train, watch
from spacy_mtl.errors import DistributedError

from ..pipeline.helpers import Settings
from .helpers import Ranks, heads, make_training, start, train_together, write_corpora

SOON = 30.0  # seconds
ENDLESS = 100_000
TWO = heads(tagger="tagger", textcat="masked_textcat")


def rank() -> int:
    return int(os.environ["RANK"])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpora")
    write_corpora(path, {"tagger": ("tag",), "textcat": ("cats",)})
    return path


@pytest.fixture
def before_update() -> Callable[[Callable[[int], None]], Settings]:
    """Registers a function of the step's number that is called before each step, and names it for the config."""
    name = "spacy_mtl_tests.before_update"

    def register(function: Callable[[int], None]) -> Settings:
        @registry.callbacks(name)
        def make() -> Callable[[Language, dict[str, Any]], None]:
            return lambda nlp, args: function(args["step"])

        return {"@callbacks": name}

    return register


def endless(encoder: Path, corpora: Path, **training: Any) -> Config:
    settings = {"max_steps": ENDLESS, "eval_frequency": ENDLESS, "patience": 0, **training}
    return make_training(encoder, corpora, TWO, training=settings)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_is_named_within_seconds(
    victim: int, encoder_path: Path, corpora: Path, tmp_path: Path, before_update: Any
) -> None:
    def kill(step: int) -> None:
        if step == 3 and rank() == victim:
            (tmp_path / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    config = endless(encoder_path, corpora, before_update=before_update(kill))
    ranks = start(config, tmp_path / "out")
    while not (tmp_path / "killed").exists():
        time.sleep(0.05)
    killed = time.monotonic()
    codes = ranks.join(timeout=SOON)
    assert time.monotonic() - killed < SOON
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1
    pid = (tmp_path / "killed").read_text()
    said = ranks.said(1 - victim)
    assert re.search(rf"DistributedError: Rank {victim} \(process {pid} on `.+`\) has died", said)
    assert "`--resume` goes on from the last checkpoint" in said


@pytest.mark.slow
def test_a_rank_that_dies_in_an_evaluation_ends_it(
    encoder_path: Path, corpora: Path, tmp_path: Path
) -> None:
    """Rank 0 is in the middle of other work then, and not waiting for anybody."""

    @registry.readers("spacy_mtl_tests.slow_corpus")
    def make(path: Path) -> Callable[[Language], Iterator[Example]]:
        def read(nlp: Language) -> Iterator[Example]:
            (tmp_path / "evaluating").touch()
            for _ in range(1000):
                time.sleep(0.1)
            yield from Corpus(path)(nlp)

        return read

    config = endless(encoder_path, corpora)
    config["corpora"]["dev"] = {
        "@readers": "spacy_mtl_tests.slow_corpus",
        "path": str(corpora / "dev.spacy"),
    }
    ranks = start(config, tmp_path / "out")
    while not (tmp_path / "evaluating").exists():
        time.sleep(0.05)
    ranks.processes[1].kill()
    killed = time.monotonic()
    assert ranks.join(timeout=SOON) == [1, -signal.SIGKILL]
    assert time.monotonic() - killed < SOON
    assert "DistributedError: Rank 1 (process" in ranks.said(0)


@pytest.mark.slow
def test_others_wait_for_an_evaluation_that_takes_longer_than_a_collective_may(
    encoder_path: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @registry.readers("spacy_mtl_tests.sleeping_corpus")
    def make(path: Path) -> Callable[[Language], Iterator[Example]]:
        def read(nlp: Language) -> Iterator[Example]:
            time.sleep(9.0)
            yield from Corpus(path)(nlp)

        return read

    monkeypatch.setattr(launch, "COLLECTIVE", timedelta(seconds=4))
    config = endless(encoder_path, corpora, max_steps=3)
    config["corpora"]["dev"] = {
        "@readers": "spacy_mtl_tests.sleeping_corpus",
        "path": str(corpora / "dev.spacy"),
    }
    assert (train_together(config, tmp_path / "out") / "meta.json").is_file()


@pytest.mark.slow
def test_the_reason_of_a_rank_that_fails_is_told_by_all(
    encoder_path: Path, corpora: Path, tmp_path: Path, before_update: Any
) -> None:
    def fail(step: int) -> None:
        if step == 3 and rank() == 1:
            raise ValueError("The disk is full.")

    config = endless(encoder_path, corpora, before_update=before_update(fail))
    ranks = start(config, tmp_path / "out")
    assert ranks.join(timeout=2 * SOON) == [1, 1]
    assert re.search(
        r"DistributedError: Rank 1 \(.+\) has failed: ValueError: The disk is full\.", ranks.said(0)
    )
    assert "ValueError: The disk is full." in ranks.said(1)


@pytest.mark.slow
def test_a_reader_with_other_documents_in_each_process_is_refused(
    encoder_path: Path, corpora: Path, tmp_path: Path
) -> None:
    @registry.readers("spacy_mtl_tests.odd_corpus")
    def make(path: Path) -> Callable[[Language], Iterator[Example]]:
        def read(nlp: Language) -> Iterator[Example]:
            examples = list(Corpus(path)(nlp))
            return iter(examples[rank() :] + examples[: rank()])

        return read

    config = endless(encoder_path, corpora)
    config["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}
    config["corpora"]["train"] = {
        "@readers": "spacy_mtl_tests.odd_corpus",
        "path": str(corpora / "dev.spacy"),
    }
    ranks = start(config, tmp_path / "out")
    assert ranks.join(timeout=2 * SOON) == [1, 1]
    for number in (0, 1):
        assert "In step 0 rank 1 has other documents in its batch" in ranks.said(number)


@pytest.mark.slow
def test_a_rank_that_runs_out_of_batches_is_named(
    encoder_path: Path, corpora: Path, tmp_path: Path
) -> None:
    @registry.batchers("spacy_mtl_tests.short_batcher")
    def make() -> Callable[[list[Example]], Iterator[list[Example]]]:
        def batches(examples: list[Example]) -> Iterator[list[Example]]:
            for first in range(0, 4 if rank() == 1 else 8, 2):
                yield list(examples)[first : first + 2]

        return batches

    config = endless(encoder_path, corpora, max_epochs=1)
    config["training"]["batcher"] = {"@batchers": "spacy_mtl_tests.short_batcher"}
    ranks = start(config, tmp_path / "out")
    assert ranks.join(timeout=2 * SOON) == [1, 1]
    assert "In step 2 rank 1 has no batch left while others have" in ranks.said(0)


@pytest.mark.slow
def test_other_labels_on_another_rank_are_named(
    encoder_path: Path, corpora: Path, tmp_path: Path
) -> None:
    config = endless(encoder_path, corpora)
    paths = []
    tags = ["ADJ", "ADP", "ADV", "DET", "NOUN", "PRON", "PROPN", "PUNCT", "VERB"]
    for labels in (tags, [*tags, "X"]):
        config["initialize"]["components"] = {"tagger": {"labels": labels}}
        paths.append(tmp_path / f"{len(labels)}.cfg")
        config.to_disk(paths[-1])
    ranks = Ranks(lambda number: train(paths[number]), tmp_path / "logs")
    assert ranks.join(timeout=2 * SOON) == [1, 1]
    assert re.search(r"`tagger\.\d+\.W`.* on rank 1 is not what it is on rank 0", ranks.said(0))


@pytest.mark.slow
def test_an_audit_is_refused(encoder_path: Path, corpora: Path, tmp_path: Path) -> None:
    config = endless(encoder_path, corpora)
    config["training"]["logger"] = {"@loggers": "spacy_mtl.TaskLogger.v1", "audit_every": 5}
    ranks = start(config, tmp_path / "out")
    assert ranks.join(timeout=2 * SOON) == [1, 1]
    assert "ConfigError: `training.logger.audit_every = 5` works in one process" in ranks.said(0)


def test_without_torchrun_s_environment_the_commands_are_named(
    encoder_path: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in launch.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        DistributedError, match=r"it has no `RANK`.*`MASTER_PORT`.*torchrun.*spacy train"
    ):
        train(tmp_path / "config.cfg")


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(DistributedError, match=r"process 3 of this machine has no GPU, there are"):
        launch.set_device(gpu=True)


def test_a_rank_without_a_gpu_is_named_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_device(*, gpu: bool) -> None:
        if rank() == 1:
            raise errors.no_such_gpu(1, n_gpus=1)

    monkeypatch.setattr(launch, "set_device", set_device)

    def run(number: int) -> None:
        with launch.joined() as group:
            group.gather(number)

    ranks = Ranks(run, tmp_path)
    assert ranks.join(timeout=SOON) == [1, 1]
    assert re.search(r"Rank 1 \(.+\) has failed: .*has no GPU", ranks.said(0))


def test_whoever_is_interrupted_has_the_time_to_end_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of a call that blocks; then it may save for as long as it takes."""
    monkeypatch.setattr(watch, "GRACE_SECONDS", 0.5)

    def run(number: int) -> None:
        with launch.joined():
            if number == 1:
                time.sleep(1.0)
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                time.sleep(1000.0)
            finally:
                time.sleep(1.5)
                (tmp_path / "saved").touch()

    ranks = Ranks(run, tmp_path)
    assert ranks.join(timeout=SOON) == [1, -signal.SIGKILL]
    assert (tmp_path / "saved").exists()
    assert "DistributedError: Rank 1 (process" in ranks.said(0)


def test_ranks_that_do_not_come_are_named() -> None:
    assert "Rank `1`, `3` did not connect" in str(errors.ranks_missing([1, 3], seconds=5.0))


def test_a_resumed_training_needs_its_output(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"`--resume` needs `--output`"):
        train(tmp_path / "config.cfg", resume=True)
