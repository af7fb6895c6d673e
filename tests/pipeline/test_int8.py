"""Predictions in 8-bit integers: close to fp32, of the weights that are there, in training as without."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy import util
from spacy.language import Language

from spacy_mtl.encoder import int8

from ..families import NO_DROPOUT, make_encoder
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


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With weights that matter, so that a wrong product shows."""
    path = tmp_path_factory.mktemp("encoders") / "bert"
    return make_encoder("bert", path, initializer_range=0.1, **NO_DROPOUT["bert"])


@pytest.fixture
def stored(encoder_path: Path, tmp_path: Path) -> Path:
    make_nlp(encoder_path, model={"precision": "int8"}).to_disk(tmp_path / "nlp")
    return tmp_path / "nlp"


def test_predictions_are_close_to_those_in_fp32(stored: Path) -> None:
    found, exact = vectors(spacy.load(stored)), vectors(spacy.load(stored, config=switch("fp32")))
    assert 0 < distance(found, exact) < 0.02


def test_a_document_alone_gets_what_it_gets_among_others(stored: Path) -> None:
    """But for the order in which attention adds, which in a deeper encoder may tip numbers to other steps."""
    nlp = spacy.load(stored)
    alone = np.concatenate([nlp(text).tensor for text in MANY])
    assert distance(alone, vectors(nlp)) < 1e-4


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


def test_training_is_what_it_is_without(tmp_path: Path) -> None:
    path = make_encoder("bert", tmp_path / "bert")  # with dropout
    found, exact = (
        make_nlp(path, ("tagger",), model={"precision": precision})
        for precision in ("int8", "auto")
    )
    for nlp in (found, exact):
        int8.is_there.cache_clear()  # the first evaluation of a process asks
        util.fix_random_seed(0)
        for _ in range(3):
            train(nlp, steps=1, drop=0.2)
            vectors(nlp)
    for name, weight in weights(exact).items():
        np.testing.assert_array_equal(weights(found)[name], weight)


def test_predictions_follow_the_weights(encoder_path: Path, tmp_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger",), model={"precision": "int8"})
    before = vectors(nlp)
    train(nlp, steps=3)
    after = vectors(nlp)
    assert distance(before, after) > 0.1
    nlp.to_disk(tmp_path)
    assert distance(after, vectors(spacy.load(tmp_path, config=switch("fp32")))) < 0.02


def test_an_encoder_that_cannot_is_computed_as_before_and_says_so_once(tmp_path: Path) -> None:
    path = make_encoder("modernbert", tmp_path / "modernbert")
    with pytest.warns(UserWarning, match=r'`model.precision = "int8"`.*`modernbert`.*"auto"'):
        nlp = make_nlp(path, ("tagger",), model={"precision": "int8"})
    found = vectors(nlp)  # warnings are errors
    nlp.to_disk(tmp_path / "nlp")
    exact = spacy.load(tmp_path / "nlp", config=switch("auto"))
    np.testing.assert_array_equal(vectors(exact), found)
    with pytest.warns(UserWarning, match="`modernbert`"):
        spacy.load(tmp_path / "nlp")


def test_another_attention_is_named(encoder_path: Path) -> None:
    settings = {"precision": "int8", "transformer_config": {"attn_implementation": "eager"}}
    with pytest.warns(UserWarning, match="`sdpa`.*`eager`"):
        make_nlp(encoder_path, ("tagger",), model=settings)


def test_an_adapter_is_seen_when_there_is_one(stored: Path) -> None:
    nlp = spacy.load(stored)
    vectors(nlp)
    other = spacy.load(stored, config=switch("auto"))
    for pipeline in (nlp, other):
        model: Any = shared(pipeline).shim.require().model
        model.encoder.layer[0].attention.self.query.register_forward_hook(lambda *_: None)
    with pytest.warns(UserWarning, match="adapters, hooks"):
        found = vectors(nlp)
    np.testing.assert_array_equal(found, vectors(other))
    np.testing.assert_array_equal(found, vectors(nlp))


def test_a_training_that_goes_to_another_device_is_no_reason_to_warn(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger",), model={"precision": "int8"})
    train(nlp, steps=1)
    shared(nlp).model.to_cpu()
    assert shared(nlp).shim._direct.is_int8


def test_documents_without_wordpieces_are_no_reason_to_warn(stored: Path) -> None:
    nlp = spacy.load(stored)
    assert [doc.tensor.shape for doc in nlp.pipe(["", " "])] == [(0, 32), (1, 32)]


def test_integers_are_for_processors_with_fast_bf16_too(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rest is computed under autocast, and so is the first question for the operators."""
    monkeypatch.setattr("spacy_mtl.encoder.precision.cpu_has_fast_bf16", lambda: False)
    expected = vectors(spacy.load(stored))
    monkeypatch.setattr("spacy_mtl.encoder.precision.cpu_has_fast_bf16", lambda: True)
    int8.is_there.cache_clear()
    nlp = spacy.load(stored)
    assert 0 < distance(vectors(nlp), expected) < 0.02
    assert shared(nlp).shim.dtype is torch.bfloat16
    assert shared(nlp).shim._direct.is_int8
