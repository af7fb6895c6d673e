"""Masks that are drawn in bulk do what torch's dropout does."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from spacy_mtl.encoder.dropout import FastDropout, fast_dropout
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.layers import checkpoint_layers

CPU = torch.device("cpu")


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, requires_grad=True)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_so_many_numbers_are_dropped_and_the_sum_is_kept(p: float) -> None:
    torch.manual_seed(0)
    with FastDropout():
        y = F.dropout(ones(1000, 400), p, True)
    assert sorted(y.unique().tolist()) == pytest.approx([0.0, 1 / (1 - p)], abs=1e-4)
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=3e-3)
    assert float(y.detach().mean()) == pytest.approx(1.0, abs=3e-3)


def test_neighbours_are_dropped_independently_of_each_other() -> None:
    torch.manual_seed(0)
    with FastDropout():
        kept = (F.dropout(ones(2000, 200), 0.5, True) != 0).float()
    for lag in (1, 2, 3, 4, 8):
        both = (kept[:, lag:] * kept[:, :-lag]).mean()
        assert float(both) == pytest.approx(0.25, abs=4e-3)
    assert float((kept[1:] * kept[:-1]).mean()) == pytest.approx(0.25, abs=4e-3)


def test_a_rate_next_to_1_drops_nearly_all() -> None:
    with FastDropout():
        y = F.dropout(ones(100, 400), 0.999999, True)
    assert float((y == 0).float().mean()) > 0.99
    assert y.isfinite().all()


def test_the_gradient_goes_where_the_values_went() -> None:
    x = torch.randn(30, 7, requires_grad=True)
    with FastDropout():
        y = F.dropout(x, 0.3, True)
    gradient = torch.randn(30, 7)
    y.backward(gradient)
    torch.testing.assert_close(x.grad, gradient * (y / x).detach())


def test_masks_follow_from_torchs_seed_and_differ_between_passes() -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with FastDropout():
            found.append([F.dropout(ones(40), 0.5, True), F.dropout(ones(40), 0.5, True)])
        with FastDropout():
            found[-1].append(F.dropout(ones(40), 0.5, True))
    for a, b in zip(found[0], found[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(found[0][0], found[2][0])
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[0][2])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.dropout(x, 0.5, False),
        lambda x: F.dropout(x, 0.0, True),
        lambda x: F.dropout(x, 1.0, True),
    ],
    ids=["not training", "none", "all"],
)
def test_what_needs_no_mask_is_torchs_own(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with FastDropout():
        found = call(ones(5))
    assert torch.equal(found, call(ones(5)))


MASKS = {
    "no mask": None,
    "numbers": torch.tensor([0.0, 0.0, -1e9]).expand(2, 1, 3, 3),
    "yes or no": torch.tensor([True, True, False]).expand(2, 1, 3, 3),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_torchs_but_for_the_dropped_weights(
    mask: torch.Tensor | None, scale: float | None
) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 3, 8, requires_grad=True) for _ in range(3))
    attend = F.scaled_dot_product_attention
    expected = attend(q, k, v, mask, 0.0, scale=scale)
    with FastDropout():
        plain = attend(q, k, v, attn_mask=mask, dropout_p=0.0, scale=scale)
        hardly = attend(q, k, v, attn_mask=mask, dropout_p=1e-6, scale=scale)
        many = torch.stack(
            [attend(q, k, v, attn_mask=mask, dropout_p=0.2, scale=scale) for _ in range(4000)]
        )
    torch.testing.assert_close(plain, expected)
    torch.testing.assert_close(hardly, expected)
    assert not torch.equal(many[0], many[1])
    torch.testing.assert_close(many.mean(dim=0), expected, atol=0.06, rtol=0.05)


def test_a_causal_attention_stays_torchs() -> None:
    q = torch.randn(1, 1, 4, 8)
    torch.manual_seed(0)
    expected = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5, is_causal=True)
    with FastDropout():
        torch.manual_seed(0)
        found = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5, is_causal=True)
    assert torch.equal(found, expected)


def test_it_is_for_training_on_a_processor_without_checkpoints(
    family_dir: Callable[[str], Path],
) -> None:
    folder = str(family_dir("bert"))
    model = load_pretrained(folder, transformer_config={}, tokenizer_config={}).model
    assert isinstance(fast_dropout(model.train(), CPU), FastDropout)
    assert not isinstance(fast_dropout(model.train(), torch.device("cuda")), FastDropout)
    assert not isinstance(fast_dropout(model.eval(), CPU), FastDropout)
    again = copy.deepcopy(model).train()
    checkpoint_layers(again)
    assert not isinstance(fast_dropout(again, CPU), FastDropout)


def test_prediction_does_not_look_at_all_modules(
    family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one short text that takes as long as a tenth of its matrix products."""
    model = load_pretrained(
        str(family_dir("bert")), transformer_config={}, tokenizer_config={}
    ).model.eval()
    monkeypatch.setattr(type(model), "modules", lambda self: pytest.fail("looked at all modules"))
    with fast_dropout(model, CPU):
        pass
