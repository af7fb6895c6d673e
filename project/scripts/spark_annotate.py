"""Annotate a folder of parquet files with Spark on this machine, save the stage, and use it again in a new process."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import srsly
import typer
from pyspark.ml import Pipeline, PipelineModel

from spacy_mtl.spark import SpacyAnnotator, local_session

SCHEMA = "id long, source string, text string"
SHOWN = ("source", "token", "tag", "entity", "entity_label", "category")
FILES = 4
STREAMED = ("streamed", "checkpoint")
TIES = 0.01  # share of rows in which a choice may tip: in bf16 a near tie depends on what is in the same batch
WRITTEN = ("texts", "annotated", "model", *STREAMED)
app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def annotate(
    model: Annotated[Path, typer.Argument(help="Folder of the trained pipeline.")],
    corpora: Annotated[
        Path, typer.Argument(help="Folder with corpora as .jsonl files, each line with a text.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder for the texts, the annotations and the saved stage.")
    ],
    cores: Annotated[int, typer.Option(help="Tasks at a time.")] = 2,
) -> None:
    """Write the texts of CORPORA as parquet, annotate them, and save the stage with its pipeline."""
    clear(out, inputs=(model, corpora))
    n_texts = write_texts(corpora, out / "texts")
    spark = local_session(cores)
    stage = SpacyAnnotator(inputCol="text", model=str(model), finish=True)
    texts = spark.read.parquet(str(out / "texts"))
    fitted = Pipeline(stages=[stage]).fit(texts)
    fitted.transform(texts).write.parquet(str(out / "annotated"))
    fitted.save(str(out / "model"))
    n_rows = spark.read.parquet(str(out / "annotated")).count()
    typer.echo(f"{n_rows} of {n_texts} texts are annotated in {out / 'annotated'}")
    spark.stop()
    raise typer.Exit(int(n_rows != n_texts))


@app.command()
def stream(
    out: Annotated[Path, typer.Argument(help="Folder that `annotate` has filled.")],
    rows: Annotated[int, typer.Option(help="How many rows to print.")] = 4,
    cores: Annotated[int, typer.Option(help="Tasks at a time.")] = 2,
) -> None:
    """Load the saved stage, annotate the texts as a stream, compare with the first time, and print some rows."""
    spark = local_session(cores)
    model = PipelineModel.load(str(out / "model"))
    for name in STREAMED:
        shutil.rmtree(out / name, ignore_errors=True)
    texts = (
        spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).parquet(str(out / "texts"))
    )
    query = (
        model.transform(texts)
        .writeStream.option("checkpointLocation", str(out / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(out / "streamed"))
    )
    query.awaitTermination()
    streamed = spark.read.parquet(str(out / "streamed"))
    for row in streamed.orderBy("id").limit(rows).select(*SHOWN).collect():
        typer.echo(show(row.asDict()))
    before = spark.read.parquet(str(out / "annotated"))
    # scores are left out: the last digits of a float depend on what is in the same batch
    names = [name for name in streamed.columns if not name.endswith("_score")]
    n_rows, n_before = streamed.count(), before.count()
    n_texts, n_other = (
        streamed.select(*some).exceptAll(before.select(*some)).count()
        for some in (["id", "text", "token"], names)
    )
    spark.stop()
    typer.echo(f"{n_rows} rows streamed, {n_other} of them annotated other than before")
    problem = difference(n_before, n_rows, n_texts, n_other)
    if problem:
        typer.echo(problem, err=True)
        raise typer.Exit(1)


def difference(n_before: int, n_rows: int, n_texts: int, n_other: int) -> str:
    """What is wrong with a stream of `n_rows` texts, or nothing.

    n_texts: rows whose text or tokens are other than before. n_other: rows with any other annotation.
    """
    if n_rows != n_before:
        return f"The stream has {n_rows} rows, and there were {n_before}."
    if n_texts:
        return f"{n_texts} texts of the stream were not there before, or have other tokens."
    if n_other > TIES * n_rows:
        return (
            f"More than {TIES:.0%} of the rows are annotated other than before: that is no rounding. "
            "Was the pipeline trained again in between? Then run `spark-annotate` first."
        )
    return ""


def clear(out: Path, inputs: Iterable[Path]) -> None:
    """Remove what an earlier run has written, and nothing else that lies there."""
    for folder in (out / name for name in WRITTEN):
        for path in inputs:
            if folder.resolve() in (path.resolve(), *path.resolve().parents):
                raise typer.BadParameter(
                    f"{path} lies in {folder}, which is written anew: take another OUT."
                )
    for name in WRITTEN:
        shutil.rmtree(out / name, ignore_errors=True)


def write_texts(corpora: Path, folder: Path) -> int:
    """The texts of all .jsonl files, in some files of one folder. Returns their number."""
    rows = [row for path in sorted(corpora.rglob("*.jsonl")) for row in read(path)]
    folder.mkdir(parents=True)
    for part in range(FILES):
        own = [{"id": i, **rows[i]} for i in range(part, len(rows), FILES)]
        schema = pa.schema([("id", pa.int64()), ("source", pa.string()), ("text", pa.string())])
        pq.write_table(pa.Table.from_pylist(own, schema), folder / f"part-{part}.parquet")
    return len(rows)


def read(path: Path) -> Iterable[dict[str, Any]]:
    for row in srsly.read_jsonl(path):
        yield {"source": path.parent.name, "text": row["text"]}


def show(row: dict[str, Any]) -> str:
    """token_TAG ..., then the entities and the category."""
    words = " ".join(f"{word}_{tag}" for word, tag in zip(row["token"], row["tag"], strict=True))
    names = ", ".join(
        f"{name} ({label})" for name, label in zip(row["entity"], row["entity_label"], strict=True)
    )
    return f"{row['source']}: {words}\n  {names or '-'}; {', '.join(row['category'])}"


if __name__ == "__main__":
    app()
