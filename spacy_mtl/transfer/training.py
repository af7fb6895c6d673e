"""Trains one pipeline of the comparison, as `spacy train` does, and keeps its scores."""

import contextlib
import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_train_batches
from spacy.training.loop import train as spacy_train
from thinc.api import Config

from .. import errors
from ..annotation import count_units, heads_of, is_annotated
from ..encoder.huggingface import resolve_name
from ..pipeline.schedule import schedules_of
from ..pipeline.shared_transformer import SharedTransformer, shared_transformers
from .plan import Run

Result = dict[str, Any]
# update than `max_steps`: spaCy counts them from 0, and stops after the one of that number
ONE_MORE = 1
AUDITS = 20  # in the run that estimates the affinity of the tasks
REPORT = "transfer.json"  # in the output folder
RUNS = "runs"  # folder in the output folder
# What a result has.
KINDS: dict[str, type | tuple[type, ...]] = {
    "depends_sha256": str,
    "heads": list,
    "seed": int,
    "updates": int,
    "scores": dict,
    "words": dict,
    "gradients": dict,
    "seconds": (int, float),
}


def shared_of(nlp: Language) -> SharedTransformer:
    """The pipeline's shared_transformer. Raises ConfigError if there is not exactly one."""
    found = shared_transformers(nlp)
    if len(found) > 1:
        raise errors.several_encoders(pipe.name for pipe in found)
    if not found:
        raise errors.no_shared_transformer("transfer")
    return found[0]


def compared_heads(nlp: Language) -> list[str]:
    """The heads that listen to the shared_transformer and are trained, in the order of the pipeline."""
    frozen = nlp.config.interpolate()["training"]["frozen_components"]
    listening = shared_of(nlp).listening_components
    return [name for name in heads_of(nlp) if name in listening and name not in frozen]


def with_sources(filled: Config, given: Config) -> Config:
    """The filled config of a pipeline, in which components with `source` are taken from there, as the given one says.

    spaCy's own `nlp.config` has their factories in place of that.
    """
    changed = filled.copy()
    for name, block in given.get("components", {}).items():
        if "source" in block:
            changed["components"][name] = dict(block)
    return changed


def with_budget(config: Config, steps: int, seed: int) -> Config:
    """Train until `max_steps = steps`, which is `ONE_MORE` updates, and evaluate at the end.

    config: not interpolated, so that schedules and other seeds follow. Schedules that end where the training did, by
        a number of their own, end with it again.
    """
    changed = config.copy()
    before = config.interpolate()["training"]["max_steps"]
    for _, schedule in schedules_of(changed):
        if schedule.get("total_steps") == before:
            schedule["total_steps"] = steps
    changed["training"]["seed"] = changed["system"]["seed"] = seed
    changed["training"] |= {"max_steps": steps, "eval_frequency": steps, "patience": 0}
    if changed["training"].get("max_epochs", 0) != -1:
        changed["training"]["max_epochs"] = 0
    return changed


def count_gold(
    config: Config, steps: int | None, *, until: Mapping[str, int] | None = None
) -> tuple[Counter[str], int]:
    """Annotated units of each head in so many batches, or in as many as it takes; and how many batches that is.

    until: go on until each head of the pipeline has so many units.
    """
    nlp = init_nlp(config)
    settings = nlp.config.interpolate()
    util.fix_random_seed(settings["training"]["seed"])
    T = util.registry.resolve(settings["training"], schema=ConfigSchemaTraining)
    (corpus,) = util.resolve_dot_names(settings, [T["train_corpus"]])
    batches = create_train_batches(nlp, corpus, T["batcher"], T["max_epochs"])
    heads = {name: nlp.get_pipe(name) for name in compared_heads(nlp)}
    seen: Counter[str] = Counter()
    n_batches = 0
    for _, batch in islice(batches, steps):
        n_batches += 1
        for name, head in heads.items():
            seen[name] += sum(count_units(head, eg.reference) for eg in batch)
        if until is not None and all(seen[name] >= until[name] for name in heads):
            break
    return seen, n_batches


def check_dev_gold(config: Config, *, use_gpu: int) -> None:
    """Raises ConfigError if no document of the dev corpus is annotated for one of the compared heads.

    config: of a run with all heads, interpolated. The pipeline is initialized, as classifiers need their labels to tell
    whose categories a document has.
    """
    nlp = init_nlp(config, use_gpu=use_gpu)
    settings = nlp.config.interpolate()
    T = util.registry.resolve(settings["training"], schema=ConfigSchemaTraining)
    (corpus,) = util.resolve_dot_names(settings, [T["dev_corpus"]])
    left = {name: nlp.get_pipe(name) for name in compared_heads(nlp)}
    for example in corpus(nlp):
        left = {n: head for n, head in left.items() if not is_annotated(head, example.reference)}
        if not left:
            return
    raise errors.no_dev_gold(left, key=T["dev_corpus"])


def state_of_files(
    config: Mapping[str, Any], others: Iterable[Path] = (), *, output: Path
) -> dict[str, str]:
    """SHA-256 of every file that a config names, and of those in the folders that it names.

    output: the output folder of the command. What the command writes there is left out, so that a folder around it,
    such as `.`, does not change with every run; other files there count.
    """
    written = (output / RUNS).resolve(), (output / REPORT).resolve()
    found: set[Path] = set()
    for value in [*_strings(config), *map(str, others)]:
        path = Path(resolve_name(value) if value.startswith("package:") else value)
        with contextlib.suppress(
            OSError, ValueError
        ):  # texts that are too long for a path, or have a NUL
            if value and path.is_file():
                found.add(path)
            elif value and path.is_dir():
                found.update(
                    file
                    for file in path.rglob("*")
                    if file.is_file() and not any(map(file.resolve().is_relative_to, written))
                )
    return {str(path): _sha256(path, path.stat().st_mtime_ns) for path in sorted(found)}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


@cache
def _sha256(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_stored(path: Path, fingerprint: str) -> Result | None:
    """The result in a file, if it is whole and depends on what the fingerprint says; else None."""
    try:
        stored = json.loads(path.read_text("utf8"))
    except (OSError, ValueError):  # there is none, or it was not written to its end
        return None
    if not isinstance(stored, dict) or stored.get("depends_sha256") != fingerprint:
        return None
    whole = all(isinstance(stored.get(key), kind) for key, kind in KINDS.items())
    return stored if whole else None


def store(path: Path, result: Result) -> None:
    """Write a result, so that the file is whole whenever it exists."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(result, indent=1), "utf8")  # srsly would round the scores
    os.replace(part, path)


def train_run(
    config: Config,
    run: Run,
    output: Path,
    *,
    use_gpu: int,
    audit: bool,
    code: Iterable[Path] = (),
) -> tuple[Result, bool]:
    """Train it, or read what an earlier call has stored for the same config, files, versions and device.

    config: of this run, interpolated. output: gets `runs/{run.name}.json`, and while it trains its log. A file there
    that is not whole counts as not stored. use_gpu: its number, -1 for the processor. audit: whether the log compares
    cheap cosines with true ones. code: Python files that it depends on. Returns the result, and whether it
    was stored already.
    """
    config = config.copy()
    folder = output / RUNS
    log = folder / f"{run.name}.log.jsonl"
    logger = config["training"]["logger"] = {
        "@loggers": "spacy_mtl.TaskLogger.v1",
        "console_output": False,
        "audit_every": max(config["training"]["max_steps"] // AUDITS, 1) if audit else 0,
    }
    depends = {
        "config": config,
        "files": state_of_files(config, code, output=output),
        "versions": [version(package) for package in ("spacy-mtl", "spacy", "thinc", "torch")],
        "gpu": use_gpu >= 0,
    }
    fingerprint = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    logger["output_file"] = str(log)
    path = folder / f"{run.name}.json"
    stored = read_stored(path, fingerprint)
    if stored is not None:
        return stored, True
    folder.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    start = time.perf_counter()
    nlp = init_nlp(config, use_gpu=use_gpu)
    said = io.StringIO()
    nlp, _ = spacy_train(nlp, None, use_gpu=use_gpu, stdout=said, stderr=said)
    rows = [json.loads(line) for line in log.read_text("utf8").splitlines()]
    result: Result = {
        "depends_sha256": fingerprint,
        "heads": list(run.heads),
        "seed": run.seed,
        "updates": rows[-1]["step"] + ONE_MORE,
        "scores": dict(shared_of(nlp).worst_task.current),
        "words": {task: row["words_so_far"] for task, row in rows[-1]["tasks"].items()},
        "gradients": rows[-1]["gradients"],
        "seconds": round(time.perf_counter() - start, 1),
    }
    store(path, result)
    log.unlink()
    return result, False
