"""`python -m spacy mtl report` finds the files of a training, and says in one sentence what is missing."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spacy_mtl.cli.report as command
import spacy_mtl.report.page as page_module
from spacy_mtl.cli import app
from spacy_mtl.report.collect import Report

from ..pipeline.test_import_rule import imports, is_under
from .markup import Page, assert_safe

ROOT = Path(__file__).parents[2]


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, args)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def test_a_page_is_written_into_the_folder(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "page.html"
    code, said = run(trained, "--output", output, "--limit", 10, "--examples", 0)
    assert code == 0, said
    assert "Wrote" in said
    page = Page(output.read_text("utf8"))
    assert_safe(page)
    assert "On 10 documents of the dev corpus" in page.text
    assert "Examples" not in page.text


def test_files_are_found_in_the_folder_or_where_options_say(
    moved: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Report] = []
    monkeypatch.setattr(page_module, "render", lambda report: reports.append(report) or "")
    monkeypatch.chdir(tmp_path)
    logs = trained.parent / "logs"
    code, said = run(moved)
    assert code == 1
    assert "There is no log of the training" in said
    assert "`training.logger.output_file = 'logs/rows.jsonl'` does not exist" in said
    assert "`--log`" in said

    shutil.copy(logs / "rows.jsonl", moved / "log.jsonl")
    code, said = run(moved, "--limit", 4)
    assert code == 0, said
    assert (moved / "report.html").exists()
    assert reports[-1].files == {"log": str(moved / "log.jsonl")}
    assert "logs/batches.jsonl, is not there any more" in reports[-1].notes[0]
    assert (reports[-1].batches, reports[-1].transfer) == ([], None)

    (moved / "logs").mkdir()
    shutil.copy(logs / "rows.jsonl", moved / "logs")
    (moved / "log.jsonl").write_text("damaged")  # not looked at
    options = ["--steps", logs / "batches.jsonl", "--transfer", trained / "transfer.json"]
    code, said = run(moved, "--limit", 4, *options)
    assert code == 0, said
    assert reports[-1].files["log"] == str(moved / "logs" / "rows.jsonl")
    assert reports[-1].notes == []
    assert reports[-1].batches
    assert reports[-1].transfer is not None

    (tmp_path / "bad.jsonl").write_text('{"epoch": 0}\n')
    code, said = run(moved, "--log", tmp_path / "bad.jsonl")
    assert code == 1
    assert "Line 1 of" in said
    assert "bad.jsonl" in said


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    code, said = run(tmp_path)
    assert code == 1
    assert "has neither `model-best` nor `model-last`" in said


def test_a_damaged_comparison_is_named(moved: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"heads": []}))
    log = trained.parent / "logs" / "rows.jsonl"
    code, said = run(moved, "--log", log, "--transfer", tmp_path / "t.json")
    assert code == 1
    assert "is not what `spacy mtl transfer` writes: it has no 'runs'." in said


def test_a_log_of_another_training_is_said_to_be_one(
    moved: Path, trained: Path, tmp_path: Path
) -> None:
    lines = (trained.parent / "logs" / "rows.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["scores"]["tag_acc"] = 0.123
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(first))
    code, said = run(moved, "--log", other, "--limit", 1)
    assert code == 0, said
    assert "seems to be of another training" in said
    assert "Wrote" in said
    code, said = run(moved, "--log", trained.parent / "logs" / "rows.jsonl", "--limit", 1)
    assert code == 0, said
    assert "another training" not in said


@pytest.mark.parametrize(
    ("file", "said_of_it"),
    [
        ("shared_transformer/model/model.safetensors", "bytes instead of"),
        ("tagger/model", "model-best` cannot be loaded: ValueError: Unpack failed"),
        ("meta.json", "meta.json` cannot be read"),
    ],
)
def test_a_damaged_pipeline_is_named(file: str, said_of_it: str, moved: Path) -> None:
    path = moved / "model-best" / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, said = run(moved)
    assert code == 1
    assert said_of_it in said
    assert "copy it again from where it was saved" in said.lower()


@pytest.mark.parametrize(
    ("registered", "missing", "what"),
    [
        ('factory = "tagger"', 'factory = "mine"', "the factory `mine`"),
        (
            "spacy.Tagger.v2",
            "mine.Tagger.v1",
            "the function `mine.Tagger.v1` of the registry `architectures`",
        ),
        (
            "spacy_mtl.NormEqual.v1",
            "mine.B.v1",
            "the function `mine.B.v1` of the registry `balancers`",
        ),
    ],
)
def test_missing_code_is_named_in_one_sentence(
    registered: str, missing: str, what: str, moved: Path
) -> None:
    path = moved / "model-best" / "config.cfg"
    path.write_text(path.read_text().replace(registered, missing))
    code, said = run(moved)
    assert code == 1
    assert f"cannot be loaded: nothing that was imported registers {what}" in said
    assert "Name its Python file with `--code`" in said
    assert "Available" not in said
    assert "[E" not in said


def test_missing_code_of_a_reader_is_a_note_on_the_page(moved: Path, trained: Path) -> None:
    path = moved / "model-best" / "config.cfg"
    path.write_text(path.read_text().replace("spacy_mtl.MultiCorpus.v1", "mine.Corpus.v1"))
    code, said = run(moved, "--log", trained.parent / "logs" / "rows.jsonl")
    assert code == 0, said
    text = Page((moved / "report.html").read_text("utf8")).text
    missing = (
        "cannot be read: nothing that was imported registers the function `mine.Corpus.v1` of the "
        "registry `readers`. Name its Python file with `--code`"
    )
    assert f"The corpora of the training {missing}" in text
    assert f"The dev corpus {missing}" in text
    assert "Available names" not in text


def test_matplotlib_is_asked_for(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    code, said = run(trained)
    assert code == 1
    assert 'pip install "spacy-mtl[report]"' in said


def test_the_command_imports_what_draws_only_when_it_is_used() -> None:
    path = ROOT / "spacy_mtl" / "cli" / "report.py"
    rooms = ("spacy_mtl.report", "spacy_mtl.pipeline", "matplotlib")
    found = imports(path, only_top_level=True)
    assert [module for module in found if any(is_under(module, room) for room in rooms)] == []


def test_a_wheel_has_the_template(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "spacy_mtl", source / "spacy_mtl", ignore=ignored)
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    args = [sys.executable, "-W", "ignore", "setup.py", "-q", "bdist_wheel", "-d", str(tmp_path)]
    done = subprocess.run(args, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"spacy_mtl/report/page.html.j2", "spacy_mtl/report/page.css"} <= names
