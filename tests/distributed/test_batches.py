"""What the ranks are given, and what rank 0 reports, is what one process has."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from .helpers import heads, make_training, start, train_alone, write_corpora

LAYERS = {"tagger": ("tag",), "ner": ("ents",), "textcat": ("cats",)}
THREE = heads(tagger="tagger", ner="masked_ner", textcat="masked_textcat")
N_DOCS = 15


def write_numbered(folder: Path, *, n_docs: int) -> None:
    """Documents that can be told apart."""
    for name in ("tagger", "textcat"):
        docs = []
        for number in range(n_docs):
            words = [name, str(number), *["word"] * (number % 5)]
            doc = Doc(Vocab(), words=words, tags=["A", "B", *["A"] * (number % 5)])
            doc.cats = {"ODD": float(number % 2), "EVEN": float(1 - number % 2)}
            docs.append(doc)
        DocBin(docs=docs).to_disk(folder / f"{name}.spacy")


def record_updates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process writes the texts that it learns from, a line for each update."""
    update = Language.update

    def recorded(nlp: Language, examples: Any, *args: Any, **kwargs: Any) -> Any:
        with (folder / f"texts{os.environ.get('RANK')}.jsonl").open("a") as stream:
            stream.write(json.dumps([eg.text for eg in examples]) + "\n")
        return update(nlp, examples, *args, **kwargs)

    monkeypatch.setattr(Language, "update", recorded)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MultiCorpus", "a stream", "spaCy's Corpus"])
def test_in_an_epoch_every_document_is_seen_once_by_one_rank(
    kind: str, encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpora(tmp_path, LAYERS)
    write_numbered(tmp_path, n_docs=N_DOCS)
    components = heads(tagger="tagger", textcat="masked_textcat")
    epochs = {"max_epochs": 2, "max_steps": 0}
    config = make_training(
        encoder_path, tmp_path, components, size=80, mix=True, training={**epochs, "patience": 0}
    )
    labels = {"tagger": {"labels": ["A", "B"]}, "textcat": {"labels": ["EVEN", "ODD"]}}
    if kind == "a stream":
        config["training"]["max_epochs"] = -1
        config["training"]["max_steps"] = 12
        config["corpora"]["train"]["stream"] = True
        config["initialize"]["components"] = labels
    elif kind == "spaCy's Corpus":
        corpus = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "tagger.spacy")}
        config["corpora"]["train"] = corpus
    record_updates(tmp_path, monkeypatch)
    start(config, tmp_path / "out", size=3).finish()
    seen: Counter[str] = Counter()
    for rank in range(3):
        updates = list(srsly.read_jsonl(tmp_path / f"texts{rank}.jsonl"))
        assert updates
        seen.update(text for texts in updates for text in texts)
    assert len(seen) == (N_DOCS if kind == "spaCy's Corpus" else 2 * N_DOCS)
    if kind == "a stream":  # it ends in the middle of an epoch
        assert max(seen.values()) - min(seen.values()) <= 1
    else:
        assert set(seen.values()) == {2}


@pytest.mark.slow
def test_the_log_is_that_of_one_process(encoder_path: Path, tmp_path: Path) -> None:
    """Units, losses, scores and each head's share of the gradient, batch by batch; only rank 0 writes it."""
    write_corpora(tmp_path, LAYERS)
    found = []
    for name in ("one", "many"):
        config = make_training(
            encoder_path,
            tmp_path,
            THREE,
            size=100,
            mix=True,
            balancer={"@balancers": "spacy_mtl.GradVac.v1"},
            training={
                "max_steps": 12,
                "eval_frequency": 6,
                "logger": {
                    "@loggers": "spacy_mtl.TaskLogger.v1",
                    "output_file": str(tmp_path / name / "log.jsonl"),
                    "steps_file": str(tmp_path / name / "steps.jsonl"),
                },
            },
        )
        if name == "one":
            train_alone(config, tmp_path / name)
        else:
            start(config, tmp_path / name).finish()
        for file in ("log", "steps"):
            for record in srsly.read_jsonl(tmp_path / name / f"{file}.jsonl"):
                record.pop("seconds", None)
                record.get("scores", {}).pop("speed", None)
                found.append((name, flat(record)))
    one, many = ([record for n, record in found if n == name] for name in ("one", "many"))
    assert len(one) == len(many) == 3 + 13
    for a, b in zip(one, many, strict=True):
        assert b == pytest.approx(a, rel=2e-3, abs=1e-4)


def flat(record: Any, prefix: str = "") -> dict[str, float]:
    """The numbers of a record by their dotted names."""
    if not isinstance(record, dict):
        return {prefix: record} if isinstance(record, int | float) else {}
    return {
        k: v for key, value in record.items() for k, v in flat(value, f"{prefix}.{key}").items()
    }
