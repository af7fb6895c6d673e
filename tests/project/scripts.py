"""The project's scripts as modules, its commands, and where the real corpora may be."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, DocBin
from typer import Typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "project"
SCRIPTS = PROJECT / "scripts"
DATA = Path(os.environ.get("SPACY_MTL_DATA", ROOT.parent / "shared" / "data"))
LAYERS = ("TAG", "POS", "MORPH", "LEMMA", "DEP", "SENT_START", "ENT_IOB")


def load(name: str) -> ModuleType:
    """A script as a module; the same one for each caller."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


convert = load("convert")
fetch = load("fetch")


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where the corpus is absent; an environment variable names the folder above it."""
    folder = DATA / name
    reason = f"{name} is not in {folder}; SPACY_MTL_DATA names the folder above it"
    return pytest.mark.skipif(not folder.is_dir(), reason=reason)


def run(*arguments: object) -> Any:
    """The result of `convert.py`."""
    return CliRunner().invoke(convert.app, [str(argument) for argument in arguments])


def run_fetch(*arguments: object) -> Any:
    """The result of `fetch.py`."""
    app = Typer()
    app.command()(fetch.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def converted(*arguments: object) -> list[Doc]:
    """Documents as a training run reads them; the second path is the output."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return list(DocBin().from_disk(str(arguments[2])).get_docs(spacy.blank("en").vocab))


def layers(docs: list[Doc]) -> set[str]:
    """Annotations that at least one token of at least one document has."""
    return {layer for layer in LAYERS for doc in docs if doc.has_annotation(layer)}
