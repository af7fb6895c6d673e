"""What is missing is said in one sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spacy_mtl.errors import MissingSparkError, SparkError
from spacy_mtl.spark import session

WITHOUT = """
import sys
from importlib import util

find = util.find_spec
util.find_spec = lambda name, package=None: None if name == "pyspark" else find(name, package)
sys.modules["pyspark"] = None
from spacy_mtl.spark import LightAnnotator
try:
    from spacy_mtl.spark import SpacyAnnotator
except ImportError as error:
    print(error)
"""


def sentence(package: str) -> str:
    return (
        f"`spacy_mtl.spark` needs the package `{package}`, which is not installed: "
        '`pip install "spacy-mtl[spark]"`.'
    )


@pytest.mark.slow
def test_without_pyspark_light_works_and_the_stage_names_the_extra() -> None:
    command = [sys.executable, "-c", WITHOUT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == sentence("pyspark"), result.stderr


@pytest.mark.parametrize("package", ["pyspark", "pyarrow", "pandas"])
def test_each_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(MissingSparkError) as error:
        session.check_packages()
    assert str(error.value) == sentence(package)


@pytest.mark.parametrize("version", ["3.5.6", "5.0.0"])
def test_a_version_of_pyspark_that_does_not_fit(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyspark: Any = pytest.importorskip("pyspark")
    monkeypatch.setattr(pyspark, "__version__", version)
    with pytest.raises(MissingSparkError) as error:
        session.check_packages()
    assert str(error.value) == (
        f"`spacy_mtl.spark` works with pyspark 4.0 and newer, below 5.0, and `{version}` is installed. Install the "
        'version of your cluster, if it is one of these, or `pip install "spacy-mtl[spark]"`.'
    )


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SparkError) as error:
        session.check_java()
    assert str(error.value) == (
        "Spark runs on Java 17 or newer, and `java` does not run. Install it (`apt-get install "
        "openjdk-17-jre-headless`), or set `JAVA_HOME` to the folder that holds it."
    )


@pytest.mark.parametrize(
    ("said", "version"), [('openjdk version "11.0.2"', 11), ('java version "1.8.0_312"', 8)]
)
def test_an_old_java(
    said: str, version: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(tmp_path, f"echo '{said}' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    command = tmp_path / "bin" / "java"
    with pytest.raises(SparkError) as error:
        session.check_java()
    assert str(error.value) == (
        f"Spark runs on Java 17 or newer, and `{command}` is Java {version}. Install a newer one, and set `JAVA_HOME` "
        "to its folder."
    )


def test_a_java_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path, "exit 1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkError, match="does not run"):
        session.check_java()


@pytest.mark.parametrize("version", ["17.0.15", "21", "25.0.1"])
def test_a_java_that_fits(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path, f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    session.check_java()


def fake_java(home: Path, script: str) -> None:
    path = home / "bin" / "java"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o755)
