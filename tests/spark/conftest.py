"""A trained tiny pipeline, texts that go wrong in every way, and a Spark session for those who have Java."""

import os
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import spacy
from spacy.language import Language

from spacy_mtl.spark.session import check_java

from ..pipeline.conftest import encoder_path
from ..pipeline.helpers import head, make_nlp, train

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["encoder_path"]

HEADS = ("tagger", "morphologizer", "trainable_lemmatizer", "parser", "ner", "textcat")
# The compiler that starts fast: tests end before the other one has paid for itself.
JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx2g"


if os.environ.get("SPACY_MTL_REQUIRE_SPARK"):  # where a test may not be skipped for want of these
    import pyarrow  # noqa: F401
    import pyspark  # noqa: F401


@pytest.fixture(scope="session")
def pipeline_path(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that writes every kind of annotation. Read it, never write to it."""
    heads = {name: head(name) for name in HEADS}
    heads["parser"]["min_action_freq"] = 1
    nlp = make_nlp(encoder_path, heads)
    train(nlp, 30)
    path = tmp_path_factory.mktemp("spark") / "pipeline"
    nlp.to_disk(path)
    return path


@pytest.fixture(scope="session")
def nlp(pipeline_path: Path) -> Language:
    """The same pipeline, loaded by spaCy alone."""
    return spacy.load(pipeline_path)


def why_not() -> str | None:
    """What a Spark session lacks on this machine. CI sets SPACY_MTL_REQUIRE_SPARK, so that nothing is skipped there."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed"
    try:
        check_java()
    except ValueError as error:
        return str(error)
    return None


def need_spark() -> None:
    reason = why_not()
    if reason and os.environ.get("SPACY_MTL_REQUIRE_SPARK"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def environment() -> dict[str, str]:
    """For a process of its own: the same, but Java starts fast."""
    return {**os.environ, "SPARK_LAUNCHER_OPTS": JVM, "SPARK_SUBMIT_OPTS": JVM}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """Two tasks at a time on this machine, each tried up to four times."""
    need_spark()
    from spacy_mtl.spark import local_session

    folder = tmp_path_factory.mktemp("spark_warehouse")
    before = os.environ.copy()
    os.environ.update(environment())
    session = local_session(
        2, retries=3, spark__sql__warehouse__dir=folder, spark__driver__memory="2g"
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    gateway: Any = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    process: subprocess.Popen[bytes] = gateway.proc
    assert process.stdin is not None
    process.stdin.close()  # Java ends with it
    process.wait()
    os.environ.clear()
    os.environ.update(before)
