"""What the training log says, read from its files. Pure: lines of JSON in, dataclasses out."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, TypeVar

from .. import errors

Pair = tuple[str, str]
Measure = Literal["loss", "gradient", "factor", "share"]
Record = dict[str, Any]
T = TypeVar("T")

LOGGER = "spacy_mtl.TaskLogger.v1"
POINTS = 60  # of a smoothed curve


@dataclass(frozen=True)
class TaskPoint:
    """One task, in a batch or on average between two evaluations. None: not measured.

    loss, gradient: per annotated unit. factor: what the balancer multiplied the gradient with. share: of the lengths of
    all gradients that the encoder got, from 0 to 1.
    """

    units: int = 0
    loss: float | None = None
    gradient: float | None = None
    factor: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class PairPoint:
    """Two tasks: mean cosine of their pooled gradients, share of batches where it is negative, mean true cosine."""

    cosine: float
    conflict: float
    true_cosine: float | None = None


@dataclass(frozen=True)
class Audit:
    """How many pairs were audited, and in which share of them a cheap cosine had the sign of the true one."""

    pairs: int
    pooled_sign_right: float
    token_sign_right: float
    cosine: float


@dataclass(frozen=True)
class Row:
    """One evaluation: a line of `output_file`.

    seen: words of annotated documents that each task has seen so far. has_gradients: false if they were not measured.
    """

    step: int
    epoch: int
    score: float
    scores: dict[str, float]
    tasks: dict[str, TaskPoint]
    units: dict[str, str]
    seen: dict[str, int]
    has_gradients: bool = False
    pairs: dict[Pair, PairPoint] = field(default_factory=dict)
    audit: Audit | None = None


@dataclass(frozen=True)
class Batch:
    """One batch: a line of `steps_file`. true: cosines of the parameters' gradients, in a batch with an audit."""

    number: int
    tasks: dict[str, TaskPoint]
    cosines: dict[Pair, float]
    true: dict[Pair, float]


@dataclass(frozen=True)
class Curve:
    """Values of a task over the steps of the training, both of the same length."""

    task: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def read_rows(path: Path) -> list[Row]:
    """The evaluations of the last training in a log. Raises ReportError for a damaged line, or without any."""
    rows = _last(_read_lines(path, _row), lambda row: row.step)
    if not rows:
        raise errors.empty_log(str(path))
    return rows


def read_batches(path: Path) -> list[Batch]:
    """The batches of the last training in a steps file. Raises ReportError for a damaged line."""
    return _last(_read_lines(path, _batch), lambda batch: batch.number)


def read_transfer(path: Path) -> Record:
    """The `transfer.json` of `spacy mtl transfer`. Raises ReportError if it is not one."""
    try:
        report: Record = json.loads(path.read_bytes())
        heads = report["heads"]
        for run in report["runs"]:
            if not set(run["heads"]) <= set(heads) or set(run["heads"]) - set(run["scores"]):
                raise ValueError("a run has other tasks than it says.")
            int(run["updates"])
        for found in report["differences"]:
            _ = found["task"], found["group"], float(found["mean"]), found["verdict"]
            _ = found["spread"], found["p"]
        _ = report["affinity"].items(), report["groups"], report["groups_from"], report["seeds"]
        _ = report["equal"], report["agreement"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.damaged_report_file(str(path), reason=_reason(error)) from error
    return report


def find_logger(block: Any) -> Record | None:
    """The block of our logger in `[training.logger]`, also inside a `spacy.ChainLogger.v1`; None if it is another."""
    if not isinstance(block, dict):
        return None
    if block.get("@loggers") == LOGGER:
        return block
    return next((found for found in map(find_logger, block.values()) if found is not None), None)


def curve(points: Iterable[tuple[float, TaskPoint]], task: str, measure: Measure) -> Curve:
    """One measure of a task over steps, where there is one."""
    found = [(step, getattr(point, measure)) for step, point in points]
    known = [(float(step), float(value)) for step, value in found if value is not None]
    return Curve(task, tuple(s for s, _ in known), tuple(v for _, v in known))


def of_rows(rows: Iterable[Row], task: str) -> Iterator[tuple[float, TaskPoint]]:
    """A task's points, by step of the evaluation."""
    return ((row.step, row.tasks[task]) for row in rows if task in row.tasks)


def of_batches(
    batches: Iterable[Batch], task: str, *, per_step: int = 1
) -> Iterator[tuple[float, TaskPoint]]:
    """A task's points, by step. per_step: batches in a step (`training.accumulate_gradient`)."""
    return ((b.number // per_step, b.tasks[task]) for b in batches if task in b.tasks)


def window_of(n_steps: int) -> int:
    """Steps whose values a smoothed curve puts together: more where a training is longer.

    >>> window_of(4), window_of(50), window_of(10_000)
    (1, 4, 167)
    """
    return max(-(-n_steps // POINTS), round(n_steps**0.5 / 2), 1)


def smooth(line: Curve, window: int) -> Curve:
    """Means over windows of so many steps, which begin at the same steps for all curves.

    >>> smooth(Curve("t", (0.0, 1.0, 2.0, 4.0), (1.0, 3.0, 5.0, 9.0)), 2)
    Curve(task='t', steps=(0.5, 2.5, 4.5), values=(2.0, 5.0, 9.0))
    """
    found: dict[int, list[float]] = {}
    for step, value in zip(line.steps, line.values, strict=True):
        found.setdefault(int(step) // window, []).append(value)
    steps = tuple(number * window + (window - 1) / 2 for number in found)
    return Curve(line.task, steps, tuple(map(_mean, found.values())))


def pairs_of(rows: Sequence[Row], batches: Sequence[Batch]) -> dict[Pair, PairPoint]:
    """Means over the whole training: over batches if they are known, else over evaluations, weighted by their steps."""
    if batches:
        found: dict[Pair, list[float]] = {}
        true: dict[Pair, list[float]] = {}
        for batch in batches:
            for pair, cosine in batch.cosines.items():
                found.setdefault(pair, []).append(cosine)
            for pair, cosine in batch.true.items():
                true.setdefault(pair, []).append(cosine)
        return {
            pair: PairPoint(
                _mean(values),
                _mean([float(value < 0) for value in values]),
                _mean(true[pair]) if pair in true else None,
            )
            for pair, values in found.items()
        }
    weighted: dict[Pair, list[tuple[float, PairPoint]]] = {}
    before = -1
    for row in rows:
        for pair, point in row.pairs.items():
            weighted.setdefault(pair, []).append((row.step - before, point))
        before = row.step
    return {
        pair: PairPoint(
            _weighted([(w, p.cosine) for w, p in points]) or 0.0,
            _weighted([(w, p.conflict) for w, p in points]) or 0.0,
            _weighted([(w, p.true_cosine) for w, p in points if p.true_cosine is not None]),
        )
        for pair, points in weighted.items()
    }


def audit_of(rows: Iterable[Row]) -> Audit | None:
    """All audits of the training in one; None if there was none."""
    audits = [row.audit for row in rows if row.audit is not None]
    if not audits:
        return None

    def mean(values: Iterable[float]) -> float:
        return _weighted(zip([a.pairs for a in audits], values, strict=True)) or 0.0

    return Audit(
        sum(a.pairs for a in audits),
        mean(a.pooled_sign_right for a in audits),
        mean(a.token_sign_right for a in audits),
        mean(a.cosine for a in audits),
    )


def _row(record: Record) -> Row:
    gradients = record.get("gradients")
    pulls = {} if gradients is None else gradients["tasks"]
    tasks = {
        name: TaskPoint(
            units=int(values["units"]),
            loss=_number(values["loss_per_unit"]),
            gradient=_number(pulls.get(name, {}).get("gradient_per_unit")),
            factor=_number(pulls.get(name, {}).get("factor")),
            share=_number(pulls.get(name, {}).get("share")),
        )
        for name, values in record["tasks"].items()
    }
    pairs = {} if gradients is None else _by_pair(tasks, gradients["pairs"])
    audit = None if gradients is None else gradients.get("audit")
    return Row(
        step=int(record["step"]),
        epoch=int(record["epoch"]),
        score=float(record["score"]),
        scores={name: float(value) for name, value in record["scores"].items()},
        tasks=tasks,
        units={name: str(values["unit"]) for name, values in record["tasks"].items()},
        seen={name: int(values["words_so_far"]) for name, values in record["tasks"].items()},
        has_gradients=gradients is not None,
        pairs={
            pair: PairPoint(
                float(values["cosine"]),
                float(values["conflict"]),
                _number(values.get("true_cosine")),
            )
            for pair, values in pairs.items()
        },
        audit=None
        if audit is None
        else Audit(
            int(audit["pairs"]),
            float(audit["pooled_sign_right"]),
            float(audit["token_sign_right"]),
            float(audit["cosine"]),
        ),
    )


def _batch(record: Record) -> Batch:
    tasks = {
        name: TaskPoint(
            units=int(values["units"]),
            loss=_number(values["loss_per_unit"]),
            gradient=_number(values["gradient_per_unit"]),
            factor=_number(values["factor"]),
            share=_number(values["share"]),
        )
        for name, values in record["tasks"].items()
    }
    audits = _by_pair(tasks, record.get("audit", {}))
    return Batch(
        number=int(record["batch"]),
        tasks=tasks,
        cosines={p: float(value) for p, value in _by_pair(tasks, record["cosines"]).items()},
        true={pair: float(values["parameters"]) for pair, values in audits.items()},
    )


def _by_pair(tasks: Iterable[str], values: Record) -> dict[Pair, Any]:
    """`a/b` as a pair, sorted. Names may have a slash, so they are looked up, not split."""
    found = {}
    for pair in combinations(sorted(tasks), 2):
        for key in ("/".join(pair), "/".join(reversed(pair))):
            if key in values:
                found[pair] = values[key]
    return found


def _read_lines(path: Path, parse: Callable[[Record], T]) -> Iterator[T]:
    """Raises ReportError, with file and line, for one that is not what the logger writes."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield parse(json.loads(line.decode("utf8")))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise errors.damaged_line(str(path), number, reason=_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"in column {error.colno} it is not JSON ({error.msg})."
    text = f"it has no {error}" if isinstance(error, KeyError) else f"{error}"
    return f"{text.removesuffix('.')}."


def _last(items: Iterable[T], place: Callable[[T], int]) -> list[T]:
    """Those of the last training: the logger appends to its files, and each training counts from 0."""
    kept: list[T] = []
    for item in items:
        if kept and place(item) <= place(kept[-1]):
            kept = []
        kept.append(item)
    return kept


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _weighted(values: Iterable[tuple[float, float | None]]) -> float | None:
    known = [(weight, value) for weight, value in values if value is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None
