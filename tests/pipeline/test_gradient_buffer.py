"""Gradients of some documents of a batch, added up in few operations where each costs a launch."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacy_mtl.pipeline import gradient_buffer
from spacy_mtl.pipeline.gradient_buffer import GradientBuffer

STARTS = [0, 3, 3, 7, 12]


@pytest.mark.parametrize(
    "docs", [[0, 1, 2, 3], [3, 0], [2], [1], [], [2, 2, 0]], ids=lambda docs: f"{docs}"
)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_gpu_adds_what_a_processor_adds(
    docs: list[int], factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    found = {}
    for name, xp in (("processor", np), ("gpu", SimpleNamespace(**vars(np)))):
        monkeypatch.setattr(gradient_buffer, "get_array_module", lambda array, xp=xp: xp)
        buffer = GradientBuffer(STARTS, 2)
        rng = np.random.default_rng(0)
        buffer.add("a", [rng.normal(size=(4, 2)).astype("f")], [2], 1.0)
        gradients = [
            rng.normal(size=(STARTS[doc + 1] - STARTS[doc], 2)).astype("f") for doc in docs
        ]
        buffer.add("a", gradients, docs, factor)
        found[name] = buffer.slots["a"]
    assert found["gpu"].dtype == np.float32
    np.testing.assert_array_equal(found["gpu"], found["processor"])
