"""A pipeline is sent to an application's executors once. No Java."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spacy

pytest.importorskip("pyspark")

from spacy_mtl.spark.models import LocalPipeline
from spacy_mtl.spark.shipping import ship


class Context:
    """As much of a SparkContext as sending needs. Like Spark's, it refuses another path for a known name."""

    master = "yarn"

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.applicationId = name
        self.paths: list[Path] = []
        self.broken = broken

    def addArchive(self, uri: str) -> None:  # noqa: N802
        self.paths.append(Path(uri.removeprefix("file://").split("#")[0]))
        if self.broken or len(self.paths) > 1:
            raise ValueError("already registered with a different path")
        time.sleep(0.05)


@pytest.fixture
def pipeline(tmp_path: Path) -> LocalPipeline:
    spacy.blank("en").to_disk(tmp_path / "pipeline")
    return LocalPipeline("p", tmp_path / "pipeline")


def test_threads_send_a_pipeline_once(pipeline: LocalPipeline) -> None:
    context: Any = Context("threads")
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda _: ship(pipeline, context), range(4)))
    assert len(names) == len(context.paths) == 1
    assert context.paths[0].is_file()


def test_what_could_not_be_sent_is_removed(pipeline: LocalPipeline) -> None:
    context: Any = Context("broken", broken=True)
    with pytest.raises(ValueError, match="already registered"):
        ship(pipeline, context)
    assert not context.paths[0].parent.exists()


def test_what_was_sent_is_removed_at_exit(pipeline: LocalPipeline) -> None:
    code = """
import sys
from pathlib import Path
from tests.spark.test_shipping import Context, LocalPipeline, ship
context = Context("exit")
ship(LocalPipeline("p", Path(sys.argv[1])), context)
print(context.paths[0], context.paths[0].is_file())
"""
    command = [sys.executable, "-c", code, str(pipeline.folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    path, existed = result.stdout.split()
    assert existed == "True"
    assert not Path(path).parent.exists()
