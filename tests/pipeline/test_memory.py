"""When the device's memory does not hold a call of the encoder, half of it is tried."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.training import Example
from thinc.backends import context_pools

from spacy_mtl.encoder.layers import is_checkpointed
from spacy_mtl.pipeline import shared_transformer as shared_transformers
from spacy_mtl.pipeline import shim as shims
from spacy_mtl.types import EncoderInput

from .helpers import give_fixed_weights, make_nlp, shared
from .sentences import TEXTS

LONG = " ".join(TEXTS * 10)


class SmallDevice:
    """Runs out of memory in a call of the encoder with more than so many wordpieces."""

    def __init__(self, holds: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.holds = holds
        self.budgets: list[int] = []
        self.n_tokens: list[int] = []
        self.encode = shims.encode_layers
        monkeypatch.setattr(shims, "encode_layers", self)

    def __call__(self, model: Any, inputs: EncoderInput, **settings: Any) -> list[torch.Tensor]:
        self.budgets.append(inputs.budget)
        self.n_tokens.append(len(inputs.token_lengths))
        largest = max((batch.ids.size for batch in inputs.micro_batches), default=0)
        if largest > self.holds:
            raise torch.OutOfMemoryError("no more memory")
        return self.encode(model, inputs, **settings)


@pytest.fixture
def nlp(encoder_path: Path) -> Language:
    return make_nlp(encoder_path, model={"window": 40, "max_batch_wordpieces": 400})


def test_half_the_budget_is_tried_and_nothing_is_lost_or_reordered(
    nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [LONG, "", TEXTS[0], LONG, TEXTS[1]]
    expected = [doc.tensor for doc in nlp.pipe(texts)]
    device = SmallDevice(120, monkeypatch)
    with pytest.warns(UserWarning, match=r"at most 100 wordpieces .*max_batch_wordpieces = 100"):
        found = list(nlp.pipe(texts))
    assert [doc.text for doc in found] == texts
    for doc, vectors in zip(found, expected, strict=True):
        np.testing.assert_allclose(doc.tensor, vectors, atol=1e-5)
    assert device.budgets == [400, 200, 100]
    again = [doc.text for doc in nlp.pipe(texts)]  # the lower budget stays, and is said once
    assert again == texts
    assert device.budgets == [400, 200, 100, 100]


def test_a_batch_is_read_in_groups_whatever_its_size(
    nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*TEXTS, "", LONG, *TEXTS, ""]
    expected = [doc.tensor for doc in nlp.pipe(texts)]
    most = max(len(doc) for doc in nlp.pipe(TEXTS))
    monkeypatch.setattr(shared_transformers, "MOST_TOKENS", 2 * most)
    device = SmallDevice(10**9, monkeypatch)
    found = list(nlp.pipe(texts, batch_size=1000))
    assert [doc.text for doc in found] == texts
    for doc, vectors in zip(found, expected, strict=True):
        np.testing.assert_allclose(doc.tensor, vectors, atol=1e-5)
    assert sorted(device.n_tokens)[-2] <= 2 * most < max(device.n_tokens) == len(nlp(LONG))
    assert len(device.budgets) < len(texts)  # more than one document in a group
    alone = list(nlp.pipe([*texts, *texts], batch_size=3))
    assert [doc.text for doc in alone] == [*texts, *texts]


def test_each_document_has_vectors_of_its_own(nlp: Language) -> None:
    """What keeps one document does not keep its whole batch."""
    for doc in nlp.pipe([*TEXTS, LONG]):
        assert doc.tensor.base is None or doc.tensor.base.size == doc.tensor.size


def test_a_window_that_does_not_fit_by_itself_is_torchs_error(
    nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallDevice(20, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match="no more memory"):
        nlp(LONG)
    assert shared(nlp).shim.budget is None


class SmallTrainer(SmallDevice):
    """Does not hold the activations of a batch, only those between layers; and a call of so many wordpieces."""

    def __call__(self, model: Any, inputs: EncoderInput, **settings: Any) -> list[torch.Tensor]:
        if torch.is_grad_enabled() and model.training and not is_checkpointed(model):
            raise torch.OutOfMemoryError("no more memory for activations")
        return super().__call__(model, inputs, **settings)


def gradients_of(nlp: Language, texts: list[str]) -> dict[str, Any]:
    """Of the encoder's parameters, before a step is made."""
    cats = {"cats": {"NEWS": 1.0, "TALE": 0.0}}
    examples = [Example.from_dict(nlp.make_doc(text), cats) for text in texts]
    give_fixed_weights(nlp, "textcat")
    nlp.update(examples, sgd=False, drop=0.0)
    shared(nlp).finish_batch()
    parameters = shared(nlp).shim.require().model.named_parameters()
    return {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def test_training_keeps_fewer_activations_and_nothing_is_lost(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [LONG, TEXTS[0], TEXTS[1]]
    model = {"window": 40, "max_batch_wordpieces": 400}
    expected = gradients_of(make_nlp(encoder_path, ["textcat"], model=model), texts)
    nlp = make_nlp(encoder_path, ["textcat"], model=model)
    device = SmallTrainer(120, monkeypatch)
    with pytest.warns(UserWarning, match="ran out of memory") as said:
        found = gradients_of(nlp, texts)
    assert [str(warning.message).split(",")[0] for warning in said] == [
        "The device ran out of memory in training",
        "The device ran out of memory",
    ]
    assert device.budgets == [400, 200, 100]
    assert is_checkpointed(shared(nlp).shim.require().model)
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-4 for gradient in expected.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-7)
    shared(nlp).shim.drop_gradients()
    gradients_of(nlp, texts)  # it stays so, and is said once
    assert device.budgets == [400, 200, 100, 100]


class SmallBackward:
    """Runs out of memory in the middle of a backward pass over activations that are all kept."""

    def __init__(self, nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = shared(nlp).shim.require().model
        self.backward = torch.autograd.backward
        self.n_failed = 0
        monkeypatch.setattr(torch.autograd, "backward", self)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if not is_checkpointed(self.model):
            self.n_failed += 1
            for parameter in list(self.model.parameters())[::2]:
                parameter.grad = torch.ones_like(parameter)
            raise torch.OutOfMemoryError("no more memory")
        self.backward(*args, **kwargs)


def test_a_backward_pass_that_does_not_fit_is_made_with_fewer_activations(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [LONG, TEXTS[0], TEXTS[1]]
    expected = gradients_of(make_nlp(encoder_path, ["textcat"]), texts)
    nlp = make_nlp(encoder_path, ["textcat"])
    device = SmallBackward(nlp, monkeypatch)
    with pytest.warns(UserWarning, match="ran out of memory in training"):
        found = gradients_of(nlp, texts)
    assert device.n_failed == 1
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-7)
    shared(nlp).shim.drop_gradients()
    again = gradients_of(nlp, texts)
    for name, gradient in again.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-7)


def test_gradients_of_earlier_batches_are_not_mixed_with_half_a_backward_pass(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp(encoder_path, ["textcat"])
    gradients_of(nlp, TEXTS[:2])
    SmallBackward(nlp, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        gradients_of(nlp, TEXTS[:2])
    assert all(p.grad is None for p in shared(nlp).shim.require().model.parameters())


def test_training_that_does_not_fit_at_all_is_torchs_error(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp(encoder_path, ["textcat"], model={"window": 40})
    SmallTrainer(20, monkeypatch)
    with (
        pytest.warns(UserWarning, match=r"gradient_checkpointing = true.*training\.batcher"),
        pytest.raises(torch.OutOfMemoryError, match="no more memory"),
    ):
        gradients_of(nlp, [LONG])
    assert shared(nlp).shim.budget is None


def test_a_frozen_encoder_has_no_activations_to_save(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"window": 40, "max_batch_wordpieces": 400, "freeze_layers": "all"}
    nlp = make_nlp(encoder_path, ["textcat"], model=model)
    device = SmallTrainer(120, monkeypatch)
    with pytest.warns(UserWarning, match="at most 100 wordpieces"):
        assert not gradients_of(nlp, [LONG])
    assert device.budgets == [400, 200, 100]
    assert not is_checkpointed(shared(nlp).shim.require().model)


def test_other_errors_are_not_tried_again(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(shims, "encode_layers", fail)
    with pytest.raises(RuntimeError, match="something else"):
        nlp(LONG)
    assert shared(nlp).shim.budget is None


@pytest.mark.parametrize(
    ("precision", "has_amx", "device", "expected"),
    [
        (torch.float32, True, "cpu", 1024),
        (torch.bfloat16, False, "cpu", 1024),
        (torch.bfloat16, True, "cpu", 4096),
        (torch.float16, True, "cpu", 1024),
        (torch.bfloat16, False, "cuda", 4096),
    ],
)
def test_how_much_a_call_holds_if_nobody_says(
    precision: torch.dtype,
    has_amx: bool,
    device: str,
    expected: int,
    encoder_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nlp = make_nlp(encoder_path)
    shim = shared(nlp).shim
    monkeypatch.setattr(shim, "dtype", precision)
    monkeypatch.setattr(shims, "cpu_has_amx", lambda: has_amx)
    monkeypatch.setattr(shims.EncoderShim, "device", property(lambda self: torch.device(device)))
    assert shim.prepare([nlp.make_doc(TEXTS[0])]).budget == expected


def test_what_cupy_holds_is_given_back_before_less_is_tried(
    nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        n_freed = 0

        def free_all_blocks(self) -> None:
            self.n_freed += 1

    own, torchs = Pool(), Pool()
    monkeypatch.setattr(shims, "has_cupy", True)
    monkeypatch.setattr(shims, "cupy", SimpleNamespace(get_default_memory_pool=lambda: own))
    before = context_pools.set({"pytorch": torchs})
    SmallDevice(120, monkeypatch)
    try:
        with pytest.warns(UserWarning, match="at most 100 wordpieces"):
            nlp(LONG)
    finally:
        context_pools.reset(before)
    assert (own.n_freed, torchs.n_freed) == (2, 2)


def test_copies_of_weights_are_kept_between_predictions_and_let_go_for_training(
    encoder_path: Path,
) -> None:
    for checkpointing in (False, True):
        nlp = make_nlp(encoder_path, ["tagger"], model={"gradient_checkpointing": checkpointing})
        shim = shared(nlp).shim
        nlp(TEXTS[0])
        kept = shim._direct._last[False]
        nlp(TEXTS[1])
        assert shim._direct._last[False] is kept
        docs = [nlp.make_doc(text) for text in TEXTS]
        shim.begin_update_docs(docs)
        assert False not in shim._direct._last
        assert (True in shim._direct._last) is not checkpointing
