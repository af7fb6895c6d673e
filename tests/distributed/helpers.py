"""Corpora that are annotated for one task each, a config that trains on them, and processes that train together."""

import multiprocessing
import os
import random
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
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
from spacy_mtl.distributed import train
from spacy_mtl.distributed.transitions import make_exact

from ..pipeline.helpers import Settings, head, make_config
from ..pipeline.sentences import SENTENCES, make_doc

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
    """Components by name. The transition-based ones have no hidden layer: spaCy always drops a tenth of that."""
    found = {}
    for name, factory in factories.items():
        settings = head(factory.removeprefix("masked_").removeprefix("beam_"))
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
        "corpora": {
            "train": {"@readers": "spacy_mtl.MultiCorpus.v1", "sources": sources},
            "dev": dev,
        },
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
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


class Ranks:
    """Processes that run one function together. They are forks, which saves the time of imports.

    function: called with the number of the rank. folder: for what they print.
    """

    def __init__(self, function: Callable[[int], Any], folder: Path, *, size: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        context = multiprocessing.get_context("fork")
        self.logs = [folder / f"rank{rank}.log" for rank in range(size)]
        self.processes = [
            context.Process(
                target=_run, args=(function, rank, environment(rank, size, port), self.logs[rank])
            )
            for rank in range(size)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks, in newer Pythons
            for process in self.processes:
                process.start()

    def said(self, rank: int) -> str:
        """What a rank has printed so far."""
        return self.logs[rank].read_text("utf8") if self.logs[rank].exists() else ""

    def join(self, *, timeout: float = 300) -> list[int | None]:
        """The exit codes; None for a process that has not ended, which is killed."""
        end = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(end - time.monotonic(), 0.0))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def finish(self) -> None:
        """Wait until all have ended well."""
        codes = self.join()
        assert codes == [0] * len(codes), "\n".join(self.said(rank) for rank in range(len(codes)))


def _run(function: Callable[[int], Any], rank: int, variables: dict[str, str], log: Path) -> None:
    os.environ.update(variables)
    stream = log.open("w", buffering=1)
    for number in (1, 2):
        os.dup2(stream.fileno(), number)
    sys.stdout = sys.stderr = stream
    try:
        function(rank)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=stream, flush=True)
        os._exit(1)
    os._exit(0)


def start(config: Config, output: Path, *, size: int = 2, **settings: Any) -> Ranks:
    """Ranks that train by a config."""
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.parent / f"{output.name}.cfg"
    config.to_disk(path)
    return Ranks(
        lambda rank: train(path, output, **settings),
        output.parent / f"{output.name}-logs",
        size=size,
    )


def train_together(config: Config, output: Path, *, size: int = 2, **settings: Any) -> Path:
    """The last pipeline that several processes have trained."""
    start(config, output, size=size, **settings).finish()
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
