"""A saved stage: its params, the pipeline's files, and a manifest of their hashes.

    metadata/  model/  model-manifest.json

The files lie on any file system that Spark writes to. Where that is not the driver's own, they pass through Hadoop's
file system. A loaded stage has them in a temporary folder of the driver, copied, or linked where they lie on its own
file system: the place that it was loaded from may be overwritten or deleted.
"""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter
from pyspark.sql import SparkSession

from .light import MANIFEST_FILE, MODEL_FOLDER
from .models import (
    FORMAT,
    LocalPipeline,
    check_factories,
    check_manifest,
    copy_files,
    lasting_folder,
    read_manifest,
    snapshot,
)

if TYPE_CHECKING:
    from .stage import SpacyAnnotator


class AnnotatorWriter(MLWriter):
    """Saves a `SpacyAnnotator`. Raises SparkError if its pipeline cannot be found or loaded."""

    def __init__(self, instance: "SpacyAnnotator") -> None:
        super().__init__()
        self.instance = instance

    def saveImpl(self, path: str) -> None:  # noqa: N802  (Spark calls it)
        """Write the stage. The path of the original pipeline is left out: it means nothing elsewhere."""
        pipeline = self.instance.pipeline()
        check_factories(pipeline)
        params = {
            p.name: value for p, value in self.instance._paramMap.items() if p.name != "model"
        }
        DefaultParamsWriter.saveMetadata(self.instance, path, self.sparkSession, paramMap=params)
        folder = local_folder(path, self.sparkSession)
        if folder is not None:
            write_pipeline(pipeline, folder)
            return
        with tempfile.TemporaryDirectory(prefix="spacy_mtl_save_") as name:
            write_pipeline(pipeline, Path(name))
            for part in (MODEL_FOLDER, MANIFEST_FILE):
                upload(Path(name) / part, f"{path.rstrip('/')}/{part}", self.sparkSession)


class AnnotatorReader(MLReader["SpacyAnnotator"]):
    """Loads a `SpacyAnnotator`. Raises CheckpointError, with the file's name, if a file is missing or was changed."""

    def __init__(self, cls: type["SpacyAnnotator"]) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> "SpacyAnnotator":
        """The stage, with a copy of the pipeline that lives as long as this process."""
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        with lasting_folder("spacy_mtl_load_") as folder:  # tasks read it
            model = read_pipeline(path, folder, self.sparkSession)
        instance = self.cls()
        instance._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(instance, metadata)
        return instance.setParams(model=str(model))


def read_pipeline(path: str, target: Path, spark: SparkSession) -> Path:
    """The pipeline of a saved stage in a local folder. Raises CheckpointError for a file that is missing or changed."""
    place = f"{path.rstrip('/')}/{MODEL_FOLDER}"
    folder = local_folder(path, spark)
    if folder is None:
        for part in (MODEL_FOLDER, MANIFEST_FILE):
            download(f"{path.rstrip('/')}/{part}", target / part, spark)
        expected = read_manifest(target / MANIFEST_FILE)
    else:
        expected = read_manifest(folder / MANIFEST_FILE)
        snapshot(folder / MODEL_FOLDER, target / MODEL_FOLDER)
        place = str(folder / MODEL_FOLDER)
    check_manifest(target / MODEL_FOLDER, expected, place=place)
    return target / MODEL_FOLDER


def write_pipeline(pipeline: LocalPipeline, folder: Path) -> None:
    """The pipeline's files and their manifest."""
    copy_files(pipeline, folder / MODEL_FOLDER)
    manifest = {"format": FORMAT, "files": pipeline.manifest()}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", "utf8")
    check_manifest(folder / MODEL_FOLDER, pipeline.manifest())


def local_folder(path: str, spark: SparkSession) -> Path | None:
    """A path on the driver's own file system, as Spark reads it; None if it is on another one."""
    jvm: Any = spark.sparkContext._jvm
    configuration = spark._jsc.hadoopConfiguration()
    target = jvm.org.apache.hadoop.fs.Path(path)
    full = target.getFileSystem(configuration).makeQualified(target).toUri().toString()
    parts = urlparse(full)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def upload(source: Path, target: str, spark: SparkSession) -> None:
    """Copy a local file or folder to a file system of Hadoop's."""
    system, there = hadoop(target, spark)
    system.copyFromLocalFile(False, True, hadoop(source.as_uri(), spark)[1], there)


def download(source: str, target: Path, spark: SparkSession) -> None:
    """Copy a file or folder from a file system of Hadoop's to a local one."""
    system, there = hadoop(source, spark)
    system.copyToLocalFile(False, there, hadoop(target.as_uri(), spark)[1], True)


def hadoop(path: str, spark: SparkSession) -> tuple[Any, Any]:
    """Hadoop's file system of a path, and the path."""
    jvm: Any = spark.sparkContext._jvm
    target = jvm.org.apache.hadoop.fs.Path(path)
    configuration = spark._jsc.hadoopConfiguration()
    return target.getFileSystem(configuration), target
