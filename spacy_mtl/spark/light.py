"""The stage's annotations for a text or a few, in this process: no Spark, no Java."""

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, overload

import numpy as np
from spacy.language import Language

from .. import errors
from .annotations import Annotation
from .annotator import AnnotatedRow, AnnotatorSettings, TextAnnotator
from .checks import check_columns, check_params, output_names, repeated
from .finished import FINISHED
from .models import (
    check_factories,
    check_kinds,
    check_manifest,
    default_kinds,
    find_pipeline,
    read_manifest,
)

AnnotatedText = dict[str, Any]
Texts = list[str | None] | tuple[str | None, ...]
_LOADING = Lock()  # not an attribute: an annotator can be pickled
STAGE_CLASS = "spacy_mtl.spark.stage.SpacyAnnotator"
# The params of the stage that are checked here too, and their names here.
NAMES = {
    "annotations": "kinds",
    "outputCols": "columns",
    "disable": "disable",
    "batchSize": "batch_size",
    "badText": "bad_text",
    "maxLength": "max_length",
    "offsetUnit": "offset_unit",
}
MODEL_FOLDER, MANIFEST_FILE = "model", "model-manifest.json"


class LightAnnotator:
    """Annotates one text or several, as `SpacyAnnotator` with the same settings does.

    `light(text)` returns a dictionary with a list of `Annotation` for each output column, or with `finish` plain
    values, and what was wrong with the text, or None, under the error column; `light([text, text])` a list of them.
    Annotations are None where Spark's columns are null. Threads may share an annotator: one computes at a time.

    model: name, folder or wheel of a pipeline; it is loaded at the first text. kinds: of annotation; None: all that the
        pipeline writes, but embeddings. columns: their names; None: those of the kinds. gpu: compute on the first GPU.
    settings: `batch_size`, `bad_text`, `max_length`, `offset_unit`, as in `AnnotatorSettings`.

    Raises ConfigError or SparkError for what the stage refuses too.
    """

    def __init__(
        self,
        model: str,
        kinds: Sequence[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        error_column: str = "annotation_error",
        disable: Sequence[str] = (),
        finish: bool = False,
        gpu: bool = False,
        **settings: Any,
    ) -> None:
        given = {"kinds": kinds, "columns": columns, "disable": disable, **settings}
        check_params({name: given.get(own) for name, own in NAMES.items()}, NAMES)
        for name in settings.keys() & {"batch_size", "max_length"}:
            settings[name] = None if settings[name] is None else int(settings[name])
        self.pipeline = find_pipeline(model)
        check_factories(self.pipeline)
        if kinds is None:
            kinds = default_kinds(self.pipeline.folder, disable)
        else:
            check_kinds(self.pipeline.folder, kinds, disable, key="kinds")
        self.settings = AnnotatorSettings(tuple(kinds), **settings)
        self.columns = tuple(self.settings.kinds if columns is None else columns)
        check_columns(self.settings.kinds, self.columns, key="columns", kinds_key="kinds")
        names = output_names(self.settings.kinds, self.columns, error_column, finish=finish)
        if twice := repeated(names):
            raise errors.columns_clash(twice, key="columns", error_key="error_column")
        self.error_column = error_column
        self.disable = tuple(disable)
        self.finish = finish
        self.gpu = gpu
        self._annotator: TextAnnotator | None = None

    @overload
    def __call__(self, texts: str | None) -> AnnotatedText: ...

    @overload
    def __call__(self, texts: Texts) -> list[AnnotatedText]: ...

    def __call__(self, texts: str | Texts | None) -> AnnotatedText | list[AnnotatedText]:
        """The annotations of a text, or of each of several."""
        if texts is None or isinstance(texts, str):
            return self([texts])[0]
        return [self._named(row) for rows in self.annotator.rows(list(texts)) for row in rows]

    @property
    def annotator(self) -> TextAnnotator:
        """Loads the pipeline at the first call, once however many threads call."""
        import spacy

        if self.gpu:
            spacy.require_gpu()  # each thread has a device of its own
        with _LOADING:
            if self._annotator is None:
                self._annotator = TextAnnotator(self._load(), self.settings)
            return self._annotator

    def _load(self) -> Language:
        import spacy

        model = self.pipeline.package or self.pipeline.folder
        return spacy.load(model, disable=list(self.disable))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_annotator": None}  # another process loads its own

    def _named(self, row: AnnotatedRow) -> AnnotatedText:
        named: AnnotatedText = {}
        if row.annotations is not None:
            row = row._replace(
                annotations=[[as_plain(a) for a in found] for found in row.annotations]
            )
        for i, (kind, name) in enumerate(zip(self.settings.kinds, self.columns, strict=True)):
            if self.finish:
                for column in FINISHED[kind]:
                    named[name + column.suffix] = column.of(row, i)
            else:
                named[name] = None if row.annotations is None else row.annotations[i]
        return {**named, self.error_column: row.error}

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> "LightAnnotator":
        """From a saved stage, or a saved `PipelineModel` with one, on this machine; without Spark.

        changes: arguments of `LightAnnotator` in place of what was saved, such as `gpu=False`.

        Raises SparkError if there is no such stage or several, CheckpointError if a file is missing or was changed.
        """
        stage, metadata = saved_stage(Path(path))
        model = stage / MODEL_FOLDER
        check_manifest(model, read_manifest(stage / MANIFEST_FILE))
        params = {**metadata["defaultParamMap"], **metadata["paramMap"]}
        return cls(str(model), **{**light_settings(params), **changes})


def as_plain(annotation: Annotation) -> Annotation:
    """With a dictionary of its own and a list for a vector."""
    return annotation._replace(
        metadata=dict(annotation.metadata),
        embeddings=np.asarray(annotation.embeddings, dtype=np.float32).tolist(),
    )


def light_settings(params: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a `LightAnnotator` from the params of a stage."""
    return {
        **{own: params.get(name) for name, own in NAMES.items()},
        "error_column": params["errorCol"],
        "finish": params["finish"],
        "gpu": params["gpu"],
    }


def saved_stage(path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the metadata of the one saved `SpacyAnnotator` in a folder."""
    found = []
    for folder in (path, *sorted(path.glob("stages/*"))):
        for part in sorted(folder.glob("metadata/part-*")):
            metadata = json.loads(part.read_text("utf8") or "{}")
            if metadata.get("class") == STAGE_CLASS:
                found.append((folder, metadata))
    if len(found) != 1:
        raise errors.not_one_annotator(str(path), found=len(found))
    return found[0]
