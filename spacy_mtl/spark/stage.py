"""`SpacyAnnotator`, a stage of Spark ML that adds a pipeline's annotations to a DataFrame as columns."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .session import check_packages

check_packages()  # before pyspark says it in its own words

from pyspark import keyword_only  # noqa: E402
from pyspark.ml import Transformer  # noqa: E402
from pyspark.ml.util import MLReadable, MLWritable  # noqa: E402
from pyspark.sql import DataFrame  # noqa: E402
from pyspark.sql.types import StringType, StructType  # noqa: E402

from .. import errors  # noqa: E402
from . import worker  # noqa: E402
from .annotator import AnnotatorSettings  # noqa: E402
from .checks import check_columns, check_params, repeated  # noqa: E402
from .light import LightAnnotator, light_settings  # noqa: E402
from .models import (  # noqa: E402
    LocalPipeline,
    check_factories,
    check_kinds,
    default_kinds,
    find_pipeline,
)
from .params import AnnotatorParams  # noqa: E402
from .persistence import AnnotatorReader, AnnotatorWriter  # noqa: E402
from .schema import output_fields  # noqa: E402
from .shipping import ship  # noqa: E402

if TYPE_CHECKING:
    import pyarrow as pa


class SpacyAnnotator(AnnotatorParams, Transformer, MLReadable, MLWritable):
    """Adds annotations of a spaCy pipeline to a DataFrame, as columns behind its own. Needs no `fit`.

    Each Python process of Spark loads the pipeline once and keeps it as long as Spark keeps the process
    (`spark.python.worker.reuse`; an idle one ends after a minute). It computes with as many threads as
    `spark.task.cpus`. Rows keep their order within a partition, and none is lost. All columns pass through the Python
    process, so select those that you need. Each action on the result annotates anew: cache or write it.

    inputCol: a string column.
    model: name of an installed package, which the executors must have too; or a folder or a wheel on the driver, which
        Spark sends along where executors are on other machines. Code of a pipeline of your own must be installed on the
        executors.
    annotations: kinds of annotation, from `document`, `sentence`, `token`, `pos`, `tag`, `lemma`, `entity`, `category`,
        `dependency`, `embeddings`. Default: all that the pipeline declares to write, but `embeddings`.
    outputCols: a name for each of `annotations`, in their order. Default: the same names.
    finish: plain flat columns, such as array<string>, in place of annotations: for `entity` also `entity_label`,
        `entity_begin` and `entity_end`, for `category` also `category_score` (of all labels, chosen or not), for
        `dependency` (then the relation) also `dependency_head` (number in the sentence from 1, 0 for the root).
        Default: false.
    batchSize: texts that go through the pipeline together. Default: 64.
    disable: components to leave out. Default: none.
    maxLength: of a text, in characters. Default: the pipeline's `nlp.max_length`.
    badText: for a null, empty or too long text, or one on which the pipeline fails. `skip` (default): the row stays,
        with null annotations (empty ones for an empty text) and the reason in `errorCol`. `truncate`: as `skip`, but
        too long texts are cut at `maxLength` and annotated. `error`: the job fails.
    errorCol: Default: `annotation_error`; null where all is well.
    offsetUnit: of `begin` and `end`, where `end` is inclusive. `codepoint` (default) is what Python and Spark SQL's
        `substring` count; `utf16` is what strings in Java and Scala count, Spark NLP's stages among them. They differ
        behind emoji.
    gpu: compute on the GPU that Spark gives the task (`spark.task.resource.gpu.amount`). Default: false.

    An annotation is a struct of `annotatorType`, `begin`, `end`, `result`, `metadata` and `embeddings`; a column's
    metadata carries its `annotatorType`.

    `transform` raises SparkError for params that do not fit the DataFrame or the pipeline.
    """

    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        model: str | None = None,
        annotations: Sequence[str] | None = None,
        outputCols: Sequence[str] | None = None,
        finish: bool = False,
        batchSize: int = 64,
        disable: Sequence[str] = (),
        maxLength: int | None = None,
        badText: str = "skip",
        errorCol: str = "annotation_error",
        offsetUnit: str = "codepoint",
        gpu: bool = False,
    ) -> None:
        super().__init__()
        self.setParams(**self._input_kwargs)

    def light(self) -> LightAnnotator:
        """The same annotations for a text or a list of texts, without Spark. Refuses what `transform` refuses."""
        check_params(self.values())  # in the stage's own words
        return LightAnnotator(self.need("model"), **light_settings(self.values()))

    def write(self) -> AnnotatorWriter:
        """Saves the params, and the pipeline's files with their hashes."""
        return AnnotatorWriter(self)

    @classmethod
    def read(cls) -> AnnotatorReader:
        """Loads a saved stage; its pipeline is the one beside it, wherever that folder is now."""
        return AnnotatorReader(cls)

    def pipeline(self) -> LocalPipeline:
        """The pipeline on this machine. Raises SparkError if there is none."""
        return find_pipeline(self.need("model"))

    def _transform(self, dataset: DataFrame) -> DataFrame:
        if type(dataset).__module__.startswith("pyspark.sql.connect"):
            raise errors.no_spark_connect()
        check_params(self.values())  # `set` and `copy` do not
        input_column = self.need("inputCol")
        check_input(dataset, input_column)
        pipeline = self.pipeline()
        check_factories(pipeline)
        disable = self.getOrDefault("disable")
        kinds = self._kinds(pipeline)
        columns = self.getOrDefault("outputCols") if self.isDefined("outputCols") else list(kinds)
        check_columns(kinds, columns)
        finish = self.getOrDefault("finish")
        fields = output_fields(kinds, columns, self.getOrDefault("errorCol"), finish=finish)
        names = tuple(field.name for field in fields)
        check_output(dataset, names)
        settings = AnnotatorSettings(
            kinds,
            batch_size=self.getOrDefault("batchSize"),
            bad_text=self.getOrDefault("badText"),
            max_length=self.getOrDefault("maxLength") if self.isDefined("maxLength") else None,
            offset_unit=self.getOrDefault("offsetUnit"),
        )
        work = worker.Work(
            model=pipeline.model,
            digest=pipeline.digest(),
            folder=str(pipeline.folder),
            archive=None if pipeline.package else ship(pipeline, dataset.sparkSession.sparkContext),
            package=pipeline.package,
            input_column=input_column,
            names=names,
            settings=settings,
            disable=tuple(disable),
            finish=finish,
            gpu=self.getOrDefault("gpu"),
        )
        schema = StructType([*dataset.schema.fields, *fields])

        def annotate(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
            return worker.annotate_batches(work, batches)

        return dataset.mapInArrow(annotate, schema)

    def _kinds(self, pipeline: LocalPipeline) -> tuple[str, ...]:
        disable = self.getOrDefault("disable")
        if not self.isDefined("annotations"):
            return default_kinds(pipeline.folder, disable)
        kinds = tuple(self.getOrDefault("annotations"))
        check_kinds(pipeline.folder, kinds, disable)
        return kinds


def check_input(dataset: DataFrame, name: str) -> None:
    """Raises SparkError if there is no such column, or several, or it holds something else than strings."""
    if name not in dataset.columns:
        raise errors.no_input_column(name, columns=dataset.columns)
    if dataset.columns.count(name) > 1:
        raise errors.input_column_twice(name, n_columns=dataset.columns.count(name))
    found = dataset.schema[name].dataType
    if not isinstance(found, StringType):
        raise errors.no_text_column(name, found=found.simpleString())


def check_output(dataset: DataFrame, names: Sequence[str]) -> None:
    """Raises SparkError if the output columns are not new, or not distinct. Spark does not tell cases apart."""
    if twice := repeated(names):
        raise errors.columns_clash(twice)
    lower = [name.lower() for name in names]
    taken = [name for name in dataset.columns if name.lower() in lower]
    if taken:
        raise errors.columns_taken(taken)
