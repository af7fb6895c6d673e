"""The tables of a report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from ..transfer.comparison import named_groups, own_way_rows
from . import data
from .collect import Annotation, Report, Task
from .confusion import Confusion

SHADE = 45  # percent of colour at most behind the number of a cell, so that it stays readable


@dataclass(frozen=True)
class Table:
    """caption; header; rows of cells, the first of each being its name. texts: columns that are not numbers.

    shades: [rows][columns] CSS class and percent of colour behind a cell, if it has any.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    texts: frozenset[int] = frozenset()
    shades: list[list[tuple[str, int] | None]] | None = None


def overview(report: Report) -> Table:
    """Each task, its scores and its best step."""
    rows = []
    for task in report.tasks:
        rows.append(
            [
                task.name,
                task.factory or "-",
                task.score_name or "-",
                "-" if task.best_step is None else f"{task.best_step:,}",
                _score(task.score_at(task.best_step)),
                _score(task.kept_score),
                f"{task.seen:,}",
            ]
        )
    header = [
        "Task",
        "Factory",
        "Main score",
        "Best step",
        "Score there",
        "Score of this pipeline",
        "Words seen",
    ]
    caption = "Each task's main score on the dev corpus, times 100"
    return Table(caption, header, rows, texts=frozenset((1, 2)))


def sources(report: Report) -> Table | None:
    """What each source gives each task; None if the corpora could not be read."""
    if report.mix is None:
        return None
    rows = []
    for name, source in report.mix["train"].items():
        epochs = source["epochs"]
        cells = [name, f"{source['documents']:,}", f"{source['words']:,}"]
        cells += [f"{source['share']:.1%}", "-" if epochs is None else f"{epochs:.2f}"]
        for task in report.tasks:
            count = source["tasks"].get(task.name, {"units": 0})
            cells.append(
                f"{count['units']:,} {count['unit']} in {count['documents']:,} documents"
                if count["units"]
                else "-"
            )
        rows.append(cells)
    header = ["Source", "Documents", "Words", "Share of a batch", "Times seen"]
    caption = "What each source of the training corpus is annotated for"
    return Table(caption, [*header, *(task.name for task in report.tasks)], rows)


def transfer(found: dict[str, Any]) -> list[Table]:
    """Scores, differences and cosines of a `transfer.json`."""
    heads, runs = found["heads"], found["runs"]
    rows = []
    for group in dict.fromkeys(tuple(run["heads"]) for run in runs):
        own = [run for run in runs if tuple(run["heads"]) == group]
        scores = [
            _spread([100 * r["scores"][h] for r in own]) if h in group else "-" for h in heads
        ]
        rows.append([_group(group, heads), str(len(own)), f"{own[0]['updates']:,}", *scores])
    caption = "Scores, times 100, of pipelines with these tasks: mean and spread over seeds"
    tables = [Table(caption, ["Trained together", "Seeds", "Updates", *heads], rows)]
    rows = [
        [
            d["task"],
            _group(d["group"], heads),
            f"{d['mean']:+.2f}",
            "-" if d["spread"] is None else f"{d['spread']:.2f}",
            "-" if d["p"] is None else f"{d['p']:.3f}",
            d["verdict"],
        ]
        for d in found["differences"]
    ]
    if rows:
        caption = (
            "What sharing gained each task, in points, against the task alone; p of a paired t-test, corrected for all "
            "differences (Holm)"
        )
        header = ["Task", "Trained with", "Gain", "Spread", "p", "Verdict"]
        tables.append(Table(caption, header, rows, texts=frozenset((1, 5))))
    if rows := own_way_rows(found):
        of = "pooled gradients" if found["cosines_of"] == "pooled" else "gradients"
        caption = (
            "How far a step for two tasks goes each one's way (1: as alone), and the cosine of their "
            f"{of}, all trained together"
        )
        header = ["Task", "Beside", "Own way", "Cosine"]
        tables.append(Table(caption, header, rows, texts=frozenset((1,))))
    return tables


def advice(found: dict[str, Any] | None) -> list[str]:
    """What a `transfer.json` says in sentences."""
    if found is None:
        return []
    equal = {"updates": "the same number of updates", "gold": "as much gold of a task"}
    said = [f"All runs had {equal.get(found['equal'], found['equal'])}."]
    if found["differences"] and found["seeds"] < 3:
        said.append("With fewer than three seeds a difference can hardly be told from chance.")
    if found["agreement"] is not None:
        said.append(
            f"Rank correlation of the gradients with what the pairs gained: {found['agreement']:.2f}."
        )
    if found["groups_from"] == "together":
        said.append(
            "All together, tasks have gained and none was shown to lose: train all together."
        )
    elif found["groups"]:
        basis = {"pairs": "the pairs", "gradients": "the gradients alone, which is a guess"}
        groups = named_groups(found["groups"])
        said.append(f"Judged by {basis.get(found['groups_from'], '?')}, train {groups}.")
    return said


def confusion_table(task: Task, one: Annotation) -> Table:
    """The confusion of a head. Rows: gold. Columns: predicted."""
    table = one.table
    assert table is not None
    rows, shades = [], []
    for name, counts in zip(table.rows, table.counts.tolist(), strict=True):
        total = sum(counts)
        rows.append([name, *(f"{n:,}" if n else "·" for n in counts), f"{total:,}"])
        shade = [_shade(table, name, column, n, total) for column, n in _cells(table, counts)]
        shades.append([None, *shade, None])
    header = ["gold ↓ predicted →", *table.columns, "all"]
    return Table(f"{task.name}: {one.what}", header, rows, shades=shades)


def _cells(table: Confusion, counts: list[int]) -> Iterable[tuple[str, int]]:
    return zip(table.columns, counts, strict=True)


def _shade(table: Confusion, row: str, column: str, n: int, total: int) -> tuple[str, int] | None:
    if not n:
        return None
    return ("right" if row == column else "wrong", max(8, round(SHADE * n / total)))


def wrong_table(task: Task, one: Annotation) -> Table:
    """The wrong pairs of labels, the most frequent first."""
    rows = [
        [gold or "nothing", predicted or "nothing", f"{n:,}"] for (gold, predicted), n in one.wrong
    ]
    shown = f", the {len(one.wrong)} most frequent" if one.n_kinds_wrong > len(one.wrong) else ""
    caption = f"{task.name}: what was taken for what{shown}"
    return Table(caption, ["Gold", "Predicted", "Times"], rows, texts=frozenset((1,)))


def by_step(
    caption: str, header: list[str], curves: Sequence[data.Curve], forms: Sequence[str]
) -> Table:
    """A row for each step that one of the curves has."""
    by_curve = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    rows = []
    for step in sorted({step for found in by_curve for step in found}):
        cells = [
            form.format(found[step]) if step in found else "-"
            for found, form in zip_longest(by_curve, forms)
        ]
        rows.append([f"{step:,.1f}".removesuffix(".0"), *cells])
    return Table(caption, header, rows)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _group(group: Sequence[str], heads: Sequence[str]) -> str:
    if len(group) == len(heads):
        return "all"
    return " + ".join(group) if len(group) > 1 else f"{group[0]} alone"


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"
