"""Train a pipeline in several processes: the function that torchrun's module and Spark's TorchDistributor call."""

import io
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spacy import util
from spacy.cli._util import import_code
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop

from .. import errors
from . import checkpoint
from .group import Group
from .launch import joined, local_rank
from .loop import Session

SILENT = {
    "@loggers": "spacy.ConsoleLogger.v3",
    "progress_bar": None,
    "console_output": False,
    "output_file": None,
}


def train(
    config_path: str | Path,
    output_path: str | Path | None = None,
    *,
    code_path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    gpu: bool = False,
    resume: bool = False,
) -> str | None:
    """Train as `spacy train` does, together with the other processes of the group that the environment names.

    The config means what it means in one process: its batches are shared out among all. Rank 0 evaluates, logs and
    saves; the others need the corpora, but no place to write to.

    config_path, code_path: as for `spacy train`. overrides: settings by their dotted names.
    output_path: folder for `model-best`, `model-last` and `checkpoint`, which is written with every evaluation.
    gpu: use the GPU with the number of the process on its machine. Default: the processor.
    resume: go on from the checkpoint in `output_path`. Where torchrun starts the processes again by itself
        (`--max-restarts`, or other machines), they do so without being asked, if the same torchrun has written one.

    Returns the path of the last pipeline, None without an output path. It is the same in all processes: Spark's
    TorchDistributor hands on what rank 0 returns, but on the driver what the process returns that ends last.

    Raises DistributedError if the processes cannot train together, or one of them is lost; ConfigError and
    CheckpointError for what cannot be resumed; and what `spacy train` raises.
    """
    output = util.ensure_path(output_path)
    if resume and output is None:
        raise errors.resume_needs_output()
    with ExitStack() as stack:
        group = stack.enter_context(joined(gpu=gpu))
        import_code(code_path)
        config = util.load_config(config_path, overrides=dict(overrides or {}), interpolate=False)
        session = _session(output, group, resume=resume, stack=stack)
        if not group.is_first:
            config["training"]["logger"] = dict(SILENT)
        use_gpu = local_rank() if gpu else -1
        nlp = init_nlp(config, use_gpu=use_gpu)
        session.seed = nlp.config.interpolate()["training"]["seed"] or 0
        stdout = sys.stdout if group.is_first else io.StringIO()
        with session.hooked():
            target = output if group.is_first else None
            _, last = train_loop(nlp, target, use_gpu=use_gpu, stdout=stdout, stderr=sys.stderr)
        return group.from_first(lambda: None if last is None else str(last))


def _session(output: Path | None, group: Group, *, resume: bool, stack: ExitStack) -> Session:
    session = Session(group, output=output)
    if output is None:
        return session
    folder = output / checkpoint.FOLDER
    found = group.from_first(lambda: _found(folder, resume=resume, run=group.run))
    if found is None:
        if group.is_first:
            output.mkdir(parents=True, exist_ok=True)
        return session
    path = Path(found)
    session.resumed = stack.enter_context(
        checkpoint.on_every_machine(path if group.is_first else None, group)
    )
    session.progress = checkpoint.read_progress(session.resumed, world_size=group.size)
    return session


def _found(folder: Path, *, resume: bool, run: str) -> str | None:
    """The checkpoint to go on from. Raises CheckpointError if one was asked for and there is none."""
    found = checkpoint.find(folder)
    if found is None:
        if resume:
            raise errors.no_checkpoint(folder)
        return None
    started_again = bool(run) and checkpoint.run_of(found) == run
    return str(found) if resume or started_again else None
