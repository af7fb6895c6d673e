"""Corpora that are annotated for one task each, a config that trains on them, and processes that train together."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import spacy
from numpy.typing import NDArray
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as training_loop
from spacy.vocab import Vocab
from thinc.api import Config, Model

from spacy_mtl.annotation import keep_layers
from spacy_mtl.distributed.transitions import make_exact

from ..pipeline.helpers import Settings, head, make_config
from ..pipeline.sentences import SENTENCES, make_doc

REPOSITORY = Path(__file__).parents[2]
LAYERS = {"tagger": ("tag",), "ner": ("ents",), "textcat": ("cats",)}
Weights = dict[str, NDArray[np.float32]]


def write_corpora(folder: Path, layers: Mapping[str, Iterable[str]], *, n_docs: int = 24) -> None:
    """Files NAME.spacy with documents of one to four sentences, which keep these layers only; `dev` keeps all."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = Vocab()
    rng = random.Random(0)
    for name, kept in {**layers, "dev": None}.items():
        docs = []
        for _ in range(n_docs if kept else 6):
            parts = [make_doc(vocab, rng.choice(SENTENCES)) for _ in range(rng.randint(1, 4))]
            doc = Doc.from_docs(parts, ensure_whitespace=True)
            doc.cats = parts[0].cats
            docs.append(doc if kept is None else keep_layers(doc, tuple(kept)))
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}.spacy")


def heads(**factories: str) -> dict[str, Settings]:
    """Components by name. The transition-based ones have no hidden layer, where spaCy's dropout cannot be switched off."""
    found = {}
    for name, factory in factories.items():
        settings = head(factory.removeprefix("masked_"))
        if settings["model"]["@architectures"].startswith("spacy.TransitionBasedParser"):
            settings["model"]["use_upper"] = False
        found[name] = {**settings, "factory": factory}
    return found


def make_training(
    encoder: Path,
    corpora: Path,
    components: Mapping[str, Settings],
    *,
    size: int = 40,
    mix: bool = False,
    training: Settings | None = None,
    **shared: Any,
) -> Config:
    """A config with one source for each component.

    size, mix: of the batches. shared: settings of the shared_transformer.
    """
    sources = {
        name: {"path": str(corpora / f"{name}.spacy"), "tasks": [name]} for name in components
    }
    dev = {"@readers": "spacy.Corpus.v1", "path": str(corpora / "dev.spacy")}
    config = make_config(encoder, dict(components), **shared) | {
        "corpora": {"train": {"@readers": "spacy_mtl.MultiCorpus.v1", "sources": sources}, "dev": dev},
        "training": {
            "max_steps": 49,
            "eval_frequency": 25,
            "dropout": 0.0,
            "batcher": {"@batchers": "spacy_mtl.BatchByWordpieces.v1", "size": size, "mix": mix},
            "optimizer": {
                "@optimizers": "Adam.v1",
                "learn_rate": 0.002,
                "use_averages": False,
                "grad_clip": 1.0,
            },
            **(training or {}),
        },
    }
    return Config(English().config).merge(config)


def train_alone(config: Config, output: Path) -> Path:
    """As `spacy train` does, with the parser's gradients made exact."""
    nlp = init_nlp(config)
    make_exact(nlp)
    output.mkdir(parents=True, exist_ok=True)
    with (output.parent / "alone.log").open("w") as log:
        _, last = training_loop(nlp, output, stdout=log, stderr=log)
    assert last is not None
    return last


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }


def start(
    config: Config, output: Path, *arguments: str, size: int = 2
) -> list["subprocess.Popen[str]"]:
    """Processes of `spacy_mtl.train_distributed`, one for each rank."""
    path = output.parent / f"{output.name}.cfg"
    config.to_disk(path)
    command = [sys.executable, "-m", "spacy_mtl.train_distributed", str(path)]
    port = free_port()
    return [
        subprocess.Popen(
            [*command, "--output", str(output), *arguments],
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes: list["subprocess.Popen[str]"], *, timeout: float = 300) -> list[str]:
    """What each process has said, once all have ended well."""
    said = [process.communicate(timeout=timeout)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)
    return said


def train_together(config: Config, output: Path, *arguments: str, size: int = 2) -> Path:
    """The last pipeline that several processes have trained."""
    finish(start(config, output, *arguments, size=size))
    return output / "model-last"


def weights(nlp: Language | Path) -> Weights:
    """All parameters of a pipeline, the encoder's too."""
    if isinstance(nlp, Path):
        nlp = spacy.load(nlp)
    found: Weights = {}
    for name, component in nlp.pipeline:
        model = getattr(component, "model", None)
        for number, node in enumerate(model.walk() if isinstance(model, Model) else ()):
            for param in node.param_names:
                found[f"{name}.{number}.{param}"] = np.asarray(node.get_param(param)).copy()
            for shim in node.shims:
                for param, value in shim._model.named_parameters():
                    found[f"{name}.{param}"] = value.detach().numpy().copy()
    return found


def distance(a: Weights, b: Weights) -> dict[str, float]:
    """The largest difference of each parameter."""
    assert a.keys() == b.keys()
    return {name: float(np.abs(a[name] - b[name]).max(initial=0.0)) for name in a}
