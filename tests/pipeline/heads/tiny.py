"""Heads with a tok2vec of their own, so small that a test takes no time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SGD, Model

from ..helpers import Settings, head

TOK2VEC: Settings = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 16,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
}
MakeExamples = Callable[[Language], list[Example]]


def make(factory: str, examples: MakeExamples, **config: Any) -> tuple[Language, Any]:
    """A pipeline of one head, initialized with these examples, and the head. Always the same weights."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    model = head(factory.removeprefix("masked_"), TOK2VEC)["model"]
    component = nlp.add_pipe(factory, config={"model": model, **config})
    nlp.initialize(lambda: examples(nlp))
    return nlp, component


def untrained(nlp: Language, words: str, **annotation: Any) -> Example:
    """An example that nobody has predicted anything for. annotation: arguments of `Doc`."""
    return Example(
        Doc(nlp.vocab, words=words.split()), Doc(nlp.vocab, words=words.split(), **annotation)
    )


def parameters(model: Model) -> list[NDArray[np.float32]]:
    return [n.get_param(p).copy() for n in model.walk() for p in n.param_names if n.has_param(p)]


def train(nlp: Language, examples: list[Example], *, steps: int = 8) -> list[NDArray[np.float32]]:
    """The weights of the pipeline's last head after some updates on these examples."""
    sgd = SGD(0.05, use_averages=False)
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return parameters(nlp.get_pipe(nlp.pipe_names[-1]).model)  # type: ignore[attr-defined]


def gradient(component: Any, examples: list[Example]) -> tuple[float, list[Any]]:
    """A head's loss and its gradients, for each document, from `get_loss`."""
    scores = component.model.predict([example.predicted for example in examples])
    loss, d_scores = component.get_loss(examples, scores)
    return loss, list(d_scores)
