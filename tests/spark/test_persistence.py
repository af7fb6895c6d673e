"""A saved stage works without the original pipeline, elsewhere, in another process; a damaged one is refused."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pyspark")

from pyspark.ml import Pipeline, PipelineModel

from spacy_mtl.errors import CheckpointError
from spacy_mtl.spark import LightAnnotator, SpacyAnnotator
from spacy_mtl.spark.models import read_manifest

from .conftest import environment
from .texts import make_texts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CHILD = """
import json, sys
from pyspark.ml import PipelineModel
from spacy_mtl.spark import local_session

spark = local_session(1)
model = PipelineModel.load(sys.argv[1])
rows = model.transform(spark.read.parquet(sys.argv[2]).coalesce(1)).orderBy("id").collect()
print(json.dumps([model.stages[0].getModel(), [row.asDict(recursive=True) for row in rows]]))
spark.stop()
"""


def make_stage(path: Path) -> SpacyAnnotator:
    return SpacyAnnotator(
        inputCol="text", model=str(path), annotations=["token", "tag", "entity"], outputCols=["t", "g", "e"],
        finish=True, batchSize=16, maxLength=90, badText="truncate",
    )  # fmt: skip


@pytest.fixture(scope="module")
def saved(
    spark: "SparkSession", pipeline_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved and moved `PipelineModel`, whose pipeline is gone from where it was. Copy it, never write to it."""
    folder = tmp_path_factory.mktemp("saved")
    shutil.copytree(pipeline_path, folder / "original")
    (folder / "original" / "optimizer.safetensors").write_bytes(b"not needed")
    frame = spark.createDataFrame([(0, "a")], "id long, text string")
    model = Pipeline(stages=[make_stage(folder / "original")]).fit(frame)
    model.save(str(folder / "first"))
    shutil.rmtree(folder / "original")
    model = PipelineModel.load(str(folder / "first"))
    model.write().overwrite().save(
        str(folder / "first place")
    )  # from a loaded one, and over nothing
    shutil.rmtree(folder / "first")
    return Path(shutil.move(folder / "first place", folder / "second place"))


def stage_folder(saved: Path) -> Path:
    [folder] = (saved / "stages").iterdir()
    return folder


@pytest.mark.slow
def test_a_moved_model_works_in_a_new_process(
    spark: "SparkSession", saved: Path, pipeline_path: Path, tmp_path: Path
) -> None:
    texts = make_texts(60, seed=6)
    frame = spark.createDataFrame(list(enumerate(texts)), "id long, text string")
    frame.write.parquet(str(tmp_path / "texts"))
    command = [sys.executable, "-c", CHILD, str(saved), str(tmp_path / "texts")]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    model, rows = json.loads(result.stdout.splitlines()[-1])
    assert not model.startswith(str(saved))  # a copy, which outlives what is done there
    expected = make_stage(pipeline_path).light()(texts)
    assert rows == [
        {"id": i, "text": text, **row}
        for i, (text, row) in enumerate(zip(texts, expected, strict=True))
    ]


@pytest.mark.slow
def test_what_is_saved(saved: Path) -> None:
    folder = stage_folder(saved)
    names = {path.name for path in (folder / "model").rglob("*")}
    assert "model.safetensors" in names
    assert "optimizer.safetensors" not in names
    manifest = read_manifest(folder / "model-manifest.json")
    assert manifest["shared_transformer/model/model.safetensors"]["bytes"] > 0
    metadata = "".join(path.read_text() for path in (folder / "metadata").glob("part-*"))
    assert '"model"' not in metadata  # the place where it was


@pytest.mark.slow
def test_light_reads_it_without_spark(saved: Path, pipeline_path: Path) -> None:
    texts = make_texts(30, seed=7)
    expected = make_stage(pipeline_path).light()(texts)
    assert LightAnnotator.load(saved)(texts) == expected
    assert LightAnnotator.load(stage_folder(saved))(texts) == expected
    changed = LightAnnotator.load(saved, columns=("words", "tags", "names"), error_column="wrong")
    assert changed(texts[0])["words"] == expected[0]["t"]


@pytest.mark.slow
def test_damage_is_named_on_loading(spark: "SparkSession", saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    folder = stage_folder(copy)
    weights = folder / "model" / "tagger" / "model"
    content = weights.read_bytes()
    for damage, reason in (
        (content[:-1] + b"\0", "differs from the SHA-256"),
        (content[:9], "has 9 bytes"),
    ):
        weights.write_bytes(damage)
        os.utime(weights, ns=(len(reason), len(reason)))
        for load in (PipelineModel.load, LightAnnotator.load):
            with pytest.raises(CheckpointError, match=f"tagger/model` {reason}"):
                load(str(copy))  # type: ignore[operator]
    weights.write_bytes(content)
    manifest = folder / "model-manifest.json"
    manifest.write_text("{}")
    with pytest.raises(CheckpointError, match=r"model-manifest.json` cannot be read"):
        PipelineModel.load(str(copy))
    manifest.unlink()
    with pytest.raises(CheckpointError, match=r"model-manifest.json` is missing"):
        PipelineModel.load(str(copy))


@pytest.mark.slow
def test_saving_twice_to_one_place_needs_overwrite(
    spark: "SparkSession", pipeline_path: Path, tmp_path: Path
) -> None:
    stage = make_stage(pipeline_path)
    stage.save(str(tmp_path / "stage"))
    with pytest.raises(Exception, match=r"(?i)already exists"):
        stage.save(str(tmp_path / "stage"))
    stage.setBatchSize(5).write().overwrite().save(str(tmp_path / "stage"))
    assert SpacyAnnotator.load(str(tmp_path / "stage")).getBatchSize() == 5


@pytest.mark.slow
def test_a_loaded_stage_may_overwrite_the_place_that_it_came_from(
    spark: "SparkSession", pipeline_path: Path, tmp_path: Path
) -> None:
    frame = spark.createDataFrame([("Anna likes Riga",)], "text string").coalesce(1)
    stage = make_stage(pipeline_path)
    stage.save(str(tmp_path / "stage"))
    Pipeline(stages=[stage]).fit(frame).save(str(tmp_path / "model"))
    for size in (8, 9):
        model = PipelineModel.load(str(tmp_path / "model"))
        again: Any = model.stages[0]
        again.setBatchSize(size)
        model.write().overwrite().save(str(tmp_path / "model"))
        loaded = SpacyAnnotator.load(str(tmp_path / "stage"))
        loaded.setBatchSize(size).write().overwrite().save(str(tmp_path / "stage"))
        assert model.transform(frame).first().t == ["Anna", "likes", "Riga"]
        for found in (again, SpacyAnnotator.load(str(tmp_path / "stage"))):
            assert found.getBatchSize() == size
            assert found.light()("Anna likes Riga")["t"] == ["Anna", "likes", "Riga"]


@pytest.mark.slow
def test_another_file_system_than_the_driver_s(
    spark: "SparkSession", pipeline_path: Path, tmp_path: Path
) -> None:
    """Hadoop's view of a local folder under a scheme of its own stands for a distributed file system."""
    (tmp_path / "remote").mkdir()
    context: Any = spark.sparkContext
    configuration = context._jsc.hadoopConfiguration()
    configuration.set("fs.viewfs.mounttable.test.link./data", (tmp_path / "remote").as_uri())
    stage = make_stage(pipeline_path)
    stage.save("viewfs://test/data/stage")
    assert (tmp_path / "remote" / "stage" / "model" / "config.cfg").is_file()
    loaded = SpacyAnnotator.load("viewfs://test/data/stage")
    assert not loaded.getModel().startswith(str(tmp_path))
    frame = spark.createDataFrame([("Anna likes Riga",)], "text string").coalesce(1)
    assert loaded.transform(frame).first().t == ["Anna", "likes", "Riga"]
    before = temporary_folders()
    (tmp_path / "remote" / "stage" / "model" / "more.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"`viewfs://test/data/stage/model/more.bin` is not"):
        SpacyAnnotator.load("viewfs://test/data/stage")
    assert temporary_folders() == before


def temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("spacy_mtl_load_*"))


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model-manifest.json"
    path.write_text('{"format": 99, "files": {}}')
    with pytest.raises(CheckpointError, match="format 99 is not 1"):
        read_manifest(path)
