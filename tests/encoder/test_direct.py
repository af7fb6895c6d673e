"""Prediction without the modules' own code gives what the modules give. Padding and company: test_attention, parity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spacy_mtl.encoder import direct, packed
from spacy_mtl.encoder.attention import encode_flat, reads_flat
from spacy_mtl.encoder.direct import DirectEncoder
from spacy_mtl.types import MicroBatch

from ..families import FAMILIES
from .test_attention import CPU, FLAT, batch, load


def both(model: Any, batches: list[MicroBatch], *, every: bool = True) -> tuple[Any, Any]:
    """Layers without the modules' code, and with it."""
    with torch.inference_mode():
        direct_encoder = DirectEncoder.of(model)
        assert direct_encoder is not None
        mine = direct_encoder(model, batches, CPU, every=every)
        return mine, encode_flat(model, batches, CPU, every=every)


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_list_of_families_is_whole(family_dir: Callable[[str], Path]) -> None:
    found = {name for name in FAMILIES if reads_flat(load(family_dir(name)))}
    assert found - {"electra"} == FLAT  # which has fused attention in transformers 5 only


@pytest.mark.parametrize("family", sorted(FLAT))
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("lengths", [[(7,)], [(7, 7), (3, 3)], [(60, 60, 60, 60), (50, 41, 2)]])
def test_the_numbers_are_those_of_the_modules(
    family: str, every: bool, lengths: list[Any], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family))
    assert_same(*both(model, [batch(*group) for group in lengths], every=every))


def test_electra_may_have_narrower_embeddings() -> None:
    """transformers 4 gives it no attention that could be read flat, so the module reads a row of windows."""
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=100, embedding_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model: Any = ElectraModel(config).eval()
    rows = batch(9, 9)
    with torch.inference_mode():
        direct_encoder = DirectEncoder.of(model)
        assert direct_encoder is not None
        mine = direct_encoder(model, [rows], CPU, every=True)
        theirs = model(torch.from_numpy(rows.ids), output_hidden_states=True).hidden_states
    assert_same(mine, [layer.flatten(0, 1) for layer in theirs])


@pytest.mark.parametrize("act", ["relu", "gelu_new", "silu"])
def test_other_activations(act: str) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        hidden_act=act,
    )
    assert_same(*both(BertModel(config).eval(), [batch(9, 4)]))


def test_bf16_by_autocast(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert"))
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = both(model, [batch(9, 4)])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=0.03, rtol=0.03)


class Adapted(nn.Linear):
    """What a library for adapters puts in the place of a linear layer."""


def adapt(model: Any) -> None:
    model.encoder.layer[0].attention.self.query = Adapted(32, 32)


def hook(model: Any) -> None:
    model.encoder.layer[1].output.register_forward_hook(lambda *_: None)


def hook_before(model: Any) -> None:
    model.embeddings.LayerNorm.register_forward_pre_hook(lambda *_: None)


def replace_forward(model: Any) -> None:
    model.encoder.layer[0].intermediate.forward = lambda X: X


def subclass(model: Any) -> None:
    attention = model.encoder.layer[0].attention.self
    attention.__class__ = type("Mine", (type(attention),), {"__module__": "mine"})


def train(model: Any) -> None:
    model.train()


CHANGES = [adapt, hook, hook_before, replace_forward, subclass, train]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_hugging_face_s_own_is_left_to_the_modules(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("bert"))
    change(model)
    with torch.inference_mode():
        assert DirectEncoder.of(model) is None


def test_a_backward_pass_needs_the_modules(family_dir: Callable[[str], Path]) -> None:
    assert DirectEncoder.of(load(family_dir("bert"))) is None


# -------------------------------------------------------------------------------------- packed weights


def products(layer: nn.Linear, X: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        (found,) = packed.products([layer], X)
        return found


@pytest.fixture
def layer() -> nn.Linear:
    if not packed._is_there():
        pytest.skip("this torch has no oneDNN")
    return nn.Linear(12, 20)


@pytest.mark.parametrize("rows", [0, 1, 3, 64, 300])
def test_packed_products_are_plain_ones(rows: int, layer: nn.Linear) -> None:
    X = torch.randn(rows, 12)
    torch.testing.assert_close(products(layer, X), layer(X).detach(), atol=1e-6, rtol=1e-5)


def test_layers_with_one_input_are_computed_together(layer: nn.Linear) -> None:
    layers = [layer, nn.Linear(12, 4), nn.Linear(12, 8)]
    X = torch.randn(5, 12)
    with torch.inference_mode():
        found = packed.products(layers, X)
    for one, part in zip(found, layers, strict=True):
        torch.testing.assert_close(one, part(X).detach(), atol=1e-6, rtol=1e-5)


def write_in_place(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight.mul_(2.0)


def write_bias(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.bias.add_(1.0)


def put_other_values(layer: nn.Linear) -> None:
    layer.weight.data = torch.randn(20, 12)


def write_behind_torch(layer: nn.Linear) -> None:
    array = layer.weight.detach().numpy()
    array *= 3.0
    packed.forget(nn.Sequential(layer))


@pytest.mark.parametrize(
    "write", [write_in_place, write_bias, put_other_values, write_behind_torch]
)
def test_a_copy_is_made_anew_when_the_weights_change(
    write: Callable[[nn.Linear], None], layer: nn.Linear
) -> None:
    X = torch.randn(5, 12)
    products(layer, X)
    write(layer)
    torch.testing.assert_close(products(layer, X), layer(X).detach(), atol=1e-6, rtol=1e-5)


def test_what_cannot_be_packed(monkeypatch: pytest.MonkeyPatch, layer: nn.Linear) -> None:
    assert packed.can_pack([layer])
    assert not packed.can_pack([layer, nn.Linear(3, 3, bias=False)])
    assert not packed.can_pack([nn.Linear(3, 3).double()])
    with torch.autocast("cpu", torch.bfloat16):
        assert not packed.can_pack([layer])
    monkeypatch.setattr(packed, "MOST_BYTES", 20 * 12 * 4)
    assert packed.can_pack([layer])
    assert not packed.can_pack([layer, layer])


def test_only_calls_with_few_rows_are_packed(
    monkeypatch: pytest.MonkeyPatch, family_dir: Callable[[str], Path]
) -> None:
    rows: list[int] = []
    plain = packed.products
    monkeypatch.setattr(
        direct.packed, "products", lambda parts, X: rows.append(len(X)) or plain(parts, X)
    )
    if not packed._is_there():
        pytest.skip("this torch has no oneDNN")
    model = load(family_dir("bert"))
    both(model, [batch(*[100] * 3)])
    assert rows == []
    both(model, [batch(9, 4)])
    assert set(rows) == {13}
