"""Puts together what a report shows: finds the files of a training, loads its pipeline and asks it for its errors."""

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from itertools import takewhile
from pathlib import Path
from typing import Any

import spacy
from spacy import util
from spacy.language import Language

from .. import errors, jsonl
from ..annotation import heads_of, unit_of
from ..pipeline.shared_transformer import shared_transformers
from ..worst_task import main_keys, main_score
from . import data
from .confusion import Confusion, LabelPair, confusion, most_confused
from .errors_of import choose, judge, predict
from .excerpts import Excerpt, excerpts

MODELS = ("model-best", "model-last")
SHOWN_PAIRS = 15  # of labels that were confused most often
_NOT_REGISTERED = re.compile(
    r"\[E002\] Can't find factory for '(?P<factory>[^']+)'"
    r"|\[E893\] Could not find function '(?P<function>[^']+)' in function registry '(?P<registry>[^']+)'"
)
_PACKAGES = ("spacy-mtl", "spacy", "thinc", "torch", "transformers")


@dataclass(frozen=True)
class Annotation:
    """One kind of annotation of a head on the dev corpus. table: None where labels have no end, as lemmas."""

    what: str
    kind: str
    n: int
    n_right: int
    table: Confusion | None
    wrong: list[tuple[LabelPair, int]]
    n_kinds_wrong: int
    examples: list[Excerpt]
    note: str


@dataclass
class Task:
    """A head.

    number: its place among the heads. unit: in the singular. score_name: of its main score, empty if that is a mean of
    several, or there is none. scores: of all dev documents; by_source: of those of one source, where there are several.
    kept_score: of the pipeline that the report is about. seen: words of annotated documents in training.
    """

    name: str
    factory: str
    number: int
    unit: str
    score_name: str = ""
    scores: data.Curve = field(default_factory=lambda: data.Curve("", (), ()))
    by_source: list[data.Curve] = field(default_factory=list)
    losses: data.Curve = field(default_factory=lambda: data.Curve("", (), ()))
    batch_losses: data.Curve | None = None
    best_step: int | None = None
    kept_score: float | None = None
    seen: int = 0
    annotations: list[Annotation] = field(default_factory=list)
    note: str = ""

    def score_at(self, step: int | None) -> float | None:
        """The main score of the evaluation at a step, if there was one."""
        found = dict(zip(self.scores.steps, self.scores.values, strict=True))
        return None if step is None else found.get(float(step))


@dataclass
class Report:
    """All that the page shows.

    model: the folder of the pipeline. files: what was read, by what it is. per_step: batches in a step. balancer: its
    settings, None for the plain sum. mix: what `spacy mtl debug` tells of the corpora; None if they cannot be read, and
    mix_note says why. n_documents: of the dev corpus that the heads were asked about; dev_note: why they were not.
    warnings: why the page may mislead; the console shows them, too.
    """

    nlp_name: str
    nlp_version: str
    lang: str
    date: datetime
    versions: dict[str, str]
    model: str
    files: dict[str, str]
    tasks: list[Task]
    rows: list[data.Row]
    batches: list[data.Batch]
    per_step: int
    balancer: dict[str, Any] | None
    transfer: dict[str, Any] | None = None
    mix: dict[str, Any] | None = None
    mix_note: str = ""
    n_documents: int = 0
    dev_note: str = ""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def window(self) -> int:
        """Steps that smoothed curves put together."""
        return data.window_of(self.batches[-1].number // self.per_step + 1) if self.batches else 1


@dataclass(frozen=True)
class Files:
    """What a report is made from.

    None: as the config says, seen from the folder of the training, from those above it as far as the current one, or
    from the current one; or as it is usually called, in the folder of the training.
    """

    log: Path | None = None
    steps: Path | None = None
    transfer: Path | None = None


def collect(
    run: Path,
    files: Files,
    *,
    limit: int,
    n_examples: int,
    now: datetime,
    survey: Callable[[Language], dict[str, Any]],
) -> Report:
    """Everything. survey: what `spacy mtl debug` does.

    Raises ReportError if there is no trained pipeline or no log, if the pipeline cannot be loaded, or if a file is
    damaged; CheckpointError, which names it, if that is one of the pipeline.
    """
    folder = find_model(run)
    if files.log is not None:
        data.read_rows(files.log)  # before the pipeline is loaded, which takes a while
    metas = _read_metas(run)
    nlp = _load(folder)
    config = nlp.config.interpolate()
    training = config["training"]
    logger = data.find_logger(training["logger"]) or {}
    log = files.log or _named(run, logger.get("output_file"), "log.jsonl")
    if log is None:
        raise errors.no_log(str(run), named=logger.get("output_file"))
    rows = data.read_rows(log)
    steps = files.steps or _named(run, logger.get("steps_file"), "steps.jsonl")
    batches = data.read_batches(steps) if steps is not None else []
    transfer = files.transfer or _named(run, None, "transfer.json")
    shared = shared_transformers(nlp)
    balancer = config["components"][shared[0].name].get("balancer") if shared else None
    read = {"log": log, "steps": steps, "transfer": transfer}
    report = Report(
        nlp_name=str(nlp.meta.get("name") or "pipeline"),
        nlp_version=str(nlp.meta.get("version") or ""),
        lang=nlp.lang,
        date=now,
        versions=versions(),
        model=str(folder),
        files={kind: str(path) for kind, path in read.items() if path is not None},
        tasks=[],
        rows=rows,
        batches=batches,
        per_step=max(1, int(training["accumulate_gradient"])),
        balancer=balancer,
        transfer=None if transfer is None else data.read_transfer(transfer),
    )
    if logger.get("steps_file") and steps is None:
        report.notes.append(
            f"The file with a line for each batch, {logger['steps_file']}, is not there any more. "
            "`--steps` names it."
        )
    report.warnings += _doubts(run, metas, log, rows)
    report.warnings += [errors.cut_file(str(p)) for p in (log, steps) if p and jsonl.is_cut(p)]
    _add_tasks(report, nlp, _best_steps(metas))
    with _where_it_was_started(run, config["corpora"]):
        try:
            report.mix = survey(nlp)
        except Exception as error:  # whoever reads the corpora may raise anything
            report.mix_note = f"The corpora of the training cannot be read: {_in_one_line(error)}"
        try:
            (corpus,) = util.resolve_dot_names(config, [training["dev_corpus"]])
            examples = choose(corpus(nlp), limit)
        except Exception as error:
            report.dev_note = f"The dev corpus cannot be read: {_in_one_line(error)}"
            return report
    report.n_documents = len(examples)
    _add_errors(report, nlp, examples, n_examples)
    return report


def find_model(run: Path) -> Path:
    """The best pipeline of a training, or else its last. Raises ReportError if there is none."""
    for name in MODELS:
        if (run / name / "config.cfg").is_file():
            return run / name
    raise errors.no_trained_pipeline(str(run))


def versions() -> dict[str, str]:
    """Of what the report was made with."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            continue
    return found


def _in_one_line(error: Exception) -> str:
    """The error and its type; if code is missing, which, and the fix."""
    return _missing_code(error) or errors.in_one_line(error)


def _missing_code(error: Exception) -> str | None:
    """What spaCy could not find, and the fix; None if the error is another."""
    found = _NOT_REGISTERED.search(str(error))
    return None if found is None else errors.not_registered(**found.groupdict())


def _load(folder: Path) -> Language:
    """The pipeline. Raises ReportError if spaCy cannot load it, and CheckpointError or ConfigError if we cannot."""
    try:
        return spacy.load(folder)
    except (errors.CheckpointError, errors.ConfigError):
        raise
    except (ImportError, OSError, ValueError) as error:
        missing = _missing_code(error)
        raise errors.pipeline_not_loaded(
            str(folder), missing or errors.copied_badly(error)
        ) from error


def _read_metas(run: Path) -> dict[str, dict[str, Any]]:
    """`meta.json` of the saved pipelines, by their folder. Raises CheckpointError that names a damaged one."""
    found = {}
    for name in MODELS:
        path = run / name / "meta.json"
        if path.is_file():
            try:
                found[name] = util.load_meta(path)
            except ValueError as error:
                raise errors.damaged(str(path), f"cannot be read ({error})") from error
    return found


def _named(run: Path, named: Any, usual: str) -> Path | None:
    """A file that the config names, seen from one of `_folders`; or the usual one in the folder of the training."""
    places = [folder / named for folder in _folders(run)] if named else []
    return next((place for place in [*places, run / usual] if place.is_file()), None)


def _folders(run: Path) -> list[Path]:
    """Where a training may have been started: its own folder, those above it as far as the current one, and that."""
    here = Path.cwd()
    return [run, *takewhile(lambda folder: folder != here, run.resolve().parents), Path()]


@contextmanager
def _where_it_was_started(run: Path, corpora: dict[str, Any]) -> Iterator[None]:
    """Read corpora in the folder in which they are where the config says: the current one, or one of `_folders`."""
    named = [path for path in _paths_in(corpora) if not Path(path).is_absolute()]
    places = [Path(), *_folders(run)]
    place = next((p for p in places if any((p / path).exists() for path in named)), Path())
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def _paths_in(block: dict[str, Any]) -> Iterator[str]:
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _paths_in(value)
        elif key == "path" and isinstance(value, str) and value:
            yield value


def _doubts(
    run: Path, metas: dict[str, dict[str, Any]], log: Path, rows: list[data.Row]
) -> list[str]:
    """A warning if none of the saved pipelines is in the log."""
    logged = {
        name: data.is_logged(meta.get("performance") or {}, rows) for name, meta in metas.items()
    }
    missing = [str(run / name) for name, found in logged.items() if found is False]
    if not missing or any(logged.values()):
        return []
    return [errors.log_of_another(str(log), missing)]


def _best_steps(metas: dict[str, dict[str, Any]]) -> dict[str, int]:
    """The step at which each head was best. The best pipeline was saved before its own evaluation was noted."""
    found = (metas[name].get("best_steps") for name in reversed(MODELS) if name in metas)
    return dict(next(filter(None, found), {}))


def _add_tasks(report: Report, nlp: Language, best_steps: dict[str, int]) -> None:
    heads = heads_of(nlp)
    names = list(dict.fromkeys([*heads, *(task for row in report.rows for task in row.tasks)]))
    for number, name in enumerate(names):
        units = next((row.units[name] for row in report.rows if name in row.units), None)
        if units is None:
            units = unit_of(heads[name])
        task = Task(
            name=name,
            factory=nlp.get_pipe_meta(name).factory if name in heads else "",
            number=number,
            unit={"entities": "entity"}.get(units, units.removesuffix("s")),
            losses=data.curve(data.of_rows(report.rows, name), name, "loss"),
            seen=max((row.seen.get(name, 0) for row in report.rows), default=0),
        )
        if report.batches:
            points = data.of_batches(report.batches, name, per_step=report.per_step)
            task.batch_losses = data.smooth(data.curve(points, name, "loss"), report.window)
        if name in heads:
            _add_scores(task, heads[name], report.rows)
            task.kept_score = _kept_score(heads[name], heads, nlp.meta.get("performance", {}))
        else:
            task.note = "This task is in the log, but no component of the pipeline."
        steps, values = task.scores.steps, task.scores.values
        task.best_step = best_steps.get(name)
        if task.best_step is None and values:
            task.best_step = int(steps[values.index(max(values))])
        report.tasks.append(task)


def _kept_score(head: Any, heads: dict[str, Any], performance: dict[str, Any]) -> float | None:
    """The main score saved with a pipeline; None if it is as likely that of another head of the kind."""
    own = _of_head(head, performance)
    alike = [h for h in heads.values() if set(main_keys(h)) & set(main_keys(head))]
    return None if own is performance and len(alike) > 1 else main_score(head, own)


def _of_head(head: Any, scores: dict[str, Any]) -> dict[str, Any]:
    """The scores that are a head's, where another of its kind has scores of the same names (see `TaskScorer`)."""
    suffix = f"/{head.name}"
    own = {k.removesuffix(suffix): v for k, v in scores.items() if k.endswith(suffix)}
    return own if own.keys() & set(main_keys(head)) else scores


def _add_scores(task: Task, head: Any, rows: list[data.Row]) -> None:
    own = [(row.step, _of_head(head, row.scores)) for row in rows]
    found = [(step, main_score(head, scores)) for step, scores in own]
    known = [(float(step), score) for step, score in found if score is not None]
    task.scores = data.Curve("all", tuple(s for s, _ in known), tuple(v for _, v in known))
    recorded = {name for _, scores in own for name in scores}
    task.score_name = next((key for key in main_keys(head) if key in recorded), "")
    start = f"{task.score_name}@"
    sources = sorted(key for key in recorded if task.score_name and key.startswith(start))
    if len(sources) > 1:
        for key in sources:
            there = [(float(step), scores[key]) for step, scores in own if key in scores]
            task.by_source.append(
                data.Curve(
                    key.removeprefix(start), tuple(s for s, _ in there), tuple(v for _, v in there)
                )
            )


def _add_errors(report: Report, nlp: Language, examples: list[Any], n_examples: int) -> None:
    heads = heads_of(nlp)
    predicted = predict(nlp, examples)
    for task in report.tasks:
        if task.name not in heads:
            continue
        judged = judge(heads[task.name], predicted[task.name])
        if not judged:
            task.note = "What a head of this kind gets wrong is not looked into."
        for one in judged:
            if not one.pairs:
                task.note = f"No document of the dev corpus is annotated for `{task.name}`."
                continue
            wrong = most_confused(one.pairs)
            task.annotations.append(
                Annotation(
                    what=one.what,
                    kind=one.kind,
                    n=one.pairs.total(),
                    n_right=sum(n for (a, b), n in one.pairs.items() if a == b),
                    table=None if one.open else confusion(one.pairs),
                    wrong=wrong[:SHOWN_PAIRS],
                    n_kinds_wrong=len(wrong),
                    examples=list(
                        excerpts(heads[task.name], one, predicted[task.name], n_examples)
                    ),
                    note=one.note,
                )
            )
