"""A small training with everything that a report shows, and texts and labels that would do harm in a page."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as training_loop
from spacy.vocab import Vocab
from thinc.api import Config
from typer.testing import CliRunner

from spacy_mtl.annotation import keep_layers
from spacy_mtl.cli import app

from ..pipeline.conftest import encoder_path
from ..pipeline.helpers import make_config
from ..pipeline.sentences import SENTENCES, SPANS_KEY, make_doc
from ..pipeline.test_spacy_train import filled, training

__all__ = ["encoder_path"]

LAYERS = {"tagger": "tag", "ner": "ents", "textcat": "cats", "spancat": f"spans:{SPANS_KEY}"}
SCRIPT = "<script>alert(1)</script>"
BAD_LABEL = "<img/src=x/onerror=alert(2)>"


def harmful(vocab: Vocab) -> Doc:
    """A document whose words, tags, entities, spans and category are markup."""
    words = ["Then", SCRIPT, "calls", "Anna", "&amp;", "Smith"]
    tags = ["ADV", BAD_LABEL, "VERB", "PROPN", "SYM", "PROPN"]
    ents = ["O", f"B-{BAD_LABEL}", "O", "B-PERSON", "I-PERSON", "I-PERSON"]
    doc = Doc(vocab, words=words, tags=tags, ents=ents)
    doc.cats = {"NEWS": 0.0, "TALE": 0.0, BAD_LABEL: 1.0}
    doc.spans[SPANS_KEY] = [Span(doc, 1, 3, BAD_LABEL), Span(doc, 2, 5, "PERSON")]
    return doc


def documents(vocab: Vocab) -> list[Doc]:
    """The sentences, each category known in each, and the harmful document."""
    docs = [make_doc(vocab, sentence) for sentence in SENTENCES]
    for doc in docs:
        doc.cats = {**doc.cats, BAD_LABEL: 0.0}
    return [*docs, harmful(vocab)]


def write_config(folder: Path, encoder: Path, heads: tuple[str, ...]) -> Path:
    """A config and corpora with a source for each head, and one more with tags."""
    docs = documents(Vocab())
    blocks: dict[str, Any] = {}
    for head in heads:
        path = folder / f"{head}.spacy"
        DocBin(docs=[keep_layers(doc, [LAYERS[head]]) for doc in docs * 2]).to_disk(path)
        blocks[f"for_{head}"] = {"path": str(path), "tasks": [head]}
    more = folder / "more.spacy"
    DocBin(docs=[keep_layers(doc, ["tag"]) for doc in docs[1:3]]).to_disk(more)
    blocks["more_tags"] = {"path": str(more), "tasks": ["tagger"]}
    reader = {"@readers": "spacy_mtl.MultiCorpus.v1", "sources": blocks}
    config = make_config(encoder, heads, balancer={"@balancers": "spacy_mtl.NormEqual.v1"})
    config |= training(folder / "unused.spacy", max_steps=60, eval_frequency=10)
    config["corpora"] = {"train": reader, "dev": reader}
    config["training"] |= {
        "optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.01, "use_averages": False},
        "batcher": {"@batchers": "spacy_mtl.BatchByWordpieces.v1", "size": 120},
        "logger": {
            "@loggers": "spacy.ChainLogger.v1",
            "logger1": {
                "@loggers": "spacy_mtl.TaskLogger.v1",
                "console_output": False,
                "output_file": str(folder / "logs" / "rows.jsonl"),
                "steps_file": str(folder / "logs" / "batches.jsonl"),
                "audit_every": 6,
            },
        },
        "score_weights": {"tag_acc": 0.5, "ents_f": 0.5},
    }
    filled(config).to_disk(folder / "config.cfg")
    return folder / "config.cfg"


@pytest.fixture(scope="session")
def trained(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a training with everything, `spacy mtl transfer` included. Read it, never write to it."""
    folder = tmp_path_factory.mktemp("report")
    path = write_config(folder, encoder_path, ("tagger", "ner", "textcat", "spancat"))
    run = folder / "run"
    run.mkdir()
    training_loop(init_nlp(Config().from_disk(path)), run)
    few = folder / "transfer"
    few.mkdir()
    path = write_config(few, encoder_path, ("tagger", "ner"))
    args = ["transfer", str(path), "-o", str(few), "--steps", "2", "--seeds", "1"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    (few / "transfer.json").rename(run / "transfer.json")
    return run


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    """The best pipeline in another folder, whose config names files that are not there."""
    folder = tmp_path / "moved"
    shutil.copytree(trained / "model-best", folder / "model-best")
    path = folder / "model-best" / "config.cfg"
    text = path.read_text()
    path.write_text(text.replace(str(trained.parent / "logs"), "logs"))
    return folder
