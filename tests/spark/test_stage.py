"""The stage in a Spark session on this machine. What needs no session comes first."""

import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from spacy.language import Language

pytest.importorskip("pyspark")

from pyspark.ml import Pipeline
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.linalg import Vectors
from pyspark.sql.types import ArrayType, StringType, StructField, StructType

from spacy_mtl.errors import ConfigError, SparkError
from spacy_mtl.spark import SpacyAnnotator
from spacy_mtl.spark.annotations import KINDS
from spacy_mtl.spark.stage import check_input, check_output

from .texts import make_texts, oracle, simplified

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def frame(*columns: str, **types: Any) -> Any:
    """As much of a DataFrame as the checks look at."""
    fields = [StructField(name, types.get(name, StringType())) for name in columns]
    return SimpleNamespace(columns=list(columns), schema=StructType(fields))


def test_params_have_setters_getters_and_defaults() -> None:
    stage = SpacyAnnotator().setInputCol("text").setModel("m").setAnnotations(["token"])
    stage.setOutputCols(["t"]).setBatchSize(8).setMaxLength(100).setDisable(["ner"]).setGpu(True)
    stage.setFinish(True).setBadText("error").setErrorCol("wrong").setOffsetUnit("utf16")
    assert stage.values() == {
        "inputCol": "text", "model": "m", "annotations": ["token"], "outputCols": ["t"], "batchSize": 8,
        "maxLength": 100, "disable": ["ner"], "gpu": True, "finish": True, "badText": "error", "errorCol": "wrong",
        "offsetUnit": "utf16",
    }  # fmt: skip
    assert stage.getModel() == "m"
    assert stage.copy({stage.batchSize: 4}).getBatchSize() == 4
    assert SpacyAnnotator().values() == {
        "batchSize": 64, "disable": [], "gpu": False, "finish": False, "badText": "skip",
        "errorCol": "annotation_error", "offsetUnit": "codepoint",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"batchSize": 0}, "`batchSize = 0` cannot be used: it must be a whole number, at least 1."),
        ({"batchSize": "8"}, "`batchSize = '8'` cannot be used: it must be a whole number, at least 1."),
        ({"batchSize": 1.5}, "`batchSize = 1.5` cannot be used: it must be a whole number, at least 1."),
        ({"annotations": "token"}, "`annotations = 'token'` cannot be used: it must be a list of names."),
        ({"maxLength": -1}, "`maxLength = -1` cannot be used: it must be a whole number, at least 1."),
        (
            {"badText": "drop"},
            "`badText = 'drop'` is not supported. Set `badText` to one of `error`, `skip`, `truncate`.",
        ),
        (
            {"offsetUnit": "byte"},
            "`offsetUnit = 'byte'` is not supported. Set `offsetUnit` to one of `codepoint`, `utf16`.",
        ),
        (
            {"annotations": ["token", "ner"]},
            "`annotations = 'ner'` is not supported. Set `annotations` to one of " + ", ".join(f"`{k}`" for k in KINDS)
            + ".",
        ),
        (
            {"annotations": []},
            "`annotations = []` cannot be used: it must be a list with at least one name.",
        ),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_at_once(params: dict[str, Any], message: str) -> None:
    for make in (lambda: SpacyAnnotator(**params), lambda: SpacyAnnotator().setParams(**params)):
        with pytest.raises(ConfigError) as error:
            make()
        assert str(error.value) == message


def test_a_bad_value_that_came_another_way_is_refused_at_the_latest_by_transform() -> None:
    stage = SpacyAnnotator(inputCol="text", model="m")
    with pytest.raises(ConfigError, match="`batchSize = 0`"):
        stage.copy({stage.batchSize: 0}).transform(frame("text"))


def test_columns_that_do_not_fit_are_named() -> None:
    with pytest.raises(
        SparkError, match=r"`inputCol = 'body'` is not a column .* which has `id`, `text`"
    ):
        check_input(frame("id", "text"), "body")
    with pytest.raises(SparkError, match="`inputCol = 'text'` is the name of 2 columns"):
        check_input(frame("text", "id", "text"), "text")
    with pytest.raises(SparkError, match="is of type `array<string>` and must be a string column"):
        check_input(frame("text", text=ArrayType(StringType())), "text")
    with pytest.raises(SparkError, match="already has the columns `Token`"):
        check_output(frame("text", "Token"), ("token", "tag"))
    with pytest.raises(SparkError, match="several output columns called `T`, `t`"):
        check_output(frame("text"), ("t", "T", "tag"))


def test_what_is_not_set_is_named(pipeline_path: Path) -> None:
    with pytest.raises(SparkError, match="`SpacyAnnotator` needs `inputCol`"):
        SpacyAnnotator(model="m").transform(frame("text"))
    with pytest.raises(SparkError, match="`SpacyAnnotator` needs `model`"):
        SpacyAnnotator(inputCol="text").transform(frame("text"))
    stage = SpacyAnnotator(
        inputCol="text", model=str(pipeline_path), annotations=["token", "tag"], outputCols=["t"]
    )
    with pytest.raises(SparkError, match=r"`outputCols` has 1 names, .* `token`, `tag`"):
        stage.transform(frame("text"))


def test_spark_connect_is_refused() -> None:
    kind = type("DataFrame", (), {"__module__": "pyspark.sql.connect.dataframe"})
    with pytest.raises(SparkError, match="which Spark Connect does not have"):
        SpacyAnnotator(inputCol="text")._transform(kind())


@pytest.mark.slow
def test_the_stage_annotates_as_the_pipeline_does(
    spark: "SparkSession", pipeline_path: Path, nlp: Language
) -> None:
    texts = make_texts(100, seed=4)
    frame = spark.createDataFrame(list(enumerate(texts)), "id long, text string").coalesce(1)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), batchSize=32)
    result = Pipeline(stages=[stage]).fit(frame).transform(frame)
    for kind in KINDS.keys() - {"embeddings"}:
        assert result.schema[kind].metadata == {"annotatorType": KINDS[kind].annotator_type}
    rows = result.collect()
    assert [(row.id, row.text) for row in rows] == list(enumerate(texts))
    light = stage.light()(texts)
    for row, alone, text in zip(rows, light, texts, strict=True):
        assert row.annotation_error == alone["annotation_error"]
        if text:
            for kind, expected in oracle(nlp(text)).items():
                assert simplified(kind, row[kind]) == expected
                if kind != "category":  # whose scores are floats
                    assert row[kind] == alone[kind]


@pytest.mark.slow
def test_offsets_fit_substring_of_spark_sql_and_strings_of_java(
    spark: "SparkSession", pipeline_path: Path
) -> None:
    text = "😀 Anna likes \U0001d518nd 👩‍👩‍👧 Berlin"
    frame = spark.createDataFrame([(text,)], "text string").coalesce(1)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), annotations=["token"])
    exploded = stage.transform(frame).selectExpr("text", "explode(token) as t")
    rows = exploded.selectExpr(
        "t.result", "substring(text, t.begin + 1, t.end - t.begin + 1) as cut"
    )
    assert len(rows.collect()) >= 6
    assert all(row.result == row.cut for row in rows.collect())
    jvm: Any = spark.sparkContext._jvm
    java = jvm.java.lang.StringBuilder(text)
    for a in stage.setOffsetUnit("utf16").transform(frame).first().token:
        assert java.substring(a.begin, a.end + 1) == a.result


@pytest.mark.slow
def test_finished_columns_are_plain_and_others_pass_untouched(
    spark: "SparkSession", pipeline_path: Path
) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
    schema = (
        "id long, text string, amount decimal(10, 2), moment timestamp, day date, raw binary, tags array<string>, "
        "nested struct<a: int, b: map<string, int>>"
    )
    values = (
        1,
        "Anna sells shells",
        Decimal("1.50"),
        moment,
        moment.date(),
        b"\0\xff",
        ["a", None],
        (1, {"k": 2}),
    )
    frame = spark.createDataFrame([values, (None,) * 8], schema).coalesce(1)
    stage = SpacyAnnotator(
        inputCol="text", model=str(pipeline_path), annotations=["token", "entity", "category", "dependency"],
        outputCols=["words", "names", "kind", "tree"], errorCol="wrong", finish=True,
    )  # fmt: skip
    result = stage.transform(frame)
    assert result.select(frame.columns).collect() == frame.collect()
    types = dict(result.dtypes)
    assert [types[name] for name in ("words", "names_begin", "kind_score", "tree_head")] == [
        "array<string>", "array<int>", "map<string,double>", "array<int>",
    ]  # fmt: skip
    first, empty = result.collect()
    plain = stage.light()("Anna sells shells")
    for name in (
        "words",
        "names",
        "names_label",
        "names_begin",
        "names_end",
        "kind",
        "tree",
        "tree_head",
        "wrong",
    ):
        assert first[name] == plain[name]
        assert name == "wrong" or empty[name] is None
    assert first.kind_score == pytest.approx(plain["kind_score"], abs=1e-5)
    assert empty.wrong == "the text is null"


@pytest.mark.slow
def test_stages_of_spark_s_own_stand_before_and_behind(
    spark: "SparkSession", pipeline_path: Path
) -> None:
    frame = spark.createDataFrame(
        [("anna", "likes Riga"), ("BERLIN", "")], "a string, b string"
    ).coalesce(1)
    stages = [
        SQLTransformer(statement="SELECT *, concat_ws(' ', a, b) AS text FROM __THIS__"),
        SpacyAnnotator(inputCol="text", model=str(pipeline_path), annotations=["token"]),
        SQLTransformer(statement="SELECT a, size(token) AS n FROM __THIS__ WHERE a != 'x'"),
    ]
    model = Pipeline(stages=stages).fit(frame)
    assert [tuple(row) for row in model.transform(frame).collect()] == [("anna", 3), ("BERLIN", 1)]


@pytest.mark.slow
def test_vectors_of_spark_ml_pass(spark: "SparkSession", pipeline_path: Path) -> None:
    frame = spark.createDataFrame([(Vectors.dense([1.0, 2.0]), "Anna")], ["features", "text"])
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), annotations=["token"])
    [row] = stage.transform(frame.coalesce(1)).collect()
    assert row.features == Vectors.dense([1.0, 2.0])


@pytest.mark.slow
def test_the_strict_policy_fails_the_job_with_the_reason(
    spark: "SparkSession", pipeline_path: Path
) -> None:
    frame = spark.createDataFrame([("Anna",), (None,)], "text string").coalesce(1)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), badText="error")
    with pytest.raises(
        Exception, match=r"A text cannot be annotated: the text is null\. Set `badText`"
    ):
        stage.transform(frame).collect()


@pytest.mark.slow
def test_tasks_have_the_threads_that_spark_gives_them(
    spark: "SparkSession", pipeline_path: Path
) -> None:
    frame = spark.createDataFrame([("Anna",)], "text string").coalesce(1)
    stage = SpacyAnnotator(inputCol="text", model=str(pipeline_path), annotations=["token"])
    annotated = stage.transform(frame)

    def threads(batches: Any) -> Any:
        import os

        import pyarrow as pa
        import torch

        from spacy_mtl.spark import worker

        for _ in batches:
            worker.limit_threads(worker.cpus_of_task())
            found = [torch.get_num_threads(), int(os.environ["OMP_NUM_THREADS"])]
            yield pa.RecordBatch.from_arrays([pa.array([n]) for n in found], names=["torch", "omp"])

    [row] = annotated.select("text").mapInArrow(threads, "torch long, omp long").collect()
    assert tuple(row) == (1, 1)
