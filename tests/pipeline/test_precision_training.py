"""Training in bf16 and fp16: the gradient is that of fp32 within the precision, and an overflow skips the step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_mtl.encoder.spare import SpareGradients

from .helpers import make_nlp, shared, train
from .test_gradients import HEADS, Recorder, encoder_gradient, make_examples, make_pipeline
from .test_gradients import encoder_path as encoder_path  # a fixture

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def gradient_in(encoder_path: str, dtype: torch.dtype, scale: float = 2.0**16) -> tuple[Any, Any]:
    nlp = make_pipeline(encoder_path, HEADS)
    shim = nlp.get_pipe("shared_transformer").shim
    shim.dtype = dtype
    shim.loss_scale.value = scale
    recorder = Recorder()
    for _ in range(2):  # accumulated, so that unscaling twice would show
        nlp.update(make_examples(nlp, HEADS), sgd=False)
    for _, pipe in nlp.pipeline:
        pipe.finish_update(recorder)
    return encoder_gradient(nlp, recorder), shim


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_gradient_is_close_to_that_of_fp32(encoder_path: str, precision: str) -> None:
    exact, _ = gradient_in(encoder_path, torch.float32)
    found, _ = gradient_in(encoder_path, DTYPES[precision], scale=64.0)
    assert set(found) == set(exact)
    a = np.concatenate([found[n].ravel() for n in exact])
    b = np.concatenate([exact[n].ravel() for n in exact])
    assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(b)
    assert np.linalg.norm(a - b) > 0  # it did run in low precision


def test_an_overflow_in_fp16_skips_the_step_and_lowers_the_scale(encoder_path: str) -> None:
    found, shim = gradient_in(encoder_path, torch.float16, scale=2.0**60)
    assert found == {}
    assert shim.loss_scale.value == 2.0**59
    assert all(p.grad is None for p in shim.encoder.model.parameters())


@pytest.mark.parametrize("freed", [False, True])
def test_the_memory_of_gradients_serves_the_next_step(
    freed: bool, encoder_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are, to the last bit, those of a training in which it does not."""
    weights = []
    for reuses in (True, False):
        if not reuses:
            monkeypatch.setattr(SpareGradients, "keep", SpareGradients.drop)
        torch.manual_seed(0)
        nlp = make_pipeline(encoder_path, HEADS)
        component = nlp.get_pipe("shared_transformer")
        shim = component.shim
        shim.dtype = torch.bfloat16
        optimizer = nlp.create_optimizer()
        for step in range(3):  # a batch is closed by the next one
            nlp.update(make_examples(nlp, HEADS), sgd=optimizer)
            if freed:
                shim._spare.drop()
            elif reuses and step:
                assert len(shim._spare._kept) > 8
        weights.append([p.detach().clone() for p in shim.require().model.parameters()])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


def test_the_memory_of_gradients_is_given_back_after_training(encoder_path: str) -> None:
    nlp = make_pipeline(encoder_path, HEADS)
    shim = nlp.get_pipe("shared_transformer").shim
    optimizer = nlp.create_optimizer()
    for _ in range(2):
        nlp.update(make_examples(nlp, HEADS), sgd=optimizer)
    assert shim._spare._kept
    nlp("One.")
    nlp("Two.")
    assert not shim._spare._kept


@pytest.mark.parametrize("outer", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_caller_s_autocast_changes_nothing(
    precision: str, outer: torch.dtype, family_dir: Callable[[str], Path]
) -> None:
    """Neither in the forward pass nor in the backward pass, of dropped attention among others."""
    weights = []
    for dtype in (None, outer):
        torch.manual_seed(0)
        nlp = make_nlp(family_dir("bert"), ["tagger"], model={"precision": precision})
        component = shared(nlp)
        encoder = component.shim.require().model
        assert encoder.config.attention_probs_dropout_prob > 0
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            train(nlp, 2)
            component.finish_batch()
        weights.append([p.detach().clone() for p in encoder.parameters()])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)
