"""The page shows all that there is, says what is missing, and takes no text for markup."""

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_mtl.annotation import keep_layers
from spacy_mtl.cli.debug import make_report
from spacy_mtl.errors import CheckpointError
from spacy_mtl.report import collect as collecting
from spacy_mtl.report import plots
from spacy_mtl.report.collect import Files, Report, Task, collect
from spacy_mtl.report.data import Curve, Row
from spacy_mtl.report.page import render

from ..pipeline.helpers import make_nlp
from ..pipeline.sentences import SENTENCES, make_doc
from .conftest import BAD_LABEL, SCRIPT
from .markup import Page, assert_safe
from .test_data import row, write

Plain = Callable[..., Path]


def report_on(run: Path, **settings: Any) -> Report:
    now = datetime(2024, 5, 6, 7, 8, tzinfo=timezone.utc)
    settings = {"limit": 300, "n_examples": 5, "survey": make_report} | settings
    return collect(run, settings.pop("files", Files()), now=now, **settings)


@pytest.fixture(scope="module")
def full(trained: Path) -> str:
    return render(report_on(trained))


@pytest.fixture
def plain(encoder_path: Path, tmp_path: Path) -> Plain:
    """Makes the output folder of a training of which only the least is there."""

    def make(heads: tuple[str, ...], **corpora: Any) -> Path:
        nlp = make_nlp(encoder_path, heads)
        nlp.config["corpora"] = corpora
        (tmp_path / "run").mkdir()
        nlp.to_disk(tmp_path / "run" / "model-last")
        return tmp_path / "run"

    return make


def test_everything_is_shown(full: str, trained: Path) -> None:
    page = Page(full)
    assert_safe(page)
    assert page.tags.count("svg") == 4 + 3 + 3
    for said in (
        "Training report: pipeline 0.0.0",
        "2024-05-06 07:08 UTC",
        "Balancer: spacy_mtl.NormEqual.v1",
        "tag_acc on the dev corpus",
        "Factors of the balancer",
        "pairs were compared with the gradients of the encoder's parameters",
        "Share of batches in which two tasks pull apart",
        "for_tagger",
        "more_tags",
        "What sharing gained each task",
        "With fewer than three seeds",
        "All runs had the same number of updates",
        "gold ↓ predicted →",
        "missed",
        "Gold Predicted Text",
    ):
        assert said in page.text, said
    assert {"overview", "learning", "gradients", "sources", "transfer", "errors"} <= set(page.ids)
    meta = json.loads((trained / "model-last" / "meta.json").read_text())
    for step in meta["best_steps"].values():
        assert re.search(rf'<td class="number">{step}</td>', full)


def test_texts_and_labels_are_no_markup(full: str) -> None:
    assert_safe(Page(full))
    assert SCRIPT not in full
    assert BAD_LABEL not in full
    text = Page(full).text
    assert text.count(SCRIPT) >= 4
    assert text.count(BAD_LABEL) >= 8
    assert "Anna &amp; Smith" in text  # as it is written in the corpus


def test_plots_can_be_read_without_seeing_them(full: str) -> None:
    page = Page(full)
    plots_shown = page.tags.count("figure")
    assert full.count('role="img"') == page.tags.count("figcaption") == plots_shown == 10
    assert len(re.findall(r"<figure.*?<details>.*?<td.*?</figure>", full, re.DOTALL)) == 10
    assert len([label for label in page.labels if label.startswith("Line plot")]) == 7
    assert "best at step" in " ".join(page.labels)
    assert re.search(r"tagger and ner [+-]0\.\d", " ".join(page.labels))
    regions = re.findall(r'tabindex="0" role="region" aria-label="([^"]+)"', full)
    assert len(regions) == len(set(regions))
    assert len(regions) == full.count('tabindex="0"')


def test_the_page_is_self_contained(full: str) -> None:
    assert "default-src 'none'" in full
    assert "@import" not in full
    assert not re.findall(r"url\((?!#)", full)
    outside = set(re.findall(r"https?://[\w./]+", full))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names


def test_the_least_there_can_be_makes_a_page(plain: Plain) -> None:
    run = plain(("tagger", "ner"))
    record = row(0, scores={"tag_acc": 0.25})
    record["tasks"] = {"tagger": record["tasks"]["a"], "ner": record["tasks"]["b/c"]}
    write(run / "log.jsonl", [record])
    page = Page(render(report_on(run)))
    assert_safe(page)
    for said in (
        "model-last",
        "tagger tagger tag_acc 0 25.00",
        "No balancer",
        "Gradients were not measured",
        "The corpora of the training cannot be read: ConfigError: `training.train_corpus = ",
        "The dev corpus cannot be read: ",
        "What sharing gained each task was not measured",
    ):
        assert said in page.text, said
    assert page.tags.count("svg") == 1  # `ner` has neither scores nor losses


def test_a_head_without_gold_is_said_to_have_none(plain: Plain, tmp_path: Path) -> None:
    path = tmp_path / "tags.spacy"
    docs = [keep_layers(make_doc(Vocab(), s), ["tag"]) for s in SENTENCES]
    DocBin(docs=docs).to_disk(path)
    reader = {"@readers": "spacy.Corpus.v1", "path": str(path), "gold_preproc": False}
    reader |= {"max_length": 0, "limit": 0, "augmenter": None}
    run = plain(("tagger", "ner"), train=reader, dev=reader)
    write(run / "log.jsonl", [row(0), row(5)])
    report = report_on(run, n_examples=1)
    page = Page(render(report))
    assert_safe(page)
    assert "No document of the dev corpus is annotated for `ner`." in page.text
    assert "On 4 documents of the dev corpus" in page.text
    assert "This task is in the log, but no component of the pipeline." in page.text
    (tags,) = report.tasks[0].annotations
    assert tags.n == sum(len(doc) for doc in docs)
    assert len(tags.examples) == 1
    assert report.mix is not None
    assert report.mix["train"]["corpus"]["documents"] == 4
    (limited,) = report_on(run, limit=2).tasks[0].annotations
    assert limited.n < tags.n


def as_logged(run: Path, to: Path, *, score: float | None = None) -> Path:
    """The log of a training in another file, perhaps with another score in each evaluation."""
    lines = (run.parent / "logs" / "rows.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        if score is not None:
            record["scores"]["tag_acc"] = score
    to.parent.mkdir(parents=True, exist_ok=True)
    return write(to, records)


def quick(run: Path, **settings: Any) -> Report:
    """A report that looks into few errors, and into no corpus."""
    return report_on(run, limit=1, n_examples=0, survey=lambda nlp: {}["gone"], **settings)


def test_a_log_is_looked_for_in_the_folder_of_the_training_first(
    moved: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for folder in (moved, tmp_path, here):
        as_logged(trained, folder / "logs" / "rows.jsonl")
    monkeypatch.chdir(here)
    assert quick(moved).files["log"] == str(moved / "logs" / "rows.jsonl")
    (moved / "logs" / "rows.jsonl").unlink()
    assert quick(moved).files["log"] == str(tmp_path / "logs" / "rows.jsonl")
    (tmp_path / "logs" / "rows.jsonl").unlink()
    assert quick(moved).files["log"] == str(Path("logs") / "rows.jsonl")

    as_logged(trained, tmp_path / "logs" / "rows.jsonl")
    inside = moved.rename(here / "moved")
    (here / "logs" / "rows.jsonl").unlink()
    as_logged(trained, inside / "log.jsonl")
    assert quick(inside).files["log"] == str(inside / "log.jsonl")  # nothing from above this folder


@pytest.mark.parametrize("start", ["project", "elsewhere"])
def test_corpora_are_looked_for_where_the_training_was_started(
    start: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = project / "training" / "run"
    shutil.copytree(trained, run)
    for file in trained.parent.glob("*.spacy"):
        shutil.copy(file, project / file.name)
    path = run / "model-best" / "config.cfg"
    path.write_text(path.read_text().replace(f"{trained.parent}/", ""))
    monkeypatch.chdir(tmp_path / start)
    log = Files(log=as_logged(trained, tmp_path / "log.jsonl"))
    report = report_on(Path(os.path.relpath(run)), files=log)
    assert (report.mix_note, report.dev_note) == ("", "")
    assert report.mix is not None
    assert report.n_documents
    assert Path.cwd() == tmp_path / start


def test_a_log_of_another_training_is_said_to_be_one(trained: Path, tmp_path: Path) -> None:
    assert quick(trained).warnings == []
    other = as_logged(trained, tmp_path / "other.jsonl", score=0.123)
    report = quick(trained, files=Files(log=other))
    (warning,) = report.warnings
    assert f"The log `{other}` seems to be of another training" in warning
    assert f"`{trained / 'model-best'}`, `{trained / 'model-last'}`" in warning
    assert "`--log`" in warning
    page = Page(render(report))
    assert_safe(page)
    assert f"Warning: {warning}" in page.text


def test_one_of_the_saved_pipelines_in_the_log_is_enough(moved: Path, trained: Path) -> None:
    meta = json.loads((trained / "model-last" / "meta.json").read_text())
    meta["performance"]["tag_acc"] = 0.123
    (moved / "model-last").mkdir()
    (moved / "model-last" / "meta.json").write_text(json.dumps(meta))
    as_logged(trained, moved / "log.jsonl")
    assert quick(moved).warnings == []
    (moved / "model-last" / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"model-last.meta\.json` cannot be read"):
        quick(moved)


def test_two_heads_of_a_kind_have_curves_of_their_own() -> None:
    scores = {"cats_score": 0.9, "cats_score/genre": 0.2, "cats_score/tone": 0.9}
    scores |= {"cats_score@a": 0.8, "cats_score@b": 0.7, "cats_score@a/tone": 0.8}
    scores |= {"cats_score@b/tone": 0.7}
    rows = [Row(n, 0, 0.5, scores, tasks={}, units={}, seen={}) for n in (0, 10)]
    heads = {n: SimpleNamespace(name=n, main_score="cats_score") for n in ("genre", "tone")}
    genre, tone = (Task(name, factory="", number=0, unit="document") for name in heads)
    for task in (genre, tone):
        collecting._add_scores(task, heads[task.name], rows)
    assert (genre.scores.values, tone.scores.values) == ((0.2, 0.2), (0.9, 0.9))
    assert genre.by_source == []
    assert [(c.task, c.values[0]) for c in tone.by_source] == [("a", 0.8), ("b", 0.7)]
    # what a pipeline is saved with may be that of either
    assert collecting._kept_score(heads["genre"], heads, {"cats_score": 0.9}) is None
    assert collecting._kept_score(heads["genre"], heads, scores) == 0.2
    assert (
        collecting._kept_score(heads["genre"], {"genre": heads["genre"]}, {"cats_score": 0.9})
        == 0.9
    )


def test_a_log_that_ends_within_a_line_is_shown_with_a_warning(
    trained: Path, tmp_path: Path
) -> None:
    cut = as_logged(trained, tmp_path / "cut.jsonl")
    whole = quick(trained, files=Files(log=cut))
    cut.write_bytes(cut.read_bytes().rstrip()[:-30])
    found = quick(trained, files=Files(log=cut))
    assert [row.step for row in found.rows] == [row.step for row in whole.rows[:-1]]
    assert any("ends within a line" in warning for warning in found.warnings)
    assert not any("ends within a line" in warning for warning in whole.warnings)


def test_without_a_steps_file_the_evaluations_tell_of_the_gradients(trained: Path) -> None:
    report = report_on(trained, limit=1, survey=lambda nlp: {}["gone"])
    assert report.batches
    report.batches, report.transfer, report.notes = [], None, ["<gone>"]
    page = Page(render(report))
    assert_safe(page)
    assert page.tags.count("svg") == 10
    assert "means between evaluations" in page.text
    assert "<gone>" in page.text


def test_names_that_matplotlib_would_take_for_something_else_are_drawn() -> None:
    curves = [Curve(name, (0.0, 1.0), (0.1, 1.0)) for name in ("_hidden", "$x^2$", "<b>", "日本")]
    svg = plots.line_plot("p", curves, y="y", numbers=range(4), log=True)
    text = Page(svg).text
    for name in ("_hidden", "$x^2$", "<b>", "日本"):
        assert name in text
    assert "mathdefault" not in text


def test_many_tasks_are_told_apart_by_colour_dash_and_marker() -> None:
    curves = [Curve(f"task {i}", (0.0, 1.0), (float(i), 1.0)) for i in range(8)]
    svg = plots.line_plot("p", curves, y="y", numbers=range(8))
    for i in range(8):
        assert f"var(--series-{i})" in svg
    drawn = re.findall(r'<g id="p-series-0-\d">\s*<path [^>]*style="([^"]+)"', svg)
    assert len(drawn) == 8
    looks = {
        (re.sub("stroke: [^;]+;", "", style), plots.MARKERS[i]) for i, style in enumerate(drawn)
    }
    assert len(looks) == 8


@pytest.mark.parametrize(
    ("colours", "ground"), [(plots.COLOURS, "#ffffff"), (plots.DARK_COLOURS, "#15171b")]
)
def test_lines_stand_out_from_their_ground(colours: tuple[str, ...], ground: str) -> None:
    def luminance(colour: str) -> float:
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colour in colours:
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour
