"""What the project's configs have in common."""

from pathlib import Path

import pytest
from spacy.util import load_config, registry

CONFIGS = sorted((Path(__file__).parents[2] / "project" / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_optimizer_can_be_made_of_its_own_block(path: Path) -> None:
    """As `nlp.resume_training`, `nlp.update` and spaCy's `debug` commands do, which do not interpolate it."""
    config = load_config(path, interpolate=False)
    optimizer = registry.resolve({"optimizer": config["training"]["optimizer"]})["optimizer"]
    assert optimizer.learn_rate == 0.0  # of the first step of the warm-up
    rate = config["training"]["optimizer"]["learn_rate"]
    assert rate["total_steps"] == config["training"]["max_steps"]
    encoder = config.interpolate()["components"]["shared_transformer"]["optimizer"]["learn_rate"]
    assert encoder["total_steps"] == config["training"]["max_steps"]
