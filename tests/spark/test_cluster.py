"""Executors in processes of their own, which get the pipeline sent along and GPUs from Spark's scheduler."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyspark")

from spacy_mtl.spark import LightAnnotator

from .conftest import environment, need_spark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CHILD = """
import json, os, sys
from pathlib import Path
from pyspark.sql import SparkSession
from spacy_mtl.spark import SpacyAnnotator
from spacy_mtl.spark.models import LocalPipeline

model, moved, settings, params = sys.argv[1:]
builder = SparkSession.builder.master("local-cluster[2,1,1024]")
spark = builder.config(map=json.loads(settings)).getOrCreate()
spark.sparkContext.setLogLevel("OFF")
frame = spark.range(8).selectExpr("id", "concat('Anna likes Riga ', id) AS text").repartition(4)
stage = SpacyAnnotator(inputCol="text", model=model, annotations=["token", "tag"], finish=True, **json.loads(params))
annotated = stage.transform(frame)
os.rename(model, moved)  # executors cannot read it where the driver did
try:
    print(json.dumps([row.asDict() for row in annotated.orderBy("id").collect()]))
    again = SpacyAnnotator(inputCol="text", model=moved, annotations=["token"], finish=True)
    print(again.transform(frame).count())
except Exception as error:
    print(json.dumps(str(error)))
spark.stop()
"""


def run(pipeline_path: Path, tmp_path: Path, *, params: Any = None, **settings: str) -> list[Any]:
    need_spark()
    import shutil

    shutil.copytree(pipeline_path, tmp_path / "model")
    values = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": "1g",
        "spark.sql.shuffle.partitions": "4",
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    arguments = [
        str(tmp_path / "model"),
        str(tmp_path / "moved"),
        json.dumps(values),
        json.dumps(params or {}),
    ]
    result = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=tmp_path, env={**environment(), "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=1000, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-5000:]
    return [json.loads(line) for line in result.stdout.splitlines() if line[:1] in '[{"0123456789']


def test_the_pipeline_is_sent_to_executors(pipeline_path: Path, tmp_path: Path) -> None:
    rows, count = run(pipeline_path, tmp_path)
    assert count == 8
    light = LightAnnotator(str(pipeline_path), ("token", "tag"), finish=True)
    assert rows == [
        {"id": i, "text": f"Anna likes Riga {i}", **light(f"Anna likes Riga {i}")} for i in range(8)
    ]


def test_a_gpu_comes_from_spark_s_scheduler(pipeline_path: Path, tmp_path: Path) -> None:
    import torch

    script = tmp_path / "gpus.sh"
    script.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["0"]}\'\n')
    script.chmod(0o755)
    found = run(
        pipeline_path, tmp_path, params={"gpu": True},
        spark__worker__resource__gpu__amount="1", spark__worker__resource__gpu__discoveryScript=str(script),
        spark__executor__resource__gpu__amount="1", spark__task__resource__gpu__amount="1",
    )  # fmt: skip
    if torch.cuda.is_available():
        assert len(found[0]) == 8
    else:  # the address came as far as the process, which has no GPU to go with it
        assert "Spark has given this task the GPU `0`, which cannot be used" in found[0]
