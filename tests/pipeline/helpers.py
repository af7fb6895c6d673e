"""Pipelines around a tiny encoder, and a handful of sentences with every kind of annotation."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.lang.en import English
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam, Optimizer

from spacy_mtl.pipeline.shared_transformer import SharedTransformer

from .sentences import make_examples

Settings = dict[str, Any]

LISTENER: Settings = {"@architectures": "spacy_mtl.SharedTransformerListener.v1"}
NAME = "shared_transformer"
WIDTH = 32


def encoder_model(path: Path, **settings: Any) -> Settings:
    """`[components.shared_transformer.model]`, in fp32 so that results can be compared."""
    return {
        "@architectures": "spacy_mtl.TransformerEncoder.v1",
        "name": str(path),
        "precision": "fp32",
        **settings,
    }


def tagger_model(tok2vec: Settings = LISTENER) -> Settings:
    return {"@architectures": "spacy.Tagger.v2", "nO": None, "tok2vec": dict(tok2vec)}


def parser_model(state_type: str, tok2vec: Settings = LISTENER) -> Settings:
    return {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": state_type,
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 2,
        "use_upper": True,
        "nO": None,
        "tok2vec": dict(tok2vec),
    }


def textcat_model(tok2vec: Settings = LISTENER, *, exclusive: bool = True) -> Settings:
    return {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": exclusive,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
        "use_reduce_mean": True,
        "nO": None,
        "tok2vec": dict(tok2vec),
    }


def head(name: str, tok2vec: Settings = LISTENER) -> Settings:
    """The config of a head, by its factory's name."""
    models: dict[str, Callable[[], Settings]] = {
        "tagger": lambda: tagger_model(tok2vec),
        "morphologizer": lambda: tagger_model(tok2vec),
        "senter": lambda: tagger_model(tok2vec),
        "trainable_lemmatizer": lambda: tagger_model(tok2vec),
        "ner": lambda: parser_model("ner", tok2vec),
        "parser": lambda: parser_model("parser", tok2vec),
        "biluo_ner": lambda: {
            "@architectures": "spacy_mtl.BiluoTagger.v1",
            "nO": None,
            "tok2vec": dict(tok2vec),
        },
        "textcat": lambda: textcat_model(tok2vec),
        "textcat_multilabel": lambda: textcat_model(tok2vec, exclusive=False),
        "spancat": lambda: {
            "@architectures": "spacy.SpanCategorizer.v1",
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 32},
            "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None},
            "tok2vec": dict(tok2vec),
        },
        "span_finder": lambda: {
            "@architectures": "spacy.SpanFinder.v1",
            "scorer": {"@layers": "spacy.LinearLogistic.v1", "nO": 2, "nI": None},
            "tok2vec": dict(tok2vec),
        },
        "entity_linker": lambda: {
            "@architectures": "spacy.EntityLinker.v2",
            "nO": None,
            "tok2vec": dict(tok2vec),
        },
    }
    return {"factory": name, "model": models[name]()}


def make_config(
    path: Path,
    heads: Iterable[str] | Mapping[str, Settings] = ("tagger", "ner", "textcat"),
    *,
    name: str = NAME,
    model: Settings | None = None,
    **settings: Any,
) -> Settings:
    """The config of a pipeline: an encoder, then the heads.

    heads: names of spaCy's factories, or components by name. model: settings of the encoder. settings: those of
        the shared_transformer itself; unless they say otherwise the encoder gets the plain sum of gradients, which
        others can compute too.
    """
    if not isinstance(heads, Mapping):
        heads = {h: head(h) for h in heads}
    shared = {"factory": NAME, "model": encoder_model(path, **(model or {})), "balancer": None}
    shared |= settings
    return {
        "nlp": {"lang": "en", "pipeline": [name, *heads]},
        "components": {name: shared, **heads},
    }


def make_nlp(path: Path, *args: Any, initialize: bool = True, **kwargs: Any) -> Language:
    """The pipeline of `make_config`, initialized with the examples of this module."""
    nlp = English.from_config(make_config(path, *args, **kwargs))
    if initialize:
        nlp.initialize(lambda: make_examples(nlp.vocab))
    return nlp


def shared(nlp: Language, name: str = NAME) -> SharedTransformer:
    """The pipeline's encoder component."""
    pipe = nlp.get_pipe(name)
    assert isinstance(pipe, SharedTransformer)
    return pipe


def weights(nlp: Language, name: str = NAME) -> dict[str, NDArray[np.float32]]:
    """A copy of the encoder's weights, with all gradients so far applied."""
    shared(nlp, name).model  # noqa: B018
    named = shared(nlp, name).shim.require().model.named_parameters()
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in named}


def give_fixed_weights(nlp: Language, *names: str) -> None:
    """To these heads, whatever their order in the pipeline; spaCy begins with zeros, which hand back no gradient."""
    for name in names:
        rng = np.random.default_rng(len(name))
        for node in nlp.get_pipe(name).model.walk():  # type: ignore[attr-defined]
            for param in node.param_names:
                value = rng.normal(size=node.get_param(param).shape).astype("f")
                node.set_param(param, value)


def make_optimizer(rate: float = 0.003) -> Optimizer:
    return Adam(rate, L2=0.0, grad_clip=1.0, use_averages=False)


def train(
    nlp: Language,
    steps: int,
    optimizer: Optimizer | None = None,
    *,
    examples: list[Example] | None = None,
    **kwargs: Any,
) -> list[dict[str, float]]:
    """Update on all sentences at once, `steps` times. Returns the losses of each update."""
    optimizer = optimizer or make_optimizer()
    examples = examples or make_examples(nlp.vocab)
    history = []
    for _ in range(steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses, **kwargs)
        history.append(losses)
    return history
