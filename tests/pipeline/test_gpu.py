"""Pipelines on a GPU, through CuPy and torch on one stream, against the same ones on a processor.

Without a GPU the comparisons run on the processor alone, which shows that they hold there; what only a GPU can show is
skipped, with a reason.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from thinc.api import require_cpu, require_gpu, set_gpu_allocator, to_numpy
from thinc.compat import has_cupy_gpu

from spacy_mtl.balancing import BALANCERS

from .helpers import LISTENER, Settings, give_fixed_weights, head, make_nlp, shared, train
from .sentences import TEXTS, annotations, make_examples

HAS_GPU = torch.cuda.is_available() and has_cupy_gpu
on_a_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU, torch with CUDA and CuPy")
DEVICES = ["cpu", pytest.param("gpu", marks=on_a_gpu)]
HEADS: dict[str, Settings] = {
    name: head(name)
    for name in (
        "tagger",
        "biluo_ner",
        "ner",
        "textcat",
        "morphologizer",
        "senter",
        "trainable_lemmatizer",
        "parser",
        "spancat",
    )
}
HEADS["parser"]["min_action_freq"] = 1
# The hidden layers of spaCy's parser and ner have dropout of their own, so no two trainings with them are the same
SAME_EVERY_TIME = [name for name in HEADS if name not in ("ner", "parser")]
MANY = [" ".join(TEXTS * (1 + i % 7)) for i in range(40)] + ["", " ", *TEXTS]


@contextlib.contextmanager
def use(device: str) -> Iterator[None]:
    """Let pipelines that are made or loaded inside compute there."""
    if device == "cpu":
        yield
        return
    require_gpu(0)
    set_gpu_allocator("pytorch")
    try:
        yield
    finally:
        require_cpu()


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the test's own pipelines compute."""
    with use(request.param):
        yield request.param


def stored(folder: Path, encoder_path: Path, heads: Any = HEADS, **settings: Any) -> Path:
    """A pipeline that was made on the processor, with weights in its heads that hand gradients back."""
    nlp = make_nlp(encoder_path, heads, **settings)
    give_fixed_weights(nlp, *(name for name in heads if name not in ("ner", "parser")))
    nlp.to_disk(folder)
    return folder


def encoder_of(nlp: Language) -> dict[str, np.ndarray]:
    shared(nlp).finish_batch()
    named = shared(nlp).shim.require().model.named_parameters()
    return {name: p.detach().float().cpu().numpy().copy() for name, p in named}


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_predictions_are_those_of_a_processor(
    device: str, tmp_path: Path, encoder_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        if device == "gpu":
            require_cpu()
            stack.callback(require_gpu, 0)
        nlp = make_nlp(encoder_path, HEADS)
        train(nlp, 30)
        nlp.to_disk(tmp_path)
        expected = {
            size: [
                (annotations(doc), to_numpy(doc.tensor)) for doc in nlp.pipe(MANY, batch_size=size)
            ]
            for size in (1, 16)
        }
    loaded = spacy.load(tmp_path)
    assert shared(loaded).shim.device.type == ("cuda" if device == "gpu" else "cpu")
    for size, wanted in expected.items():
        for doc, (own, vectors) in zip(loaded.pipe(MANY, batch_size=size), wanted, strict=True):
            np.testing.assert_allclose(to_numpy(doc.tensor), vectors, atol=1e-4)
            got = annotations(doc)
            assert got.pop("cats") == pytest.approx(own.pop("cats"), abs=1e-3)
            assert got == own


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("mix", [False, True], ids=["last layer", "mix of layers"])
@pytest.mark.parametrize("own_optimizer", [False, True], ids=["thinc's", "AdamW"])
def test_training_is_that_of_a_processor(
    own_optimizer: bool, mix: bool, device: str, tmp_path: Path, encoder_path: Path
) -> None:
    listener = {**LISTENER, "layers": "mix"} if mix else LISTENER
    heads = {name: head(name, listener) for name in SAME_EVERY_TIME}
    settings: Settings = {"balancer": {"@balancers": "spacy_mtl.NormEqual.v1"}}
    if own_optimizer:
        settings["optimizer"] = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.003}
    require_cpu()
    folder = stored(tmp_path, encoder_path, heads, **settings)
    found = []
    for where in ("cpu", device):
        with use(where):
            nlp = spacy.load(folder)
            history = train(nlp, 4, drop=0.0)
            found.append((encoder_of(nlp), history[-1]))
    (expected, expected_losses), (weights, losses) = found
    before = encoder_of(spacy.load(folder))
    assert any(np.abs(expected[name] - before[name]).max() > 1e-3 for name in before)
    assert losses == pytest.approx(expected_losses, rel=1e-2)
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("method", "device"),
    [
        ("EqualProjection", "cpu"),  # the others: test_balance.py
        *(pytest.param(method, "gpu", marks=on_a_gpu) for method in sorted(BALANCERS)),
    ],
    indirect=["device"],
)
def test_every_balancer_trains(
    method: str, device: str, tmp_path: Path, encoder_path: Path
) -> None:
    heads = ["tagger", "biluo_ner", "textcat"]
    balancer = {"@balancers": f"spacy_mtl.{method}.v1"}
    nlp = make_nlp(encoder_path, heads, balancer=balancer)
    before = encoder_of(nlp)
    history = train(nlp, 6)
    after = encoder_of(nlp)
    assert all(math.isfinite(loss) for losses in history for loss in losses.values())
    assert all(np.isfinite(value).all() for value in after.values())
    assert any((after[name] != before[name]).any() for name in after)
    nlp.to_disk(tmp_path)
    require_cpu()
    assert [doc.text for doc in spacy.load(tmp_path).pipe(TEXTS)] == TEXTS


@on_a_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns(precision: str, encoder_path: Path) -> None:
    with use("gpu"):
        nlp = make_nlp(encoder_path, HEADS, model={"precision": precision})
        history = train(nlp, 60)
        assert history[-1]["tagger"] < history[0]["tagger"] / 2
        assert all(np.isfinite(value).all() for value in encoder_of(nlp).values())
        vectors = nlp(TEXTS[0]).tensor
        assert vectors.dtype == np.float32


@on_a_gpu
def test_int8_is_for_processors(encoder_path: Path, tmp_path: Path) -> None:
    """There is no warning either: what is trained on a GPU is often used without one."""
    stored(tmp_path, encoder_path, {"tagger": head("tagger")}, model={"precision": "int8"})
    with use("gpu"):
        changed = {"components": {"shared_transformer": {"model": {"precision": "auto"}}}}
        found, exact = (spacy.load(tmp_path, config=config) for config in ({}, changed))
        for one, other in zip(found.pipe(MANY), exact.pipe(MANY), strict=True):
            np.testing.assert_array_equal(to_numpy(one.tensor), to_numpy(other.tensor))


@on_a_gpu
@pytest.mark.parametrize("pooling", ["mean", "first", "last", "max"])
def test_the_encoder_does_not_wait_for_the_gpu(pooling: str, encoder_path: Path) -> None:
    with use("gpu"):
        nlp = make_nlp(encoder_path, ["tagger"], model={"pooling": pooling})
        shim = shared(nlp).shim
        docs = [nlp.make_doc(text) for text in MANY]
        inputs = {again: shim.prepare(docs, again=again) for again in (False, True)}
        shim.predict(inputs[False])
        Y, backprop = shim.begin_update(inputs[True])
        backprop(Y)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            shim.predict(inputs[False])
            Y, backprop = shim.begin_update(inputs[True])
            backprop(Y)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
@pytest.mark.parametrize("work", ["prediction", "training"])
def test_memory_does_not_grow_over_a_hundred_batches(work: str, encoder_path: Path) -> None:
    with use("gpu"):
        optimizer = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.001}
        nlp = make_nlp(encoder_path, HEADS, optimizer=optimizer)

        def batch() -> None:
            if work == "training":
                train(nlp, 1, examples=make_examples(nlp.vocab))
            else:
                list(nlp.pipe(MANY, batch_size=16))

        for _ in range(10):
            batch()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        for _ in range(100):
            batch()
        torch.cuda.synchronize()
        assert torch.cuda.memory_allocated() - before < 2**20


@on_a_gpu
def test_a_training_goes_on_from_its_files(tmp_path: Path, encoder_path: Path) -> None:
    with use("gpu"):
        optimizer = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.003}
        nlp = make_nlp(encoder_path, ["tagger", "textcat"], optimizer=optimizer)
        train(nlp, 5)
        nlp.to_disk(tmp_path)
        loaded = spacy.load(tmp_path)
        for pipeline in (nlp, loaded):
            train(pipeline, 3, drop=0.0)
        expected = encoder_of(nlp)
        for name, value in encoder_of(loaded).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=name)
