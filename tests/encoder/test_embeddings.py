"""The embedding table's gradient is made once a batch, and is the one that plain lookups make."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from spacy_mtl.encoder.embeddings import looked_up_once
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.types import MicroBatch

from ..families import FAMILIES

IDS = ([[5, 6, 7], [7, 8, 0]], [[6, 9]], [[9, 9, 5, 10]])


def load(path: Path) -> PreTrainedModel:
    return load_pretrained(str(path), transformer_config={}, tokenizer_config={}).model


def micro_batches() -> list[MicroBatch]:
    made = []
    for rows in IDS:
        ids = np.array(rows, dtype=np.int64)
        lengths = np.count_nonzero(ids, axis=1)
        made.append(MicroBatch(ids=ids, lengths=lengths))
    return made


def gradients(
    model: torch.nn.Module, *, once: bool
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    model.zero_grad()
    batches = micro_batches()
    torch.manual_seed(0)
    with looked_up_once(model, batches if once else []):  # type: ignore[arg-type]
        outputs = [
            model(
                input_ids=torch.from_numpy(b.ids),
                attention_mask=torch.from_numpy(b.ids != 0).long(),
            ).last_hidden_state
            for b in batches
        ]
    sum((o**2).sum() for o in outputs).backward()  # type: ignore[union-attr]
    return outputs, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_plain_lookups(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family)).train()
    plain, once = gradients(model, once=False), gradients(model, once=True)
    assert "forward" not in vars(model.get_input_embeddings())
    for expected, found in zip(plain, once, strict=True):
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_table_s_gradient_is_made_once(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert"))
    table = model.get_input_embeddings().weight
    made = []
    batches = micro_batches()
    with torch.profiler.profile() as profile:
        with looked_up_once(model, batches):
            out = sum(
                model(input_ids=torch.from_numpy(b.ids)).last_hidden_state.sum() for b in batches
            )
        out.backward()
    for event in profile.events():
        if event.name == "aten::embedding_dense_backward":
            made.append(event)
    assert table.grad is not None
    plain = 2 * len(batches)  # positions and types are looked up as ever
    assert len(made) == plain + len(batches) + 1


def test_frozen_embeddings_and_predictions_are_left_alone(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert"))
    table = model.get_input_embeddings()
    with torch.no_grad(), looked_up_once(model, micro_batches()):
        assert "forward" not in vars(table)
    table.weight.requires_grad_(False)
    with looked_up_once(model, micro_batches()):
        assert "forward" not in vars(table)
