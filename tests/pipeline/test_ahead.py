"""On a GPU the wordpieces of the next batch are made while the last one is encoded. Here a processor plays the GPU."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.tokens import Doc

from spacy_mtl.pipeline.ahead import prepared_ahead
from spacy_mtl.pipeline.shim import EncoderShim
from spacy_mtl.types import EncoderInput

from .helpers import make_nlp, shared
from .sentences import TEXTS
from .test_memory import SmallDevice

MANY = [text * (1 + i % 3) for i, text in enumerate([*TEXTS, "", " "] * 3)]


@pytest.fixture
def nlp(encoder_path: Path) -> Language:
    return make_nlp(encoder_path, model={"window": 40, "max_batch_wordpieces": 400})


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that prepare."""
    threads: list[str] = []
    prepare = EncoderShim.prepare

    def noted(self: EncoderShim, docs: list[Doc], *, again: bool = False) -> EncoderInput:
        threads.append(threading.current_thread().name)
        return prepare(self, docs, again=again)

    monkeypatch.setattr(EncoderShim, "device", property(lambda self: torch.device("cuda", 0)))
    monkeypatch.setattr(EncoderShim, "prepare", noted)
    return threads


def vectors(nlp: Language, texts: list[str], **settings: int) -> list[np.ndarray]:
    docs = list(nlp.pipe(texts, **settings))
    assert [doc.text for doc in docs] == texts
    return [doc.tensor for doc in docs]


def assert_equal(some: list[np.ndarray], others: list[np.ndarray]) -> None:
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_thread_prepares_and_the_vectors_are_the_same(
    nlp: Language, batch_size: int, request: pytest.FixtureRequest
) -> None:
    expected = vectors(nlp, MANY)
    threads = request.getfixturevalue("on_gpu")
    assert_equal(vectors(nlp, MANY, batch_size=batch_size), expected)
    assert len(threads) == -(-len(MANY) // batch_size)
    assert set(threads) == {"spacy_mtl-wordpieces_0"}
    assert vectors(nlp, []) == []


def test_a_document_by_itself_needs_no_thread(nlp: Language, on_gpu: list[str]) -> None:
    nlp(TEXTS[0])
    assert on_gpu == ["MainThread"]


def test_one_batch_is_drawn_ahead_and_no_more(nlp: Language, on_gpu: list[str]) -> None:
    drawn = []

    def texts() -> Iterator[Doc]:
        for text in TEXTS * 2:
            drawn.append(text)
            yield nlp.make_doc(text)

    stream = shared(nlp).pipe(texts(), batch_size=2)
    next(stream)
    assert len(drawn) == 4
    stream.close()  # type: ignore[attr-defined]


def fail_on(text: str) -> Callable[[EncoderShim, list[Doc]], EncoderInput]:
    prepare = EncoderShim.prepare

    def failing(self: EncoderShim, docs: list[Doc], *, again: bool = False) -> EncoderInput:
        if any(doc.text == text for doc in docs):
            raise ValueError(f"cannot split {text!r}")
        return prepare(self, docs, again=again)

    return failing


def test_an_error_in_the_thread_is_that_of_its_batch(
    nlp: Language, on_gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 2)]
    monkeypatch.setattr(EncoderShim, "prepare", fail_on(texts[3]))
    with pytest.raises(ValueError, match="cannot split"):
        list(nlp.pipe(texts, batch_size=2))
    failed: list[str] = []
    pipe = shared(nlp)
    pipe.set_error_handler(lambda name, pipe, docs, error: failed.extend(doc.text for doc in docs))
    kept = [doc.text for doc in pipe.pipe(map(nlp.make_doc, texts), batch_size=2)]
    assert failed == texts[2:4]
    assert kept == texts[:2] + texts[4:]


@pytest.mark.parametrize("n_good", [0, 1, 4, 5])
def test_whoever_makes_the_documents_may_fail_after_those_that_are_made(
    nlp: Language, n_good: int, request: pytest.FixtureRequest
) -> None:
    def texts() -> Iterator[str]:
        yield from TEXTS[:n_good]
        raise RuntimeError("the file ends here")

    def count() -> int:
        found: list[Doc] = []
        with pytest.raises(RuntimeError, match="ends here"):
            found.extend(nlp.pipe(texts(), batch_size=2))  # extends by what there is
        return len(found)

    on_cpu = count()
    request.getfixturevalue("on_gpu")
    assert count() == on_cpu == n_good // 2 * 2


def test_memory_that_runs_out_is_said_once(
    nlp: Language, on_gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = vectors(nlp, MANY)
    SmallDevice(120, monkeypatch)
    with pytest.warns(UserWarning, match="max_batch_wordpieces = 100") as record:
        assert_equal(vectors(nlp, MANY, batch_size=6), expected)
    assert len(record) == 1


def test_a_caller_may_stop_early_even_in_the_thread_itself(nlp: Language) -> None:
    """Python's garbage collector closes a forgotten generator in whatever thread it runs in."""
    given, closed = threading.Event(), threading.Event()
    batches = [[nlp.make_doc(text)] for text in TEXTS]

    def prepare(docs: list[Doc]) -> EncoderInput:
        if docs is not batches[0]:
            given.wait(20)
            stream.close()  # type: ignore[attr-defined]
            closed.set()
        return shared(nlp).shim.prepare(docs)

    stream = prepared_ahead(batches, prepare)
    assert list(next(stream)) == batches[0]
    given.set()
    assert closed.wait(20)
    assert list(stream) == []
