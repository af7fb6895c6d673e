"""All that a training has changed, in a folder from which it goes on exactly.

checkpoint/state.json              step, scores so far, generators, counters
checkpoint/optimizer.safetensors   moments and averages of `[training.optimizer]`
checkpoint/pipeline/               the pipeline as it trains: its own weights, not their averages
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load, save_file
from spacy.language import Language
from thinc.api import torch2xp

from .. import errors
from ..pipeline.diagnostics import GradientLog
from ..pipeline.shared_transformer import shared_transformers
from ..scoring import TaskScorer
from ..worst_task import WorstTask
from .gradients import Parameter, parameters_of
from .group import Group, as_tensor
from .randomness import State

FOLDER = "checkpoint"
STATE, OPTIMIZER, PIPELINE = "state.json", "optimizer.safetensors", "pipeline"
_ARRAYS = ("mom1", "mom2", "averages")
_COUNTERS = ("nr_update", "last_seen")


@dataclass
class Progress:
    """Where a training stands.

    world_size: processes. step: the last one that was made. digest: of all documents up to it. start: the ranks' common
    generators before the first batch, now: after the last. own: each rank's generators for dropout. scores: of the
    evaluations, by their steps. worst_tasks, loss_scales (of fp16): of each shared_transformer. counters: of the
    optimizer. stepped: the parameters that it steps even if no head has sent a gradient; thinc keeps one, of zeros
    then, once there was one. held: of each head the last scores, which stand in for those that an evaluation lacks.
    logged: batches that the log of each shared_transformer has counted. run: names the launch that wrote it, "" for
    one that is never started again by itself.
    """

    world_size: int
    step: int = -1
    digest: int = 0
    start: State = field(default_factory=dict)
    now: State = field(default_factory=dict)
    own: list[State] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    worst_tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    stepped: list[str] = field(default_factory=list)
    loss_scales: dict[str, tuple[float, int]] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    logged: dict[str, int] = field(default_factory=dict)
    run: str = ""


def save(folder: Path, nlp: Language, optimizer: Any, progress: Progress) -> None:
    """Write a checkpoint in place of the one that is there; if that is cut short, the old one stays."""
    new, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    if not folder.exists() and _is_whole(new):  # cut short between two renames
        new.rename(folder)
    _remove(new)
    new.mkdir(parents=True)
    parameters = parameters_of(nlp)
    progress.counters = _counters(optimizer, parameters)
    progress.stepped = [p.name for p in parameters if p.has_gradient]
    progress.worst_tasks = {pipe.name: asdict(pipe.worst_task) for pipe in shared_transformers(nlp)}
    progress.held = {name: scorer.last for name, scorer in _scorers(nlp).items()}
    progress.logged = {name: log.n_batches for name, log in _logs(nlp).items()}
    scales = {pipe.name: pipe.shim.loss_scale for pipe in shared_transformers(nlp)}
    progress.loss_scales = {name: (s.value, s.good_steps) for name, s in scales.items()}
    with _unabridged(nlp):
        nlp.to_disk(new / PIPELINE)
    save_file(_arrays(optimizer, parameters), new / OPTIMIZER)
    _flush(new)
    (new / STATE).write_text(json.dumps(asdict(progress), default=float), "utf8")
    _flush(new)
    if folder.exists():
        _remove(old)
        folder.rename(old)
    new.rename(folder)
    _remove(old)


def clear(folder: Path) -> None:
    """Remove the checkpoint of an earlier training."""
    for path in _places(folder):
        _remove(path)


def find(folder: Path) -> Path | None:
    """A whole checkpoint, the newest if the last save was cut short between two renames."""
    return next((path for path in _places(folder) if _is_whole(path)), None)


def run_of(folder: Path) -> str:
    """What names the launch that wrote a checkpoint; "" if nothing does."""
    try:
        return str(json.loads((folder / STATE).read_text("utf8")).get("run", ""))
    except (ValueError, AttributeError, OSError):
        return ""


def _places(folder: Path) -> tuple[Path, ...]:
    return folder, folder.with_suffix(".new"), folder.with_suffix(".old")


def _is_whole(folder: Path) -> bool:
    """The state is written last, and removed first."""
    return (folder / STATE).is_file()


def _remove(folder: Path) -> None:
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Wait until all files are on the disk."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_progress(folder: Path, *, world_size: int) -> Progress:
    """Raises CheckpointError if it is damaged, ConfigError if another number of processes wrote it."""
    try:
        progress = Progress(**json.loads((folder / STATE).read_text("utf8")))
        progress.scores = {int(step): score for step, score in progress.scores.items()}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise errors.damaged_state(folder, reason=error) from error
    if progress.world_size != world_size:
        raise errors.other_world_size(then=progress.world_size, now=world_size)
    return progress


def load_into(nlp: Language, optimizer: Any, progress: Progress, folder: Path) -> None:
    """Give a pipeline and an optimizer what `save` wrote.

    Raises CheckpointError for a damaged file.
    """
    try:
        nlp.from_disk(folder / PIPELINE)
        arrays = load((folder / OPTIMIZER).read_bytes())
    except Exception as error:  # components raise whatever they like here
        raise errors.damaged_state(folder, reason=error) from error
    parameters = parameters_of(nlp)
    _set_arrays(optimizer, parameters, arrays)
    _set_counters(optimizer, parameters, progress.counters)
    stepped = set(progress.stepped)
    for parameter in parameters:
        if parameter.name in stepped:
            parameter.gradient().zero_()
    for pipe in shared_transformers(nlp):
        scale = pipe.shim.loss_scale
        kept = progress.loss_scales.get(pipe.name, (scale.value, scale.good_steps))
        scale.value, scale.good_steps = kept
        found = progress.worst_tasks.get(pipe.name)
        if found is not None:
            for key, value in asdict(WorstTask(**found)).items():
                setattr(pipe.worst_task, key, value)
    for name, scorer in _scorers(nlp).items():
        scorer.last = progress.held.get(name, {})
    for name, log in _logs(nlp).items():
        log.n_batches = progress.logged.get(name, log.n_batches)


def _scorers(nlp: Language) -> dict[str, TaskScorer]:
    found = {name: getattr(pipe, "scorer", None) for name, pipe in nlp.pipeline}
    return {name: scorer for name, scorer in found.items() if isinstance(scorer, TaskScorer)}


def _logs(nlp: Language) -> dict[str, GradientLog]:
    found = {p.name: p.statistics.gradients for p in shared_transformers(nlp) if p.statistics}
    return {name: log for name, log in found.items() if log is not None}


@contextmanager
def on_every_machine(folder: Path | None, group: Group) -> Iterator[Path]:
    """A folder of rank 0, copied to wherever it cannot be seen. folder: on rank 0."""
    with TemporaryDirectory() as temporary:
        names = group.from_first(lambda: _files(folder))
        for name in names:
            data = group.broadcast_bytes(
                (folder / name).read_bytes() if group.is_first and folder is not None else None
            )
            if not group.is_first:
                path = Path(temporary) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        yield folder if group.is_first and folder is not None else Path(temporary)


def _files(folder: Path | None) -> list[str]:
    assert folder is not None
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def _unabridged(nlp: Language) -> Iterator[None]:
    """Save every digit of the encoders' weights, and their optimizers, whatever is saved for use."""
    before = [(pipe, pipe.storage, pipe.save_optimizer) for pipe in shared_transformers(nlp)]
    try:
        for pipe, _, _ in before:
            pipe.storage, pipe.save_optimizer = "fp32", True
        yield
    finally:
        for pipe, storage, save_optimizer in before:
            pipe.storage, pipe.save_optimizer = storage, save_optimizer


# ---- thinc's optimizer, whose keys are numbers that differ from process to process


def _arrays(optimizer: Any, parameters: Sequence[Parameter]) -> dict[str, torch.Tensor]:
    found = {}
    for kind in _ARRAYS:
        values = getattr(optimizer, kind, None) or {}
        for p in parameters:
            if p.key in values:
                found[f"{kind}/{p.name}"] = as_tensor(values[p.key]).cpu().contiguous().clone()
    return found


def _set_arrays(
    optimizer: Any, parameters: Sequence[Parameter], arrays: dict[str, torch.Tensor]
) -> None:
    for kind in _ARRAYS:
        values = getattr(optimizer, kind, None)
        if values is None:
            continue
        values.clear()
        for p in parameters:
            array = arrays.get(f"{kind}/{p.name}")
            if array is not None:
                values[p.key] = torch2xp(array.to(p.value.device))


def _counters(optimizer: Any, parameters: Sequence[Parameter]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for kind in _COUNTERS:
        values = getattr(optimizer, kind, {})
        found[kind] = {p.name: int(values[p.key]) for p in parameters if p.key in values}
    return found


def _set_counters(
    optimizer: Any, parameters: Sequence[Parameter], counters: dict[str, dict[str, int]]
) -> None:
    for kind in _COUNTERS:
        values = getattr(optimizer, kind, None)
        if values is not None:
            values.clear()
            names = counters.get(kind, {})
            values.update({p.key: names[p.name] for p in parameters if p.name in names})
