"""Predictions in 8-bit integers: close to fp32, of the weights that are there, in training as without."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

from spacy_mtl.encoder import int8

from ..families import make_encoder
from .helpers import NAME, make_nlp, shared, train, weights
from .sentences import TEXTS

pytestmark = pytest.mark.skipif(
    not int8.is_there(), reason="this torch does not multiply 8-bit integers on this processor"
)
MANY = [" ".join(TEXTS * (1 + i % 7)) for i in range(10)] + ["", " ", *TEXTS]


def switch(precision: str) -> dict[str, Any]:
    """For `spacy.load`."""
    return {"components": {NAME: {"model": {"precision": precision}}}}


def vectors(nlp: Language, texts: list[str] = MANY) -> np.ndarray:
    return np.concatenate([doc.tensor for doc in nlp.pipe(texts)])


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean length of the differences, of that of the vectors."""
    lengths = np.linalg.norm(other, axis=1)
    return float((np.linalg.norm(one - other, axis=1) / np.maximum(lengths, 1e-6)).mean())


@pytest.fixture
def stored(encoder_path: Path, tmp_path: Path) -> Path:
    make_nlp(encoder_path, model={"precision": "int8"}).to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


def test_predictions_are_close_to_those_in_fp32(stored: Path) -> None:
    found, exact = vectors(spacy.load(stored)), vectors(spacy.load(stored, config=switch("fp32")))
    assert 0 < distance(found, exact) < 0.05


def test_a_document_alone_gets_what_it_gets_among_others(stored: Path) -> None:
    nlp = spacy.load(stored)
    alone = np.concatenate([nlp(text).tensor for text in MANY])
    assert distance(alone, vectors(nlp)) < 0.01  # attention adds in another order


def test_a_pipeline_keeps_it_and_its_weights_in_fp32(stored: Path) -> None:
    nlp = spacy.load(stored)
    expected = vectors(nlp)
    assert all(p.dtype is torch.float32 for p in shared(nlp).shim.require().model.parameters())
    exact = spacy.load(stored, config=switch("fp32"))
    for name, weight in weights(exact).items():
        np.testing.assert_array_equal(weights(nlp)[name], weight)
    for other in (spacy.load(stored), pickle.loads(pickle.dumps(nlp))):
        np.testing.assert_array_equal(vectors(other), expected)
    copied = make_nlp(stored.parent, model={"precision": "int8"}, initialize=False)
    np.testing.assert_array_equal(vectors(copied.from_bytes(nlp.to_bytes())), expected)


def test_training_is_what_it_is_without(encoder_path: Path) -> None:
    found, exact = (
        make_nlp(encoder_path, ("tagger",), model={"precision": precision})
        for precision in ("int8", "auto")
    )
    for nlp in (found, exact):
        train(nlp, steps=3)
    for name, weight in weights(exact).items():
        np.testing.assert_array_equal(weights(found)[name], weight)


def test_predictions_follow_the_weights(encoder_path: Path, tmp_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger",), model={"precision": "int8"})
    before = vectors(nlp)
    train(nlp, steps=3)
    after = vectors(nlp)
    assert distance(before, after) > 0.05
    nlp.to_disk(tmp_path)
    assert distance(after, vectors(spacy.load(tmp_path, config=switch("fp32")))) < 0.05


def adapt(nlp: Language) -> None:
    model: Any = shared(nlp).shim.require().model
    query = model.encoder.layer[0].attention.self.query
    query.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(("family", "change"), [("distilbert", lambda nlp: None), ("bert", adapt)])
def test_an_encoder_that_cannot_is_computed_as_before_and_says_so_once(
    family: str, change: Callable[[Language], None], tmp_path: Path
) -> None:
    path = make_encoder(family, tmp_path / family)
    nlp = make_nlp(path, ("tagger",), model={"precision": "int8"})
    change(nlp)
    with pytest.warns(UserWarning, match=rf'`model.precision = "int8"`.*`{family}`.*"auto"'):
        found = vectors(nlp)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(vectors(nlp), found)
    nlp.to_disk(tmp_path / "nlp")
    exact = spacy.load(tmp_path / "nlp", config=switch("auto"))
    np.testing.assert_allclose(vectors(exact), found, atol=1e-5)


def test_documents_without_wordpieces_are_no_reason_to_warn(stored: Path) -> None:
    nlp = spacy.load(stored)
    assert [doc.tensor.shape for doc in nlp.pipe(["", " "])] == [(0, 32), (1, 32)]
