"""The embedding table's gradient is made once a batch, and is the one that plain lookups make."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from spacy_mtl.encoder.embeddings import looked_up_once
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.spare import SpareGradients
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
    with looked_up_once(model, batches if once else [], SpareGradients()):  # type: ignore[arg-type]
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
    with torch.profiler.profile(acc_events=True) as profile:
        with looked_up_once(model, batches, SpareGradients()):
            out = sum(
                model(input_ids=torch.from_numpy(b.ids)).last_hidden_state.sum() for b in batches
            )
        out.backward()
    for event in profile.events():
        if event.name == "aten::embedding_dense_backward":
            made.append(event)
    assert table.grad is not None
    plain = 2 * len(batches)  # positions and types are looked up as ever
    assert len(made) == plain + len(batches)  # those into the rows; the table's is none of torch's


def test_frozen_embeddings_and_predictions_are_left_alone(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert"))
    table = model.get_input_embeddings()
    with torch.no_grad(), looked_up_once(model, micro_batches(), SpareGradients()):
        assert "forward" not in vars(table)
    table.weight.requires_grad_(False)
    with looked_up_once(model, micro_batches(), SpareGradients()):
        assert "forward" not in vars(table)


def backward(model: PreTrainedModel, batch: MicroBatch, spare: SpareGradients) -> torch.Tensor:
    """The table's gradient for one micro-batch alone."""
    with looked_up_once(model, [batch], spare):
        out = model(input_ids=torch.from_numpy(batch.ids)).last_hidden_state
    (out**2).sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert isinstance(gradient, torch.Tensor)
    return gradient


def test_the_gradient_is_written_where_the_last_one_was(family_dir: Callable[[str], Path]) -> None:
    """With nothing of the last one left."""
    model, spare = load(family_dir("bert")).eval(), SpareGradients()
    first, _, last = micro_batches()
    expected = backward(model, last, SpareGradients()).clone()
    model.zero_grad()
    place, unlike = _place_and_rows(backward(model, first, spare))
    assert 8 in unlike  # a wordpiece that the last micro-batch does not have
    spare.keep()
    model.zero_grad()
    found = backward(model, last, spare)
    assert found.data_ptr() == place
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def _place_and_rows(gradient: torch.Tensor) -> tuple[int, list[int]]:
    """Where it is, and its rows that are not zero. Of a tensor that is held, autograd would make a copy."""
    return gradient.data_ptr(), gradient.any(dim=1).nonzero()[:, 0].tolist()


def test_gradients_of_two_batches_add_up_beside_a_spare_one(
    family_dir: Callable[[str], Path],
) -> None:
    model, spare = load(family_dir("bert")).eval(), SpareGradients()
    first, _, last = micro_batches()
    parts = []
    for batch in (first, last):
        model.zero_grad()
        parts.append(backward(model, batch, SpareGradients()).clone())
    spare.keep()
    model.zero_grad()
    for batch in (first, last):
        summed = backward(model, batch, spare)
    torch.testing.assert_close(summed, sum(parts))
