"""How much faster two processes with a thread each train than one process with one thread.

MiniLM with tagger, morphologizer, ner and textcat, all annotated in every batch. In one run the first process makes a
step alone, while the other one sleeps, and then both make a step on the same batch; which comes first alternates. The
table gives the median ratio of the two times and its quartiles, which other work on the machine widens, and the share
of the common step in which gradients are exchanged. Run from the project's folder, after
`python -m spacy project run gum-convert`; writes benchmarks/results/distributed.md:

    python benchmarks/distributed.py corpus/gum
"""

import multiprocessing
import os
import socket
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import typer
from environment import describe
from spacy.training import Example
from training import prepare
from training_step import make_config

from spacy_mtl.distributed.gradients import broadcast_values
from spacy_mtl.distributed.group import Group
from spacy_mtl.distributed.launch import joined
from spacy_mtl.distributed.replica import Replica

ROOT = Path(__file__).parent
WARM_UP = 2


class Trainer:
    """One process, which can make a step of its own or its part of a common one."""

    def __init__(self, group: Group, folder: Path, words: int) -> None:
        self.group = group
        self.nlp, batches, self.optimizer, _ = prepare(make_config(folder, words))
        self.batches = batches()
        broadcast_values(self.nlp, group)

    def alone(self, batch: list[Example]) -> float:
        """Seconds for a step of rank 0; the others wait."""
        return self.group.from_first(lambda: self._step(self.nlp, fresh(batch)))

    def together(self, batch: list[Example]) -> tuple[float, float]:
        """Seconds for a common step, and how many of them went into the exchange of gradients."""
        replica = Replica(self.nlp, self.group)
        exchange = replica.sum_gradients
        parts = []

        def timed() -> None:
            self.group.gather(True)  # the slower process is not waited for inside
            start = time.perf_counter()
            exchange()
            parts.append(time.perf_counter() - start)

        replica.sum_gradients = timed  # type: ignore[method-assign]
        self.group.gather(True)
        seconds = self._step(replica, fresh(batch))
        self.group.gather(True)
        replica.detach()
        return seconds, parts[0]

    def _step(self, pipeline: Any, batch: list[Example]) -> float:
        start = time.perf_counter()
        pipeline.update(batch, drop=0.1, sgd=False, losses={}, exclude=[], annotates=[])
        for _, pipe in pipeline.pipeline:
            pipe.finish_update(self.optimizer)
        return time.perf_counter() - start


def fresh(batch: list[Example]) -> list[Example]:
    return [Example(eg.predicted.copy(), eg.reference) for eg in batch]


def measure(folder: Path, words: int, rounds: int) -> str | None:
    """A row of the table, on rank 0."""
    torch.set_num_threads(1)
    with joined() as group:
        trainer = Trainer(group, folder, words)
        ratios, shares = [], []
        for turn, (_, batch) in enumerate(islice(trainer.batches, rounds + WARM_UP)):
            if turn % 2:
                alone, (both, exchange) = trainer.alone(batch), trainer.together(batch)
            else:
                (both, exchange), alone = trainer.together(batch), trainer.alone(batch)
            if turn >= WARM_UP:
                ratios.append(alone / both)
                shares.append(exchange / both)
    low, middle, high = statistics.quantiles(ratios, n=4)
    share = f"{statistics.median(shares):.1%}"
    row = f"| {words} | {middle:.2f} | {low:.2f} to {high:.2f} | {share} |"
    return row if group.is_first else None


def run_rank(rank: int, port: int, folder: Path, words: int, rounds: int, rows: Any) -> None:
    """One process."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    row = measure(folder, words, rounds)
    if row is not None:
        rows.put(row)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy.")],
    words: Annotated[list[int] | None, typer.Option(help="Words in a batch.")] = None,
    rounds: Annotated[int, typer.Option(help="Pairs of steps for each.")] = 11,
) -> None:
    """Measure and write the table."""
    rows = ["| words in a batch | ratio | quartiles | exchange |", "|---|---|---|---|"]
    for size in words or [500, 2000]:
        context = multiprocessing.get_context("spawn")
        found = context.Queue()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        ranks = [
            context.Process(target=run_rank, args=(rank, port, folder, size, rounds, found))
            for rank in (0, 1)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
            if process.exitcode:
                raise SystemExit(1)
        rows.append(found.get())
        print(rows[-1], flush=True)
    note = (
        "Time of a training step in one process with one thread, divided by that in two processes with a thread each; "
        f"{rounds} pairs of steps each. Exchange: the share of the common step in which gradients are summed."
    )
    text = ["# Two processes against one", "", *describe().splitlines(), "Seed: 0", "", note, ""]
    (ROOT / "results" / "distributed.md").write_text("\n".join([*text, *rows]) + "\n")


if __name__ == "__main__":
    typer.run(main)
