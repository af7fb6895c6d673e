"""The training log: for each head what it has seen, its loss per annotated unit, and its scores."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from spacy import util
from spacy.language import Language
from spacy.training.loggers import setup_table
from spacy.util import SimpleFrozenList
from thinc.api import Config
from tqdm import tqdm
from wasabi import Printer

from . import errors, jsonl
from .pipeline.schedule import schedules_of
from .worst_task import KEY, part_of

Info = dict[str, Any]
LogStep = Callable[[Info | None], None]
Finalize = Callable[[], None]
BARS = ("train", "eval")


def make_task_logger(
    progress_bar: str | None = None,
    console_output: bool = True,
    output_file: str | Path | None = None,
    gradients: bool = True,
    steps_file: str | Path | None = None,
    audit_every: int = 0,
) -> Callable[[Language, IO[str], IO[str]], tuple[LogStep, Finalize]]:
    """A table with one row per evaluation (`spacy_mtl.TaskLogger.v1`).

    Columns: epoch, step; for each head the mean loss of an annotated unit since the last row (`tagger/token`) and the
    words of annotated documents that it has seen so far; the scores with a weight, times 100, and the weighted score.
    `worst_task` is shown as the part of its best score that the worst task has; its value in files and in the weighted
    score grows with each new best one (see `spacy_mtl.worst_task.WorstTask`). A dash stands for a head that has seen
    nothing; frozen heads are left out. With `gradients`, also for each head its `pull`, the percentage that its
    gradient has of the lengths of all gradients that the encoder gets; and `clash`, the percentage of pairs of heads
    whose gradients point against each other, as far as that is known without a backward pass for each. With audits also
    `sign`, the percentage of audited pairs in which that is what the encoder's parameters say.

    The step at which each head's main score was best is kept in `best_steps` of `model-last/meta.json`.

    Loggers that stand behind it in a `spacy.ChainLogger.v1` (W&B, ClearML, `spacy_mtl.MLflowLogger.v1`) get the numbers
    among the scores, as `spacy_mtl.tagger.share`, `spacy_mtl.conflict` and so on.

    progress_bar: `eval`: steps until the next evaluation; `train`: until the end; null (default): none.
    console_output: whether to print the table. Default: true.
    output_file: append the same numbers to this file, a line of JSON for each evaluation.
    gradients: whether to measure how the heads pull at the encoder, in every batch. Default: true.
    steps_file: append to this file a line of JSON for each batch: units, loss, gradient, factor and share of each head,
        and the cosine of each pair. It is written at each evaluation. Default: null.
    audit_every: in every so many batches run the encoder's backward pass once more for each head, to see how often the
        cosine of two heads has the sign of the true one, between the gradients of the encoder's parameters. 0
        (default): never.

    In a pipeline with several shared_transformers only the heads of the first have a `pull`; a warning says so.

    Raises ConfigError for an unknown progress bar, settings that do not go together, or a pipeline without a
    shared_transformer.
    """
    if progress_bar is not None and progress_bar not in BARS:
        raise errors.not_one_of(progress_bar, key="training.logger.progress_bar", choices=BARS)
    if audit_every < 0:
        key = "training.logger.audit_every"
        raise errors.bad_setting(audit_every, key=key, need="a whole number, at least 0")
    for key, path in (("output_file", output_file), ("steps_file", steps_file)):
        if path is not None and Path(path).is_dir():
            key = f"training.logger.{key}"
            raise errors.bad_setting(str(path), key=key, need="a file, not a folder")
    for key, value in (("steps_file", steps_file), ("audit_every", audit_every)):
        if value and not gradients:
            raise errors.needs_gradients(key, value)

    def setup(
        nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[LogStep, Finalize]:
        from .pipeline.diagnostics import GradientLog
        from .pipeline.shared_transformer import shared_transformers
        from .pipeline.statistics import TaskStatistics

        shared = shared_transformers(nlp)
        if not shared:
            raise errors.no_shared_transformer("training.logger")
        config = nlp.config.interpolate()
        training = config["training"]
        others = [n for n, w in training["score_weights"].items() if w and n != KEY]
        if training["score_weights"].get(KEY) and others:
            util.logger.warning(errors.worst_task_beside(others))
        for component in shared:
            if not component.listening_components:
                util.logger.warning(errors.serves_nobody(component.name))
        shared.sort(key=lambda component: not component.listening_components)
        if 0 < training["max_steps"] < training["eval_frequency"]:
            said = errors.hardly_evaluated(training["max_steps"], training["eval_frequency"])
            util.logger.warning(said)
        for key, total in _ends_early(config):
            said = errors.schedule_ends_early(key, total, max_steps=training["max_steps"])
            util.logger.warning(said)
        statistics = TaskStatistics.of(nlp)
        if gradients:
            statistics.gradients = GradientLog(audit_every)
            first, *rest = (pipe.name for pipe in shared if pipe.listening_components)
            if rest:
                util.logger.warning(errors.pulls_of_one_encoder(first, rest))
        shared[0].statistics = statistics
        console = stdout if console_output else None
        log = TaskLog(nlp, statistics, console, output_file, steps_file)
        bar = Progress(nlp, progress_bar, stderr)

        def log_step(info: Info | None) -> None:
            if info is None:
                bar.step()
                return
            bar.close()
            shared[0].worst_task.note_step(info["step"])
            nlp.meta["best_steps"] = dict(shared[0].worst_task.best_steps)
            log.row(info)
            bar.start(info)

        def finalize() -> None:
            bar.close()
            shared[0].statistics = None

        return log_step, finalize

    return setup


def make_tensorboard_logger(
    log_dir: str | Path,
) -> Callable[[Language, IO[str], IO[str]], tuple[LogStep, Finalize]]:
    """Scores, losses and words for TensorBoard (`spacy_mtl.TensorBoardLogger.v1`), for a `spacy.ChainLogger.v1`.

    Behind a `spacy_mtl.TaskLogger.v1` it also gets how the heads pull at the encoder.

    log_dir: folder for the events. Needs the package `tensorboard`; raises ConfigError without it.
    """

    def setup(
        nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[LogStep, Finalize]:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise errors.no_tensorboard() from error
        writer: Any = SummaryWriter(str(log_dir))

        def log_step(info: Info | None) -> None:
            if info is None:
                return
            numbers = {"score": info["score"], "words": info["words"]}
            numbers |= {f"losses/{name}": value for name, value in info["losses"].items()}
            for name, value in util.dict_to_dot({"scores": info["other_scores"]}).items():
                numbers[name.replace(".", "/")] = value
            for name, value in numbers.items():
                if isinstance(value, int | float | np.number):
                    writer.add_scalar(name, value, info["step"])
            writer.flush()

        return log_step, writer.close

    return setup


def make_mlflow_logger(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    tags: dict[str, Any] | None = None,
    remove_config_values: list[str] = SimpleFrozenList(),  # noqa: B008 - as in spaCy's own
    log_custom_stats: list[str] | None = None,
) -> Callable[[Language, IO[str], IO[str]], tuple[LogStep, Finalize]]:
    """spaCy's `MLflowLogger` (`spacy_mtl.MLflowLogger.v1`), with names that MLflow takes, for a `spacy.ChainLogger.v1`.

    MLflow refuses `ents_f@gum`, a score by source; it gets `ents_f/gum`. All arguments are those of spaCy's logger.
    Needs the package `mlflow`.
    """
    from spacy_loggers.mlflow import mlflow_logger_v2  # type: ignore[import-untyped]

    make = mlflow_logger_v2(
        run_id, experiment_id, run_name, nested, tags, remove_config_values, log_custom_stats
    )

    def setup(
        nlp: Language, stdout: IO[str] = sys.stdout, stderr: IO[str] = sys.stderr
    ) -> tuple[LogStep, Finalize]:
        log, finalize = make(nlp, stdout, stderr)

        def log_step(info: Info | None) -> None:
            if info is not None:
                info = {**info, "other_scores": _for_mlflow(info["other_scores"])}
            log(info)

        return log_step, finalize

    return setup


def _for_mlflow(scores: Info) -> Info:
    return {
        re.sub(r"[^/\w.\- :]", "/", key): _for_mlflow(value) if isinstance(value, dict) else value
        for key, value in scores.items()
    }


def _ends_early(config: Config) -> Iterator[tuple[str, int]]:
    """Learning rates that are 0 before the training ends, and the steps at which they are."""
    for key, schedule in schedules_of(config):
        total = schedule.get("total_steps")
        if not key.endswith(".learn_rate") or not isinstance(total, int):
            continue
        if 0 < total < config["training"]["max_steps"]:
            yield f"{key}.total_steps", total


class TaskLog:
    """Writes the rows.

    stdout: where the table goes, None for nowhere. output_file, steps_file: where the lines of JSON go.
    """

    def __init__(
        self,
        nlp: Language,
        statistics: Any,
        stdout: IO[str] | None,
        output_file: str | Path | None,
        steps_file: str | Path | None = None,
    ) -> None:
        self.statistics = statistics
        self.stdout = stdout
        self.output_file = None if output_file is None else Path(output_file)
        self.steps_file = None if steps_file is None else Path(steps_file)
        for path in (self.output_file, self.steps_file):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                jsonl.mend(path)
        training = nlp.config.interpolate()["training"]
        weights, frozen = training["score_weights"], training["frozen_components"]
        self.scores = [name for name, weight in weights.items() if weight is not None]
        self.tasks = [task for task in statistics.heads if task not in frozen]
        columns = ["E", "#"]
        for task in self.tasks:
            columns += [f"{task}/{statistics.unit(task).removesuffix('s')}", "words"]
            columns += ["pull"] * self._shows_gradients
        columns += ["clash"] * self._shows_gradients + ["sign"] * self._shows_audits
        columns += [*self.scores, "Score"]
        header, self.widths, self.aligns = setup_table(
            cols=columns, widths=[3, 6] + [6] * (len(columns) - 2), max_width=22
        )
        self.printer = Printer(no_print=True)
        self._write(header)
        self._write(["-" * width for width in self.widths])

    def row(self, info: Info) -> None:
        """Write what has happened since the last evaluation."""
        found, total = self.statistics.take(), self.statistics.total
        recent = {task: found[task] for task in self.tasks}
        gradients = self._gradients()
        cells = [str(info["epoch"]), str(info["step"])]
        for task, count in recent.items():
            loss = count.loss_per_unit
            cells += ["-" if loss is None else f"{loss:.4f}", short(total[task].words)]
            if gradients is not None:
                cells.append(percent(gradients["tasks"].get(task, {}).get("share")))
        if gradients is not None:
            cells.append(percent(gradients["conflict"]))
            if self._shows_audits:
                cells.append(percent(gradients.get("audit", {}).get("pooled_sign_right")))
        scores = {name: _score(info, name) for name in self.scores}
        cells += ["-" if value is None else f"{value:.2f}" for value in scores.values()]
        self._write([*cells, f"{info['score']:.2f}"])
        if self.output_file is not None:
            record = {
                "epoch": info["epoch"],
                "step": info["step"],
                "seconds": info["seconds"],
                "words": info["words"],
                "score": info["score"],
                "scores": _plain(info["other_scores"]),
                "losses": {name: float(loss) for name, loss in info["losses"].items()},
                "tasks": {
                    task: {
                        "loss_per_unit": count.loss_per_unit,
                        "unit": self.statistics.unit(task),
                        "units": count.units,
                        "documents": count.documents,
                        "words": count.words,
                        "words_so_far": total[task].words,
                    }
                    for task, count in recent.items()
                },
            }
            if gradients is not None:
                record["gradients"] = gradients
            jsonl.append(self.output_file, [record])
        if gradients is not None:
            numbers = {**gradients["tasks"], **gradients["pairs"]}
            for task, count in recent.items():
                if count.loss_per_unit is not None:
                    numbers[task] = {**numbers.get(task, {}), "loss_per_unit": count.loss_per_unit}
            found = {key: gradients.get(key) for key in ("conflict", "audit")}
            numbers |= {key: value for key, value in found.items() if value is not None}
            info["other_scores"]["spacy_mtl"] = numbers

    @property
    def _shows_gradients(self) -> bool:
        return self.statistics.gradients is not None

    @property
    def _shows_audits(self) -> bool:
        return self._shows_gradients and self.statistics.gradients.audit_every > 0

    def _gradients(self) -> dict[str, Any] | None:
        """How the heads pulled since the last row. Batch by batch it goes to `steps_file`."""
        if not self._shows_gradients:
            return None
        from .pipeline.diagnostics import summarize

        records = self.statistics.gradients.take()
        if self.steps_file is not None:
            jsonl.append(self.steps_file, [record.as_json() for record in records])
        return summarize(records)

    def _write(self, cells: list[str]) -> None:
        if self.stdout is not None:
            row = self.printer.row(cells, widths=self.widths, aligns=self.aligns, spacing=2)
            print(row, file=self.stdout, flush=True)


class Progress:
    """A progress bar that only a terminal shows."""

    def __init__(self, nlp: Language, kind: str | None, stderr: IO[str]) -> None:
        self.kind = kind
        self.stderr = stderr
        training = nlp.config.interpolate()["training"]
        self.max_steps = training["max_steps"]
        self.frequency = training["eval_frequency"]
        self.bar: Any = None

    def start(self, info: Info) -> None:
        if self.kind is None:
            return
        whole = self.kind == "train"
        self.bar = tqdm(
            total=(self.max_steps or None) if whole else self.frequency,
            initial=info["step"] if whole else 0,
            desc=f"Epoch {info['epoch'] + 1}",
            disable=None,
            leave=False,
            file=self.stderr,
        )

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def short(number: int) -> str:
    """A number in three digits.

    >>> short(950), short(12_345), short(3_456_789)
    ('950', '12.3k', '3.46M')
    """
    for limit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return str(number)


def percent(share: float | None) -> str:
    """A share in percent.

    >>> percent(0.123), percent(None)
    ('12', '-')
    """
    return "-" if share is None else f"{100 * share:.0f}"


def _score(info: Info, name: str) -> float | None:
    value = info["other_scores"].get(name)
    if value is None:
        return None
    if name == KEY:
        return 100 * part_of(float(value))
    return float(value) * (1 if name == "speed" else 100)


def _plain(scores: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in scores.items() if isinstance(v, int | float)}
