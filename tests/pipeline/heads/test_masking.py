"""Masked heads behind the listeners of other packages, which take whole batches only."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example
from thinc.api import SGD

from spacy_mtl.annotation import keep_layers

from ..helpers import WIDTH, Settings, head, make_nlp, weights
from ..sentences import make_examples
from .tiny import TOK2VEC, parameters

SPACYS: Settings = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
TRF: Settings = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
needs_trf = pytest.mark.skipif(
    find_spec("spacy_transformers") is None, reason="spacy-transformers is not installed"
)
HEADS = ("senter", "textcat", "span_finder")  # a mask on tokens, one on documents, one on both


def unannotated(nlp: Language) -> list[Example]:
    texts = ("Nobody has asked anyone about this one .", "one", "Who knows ?")
    return [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts]


@pytest.mark.parametrize(
    "listener",
    [pytest.param(SPACYS, id="spaCy"), pytest.param(TRF, id="trf", marks=needs_trf)],
)
def test_unannotated_documents_change_nothing_behind_another_listener(
    listener: Settings, encoder_path: Path
) -> None:
    def trained(*, with_others: bool) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
        spacy.util.fix_random_seed(0)
        heads = {n: {**head(n, listener), "factory": f"masked_{n}"} for n in HEADS}
        nlp = make_nlp(encoder_path, heads)
        others = unannotated(nlp) if with_others else []
        for _ in range(4):
            nlp.update([*others, *make_examples(nlp.vocab)], sgd=SGD(0.002, use_averages=False))
        models = [nlp.get_pipe(name).model for name in HEADS]  # type: ignore[attr-defined]
        return [p for model in models for p in parameters(model)], weights(nlp)

    (heads, encoder), (mixed_heads, mixed_encoder) = (trained(with_others=o) for o in (False, True))
    for a, b in zip(heads, mixed_heads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name, array in encoder.items():
        np.testing.assert_allclose(array, mixed_encoder[name], rtol=1e-4, atol=1e-6)


def test_the_last_head_behind_spacys_tok2vec_hands_on_what_the_others_have_sent() -> None:
    def trained(*heads: str) -> list[NDArray[np.float32]]:
        spacy.util.fix_random_seed(0)
        nlp = spacy.blank("xx")
        nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
        listener = {**SPACYS, "width": TOK2VEC["width"]}
        for name in heads:
            nlp.add_pipe(
                name, config={"model": head(name.removeprefix("masked_"), listener)["model"]}
            )
        nlp.initialize(lambda: make_examples(nlp.vocab))
        examples = make_examples(nlp.vocab)
        for example in examples:
            example.reference = keep_layers(example.reference, ["tag"])
        nlp.update(examples, sgd=SGD(0.1))
        return parameters(nlp.get_pipe("tok2vec").model)  # type: ignore[attr-defined]

    alone, with_senter = trained("tagger"), trained("tagger", "masked_senter")
    for a, b in zip(alone, with_senter, strict=True):
        np.testing.assert_array_equal(a, b)
