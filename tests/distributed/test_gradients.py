"""The sum of all ranks' gradients."""

from pathlib import Path

import pytest
import torch

from spacy_mtl.distributed import gradients
from spacy_mtl.distributed.gradients import TorchParameter, sum_gradients
from spacy_mtl.distributed.launch import joined

from .helpers import Ranks


def parameter(name: str, *shape: int) -> TorchParameter:
    return TorchParameter(name, (0, name), torch.nn.Parameter(torch.zeros(*shape)))


def test_a_rank_without_a_gradient_contributes_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a long table, of which only rows travel."""
    monkeypatch.setattr(gradients, "LONG", 6)

    def run(rank: int) -> None:
        table, on_one, on_none = parameter("a", 9, 2), parameter("b", 3), parameter("c", 3)
        table.gradient()[2 * rank : 2 * rank + 3] = 1.0 + rank
        if rank == 1:
            on_one.gradient()[:] = 5.0
        with joined() as group:
            sum_gradients([table, on_one, on_none], group)
        assert table.gradient()[:, 1].tolist() == [1, 1, 3, 2, 2, 0, 0, 0, 0]
        assert on_one.gradient().tolist() == [5, 5, 5]
        assert not on_none.has_gradient

    Ranks(run, tmp_path).finish()
