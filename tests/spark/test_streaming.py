"""Structured Streaming: each file of a folder is annotated as it comes."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pyspark")

from spacy_mtl.spark import SpacyAnnotator

from .texts import make_texts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.slow
def test_a_stream_gives_what_a_batch_gives(
    spark: "SparkSession", pipeline_path: Path, tmp_path: Path
) -> None:
    texts = make_texts(90, seed=8)
    schema = "id long, text string"
    frame = spark.createDataFrame(list(enumerate(texts)), schema)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), finish=True)
    source, target = str(tmp_path / "texts"), str(tmp_path / "annotated")

    def run() -> int:
        """Annotate what has come since the last time. Returns the number of micro-batches."""
        stream = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(source)
        query = (
            stage.transform(stream)
            .writeStream.option("checkpointLocation", str(tmp_path / "checkpoint"))
            .trigger(availableNow=True)
            .start(target)
        )
        assert query.awaitTermination(600)
        assert query.exception() is None
        return sum(progress["numInputRows"] > 0 for progress in query.recentProgress)

    for part in range(2):
        frame.where(f"id % 3 == {part}").coalesce(1).write.mode("append").parquet(source)
    assert run() == 2
    frame.where("id % 3 == 2").coalesce(1).write.mode("append").parquet(source)
    assert run() == 1
    streamed = spark.read.parquet(target).orderBy("id").drop("category_score").collect()
    light = stage.light()(texts)
    assert [row.asDict() for row in streamed] == [
        {"id": i, "text": text, **{k: v for k, v in row.items() if k != "category_score"}}
        for i, (text, row) in enumerate(zip(texts, light, strict=True))
    ]
