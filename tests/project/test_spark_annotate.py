"""The script of the workflow `spark`, as far as it needs no Spark session."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyspark")

import pyarrow.parquet as pq
import srsly
import typer
from typer.testing import CliRunner

from .scripts import load

script: Any = load("spark_annotate")
TEXTS = ["one", "two\u2028lines", "three\u0085lines", "four"]


def write_corpus(folder: Path) -> Path:
    folder.mkdir(parents=True)
    lines = "\n".join(
        f'{{"text": "{text}"}}' for text in TEXTS
    )  # as ensure_ascii=False writes them
    (folder / "texts.jsonl").write_text(lines + "\n", "utf8")
    return folder


def test_each_line_of_json_is_a_text(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpora" / "gum")
    assert [row["text"] for row in srsly.read_jsonl(corpus / "texts.jsonl")] == TEXTS
    assert script.write_texts(tmp_path / "corpora", tmp_path / "texts") == 4
    rows = sorted(pq.read_table(tmp_path / "texts").to_pylist(), key=lambda row: row["id"])
    assert [(row["source"], row["text"]) for row in rows] == [("gum", text) for text in TEXTS]


def test_only_what_the_script_wrote_is_removed(tmp_path: Path) -> None:
    corpora = write_corpus(tmp_path / "corpora")
    for name in ("texts", "annotated", "model", "streamed", "checkpoint"):
        (tmp_path / name).mkdir()
    script.clear(tmp_path, inputs=(corpora, tmp_path / "other"))
    assert [path.name for path in tmp_path.iterdir()] == ["corpora"]


def test_an_input_in_a_folder_that_is_written_is_refused(tmp_path: Path) -> None:
    corpora = write_corpus(tmp_path / "texts" / "gum")
    with pytest.raises(typer.BadParameter, match="take another OUT"):
        script.clear(tmp_path, inputs=(corpora,))
    result = CliRunner().invoke(
        script.app, ["annotate", "m", str(tmp_path / "texts"), str(tmp_path)]
    )
    assert result.exit_code == 2
    assert (corpora / "texts.jsonl").is_file()


@pytest.mark.parametrize(
    ("n_rows", "n_texts", "n_other", "problem"),
    [
        (1120, 0, 0, ""),
        (1120, 0, 11, ""),
        (1120, 0, 12, "More than 1% of the rows"),
        (1119, 0, 0, "The stream has 1119 rows, and there were 1120"),
        (1120, 1, 1, "1 texts of the stream were not there before"),
        (4, 0, 1, "More than 1% of the rows"),
    ],
)
def test_a_stream_may_differ_in_near_ties_and_in_nothing_else(
    n_rows: int, n_texts: int, n_other: int, problem: str
) -> None:
    found = script.difference(1120 if n_rows > 4 else 4, n_rows, n_texts, n_other)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
