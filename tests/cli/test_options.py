"""Where a command cannot write what it would make, it says so before it makes it."""

from pathlib import Path

import pytest
from spacy.cli._util import app
from spacy.util import registry
from typer.testing import CliRunner

from spacy_mtl.train_distributed import app as distributed_app

registry.cli.get_all()  # what spaCy's command line does first


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.cfg"
    path.write_text("[nlp]\n")  # no pipeline: a command that began with it would say so
    return path


@pytest.mark.parametrize(
    ("command", "output", "said"),
    [
        ("debug", "folder", "it is a folder"),
        ("debug", "config.cfg/page.json", "Not a directory|File exists"),
        ("report", "folder", "it is a folder"),
        ("report", "config.cfg/page.html", "Not a directory|File exists"),
        ("transfer", "config.cfg", "is a file"),
        ("transfer", "config.cfg/runs", "Not a directory|File exists"),
        ("transfer", "taken", "it is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_before_any_work(
    config: Path, tmp_path: Path, command: str, output: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken" / "transfer.json").mkdir(parents=True)
    given = tmp_path / "folder" if command == "report" else config
    result = CliRunner().invoke(
        app, ["mtl", command, str(given), "-o", str(tmp_path / output)], env={"COLUMNS": "1000"}
    )
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    shown = result.output + result.stderr
    assert "--output" in shown
    assert any(part in shown for part in said.split("|")), shown


def test_a_file_in_the_place_of_the_distributed_output_is_named(config: Path) -> None:
    result = CliRunner().invoke(
        distributed_app, [str(config), "--output", str(config)], env={"COLUMNS": "1000"}
    )
    assert result.exit_code == 2
    assert "is a file" in result.output + result.stderr
