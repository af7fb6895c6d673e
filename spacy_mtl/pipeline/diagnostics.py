"""How the heads pull at the encoder during training: kept batch by batch, read and summed up when somebody asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from thinc.api import to_numpy

from ..balancing.base import Floats
from ..types import Array
from .balance import Pull
from .statistics import TaskCount

Pair = tuple[str, str]  # of tasks, sorted


@dataclass(frozen=True)
class BatchRecord:
    """What one batch said about A tasks that are annotated in it and handed back a gradient.

    number: of the batch, from 0.
    units, losses: [A] annotated units, and the loss of one.
    norms: [A] length of the gradient per annotated unit: at the encoder's parameters, or if the shared_transformer does
        not calibrate, at the token vectors.
    factors: [A] what the gradient was multiplied with. shares: [A] length of the weighted gradient among all of them.
    cosines: of pairs of tasks, averaged over batches (see `Pull`): of each task with every other that batches had
        lately, also where no batch has both; a task without a gradient has none.
    audit: of pairs of tasks, the true cosine between the gradients of the encoder's parameters, and the one between the
        gradients of the token vectors; empty in a batch without an audit.
    known: all tasks that batches had lately.
    """

    number: int
    tasks: tuple[str, ...]
    units: list[int]
    losses: list[float]
    norms: list[float]
    factors: list[float]
    shares: list[float]
    cosines: dict[Pair, float]
    audit: dict[Pair, tuple[float, float]]
    known: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        keys = ("units", "loss_per_unit", "gradient_per_unit", "factor", "share")
        values = zip(self.units, self.losses, self.norms, self.factors, self.shares, strict=True)
        tasks = {
            t: dict(zip(keys, v, strict=True)) for t, v in zip(self.tasks, values, strict=True)
        }
        record: dict[str, Any] = {"batch": self.number, "tasks": tasks, "known": list(self.known)}
        record["cosines"] = {"/".join(pair): value for pair, value in self.cosines.items()}
        if self.audit:
            record["audit"] = {
                "/".join(pair): {"parameters": true, "tokens": token}
                for pair, (true, token) in self.audit.items()
            }
        return record


@dataclass
class GradientLog:
    """Collects what the shared_transformer measures; on a GPU nothing is waited for before `take`.

    audit_every: every so many batches the encoder's backward pass runs once more for each task, to compare the cheap
        cosines with those of the parameters' gradients; 0: never.
    """

    audit_every: int = 0
    n_batches: int = 0
    _pending: list[tuple[int, Pull, dict[str, float], dict[str, TaskCount], Array | None]] = field(
        default_factory=list
    )

    @property
    def audits_next(self) -> bool:
        """Whether the batch that is to be added next is to be audited."""
        return bool(self.audit_every) and self.n_batches % self.audit_every == 0

    def add(
        self,
        pull: Pull | None,
        factors: Mapping[str, float] | None,
        counts: Mapping[str, TaskCount],
        true: Array | None = None,
    ) -> None:
        """Keep a batch. true: [A, A] the Gramian of the parameters' gradients, in a batch with an audit."""
        if pull is not None:
            kept = {t: 1.0 if factors is None else factors[t] for t in pull.tasks}
            counted = {t: counts[t] for t in pull.tasks}
            self._pending.append((self.n_batches, pull, kept, counted, true))
        self.n_batches += 1

    def clear(self) -> None:
        """Forget the batches since the last `take`, without reading them."""
        self._pending = []

    def take(self) -> list[BatchRecord]:
        """The batches since the last call."""
        taken, self._pending = self._pending, []
        return [_record(*kept) for kept in taken]


def _record(
    number: int,
    pull: Pull,
    factors: dict[str, float],
    counts: dict[str, TaskCount],
    true: Array | None,
) -> BatchRecord:
    token = pull.read().token
    lengths = np.sqrt(np.maximum(np.diagonal(token), 0.0))
    weighted = lengths * np.abs([factors[t] for t in pull.tasks])
    units = [counts[t].units for t in pull.tasks]
    audit = {}
    if true is not None:
        real = cosines(pull.tasks, to_numpy(true))
        cheap = cosines(pull.tasks, token)
        audit = {pair: (value, cheap[pair]) for pair, value in real.items() if pair in cheap}
    return BatchRecord(
        number=number,
        tasks=pull.tasks,
        units=units,
        losses=[counts[t].loss / counts[t].units for t in pull.tasks],
        norms=(lengths / units).tolist(),
        factors=[factors[t] for t in pull.tasks],
        shares=(weighted / (weighted.sum() or 1.0)).tolist(),
        cosines={
            pair: cosine
            for pair, cosine in cosines(pull.known, pull.read_cosines()).items()
            if set(pair) & set(pull.tasks)
        },
        audit=audit,
        known=pull.known,
    )


def cosines(tasks: tuple[str, ...], gramian: Floats) -> dict[Pair, float]:
    """The cosine of each pair of tasks that have a gradient; none where one has overflowed in fp16."""
    norms = np.sqrt(np.maximum(np.diagonal(gramian), 0.0))
    norms = np.where(np.isfinite(norms), norms, 0.0)
    return {
        (tasks[i], tasks[j]): float(np.clip(gramian[i, j] / norms[i] / norms[j], -1.0, 1.0))
        for i, j in combinations(range(len(tasks)), 2)
        if norms[i] > 0 and norms[j] > 0 and np.isfinite(gramian[i, j])
    }


def summarize(records: list[BatchRecord]) -> dict[str, Any]:
    """Means over batches, as plain values.

    tasks: for each the mean `gradient_per_unit`, `factor` and `share`, over the batches that have the task.
    pairs: for each `a/b` the mean `cosine` and the share of batches in `conflict`, that is with a negative cosine;
        and the mean `true_cosine` of the audits, if there were any.
    conflict: the share over all pairs; None without any.
    audit: how many pairs were audited, in which share of them the sign of the pooled and of the token-level cosine was
        that of the parameters' cosine, and the mean of the latter; absent if there was none.
    """
    by_task: dict[str, list[tuple[float, float, float]]] = {}
    by_pair: dict[Pair, list[float]] = {}
    true_cosines: dict[Pair, list[float]] = {}
    signs: list[tuple[float, float, float]] = []
    for record in records:
        rows = zip(record.norms, record.factors, record.shares, strict=True)
        for task, row in zip(record.tasks, rows, strict=True):
            by_task.setdefault(task, []).append(row)
        for pair, cosine in record.cosines.items():
            by_pair.setdefault(pair, []).append(cosine)
        for pair, (true, token) in record.audit.items():
            true_cosines.setdefault(pair, []).append(true)
            if pair in record.cosines:
                signs.append((true, record.cosines[pair], token))
    every = [cosine for found in by_pair.values() for cosine in found]
    summary: dict[str, Any] = {
        "tasks": {
            task: dict(zip(("gradient_per_unit", "factor", "share"), map(float, mean), strict=True))
            for task, mean in ((task, np.mean(rows, axis=0)) for task, rows in by_task.items())
        },
        "pairs": {
            "/".join(pair): {
                "cosine": float(np.mean(found)),
                "conflict": _negative(found),
                **(
                    {"true_cosine": float(np.mean(true_cosines[pair]))}
                    if pair in true_cosines
                    else {}
                ),
            }
            for pair, found in sorted(by_pair.items())
        },
        "conflict": _negative(every) if every else None,
    }
    if signs:
        true, pooled, token = np.sign(np.array(signs)).T
        summary["audit"] = {
            "pairs": len(signs),
            "pooled_sign_right": float(np.mean(pooled == true)),
            "token_sign_right": float(np.mean(token == true)),
            "cosine": float(np.mean([found[0] for found in signs])),
        }
    return summary


def _negative(values: list[float]) -> float:
    return float(np.mean(np.array(values) < 0))
