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
    # scores are left out: the last digits of a float depend on what is in the same batch
    names = [name for name in streamed.columns if not name.endswith("_score")]
    before = spark.read.parquet(str(out / "annotated")).select(*names)
    n_other = streamed.select(*names).exceptAll(before).count()
    n_rows = streamed.count()
    typer.echo(f"{n_rows} rows streamed, {n_other} of them other than before")
    same = n_rows == before.count() and not n_other
    spark.stop()
    raise typer.Exit(int(not same))


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
