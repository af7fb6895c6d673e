"""Two states of the random generators: one that all ranks share, and one of each rank's own for dropout."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from thinc.api import get_current_ops

State = dict[str, Any]  # plain values, so that it survives JSON


def shared_state() -> State:
    """Where Python's, numpy's and torch's generators for the processor stand."""
    version, words, gauss = random.getstate()
    return {"python": [version, list(words), gauss], **_own_state()}


def set_shared_state(state: State) -> None:
    """Go on from `shared_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    _set_own_state(state)


@contextmanager
def kept() -> Iterator[None]:
    """Around what one rank does and the others do not: whatever it draws, the common generators stay where they are."""
    state = shared_state()
    try:
        yield
    finally:
        set_shared_state(state)


class OwnRandomness:
    """The generators that a rank draws its dropout from, those of numpy and torch.

    Python's generator is not among them: the order of the corpus and the cuts of long documents come from it, and have
    to be the same everywhere. Generators of a GPU serve dropout only. CuPy's cannot be saved, so they are seeded anew
    at each checkpoint, where a training that is resumed begins with the same numbers.

    seed: the same on all ranks.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self.seed, self.rank = seed % 2**32, rank
        entropy = np.random.SeedSequence([self.seed, rank]).generate_state(4)
        shared = _own_state()
        np.random.seed(entropy[:2])
        torch.random.default_generator.manual_seed(int(entropy[2]))
        self.state = _own_state()
        _set_own_state(shared)
        self._seed_device(int(entropy[3]))

    def begin_after(self, step: int) -> None:
        """Seed the generators of a GPU at the checkpoint after a step."""
        entropy = np.random.SeedSequence([self.seed, self.rank, step + 1]).generate_state(1)
        self._seed_device(int(entropy[0]))

    def _seed_device(self, seed: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.manual_seed(seed)
            xp = get_current_ops().xp
            if xp is not np:
                xp.random.seed(seed)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside, random numbers are this rank's own."""
        shared = _own_state()
        _set_own_state(self.state)
        try:
            yield
        finally:
            self.state = _own_state()
            _set_own_state(shared)


def _own_state() -> State:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    numpy = [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)]
    return {
        "numpy": numpy,
        "torch": torch.random.default_generator.get_state().numpy().tobytes().hex(),
    }


def _set_own_state(state: State) -> None:
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype="uint32"), position, has_gauss, gauss))
    held = torch.frombuffer(bytearray.fromhex(state["torch"]), dtype=torch.uint8)
    torch.random.default_generator.set_state(held)
