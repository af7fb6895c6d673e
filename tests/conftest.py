"""What all rooms of the tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from .families import make_encoder

settings.register_profile("no deadline", deadline=None)  # machines in CI are slow and busy
settings.load_profile("no deadline")

torch.set_num_threads(1)  # the tests' encoders are tiny, and several processes run tests at once


@pytest.fixture(scope="session")
def family_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`family_dir("bert")`: the folder of a tiny random encoder. Read it, never write to it."""
    root = tmp_path_factory.mktemp("families")

    def get(family: str) -> Path:
        path = root / family
        return path if path.is_dir() else make_encoder(family, path)

    return get
