"""Commands, logs and reports."""

from collections.abc import Iterable

from .base import FREEZE_INSTEAD, ConfigError, listed


def no_score(task: str) -> ConfigError:
    return ConfigError(
        f"`{task}` has no score that tasks could be compared by. Give it a scorer in `components.{task}.scorer`, or "
        "take it out of `[nlp] pipeline`."
    )


def no_dev_gold(tasks: Iterable[str], *, key: str) -> ConfigError:
    return ConfigError(
        f"No document of `[{key}]` is annotated for {listed(tasks)}, so there is no score to compare by. Add documents "
        f"that are to `{key}` (in a `spacy_mtl.MultiCorpus.v1`, also look at the `tasks` of its sources), or take the "
        "component out of `[nlp] pipeline`."
    )


def no_tensorboard() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.TensorBoardLogger.v1` in `[training.logger]` needs the package `tensorboard`: "
        "`pip install tensorboard`."
    )


def needs_gradients(key: str, value: object) -> ConfigError:
    return ConfigError(
        f"`training.logger.{key} = {value!r}` needs what `gradients = false` switches off. Set `gradients = true`, or "
        f"leave `{key}` out."
    )


def pulls_of_one_encoder(first: str, others: Iterable[str]) -> str:
    """A warning."""
    return (
        f"`spacy_mtl.TaskLogger.v1` measures how the heads of `{first}` pull, not those of {listed(others)}: they have "
        "a dash. `gradients = false` leaves the columns out."
    )


def hardly_evaluated(max_steps: int, every: int) -> str:
    """A warning."""
    return (
        f"`training.max_steps = {max_steps}` ends the training before its second evaluation "
        f"(`training.eval_frequency = {every}`): `model-best` will be the pipeline after the very first update. Lower "
        "`training.eval_frequency`, or use `model-last`."
    )


def schedule_ends_early(key: str, total_steps: int, *, max_steps: int) -> str:
    """A warning."""
    return (
        f"`{key} = {total_steps}` ends before `training.max_steps = {max_steps}`: from there on the rate is 0, and "
        f"what it is for does not learn. Set it to {max_steps} as well: `--{key} {max_steps}`."
    )


def worst_task_beside(others: Iterable[str]) -> str:
    """A warning."""
    others = list(others)
    nulls = ", ".join(f"`{name} = null`" for name in others)
    return (
        f"`worst_task` has a weight in `[training.score_weights]` beside {listed(others)}. It counts the evaluations "
        "that were the best, so their sum means nothing. Let it stand alone: set the others to null, also those that "
        f"spaCy fills in by itself: {nulls}."
    )


def no_source_for(heads: Iterable[str], *, key: str) -> ConfigError:
    return ConfigError(
        f"No source in `[{key}]` is annotated for {listed(heads)}. Add the component to the `tasks` of one, or "
        "take it out of `[nlp] pipeline`."
    )


def nothing_to_compare(heads: Iterable[str]) -> ConfigError:
    return ConfigError(
        "`transfer` compares tasks that share an encoder, and in `[nlp] pipeline` only "
        f"{listed(heads) or 'none'} listens to the shared_transformer and is trained. Add another head."
    )


def several_encoders(names: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`transfer` compares tasks that share one encoder, and `[nlp] pipeline` has several: {listed(names)}. Leave "
        "one, with its heads."
    )


def no_steps(steps: int) -> ConfigError:
    return ConfigError(
        f"`training.max_steps = {steps}` is no number of updates that runs could have in common. Set it, or use "
        "`--steps`."
    )


class TransferError(RuntimeError):
    """A training of `spacy mtl transfer` failed. Names the run and says what is kept; the reason is its cause."""


def run_failed(run: str, reason: Exception, *, n_kept: int) -> TransferError:
    kept = f"The {n_kept} before it are kept" if n_kept > 1 else "What was trained before is kept"
    return TransferError(
        f"The training `{run}` failed: {type(reason).__name__}: {reason}\n{kept}: the same command goes on from there."
    )


def file_not_read(reason: OSError, *, config: object) -> str:
    return f"A file cannot be used: {reason}. Look at `[paths]` and `[corpora]` of `{config}`."


def no_shared_transformer(key: str) -> ConfigError:
    return ConfigError(
        f"`{key}` reports on what passes through a shared_transformer in training, and the pipeline has none that "
        "takes part. Add one, or use spaCy's own logger. If it is in `[training] frozen_components`, take it out, and "
        f"{FREEZE_INSTEAD}."
    )


class ReportError(ValueError):
    """A report cannot be made. Names the file and the place in it, and the fix."""


def no_matplotlib() -> ReportError:
    return ReportError(
        '`spacy mtl report` draws with Matplotlib, which is not installed: `pip install "spacy-mtl[report]"`.'
    )


def no_trained_pipeline(run: str) -> ReportError:
    return ReportError(
        f"`{run}` has neither `model-best` nor `model-last`. Name the output folder of a `spacy train`."
    )


def no_log(run: str, *, named: object) -> ReportError:
    there = f"`training.logger.output_file = {named!r}` does not exist" if named else "None is set"
    return ReportError(
        f"There is no log of the training in `{run}`. {there}. `output_file` of `spacy_mtl.TaskLogger.v1` in "
        "`[training.logger]` writes it; name it with `--log` if it was moved, or set it and train again."
    )


def log_of_another(path: str, pipelines: Iterable[str]) -> str:
    """A warning."""
    return (
        f"The log `{path}` seems to be of another training: no evaluation in it has the scores and losses saved with "
        f"{listed(pipelines)}. Name the log of this training with `--log`. Of a file that several trainings wrote to, "
        "the last one is shown."
    )


def not_registered(factory: str | None, function: str | None, registry: str | None) -> str:
    """A part of an error or a note."""
    what = f"the function `{function}` of the registry `{registry}`"
    if factory:
        what = f"the factory `{factory}`"
    return f"nothing that was imported registers {what}. Name its Python file with `--code`, or install its package."


def in_one_line(error: Exception) -> str:
    """An error of others, and its type."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def copied_badly(error: Exception) -> str:
    """A part of an error."""
    return f"{in_one_line(error).removesuffix('.')}. Copy it again from where it was saved."


def pipeline_not_loaded(folder: str, reason: str) -> ReportError:
    return ReportError(f"`{folder}` cannot be loaded: {reason}")


def empty_log(path: str) -> ReportError:
    return ReportError(
        f"`{path}` has no evaluation. Name the `output_file` of `spacy_mtl.TaskLogger.v1` with `--log`."
    )


def damaged_line(path: str, number: int, *, reason: object) -> ReportError:
    return ReportError(
        f"Line {number} of `{path}` is not what `spacy_mtl.TaskLogger.v1` writes: {reason} Take the line out, or name "
        "another file."
    )


def cut_file(path: str) -> str:
    """A warning."""
    return f"`{path}` ends within a line, as after an interruption; that line is left out."


def damaged_report_file(path: str, *, reason: object) -> ReportError:
    return ReportError(
        f"`{path}` is not what `spacy mtl transfer` writes: {reason} Name its `transfer.json` with `--transfer`."
    )
