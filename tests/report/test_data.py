"""The log of a training is read as it was written, and what is damaged in it is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_mtl.errors import ReportError
from spacy_mtl.report import data
from spacy_mtl.report.data import Audit, Curve, PairPoint


def row(step: int, **values: Any) -> dict[str, Any]:
    """A line of `output_file`."""
    task = {"unit": "tokens", "units": 4, "documents": 2, "words": 4, "words_so_far": 4 + step}
    return {
        "epoch": 0,
        "step": step,
        "seconds": 1,
        "words": 10,
        "score": step / 100,
        "scores": {"tag_acc": step / 100},
        "losses": {"a": 1.0},
        "tasks": {"a": {"loss_per_unit": 0.5, **task}, "b/c": {"loss_per_unit": None, **task}},
        **values,
    }


def gradients(cosine: float, conflict: float, **values: Any) -> dict[str, Any]:
    """The summary in such a line."""
    return {
        "tasks": {"a": {"gradient_per_unit": 2.0, "factor": 1.5, "share": 0.25}},
        "pairs": {"a/b/c": {"cosine": cosine, "conflict": conflict, **values}},
        "conflict": conflict,
        "audit": {
            "pairs": 4,
            "pooled_sign_right": conflict,
            "token_sign_right": 0.5,
            "cosine": 0.1,
        },
    }


def batch(number: int, cosine: float | None = None, true: float | None = None) -> dict[str, Any]:
    """A line of `steps_file`."""
    one = {"units": 3, "loss_per_unit": number, "gradient_per_unit": 1.0, "factor": 1, "share": 0.5}
    found: dict[str, Any] = {"batch": number, "tasks": {"a": one, "b": one}, "cosines": {}}
    if cosine is not None:
        found["cosines"] = {"b/a": cosine}
    if true is not None:
        found["audit"] = {"b/a": {"parameters": true, "tokens": 0.0}}
    return found


def comparison(**values: Any) -> dict[str, Any]:
    """A small `transfer.json`."""
    found = {
        "heads": ["a", "b"],
        "seeds": 1,
        "equal": "updates",
        "runs": [
            {"heads": ["a", "b"], "updates": 2, "scores": {"a": 0.5, "b": 1}},
            {"heads": ["a"], "updates": 2, "scores": {"a": 0.25}},
        ],
        "differences": [
            {
                "task": "a",
                "group": ["a", "b"],
                "mean": 25.0,
                "spread": None,
                "p": None,
                "verdict": "too few seeds",
            }
        ],
        "affinity": {"a/b": 0.5, "b/a": 0.5},
        "cosines": {"a/b": 0.1},
        "cosines_of": "parameters",
        "agreement": None,
        "groups": [["a", "b"]],
        "groups_from": "gradients",
    }
    return {**found, **values}


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_evaluations_are_read(tmp_path: Path) -> None:
    records = [row(0), row(10, gradients=gradients(-0.5, 0.75, true_cosine=0.2))]
    first, second = data.read_rows(write(tmp_path / "log", records))
    assert (first.step, first.has_gradients, first.pairs, first.audit) == (0, False, {}, None)
    assert (second.step, second.score, second.scores) == (10, 0.1, {"tag_acc": 0.1})
    assert second.has_gradients
    point = second.tasks["a"]
    assert (point.units, point.loss, point.gradient) == (4, 0.5, 2.0)
    assert (point.factor, point.share) == (1.5, 0.25)
    assert second.tasks["b/c"].loss is None
    assert second.tasks["b/c"].share is None
    assert second.seen == {"a": 14, "b/c": 14}
    assert second.pairs == {("a", "b/c"): PairPoint(-0.5, 0.75, 0.2)}
    assert second.audit == Audit(4, 0.75, 0.5, 0.1)


def test_a_file_with_several_trainings_is_read_from_the_last_one(tmp_path: Path) -> None:
    rows = data.read_rows(write(tmp_path / "log", [row(0), row(10), row(20), row(0), row(10)]))
    assert [found.step for found in rows] == [0, 10]
    batches = data.read_batches(write(tmp_path / "steps", [batch(0), batch(2), batch(0)]))
    assert [found.number for found in batches] == [0]


def test_a_resumed_training_keeps_what_it_logged_before(tmp_path: Path) -> None:
    steps = [0, 100, 200, 200, 300]
    records = [row(step) for step in steps]
    records[3]["score"] = 0.75
    rows = data.read_rows(write(tmp_path / "log", records))
    assert [(found.step, found.score) for found in rows] == [
        (0, 0),
        (100, 1),
        (200, 0.75),
        (300, 3),
    ]
    rows = data.read_rows(write(tmp_path / "log", [row(n) for n in (0, 10, 20, 30, 10, 20)]))
    assert [found.step for found in rows] == [0, 10, 20]
    numbers = (0, 1, 2, 3, 2, 3, 4)
    batches = data.read_batches(write(tmp_path / "steps", [batch(n) for n in numbers]))
    assert [found.number for found in batches] == [0, 1, 2, 3, 4]


def test_what_was_not_finite_is_left_out(tmp_path: Path) -> None:
    summary = gradients(0.5, 0.0)
    summary["tasks"]["a"]["share"] = None
    summary["audit"]["cosine"] = None
    summary["pairs"]["a/b/c"]["cosine"] = None
    record = row(0, gradients=summary, scores={"tag_acc": None, "ents_f": 0.5})
    record["losses"] = {"a": None, "b/c": 2.0}
    (found,) = data.read_rows(write(tmp_path / "log", [record]))
    assert (found.scores, found.losses) == ({"ents_f": 0.5}, {"b/c": 2.0})
    assert (found.tasks["a"].share, found.pairs, found.audit) == (None, {}, None)
    line = batch(0)
    line["cosines"] = {"a/b": None}
    line["audit"] = {"a/b": {"parameters": None, "tokens": None}}
    (one,) = data.read_batches(write(tmp_path / "steps", [line]))
    assert (one.cosines, one.true) == ({}, {})


@pytest.mark.parametrize(
    ("performance", "expected"),
    [
        ({"tag_acc": 0.1, "a_loss": 1.0}, True),
        ({"tag_acc": 0.1 + 1e-10, "a_loss": 1.0}, True),  # JSON is written with ten digits
        ({"tag_acc": 0.1}, True),
        ({"tag_acc": 0.1, "ents_f": 0.0, "tag_per_type": {}, "speed": None}, True),
        ({"tag_acc": 0.11, "a_loss": 1.0}, False),
        ({"tag_acc": 0.1, "a_loss": 2.0}, False),
        ({"ents_f": 0.1, "b_loss": 1.0}, None),
        ({}, None),
    ],
)
def test_a_pipeline_is_found_in_its_log(
    performance: dict[str, Any], expected: bool | None, tmp_path: Path
) -> None:
    rows = data.read_rows(write(tmp_path / "log", [row(0), row(10), row(20)]))
    assert data.is_logged(performance, rows) is expected


def test_batches_are_read_and_their_pairs_sorted(tmp_path: Path) -> None:
    (found,) = data.read_batches(write(tmp_path / "steps", [batch(3, -0.5, 0.25)]))
    assert found.cosines == {("a", "b"): -0.5}
    assert found.true == {("a", "b"): 0.25}
    assert found.tasks["a"].loss == 3.0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"epoch": 0, "st', "in column 17 it is not JSON (Invalid control character at). Take"),
        ("[]", "list"),
        ('{"epoch": 0}', "it has no 'tasks'"),
        (json.dumps(row(1, score=None)), "NoneType"),
        (json.dumps(row(1, tasks=[])), "list"),
        (b"\xff\xfe", "invalid start byte"),
    ],
)
def test_a_damaged_line_is_named_with_its_file(
    line: str | bytes, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "log.jsonl", [row(0)])
    text = line.encode() if isinstance(line, str) else line
    path.write_bytes(path.read_bytes() + b"\n" + text + b"\n")
    with pytest.raises(ReportError, match=r"Line 3 of `.*log\.jsonl` is not what") as error:
        data.read_rows(path)
    assert reason in str(error.value)
    assert "Take the line out" in str(error.value)


def test_a_damaged_line_of_the_batches_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "steps.jsonl", [batch(0), {"batch": 1, "tasks": {"a": {}}}])
    with pytest.raises(ReportError, match=r"Line 2 of `.*steps\.jsonl`.*it has no 'units'"):
        data.read_batches(path)


def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "log", [row(0), row(10)])
    path.write_bytes(path.read_bytes().rstrip()[:-20])
    assert [r.step for r in data.read_rows(path)] == [0]
    steps = write(tmp_path / "steps", [batch(0), batch(1)])
    steps.write_bytes(steps.read_bytes().rstrip()[:-20])
    assert [b.number for b in data.read_batches(steps)] == [0]


def test_a_log_without_evaluations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"log` has no evaluation.*`--log`"):
        data.read_rows(write(tmp_path / "log", []))


@pytest.mark.parametrize(
    "text", ["{", "{}", "[]", "1", '{"heads": ["a"], "runs": [{"heads": ["b"]}]}']
)
def test_what_is_no_comparison_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "transfer.json").write_text(text)
    with pytest.raises(ReportError, match=r"transfer\.json` is not what `spacy mtl transfer`"):
        data.read_transfer(tmp_path / "transfer.json")


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A comparison with another value in one place."""
    found = comparison()
    inner: Any = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return found


def test_a_comparison_is_read(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(comparison()))
    assert data.read_transfer(path) == comparison()


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("agreement",), "x", '`agreement = "x"` must be a number or null.'),
        (("affinity", "a/b"), None, "`affinity.a/b = null` must be a number."),
        (("affinity",), [], "`affinity = []` must be an object."),
        (("seeds",), None, "`seeds = null` must be a whole number."),
        (("seeds",), True, "`seeds = true` must be a whole number."),
        (("equal",), {}, "`equal = {}` must be a text."),
        (("heads",), "ab", '`heads = "ab"` must be a list of names.'),
        (("groups",), 1, "`groups = 1` must be a list."),
        (("groups", 0), "ab", '`groups[0] = "ab"` must be a list of names.'),
        (("groups_from",), None, "`groups_from = null` must be a text."),
        (("runs",), {}, "`runs = {}` must be a list."),
        (("runs", 1), [], "`runs[1] = []` must be an object."),
        (("runs", 1, "heads"), [], "`runs[1].heads = []` must be a list of names."),
        (("runs", 1, "heads"), ["c"], "`runs[1].heads` has `c`, which is not in `heads`."),
        (("runs", 1, "updates"), "2", '`runs[1].updates = "2"` must be a whole number.'),
        (("runs", 0, "scores"), {"a": 1}, "it has no 'runs[0].scores.b'."),
        (("runs", 0, "scores", "b"), "x", '`runs[0].scores.b = "x"` must be a number.'),
        (("differences", 0, "spread"), "x", '`differences[0].spread = "x"` must be a number or'),
        (("differences", 0, "mean"), None, "`differences[0].mean = null` must be a number."),
        (("differences", 0, "group"), [], "`differences[0].group = []` must be a list of names."),
        (("differences", 0), {"task": "a"}, "it has no 'differences[0].group'."),
    ],
)
def test_a_wrong_value_in_a_comparison_is_named(
    place: tuple[Any, ...], value: Any, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(changed(place, value)))
    with pytest.raises(ReportError, match=r"transfer\.json` is not what `spacy mtl") as error:
        data.read_transfer(path)
    assert reason in str(error.value)
    assert str(error.value).endswith("Name its `transfer.json` with `--transfer`.")


def test_our_logger_is_found_behind_others() -> None:
    ours = {"@loggers": "spacy_mtl.TaskLogger.v1", "output_file": "x"}
    console = {"@loggers": "spacy.ConsoleLogger.v3"}
    chain = {"@loggers": "spacy.ChainLogger.v1", "logger1": console, "logger2": ours}
    assert data.find_logger(ours) == ours
    assert data.find_logger(chain) == ours
    assert data.find_logger(console) is None
    assert data.find_logger(None) is None


def test_curves_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    records = [row(0), row(10, gradients=gradients(0.1, 0.0))]
    rows = data.read_rows(write(tmp_path / "log", records))
    assert data.curve(data.of_rows(rows, "a"), "a", "loss") == Curve("a", (0, 10), (0.5, 0.5))
    assert data.curve(data.of_rows(rows, "a"), "a", "share") == Curve("a", (10,), (0.25,))
    assert data.curve(data.of_rows(rows, "none"), "none", "loss").steps == ()
    batches = data.read_batches(write(tmp_path / "steps", [batch(n) for n in range(4)]))
    found = data.curve(data.of_batches(batches, "b", per_step=2), "b", "loss")
    assert found == Curve("b", (0, 0, 1, 1), (0, 1, 2, 3))
    assert data.smooth(found, 1) == Curve("b", (0, 1), (0.5, 2.5))


@pytest.mark.parametrize(("n_steps", "most"), [(1, 1), (50, 13), (2000, 60), (100_000, 60)])
def test_smoothed_curves_have_few_points(n_steps: int, most: int) -> None:
    curve = Curve("a", tuple(range(n_steps)), (1.0,) * n_steps)
    assert 0 < len(data.smooth(curve, data.window_of(n_steps)).steps) <= most


def test_pairs_are_means_over_batches_or_weighted_evaluations(tmp_path: Path) -> None:
    lines = [batch(0, -0.5), batch(1, 0.1, -0.3), batch(2)]
    batches = data.read_batches(write(tmp_path / "steps", lines))
    assert data.pairs_of([], batches) == {
        ("a", "b"): PairPoint(pytest.approx(-0.2), 0.5, pytest.approx(-0.3))
    }
    first = row(0, gradients=gradients(0.5, 0.0))  # one batch
    second = row(3, gradients=gradients(-0.3, 1.0, true_cosine=0.2))  # three
    rows = data.read_rows(write(tmp_path / "log", [first, second]))
    assert data.pairs_of(rows, []) == {
        ("a", "b/c"): PairPoint(pytest.approx(-0.1), 0.75, pytest.approx(0.2))
    }
    assert data.audit_of(rows) == Audit(8, 0.5, 0.5, pytest.approx(0.1))
    assert data.audit_of([]) is None
