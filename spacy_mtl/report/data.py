"""What the training log says, read from its files. Pure: lines of JSON in, dataclasses out."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .. import errors, jsonl
from ..transfer.comparison import by_pair
from ..worst_task import is_number

Pair = tuple[str, str]
Measure = Literal["loss", "gradient", "factor", "share"]
Record = dict[str, Any]
Need = tuple[str, Callable[[Any], bool]]  # what a value must be, and whether it is
T = TypeVar("T")
K = TypeVar("K")

LOGGER = "spacy_mtl.TaskLogger.v1"
POINTS = 60  # of a smoothed curve
TOLERANCE = 1e-6  # of numbers that were written to two files
SHOWN = 60  # characters of a wrong value


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
    """Two tasks: mean cosine as each batch knows it, share of batches where it is negative, mean true cosine."""

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

    scores, losses: those that are finite. losses: of components, summed since the evaluation before. seen: words of
    annotated documents that each task has seen so far. has_gradients: false if they were not measured.
    """

    step: int
    epoch: int
    score: float
    scores: dict[str, float]
    tasks: dict[str, TaskPoint]
    units: dict[str, str]
    seen: dict[str, int]
    losses: dict[str, float] = field(default_factory=dict)
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
    """The evaluations of the last training in a log, each step once.

    Raises ReportError for a damaged line, or without any.
    """
    rows = _last(_read_lines(path, _row), lambda row: row.step)
    if not rows:
        raise errors.empty_log(str(path))
    return rows


def read_batches(path: Path) -> list[Batch]:
    """The batches of the last training in a steps file. Raises ReportError for a damaged line."""
    return _last(_read_lines(path, _batch), lambda batch: batch.number)


def read_transfer(path: Path) -> Record:
    """The `transfer.json` of `spacy mtl transfer`. Raises ReportError, with key and value, if it is not one."""
    try:
        report: Record = json.loads(path.read_bytes())
        _check_transfer(report)
    except (ValueError, KeyError) as error:
        raise errors.damaged_report_file(str(path), reason=_reason(error)) from error
    return report


def is_logged(performance: Mapping[str, Any], rows: Iterable[Row]) -> bool | None:
    """Whether a log has the evaluation that a pipeline was saved after; None if nothing can be compared.

    performance: that of the pipeline's `meta.json`: the scores with a weight, and each component's loss as `NAME_loss`.
    Compared are the numbers that it and a row both have.
    """
    compared = [found for row in rows if (found := _in_both(performance, row))]
    if not compared:
        return None
    return any(
        all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in found)
        for found in compared
    )


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
    pairs = {} if gradients is None else by_pair(tasks, gradients["pairs"])
    audit = None if gradients is None else gradients.get("audit")
    return Row(
        step=int(record["step"]),
        epoch=int(record["epoch"]),
        score=float(record["score"]),
        scores=_finite(record["scores"]),
        tasks=tasks,
        units={name: str(values["unit"]) for name, values in record["tasks"].items()},
        seen={name: int(values["words_so_far"]) for name, values in record["tasks"].items()},
        losses=_finite(record.get("losses", {})),
        has_gradients=gradients is not None,
        pairs={
            pair: PairPoint(
                float(values["cosine"]),
                float(values["conflict"]),
                _number(values.get("true_cosine")),
            )
            for pair, values in pairs.items()
            if values["cosine"] is not None
        },
        audit=None
        if audit is None or audit["cosine"] is None
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
    audits = by_pair(tasks, record.get("audit", {}))
    return Batch(
        number=int(record["batch"]),
        tasks=tasks,
        cosines=_finite(by_pair(record.get("known", tasks), record["cosines"])),
        true=_finite({pair: values["parameters"] for pair, values in audits.items()}),
    )


def _read_lines(path: Path, parse: Callable[[Record], T]) -> Iterator[T]:
    """Raises ReportError, with file and line, for one that the logger does not write; half a last line is left out."""
    cut = jsonl.is_cut(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip() or (cut and not line.endswith(b"\n")):
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
    """Those of the last training: the logger appends to its files.

    Each training counts from 0, and one that was resumed from where it was saved. So an item takes the place of all
    before it that do not come before it in the training.
    """
    kept: list[T] = []
    for item in items:
        while kept and place(kept[-1]) >= place(item):
            kept.pop()
        kept.append(item)
    return kept


def _in_both(performance: Mapping[str, Any], row: Row) -> list[tuple[float, float]]:
    logged = {**row.scores, **{f"{name}_loss": loss for name, loss in row.losses.items()}}
    return [
        (float(performance[name]), value)
        for name, value in logged.items()
        if is_number(performance.get(name))
    ]


def _check_transfer(report: Any) -> None:
    """Raises KeyError or ValueError, which say where, for what `spacy mtl transfer` does not write."""
    _check("", report, _TRANSFER)
    for number, run in enumerate(report["runs"]):
        place = f"runs[{number}]"
        _check(place, run, _RUN)
        for head in run["heads"]:
            if head not in report["heads"]:
                raise ValueError(f"`{place}.heads` has `{head}`, which is not in `heads`.")
        _check(f"{place}.scores", run["scores"], dict.fromkeys(run["heads"], _NUMBER))
    for number, difference in enumerate(report["differences"]):
        _check(f"differences[{number}]", difference, _DIFFERENCE)
    for key in ("affinity", "cosines"):
        _check(key, report[key], dict.fromkeys(report[key], _NUMBER))
    for number, group in enumerate(report["groups"]):
        _check_value(f"groups[{number}]", group, _NAMES)


def _check(place: str, record: Any, needs: Mapping[str, Need]) -> None:
    """Raises KeyError for what is missing, ValueError for what has a wrong value. place: empty for the whole file."""
    if not place and not isinstance(record, dict):
        raise ValueError("it must be an object.")
    _check_value(place, record, _OBJECT)
    start = f"{place}." if place else ""
    for key in needs:
        if key not in record:
            raise KeyError(f"{start}{key}")
    for key, need in needs.items():
        _check_value(f"{start}{key}", record[key], need)


def _check_value(place: str, value: Any, need: Need) -> None:
    what, holds = need
    if not holds(value):
        shown = json.dumps(value, ensure_ascii=False)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        raise ValueError(f"`{place} = {shown}` must be {what}.")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


_OBJECT: Need = ("an object", lambda value: isinstance(value, dict))
_LIST: Need = ("a list", lambda value: isinstance(value, list))
_NAMES: Need = ("a list of names", _is_names)
_TEXT: Need = ("a text", lambda value: isinstance(value, str))
_NUMBER: Need = ("a number", is_number)
_COUNT: Need = ("a whole number", lambda value: is_number(value) and isinstance(value, int))
_MAYBE: Need = ("a number or null", lambda value: value is None or is_number(value))

_TRANSFER: dict[str, Need] = {
    "heads": _NAMES,
    "runs": _LIST,
    "seeds": _COUNT,
    "equal": _TEXT,
    "differences": _LIST,
    "affinity": _OBJECT,
    "cosines": _OBJECT,
    "cosines_of": _TEXT,
    "agreement": _MAYBE,
    "groups": _LIST,
    "groups_from": _TEXT,
}
_RUN: dict[str, Need] = {"heads": _NAMES, "updates": _COUNT, "scores": _OBJECT}
_DIFFERENCE: dict[str, Need] = {
    "task": _TEXT,
    "group": _NAMES,
    "mean": _NUMBER,
    "spread": _MAYBE,
    "p": _MAYBE,
    "verdict": _TEXT,
}


def _finite(values: Mapping[K, Any]) -> dict[K, float]:
    """JSON has no number for what is not finite: null stands for it, and is left out."""
    return {key: float(value) for key, value in values.items() if value is not None}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _weighted(values: Iterable[tuple[float, float | None]]) -> float | None:
    known = [(weight, value) for weight, value in values if value is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None
