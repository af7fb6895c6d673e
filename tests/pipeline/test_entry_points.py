"""What spaCy finds through entry points: light to import, and never in the way of other pipelines."""

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest
import spacy
from spacy.language import Language

ROOT = Path(__file__).parents[2]
OURS = sorted(distribution("spacy-mtl").entry_points, key=lambda e: (e.group, e.name))
IDS = [f"{entry.group}: {entry.name}" for entry in OURS]

# Only our entry points: those of other packages, such as spacy-transformers, may need torch.
ONLY_OURS = """
import importlib.metadata
ours = importlib.metadata.distribution("spacy-mtl").entry_points
importlib.metadata.entry_points = lambda **params: ours.select(**params)
"""
NO_TORCH = "import sys; sys.modules['torch'] = None\n"


def run(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("entry", OURS, ids=IDS)
def test_a_registered_name_resolves_to_something_with_a_docstring(entry: EntryPoint) -> None:
    assert (entry.load().__doc__ or "").strip()


@pytest.mark.parametrize("entry", OURS, ids=IDS)
def test_spacy_finds_a_registered_name_in_its_registry(entry: EntryPoint) -> None:
    registry = entry.group.removeprefix("spacy_").removeprefix("thinc_")
    if registry == "factories":
        assert Language.has_factory(entry.name)
    elif registry != "cli":
        assert spacy.registry.has(registry, entry.name)


def test_the_installed_entry_points_are_those_of_setup_py() -> None:
    written = re.findall(r'"([\w.]+) = ([\w.]+:\w+)"', (ROOT / "setup.py").read_text("utf8"))
    assert sorted(written) == sorted((entry.name, entry.value) for entry in OURS)


def test_every_registered_function_that_a_config_names_has_a_version() -> None:
    named = [e.name for e in OURS if e.group not in ("spacy_factories", "spacy_cli")]
    assert named
    assert [name for name in named if not re.fullmatch(r"spacy_mtl\.\w+\.v\d+", name)] == []


def test_importing_the_package_imports_neither_torch_nor_spacy() -> None:
    code = "import spacy_mtl, sys; print(*{'torch', 'spacy', 'thinc', 'transformers'} & set(sys.modules))"
    assert run(code) == ""


def test_an_empty_pipeline_is_made_without_torch() -> None:
    code = "import spacy\nnlp = spacy.blank('en')\nprint(nlp.has_factory('shared_transformer'), len(nlp('a b')))"
    assert run(NO_TORCH + ONLY_OURS + code) == "True 2"


def test_our_entry_points_load_without_torch_and_without_transformers() -> None:
    code = (
        "from importlib.metadata import distribution\n"
        "sys.modules['transformers'] = None\n"
        "for e in distribution('spacy-mtl').entry_points: e.load()\n"
        "print('transformers' in sys.modules and sys.modules['transformers'] is not None)"
    )
    assert run(NO_TORCH + code) == "False"


def test_making_an_empty_pipeline_does_not_import_transformers_for_us() -> None:
    code = "import spacy, sys\nspacy.blank('en')\nprint('transformers' in sys.modules)"
    assert run(ONLY_OURS + code) == "False"
