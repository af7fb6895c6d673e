"""Many rows of every kind, on several partitions, also when a worker dies."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import spacy

pytest.importorskip("pyspark")

from spacy_mtl.spark import SpacyAnnotator
from spacy_mtl.spark.annotations import KINDS

from .texts import LONG, make_texts, oracle, simplified

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROWS, PARTITIONS = 20_000, 8
KILLED = 8000  # rows of the job in which a worker is killed


@pytest.fixture(scope="module")
def texts() -> list[str | None]:
    texts = make_texts(ROWS, seed=5, long=LONG)
    assert max(len(text or "") for text in texts) == LONG
    return texts


def partitioned(spark: "SparkSession", texts: list[str | None]) -> Any:
    """The texts in partitions, each a run of ids."""
    rows = spark.sparkContext.parallelize(list(enumerate(texts)), PARTITIONS)
    return spark.createDataFrame(rows, "id long, text string")


def workers(spark: "SparkSession") -> list[int]:
    """Processes that Spark's daemons have forked for tasks."""
    gateway: Any = spark.sparkContext._gateway
    parents, daemons = {}, set()
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if b"pyspark.daemon" in (entry / "cmdline").read_bytes():
                daemons.add(pid)
        except (ValueError, OSError):
            continue
    own = {pid for pid in daemons if parents[pid] == gateway.proc.pid}
    return [pid for pid in daemons if parents[pid] in own]


def test_every_row_is_what_the_pipeline_says(
    spark: "SparkSession", pipeline_path: Path, texts: list[str | None], tmp_path: Path
) -> None:
    frame = partitioned(spark, texts)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), annotations=list(KINDS))
    result = stage.transform(frame).withColumn("partition", spark_partition())
    result.write.parquet(str(tmp_path / "annotated"))
    table = spark.read.parquet(str(tmp_path / "annotated")).toArrow()
    order = [table["partition"].to_pylist(), table["id"].to_pylist()]
    assert len(set(order[0])) == PARTITIONS
    for partition in set(order[0]):  # in each partition the rows are as they were
        ids = [i for p, i in zip(*order, strict=True) if p == partition]
        assert ids == sorted(ids)
    rows = {row["id"]: row for row in table.to_pylist()}
    assert table.num_rows == len(rows) == ROWS
    docs = iter(spacy.load(pipeline_path).pipe([text for text in texts if text]))
    checked = 0
    for i, text in enumerate(texts):
        row = rows[i]
        assert row["text"] == text
        if not text:
            assert row["token"] == (None if text is None else [])
            assert row["annotation_error"]
            continue
        doc = next(docs)
        assert row["annotation_error"] is None
        for kind, expected in oracle(doc).items():
            assert simplified(kind, row[kind]) == expected, (kind, i)
        vectors = [a["embeddings"] for a in row["embeddings"]]
        np.testing.assert_allclose(vectors, doc.tensor, atol=1e-4)
        scores = dict(row["category"][0]["metadata"])
        assert {label: float(scores[label]) for label in doc.cats} == pytest.approx(
            doc.cats, abs=1e-4
        )
        checked += len(doc)
    print(f"{ROWS} rows, {checked} tokens, all the same")


def spark_partition() -> Any:
    from pyspark.sql.functions import spark_partition_id

    return spark_partition_id()


def test_a_killed_worker_costs_no_row(
    spark: "SparkSession", pipeline_path: Path, texts: list[str | None]
) -> None:
    frame = partitioned(spark, texts[:KILLED])
    stage = SpacyAnnotator(
        inputCol="text",
        model=str(pipeline_path),
        annotations=["token", "tag", "entity"],
        finish=True,
    )
    annotated = stage.transform(frame)
    expected = annotated.collect()
    found: list[Any] = []

    def collect() -> None:
        spark.sparkContext.setJobGroup("killed", "a worker is killed")
        found.extend(annotated.collect())

    thread = threading.Thread(target=collect)
    thread.start()
    killed = kill_in_the_middle(spark, thread)
    thread.join(timeout=900)
    assert not thread.is_alive()
    assert not Path(f"/proc/{killed}").exists()
    tracker = spark.sparkContext.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup("killed")]
    stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
    failed = sum(stage.numFailedTasks for stage in stages if stage)
    print(f"{failed} task failed and was tried again, {len(found)} rows the same")
    assert failed >= 1
    assert found == expected
    assert [row.text for row in expected] == texts[:KILLED]


def kill_in_the_middle(spark: "SparkSession", thread: threading.Thread) -> int:
    """Kill the worker that computes most, when some task has ended and several have not. Returns its id."""
    tracker = spark.sparkContext.statusTracker()
    while thread.is_alive():
        before = {pid: cpu_time(pid) for pid in workers(spark)}
        time.sleep(0.1)
        spent = {pid: cpu_time(pid) - start for pid, start in before.items()}
        for stage in tracker.getActiveStageIds():
            info = tracker.getStageInfo(stage)
            if info and 1 <= info.numCompletedTasks <= PARTITIONS - 4 and any(spent.values()):
                busiest = max(spent, key=lambda pid: spent[pid])
                os.kill(busiest, signal.SIGKILL)
                print(f"killed after {info.numCompletedTasks} of {info.numTasks} tasks")
                return busiest
    raise AssertionError("the job ended before a worker could be killed")


def cpu_time(pid: int) -> int:
    """Of a process so far, in ticks; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
