"""Law 6: token vectors and gradients equal those of Hugging Face on the same wordpieces."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spacy_mtl.encoder import transformer
from spacy_mtl.encoder.dropout import FastDropout
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder
from spacy_mtl.encoder.layers import checkpoint_layers
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.types import EncoderInput

from ..families import FAMILIES, NO_DROPOUT, TEXT
from .reference import (
    assert_close,
    assert_close_gradients,
    gradients,
    load_ours,
    load_theirs,
    prepare,
    tokens_by_offsets,
    tokens_by_windows,
)

OUTPUTS, GRADIENTS = 1e-5, 1e-4  # tolerances in fp32, relative to the largest value

# longest first, as micro-batches are, so that dropout meets the same rows
PADDED = (
    "Apple is looking at buying a U.K.  startup for $1 billion, \n\n says Dr. Anna Smith.",
    "The quick brown fox doesn't mind the lazy dog!",
    "Hello world",
    "Łódź?",
)
UNPADDED = ("The rain in Spain stays mainly in the plain.",) * 2
LONG = (" ".join(TEXT.split()[:150]), "Hello world", "", "  ", " ".join(TEXT.split()[30:110]))


@pytest.fixture(params=FAMILIES)
def path(request: pytest.FixtureRequest, family_dir: Callable[[str], Path]) -> Path:
    return family_dir(request.param)


def encode(encoder: HuggingFaceEncoder, texts: tuple[str, ...], **settings: Any) -> Tensor:
    inputs = prepare(encoder, texts, **settings).inputs
    return encode_in(torch.float32, encoder, inputs)


def encode_in(dtype: torch.dtype, encoder: HuggingFaceEncoder, inputs: EncoderInput) -> Tensor:
    return encode_layers(encoder.model, inputs, pooling="mean", dtype=dtype, every=False)[-1]


def without_dropout(path: Path) -> HuggingFaceEncoder:
    """In training mode, but for dropout."""
    encoder = load_ours(path, **NO_DROPOUT[path.name])
    encoder.model.train()
    return encoder


@pytest.mark.parametrize("texts", [PADDED, UNPADDED], ids=["padded", "unpadded"])
def test_vectors_equal_hugging_faces_in_prediction(path: Path, texts: tuple[str, ...]) -> None:
    encoder = load_ours(path)
    theirs = load_theirs(path, attention=encoder.model.config._attn_implementation)
    assert not encoder.model.training
    with torch.inference_mode():
        expected = tokens_by_offsets(theirs.eval(), path, texts)
        for flat in (True, False):
            assert_close(encode(encoder, texts, flat=flat), expected, tolerance=OUTPUTS)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("texts", [PADDED, UNPADDED], ids=["padded", "unpadded"])
def test_vectors_and_gradients_equal_hugging_faces_in_training_with_dropout(
    path: Path, texts: tuple[str, ...], attention: str
) -> None:
    encoder = load_ours(path, attn_implementation="eager")
    if attention == "sdpa":
        encoder = load_ours(path)
        if encoder.model.config._attn_implementation != "sdpa":
            pytest.skip("the family has eager attention only")
    theirs = load_theirs(path, attention=attention).train()
    encoder.model.train()

    torch.manual_seed(1)
    Y = encode(encoder, texts, flat=False)  # without padding other numbers are drawn
    ours = gradients(encoder.model, Y)
    torch.manual_seed(1)
    with FastDropout():  # the same masks; that they are like torch's is tested elsewhere
        expected = tokens_by_offsets(theirs, path, texts)

    assert_close(Y, expected, tolerance=OUTPUTS)
    assert_close_gradients(ours, gradients(theirs, expected), tolerance=GRADIENTS)
    torch.manual_seed(2)
    assert not torch.allclose(encode(encoder, texts, flat=False), Y, atol=1e-3), "dropout was off"


@pytest.mark.parametrize("budget", [1, 100, 300, 100_000])
def test_long_documents_and_many_micro_batches_equal_windows_read_one_by_one(
    path: Path, budget: int
) -> None:
    encoder = without_dropout(path)
    theirs = load_theirs(path, attention=encoder.model.config._attn_implementation).eval()
    settings = {"window": 48, "stride": 30, "max_batch_wordpieces": budget}
    prepared = prepare(encoder, LONG, **settings)
    n_batches = len(prepared.inputs.micro_batches)
    assert (n_batches == 1) == (budget == 100_000)
    assert len(prepared.windows.starts) > 10

    Y = encode(encoder, LONG, **settings)
    expected = tokens_by_windows(theirs, encoder, prepared)
    assert_close(Y, expected, tolerance=OUTPUTS)
    ours = gradients(encoder.model, Y)
    assert_close_gradients(ours, gradients(theirs, expected), tolerance=GRADIENTS)


def test_a_documents_vectors_do_not_depend_on_its_neighbours(path: Path) -> None:
    encoder = load_ours(path)
    texts = (*LONG, *PADDED)
    with torch.inference_mode():
        together = encode(encoder, texts)
        alone = torch.cat([encode(encoder, (text,)) for text in texts])
        backwards = torch.cat(
            encode(encoder, texts[::-1]).split(
                [len(encode(encoder, (text,))) for text in texts[::-1]]
            )[::-1]
        )
    assert_close(together, alone, tolerance=OUTPUTS)
    assert_close(backwards, alone, tolerance=OUTPUTS)


def test_gradients_of_a_batch_are_the_sum_of_those_of_its_documents(path: Path) -> None:
    encoder = without_dropout(path)
    texts = (PADDED[3], " ".join(TEXT.split()[:60]))  # most of the first row is padding
    dY = torch.randn(len(encode(encoder, texts)), 32, generator=torch.Generator().manual_seed(0))
    encode(encoder, texts).backward(dY)
    parameters = dict(encoder.model.named_parameters())
    together = {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}
    encoder.model.zero_grad()
    offset = 0
    for text in texts:
        Y = encode(encoder, (text,))
        Y.backward(dY[offset : offset + len(Y)])
        offset += len(Y)
    alone = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    assert_close_gradients(together, alone, tolerance=GRADIENTS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_fp32(path: Path, dtype: torch.dtype) -> None:
    encoder = without_dropout(path)
    inputs = prepare(encoder, LONG).inputs
    results = []
    for precision in (dtype, torch.float32):
        Y = encode_in(precision, encoder, inputs)
        assert Y.dtype is torch.float32
        results.append((Y, gradients(encoder.model, Y)))
    (half, half_gradients), (full, full_gradients) = results
    assert_close(half, full, tolerance=0.05)
    assert not torch.equal(half, full)
    assert {grad.dtype for grad in half_gradients.values()} == {torch.float32}
    a, b = (
        torch.cat([grads[name].flatten() for name in sorted(full_gradients)])
        for grads in (half_gradients, full_gradients)
    )
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.99


def test_gradient_checkpointing_changes_no_gradient(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transformer, "fast_dropout", lambda *_: nullcontext()
    )  # as with checkpoints
    results = []
    for checkpointed in (False, True):
        encoder = load_ours(path)
        if checkpointed:
            checkpoint_layers(encoder.model)
        encoder.model.train()
        torch.manual_seed(3)  # dropout is on: what is computed again must drop the same
        Y = encode(encoder, LONG, window=48, stride=30, max_batch_wordpieces=300, flat=False)
        results.append((Y, gradients(encoder.model, Y)))
    (plain, plain_gradients), (again, again_gradients) = results
    assert torch.equal(plain, again)
    assert_close_gradients(again_gradients, plain_gradients, tolerance=1e-6)


def test_documents_without_wordpieces_are_zeros_and_need_no_encoder(path: Path) -> None:
    encoder = load_ours(path)
    for texts in ((), ("",), ("", "  ", "\n")):
        Y = encode(encoder, texts)
        assert Y.shape == (int(prepare(encoder, texts).pieces.doc_tokens.sum()), 32)
        assert not Y.any()
