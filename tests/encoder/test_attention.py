"""Encoders of the BERT family read windows without padding. That they equal Hugging Face is tested in `parity`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_mtl.encoder.attention import encode_flat, reads_flat, runs
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.layers import checkpoint_layers
from spacy_mtl.types import MicroBatch

CPU = torch.device("cpu")
FLAT = {"bert", "minilm", "roberta", "xlm-roberta"}  # among our tiny families


def batch(*lengths: int) -> MicroBatch:
    ids = np.random.default_rng(len(lengths)).integers(5, 60, (len(lengths), max(lengths)))
    return MicroBatch(ids, np.array(lengths))


def load(folder: Path, **settings: str) -> Any:
    encoder = load_pretrained(str(folder), transformer_config=settings, tokenizer_config={})
    return encoder.model.eval()


def test_a_call_holds_as_many_micro_batches_as_the_budget_allows_in_order() -> None:
    batches = [batch(9), batch(4, 4), batch(3, 2), batch(2, 1, 1)]
    assert list(runs(batches, 10)) == [batches[:1], batches[1:2], batches[2:]]
    assert list(runs(batches, 1000)) == [batches]
    assert list(runs(batches, 1)) == [[one] for one in batches]
    assert list(runs([], 5)) == []


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "t5", "modernbert"])
def test_only_the_bert_family_is_read_flat(family: str, family_dir: Callable[[str], Path]) -> None:
    assert reads_flat(load(family_dir(family))) == (family in FLAT)


def test_other_attention_and_gradient_checkpoints_need_padding(
    family_dir: Callable[[str], Path],
) -> None:
    assert not reads_flat(load(family_dir("bert"), attn_implementation="eager"))
    model = load(family_dir("bert"))
    checkpoint_layers(model)
    assert not reads_flat(model)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("lengths", [[(7, 7), (3, 3)], [(9, 4, 1)], [(6,), (5, 4), (2, 2, 1)]])
def test_each_window_is_as_if_it_were_read_alone(
    lengths: list[tuple[int, ...]], every: bool, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("roberta"))
    batches = [batch(*group) for group in lengths]
    with torch.inference_mode():
        found = encode_flat(model, batches, CPU, every=every)
        start = 0
        for one in batches:
            for ids, length in zip(one.ids, one.lengths, strict=True):
                output = model(torch.from_numpy(ids[None, :length]), output_hidden_states=True)
                expected = output.hidden_states if every else [output.last_hidden_state]
                for mine, theirs in zip(found, expected, strict=True):
                    part = mine[start : start + length]
                    torch.testing.assert_close(part, theirs[0], atol=1e-5, rtol=1e-4)
                start += length
    assert all(len(layer) == start for layer in found)


def test_more_wordpieces_than_the_encoder_has_positions_fit_into_one_call(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert"))
    (found,) = encode_flat(model, [batch(*[100] * 5)], CPU, every=False)
    assert found.shape == (500, 32)  # it has 128
