"""One tiny encoder for all tests of the glue."""

from pathlib import Path

import pytest

from ..families import NO_DROPOUT, make_encoder


@pytest.fixture(scope="session")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of width 32 and two layers; its config switches dropout off."""
    path = tmp_path_factory.mktemp("encoders") / "bert"
    return make_encoder("bert", path, **NO_DROPOUT["bert"])
