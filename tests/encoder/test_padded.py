"""Micro-batches that are read padded may be filled up to a shape that has been compiled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_mtl.encoder import transformer
from spacy_mtl.encoder.packed import compiled_shape
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.types import EncoderInput, MicroBatch

from .test_attention import CPU, batch, load

PADDED = {
    "distilbert": {},
    "deberta-v3": {},
    "modernbert": {},
    "t5": {},
    "roberta": {"attn_implementation": "eager"},
}


def inputs(*batches: MicroBatch) -> EncoderInput:
    """Each place of the padded micro-batches is a token."""
    n = sum(one.ids.size for one in batches)
    ones = np.ones(n, dtype=np.int64)
    return EncoderInput(list(batches), np.arange(n), ones, np.array([n]), budget=1000)


def encode(
    model: Any, given: EncoderInput, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    layers = encode_layers(model, given, pooling="mean", dtype=dtype, every=True)
    inside = [
        np.arange(one.ids.shape[1])[None, :] < one.lengths[:, None] for one in given.micro_batches
    ]
    kept = torch.from_numpy(np.concatenate([part.ravel() for part in inside]))
    return [layer[kept] for layer in layers]


@pytest.mark.parametrize("family", PADDED)
def test_what_is_filled_up_changes_neither_values_nor_gradients(
    family: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(family_dir(family), **PADDED[family])
    given = inputs(batch(9, 4, 1), batch(7, 7), batch(1))
    seen = []
    for rows, columns in ((0, 0), (0, 5), (2, 0), (3, 1)):
        monkeypatch.setattr(
            transformer,
            "compiled_shape",
            lambda n, longest, device, rows=rows, columns=columns: (n + rows, longest + columns),
        )
        layers = encode(model, given)
        assert {len(layer) for layer in layers} == {29}
        weights = torch.randn(layers[0].shape, generator=torch.Generator().manual_seed(0))
        model.zero_grad()
        sum((layer * weights).sum() for layer in layers).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        seen.append([layer.detach() for layer in layers] + gradients)
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_no_longer_than_the_encoder_has_positions(
    family: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(family_dir(family), **PADDED[family])
    most = transformer.max_positions(model)
    assert most == 128
    monkeypatch.setattr(transformer, "compiled_shape", lambda n, longest, device: (n, most + 1))
    layers = encode(model, inputs(batch(most, 3)))
    assert len(layers[-1]) == most + 3


def test_shapes_are_few_in_low_precision_only() -> None:
    assert compiled_shape(9, 17, CPU) == (9, 17)
    with torch.autocast("cpu", torch.bfloat16):
        assert [compiled_shape(n, 17, CPU) for n in (1, 16, 17, 20)] == [
            *((1, 24), (16, 24), (20, 24), (20, 24)),
        ]
        assert [compiled_shape(3, n, CPU)[1] for n in (16, 64, 65)] == [16, 64, 80]
        assert compiled_shape(17, 17, torch.device("cuda")) == (17, 17)


def test_lengths_stay_where_padding_might_be_seen(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("distilbert"))
    one = batch(9, 4)
    assert transformer._fill(one, (3, 16), model)[0].shape == (3, 16)
    model.config.model_type = "convbert"
    ids, lengths = transformer._fill(one, (3, 16), model)
    assert ids.shape == (3, 9)
    assert lengths.tolist() == [9, 4, 4]


@pytest.mark.parametrize("padding", [None, -1, 10_000])
def test_an_id_for_padding_that_the_table_does_not_have_is_not_looked_up(
    padding: int | None, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("distilbert"))
    model.config.pad_token_id = padding
    encode(model, inputs(batch(9, 9)), torch.bfloat16)[-1].sum().backward()
