"""Which results count as stored, which files they depend on, and which heads have gold to be compared by."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from thinc.api import Config

import spacy_mtl.transfer.training as training_module
from spacy_mtl.annotation import keep_layers
from spacy_mtl.cli.transfer import compare
from spacy_mtl.errors import ConfigError
from spacy_mtl.transfer.plan import Run
from spacy_mtl.transfer.training import (
    check_dev_gold,
    read_stored,
    state_of_files,
    store,
    train_run,
    with_budget,
)

from ..pipeline.conftest import encoder_path
from ..pipeline.helpers import head, make_config
from ..pipeline.sentences import SENTENCES, make_doc
from ..pipeline.test_spacy_train import filled, training

__all__ = ["encoder_path"]

RESULT = {
    "depends_sha256": "ab12",
    "heads": ["tagger"],
    "seed": 0,
    "updates": 1,
    "scores": {"tagger": 0.5},
    "words": {"tagger": 10},
    "gradients": {"pairs": {}},
    "seconds": 0.1,
}


def test_a_whole_result_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a-0.json"
    store(path, RESULT)
    assert read_stored(path, "ab12") == RESULT
    assert read_stored(path, "cd34") is None
    assert read_stored(tmp_path / "b-0.json", "ab12") is None
    assert os.listdir(tmp_path) == ["a-0.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        json.dumps(RESULT).encode()[:60],
        b"{}",
        b"[]",
        b"null",
        b'"ab12"',
        b"\xff\xfe",
        b'{"depends_sha256": "ab12"}',
        json.dumps(RESULT | {"scores": None}).encode(),
    ],
)
def test_half_a_result_does_not_count_as_stored(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a-0.json").write_bytes(content)
    assert read_stored(tmp_path / "a-0.json", "ab12") is None


def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a-0.json"
    store(path, RESULT)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_module.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(path, RESULT | {"seed": 1})
    assert read_stored(path, "ab12") == RESULT
    assert [p.name for p in tmp_path.glob("*.json")] == ["a-0.json"]


def test_a_folder_around_the_output_does_not_change_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = Path("transfer")
    (output / "runs").mkdir(parents=True)
    (tmp_path / "corpus.jsonl").write_text("{}")
    (output / "notes.txt").write_text("of someone else")
    config = {"paths": {"root": "."}}
    before = state_of_files(config, output=output)
    (output / "runs" / "a-0.json").write_text("{}")
    (output / "runs" / "a-0.log.jsonl").write_text("{}")
    (output / "transfer.json").write_text("{}")
    assert state_of_files(config, output=output) == before
    assert set(before) == {"corpus.jsonl", str(output / "notes.txt")}
    (tmp_path / "more.jsonl").write_text("{}")
    assert set(state_of_files(config, output=output)) == {*before, "more.jsonl"}


def test_a_corpus_inside_the_output_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.spacy").write_bytes(b"a")
    (tmp_path / "dev.spacy").write_bytes(b"b")
    config = {"paths": [str(tmp_path / "corpus"), str(tmp_path / "dev.spacy")]}
    assert len(state_of_files(config, output=tmp_path)) == 2


# ------------------------------------------------------------------------------- with a tiny pipeline


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[Path, Path]:
    """Training documents with everything, and dev documents with tags only."""
    docs = [make_doc(Vocab(), sentence) for sentence in SENTENCES]
    train, dev = tmp_path / "train.spacy", tmp_path / "dev.spacy"
    DocBin(docs=docs).to_disk(train)
    DocBin(docs=[keep_layers(doc, ["tag"]) for doc in docs]).to_disk(dev)
    return train, dev


def config_of(encoder: Path, train: Path, dev: Path, *names: str) -> Config:
    config = make_config(encoder, {name: head(name.split("/")[0]) for name in names})
    config |= training(train, max_steps=1, eval_frequency=1)
    config["corpora"]["dev"] = {"@readers": "spacy.Corpus.v1", "path": str(dev)}
    return filled(config)


def test_a_truncated_result_is_trained_again(
    encoder_path: Path, corpora: tuple[Path, Path], tmp_path: Path
) -> None:
    train, _ = corpora
    config = with_budget(config_of(encoder_path, train, train, "tagger"), 1, 0).interpolate()
    config["paths"] = {"root": str(tmp_path)}
    output = tmp_path / "out"

    def again() -> tuple[dict[str, Any], bool]:
        return train_run(config, Run(("tagger",), 0), output, use_gpu=-1, audit=False)

    first, stored = again()
    assert not stored
    path = output / "runs" / "tagger-0.json"
    path.write_bytes(path.read_bytes()[:40])
    second, stored = again()
    assert not stored
    assert second["scores"] == first["scores"]
    (output / "transfer.json").write_text("{}")
    third, stored = again()
    assert stored
    assert third == second


@pytest.mark.parametrize("quick", [False, True])
def test_heads_without_gold_in_the_dev_corpus_are_not_compared(
    quick: bool,
    encoder_path: Path,
    corpora: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_module, "spacy_train", None)  # must not be reached
    config = config_of(encoder_path, *corpora, "tagger", "ner", "textcat")
    with pytest.raises(ConfigError) as error:
        compare(
            config,
            tmp_path / "out",
            steps=1,
            seeds=1,
            pairs=False,
            equal="updates",
            quick=quick,
        )
    message = str(error.value)
    assert "`ner`, `textcat`" in message
    assert "`tagger`" not in message
    assert "corpora.dev" in message
    assert "[nlp] pipeline" in message
    assert not (tmp_path / "out").exists()


def test_another_classifier_s_categories_are_no_gold(
    encoder_path: Path, corpora: tuple[Path, Path]
) -> None:
    train, _ = corpora
    heads = {"tagger": head("tagger"), "genre": head("textcat"), "tone": head("textcat")}
    config = make_config(encoder_path, heads) | training(train)
    config["initialize"] = {
        "components": {"genre": {"labels": ["NEWS", "TALE"]}, "tone": {"labels": ["DRY", "WARM"]}}
    }
    with pytest.raises(ConfigError, match=r"No document of `\[corpora.dev\]` .* for `tone`, so"):
        check_dev_gold(filled(config).interpolate(), use_gpu=-1)
