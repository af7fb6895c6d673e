"""Does the balancer know how far the tasks' gradients reach while that changes? And how much of a gradient is noise?

Trains some heads on GUM with equally long gradients and takes, in every update, each task's reach: the length of its
gradient at the encoder's biases and norms over that at the token vectors. Beside it stands what the balancer believes,
which has it of a few batches only (`calibrate_every` of `shared_transformer`). Run from the project's folder, after
`python -m spacy project run gum-fetch` and `gum-convert`; writes benchmarks/results/reach_drift.md:

    python benchmarks/reach_drift.py corpus/gum --updates 300
"""

from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from environment import describe
from numpy.typing import NDArray
from training import finish_update, prepare, set_precision, set_updates
from transfer_agreement import make_config

from spacy_mtl.pipeline import balance
from spacy_mtl.pipeline.factories import DEFAULTS

ROOT = Path(__file__).parent
STRETCHES = (
    0,
    10,
    25,
    50,
    100,
    150,
    200,
    300,
    600,
    1000,
)  # updates at which the rows of the table begin
GROWTHS = (1.2, 4 / 3, 1.4, 1.5, 2.0)
AROUND = 15  # updates before and behind one whose reach counts as the true one
Vector = NDArray[np.float64]
NOTE = """Geometric means over the batches of a stretch of the training. `reach`: length of a task's gradient at the
encoder's biases and norms over that at the token vectors. `known / true`: what the balancer takes for the quotient of
two reaches, over that quotient; the larger reach above. `common`: the part of a gradient's squared length that all
batches of the stretch have in common, that is the mean inner product of two batches' gradients over their mean squared
length; the rest is noise.
"""
SCHEDULES = f"""The reach of every batch of that training, given to a meter that takes it whenever a task's batches have
become `growth` times as many. `error`: root of the mean square of the logarithm of known over true reach, less its mean
over the tasks, from update {2 * AROUND} on; the true reach is the geometric mean of {2 * AROUND + 1} batches around.
`of 1,000 updates`: calibrations in these.
"""


def common_part(vectors: list[Vector]) -> float:
    """[P] each -> the mean inner product of two of them, over the mean of their squared lengths."""
    rows = np.stack(vectors)
    squares, total, n = float((rows * rows).sum()), rows.sum(axis=0), len(rows)
    return (float(total @ total) - squares) / (n - 1) / squares


def table(measured: list[dict[str, tuple[Vector, float, float]]], tasks: list[str]) -> list[str]:
    """measured: of each update, task -> its gradient at the sample, its reach, and what is known of it (0: nothing)."""
    header = ["updates", *(f"reach of {task}" for task in tasks), "known / true"]
    header += [f"common, {task}" for task in tasks]
    rows = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for first, end in pairwise([*(s for s in STRETCHES if s < len(measured)), len(measured)]):
        own = [m for m in measured[first:end] if all(task in m for task in tasks)]
        if len(own) < 2:
            continue
        true, known = (
            np.array([[m[task][i] for task in tasks] for m in own if all(m[t][2] for t in tasks)])
            for i in (1, 2)
        )
        logs, errors = np.log(true), np.log(known) - np.log(true)
        order = np.argsort(logs.mean(axis=0))
        quotient = np.exp((errors[:, order[-1]] - errors[:, order[0]]).mean())
        cells = [f"{first} to {end}", *(f"{value:.1f}" for value in np.exp(logs.mean(axis=0)))]
        cells += [f"{quotient:.2f}"]
        cells += [f"{common_part([m[task][0] for m in own]):.3f}" for task in tasks]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def schedules(
    measured: list[dict[str, tuple[Vector, float, float]]], tasks: list[str]
) -> list[str]:
    """How wrong other schedules would have been, were the training the same."""
    rows = ["| growth | calibrations | error | of 1,000 updates |", "|---" * 4 + "|"]
    logs = np.array([[np.log(m[t][1]) if t in m else np.nan for t in tasks] for m in measured])
    true = np.stack(
        [np.nanmean(logs[max(i - AROUND, 0) : i + AROUND + 1], axis=0) for i in range(len(logs))]
    )
    for growth in GROWTHS:
        with patch.object(balance, "_GROWTH", growth):
            meter = balance.GradientMeter(DEFAULTS["calibrate_every"])
            known, n_due = np.full_like(logs, np.nan), 0
            for i, own in enumerate(logs):
                due = [task for task in tasks if meter._is_due(task)]
                n_due += bool(due)
                below = np.exp([own[tasks.index(task)] for task in due])
                meter._calibrate(due, below, np.ones(len(due)), np)
                known[i] = [meter.reach.get(task, np.nan) for task in tasks]
            other = balance.GradientMeter(DEFAULTS["calibrate_every"])
            n_long = sum(other._is_due("") for _ in range(1000))
        errors = (known - true)[2 * AROUND :]
        errors -= errors.mean(axis=1, keepdims=True)
        error = np.sqrt(np.nanmean(errors * errors))
        rows.append(f"| {growth:.2f} | {n_due} | {error:.2f} | {n_long} |")
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Length of the training.")] = 300,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 300,
    head: Annotated[list[str] | None, typer.Option(help="Heads, two or more; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of training.")] = 0,
) -> None:
    """Train, measure and write the table."""
    tasks = head or ["textcat", "parser"]
    config = make_config(folder, words, "NormEqual")
    config["nlp"]["pipeline"] = ["shared_transformer", *tasks]
    config["components"] = {name: config["components"][name] for name in config["nlp"]["pipeline"]}
    config["system"]["seed"] = seed
    set_precision(config)
    set_updates(config, updates)
    nlp, batches, optimizer, _ = prepare(config)
    shared: Any = nlp.get_pipe("shared_transformer")
    measured: list[dict[str, tuple[Vector, float, float]]] = []
    for _, batch in islice(batches(), updates):
        nlp.update(batch, drop=nlp.config["training"]["dropout"], sgd=False)
        slots = {t: g for t, g in shared._batch.buffer.slots.items() if g.any()}
        below = shared.shim.sampled_gradients(list(slots.values())) if slots else []
        lengths = {task: float(np.linalg.norm(gradient)) for task, gradient in slots.items()}
        finish_update(nlp, optimizer)
        optimizer.step_schedules()
        own = {}
        for task, vector in zip(slots, below, strict=True):
            known = float(np.exp(shared.meter.reach[task])) if task in shared.meter.reach else 0.0
            reach = float(np.linalg.norm(vector)) / lengths[task]
            own[task] = vector.astype("d"), reach, known
        measured.append(own)
    note = f"GUM, {updates} updates of {words} words, `NormEqual`, seed {seed}. {NOTE}"
    title = "# Reach, from the first batch on"
    text = [title, "", *describe().splitlines(), "", note, *table(measured, tasks), ""]
    text += ["## Other schedules", "", SCHEDULES, *schedules(measured, tasks)]
    (ROOT / "results" / "reach_drift.md").write_text("\n".join(text) + "\n")
    print(*text, sep="\n")


if __name__ == "__main__":
    typer.run(main)
