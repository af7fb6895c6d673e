"""How much faster two processes with a thread each train than one process with one thread.

MiniLM with tagger, morphologizer, ner and textcat, all annotated in every batch. In one run the first process makes a
step alone, while the other one sleeps, and then both make a step on the same batch; which comes first alternates. The
table gives the median ratio of the two times and its quartiles. Other work on the machine spoils it, most of all on a
machine with two cores: so beside it stands the ratio of processor times, one process's alone to that of the busier of
the two, which is what the ratio of times comes to where each process has a core for itself, but for the time that the
exchange of gradients waits for the other side. Run from the project's folder, after
`python -m spacy project run gum-convert`; writes benchmarks/results/distributed.md:

    python benchmarks/distributed.py corpus/gum
"""

import multiprocessing
import os
import socket
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import typer
from environment import describe
from rounds import quartiles, show
from spacy.training import Example
from training import finish_update, prepare
from training_step import make_config

from spacy_mtl.distributed.gradients import broadcast_values
from spacy_mtl.distributed.group import Group
from spacy_mtl.distributed.launch import joined
from spacy_mtl.distributed.replica import Replica

ROOT = Path(__file__).parent
WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Seconds of a step: on the clock, and of processor time in the busiest process."""

    clock: float
    processor: float


class Trainer:
    """One process, which can make a step of its own or its part of a common one."""

    def __init__(self, group: Group, folder: Path, words: int) -> None:
        self.group = group
        self.nlp, batches, self.optimizer, _ = prepare(make_config(folder, words))
        self.batches = batches()
        broadcast_values(self.nlp, group)

    def alone(self, batch: list[Example]) -> Cost:
        """A step of rank 0; the others wait."""
        return self.group.from_first(lambda: self._step(self.nlp, fresh(batch)))

    def together(self, batch: list[Example]) -> Cost:
        """A common step."""
        replica = Replica(self.nlp, self.group)
        self.group.gather(True)
        costs = self.group.gather(self._step(replica, fresh(batch)))
        replica.detach()
        return Cost(max(c.clock for c in costs), max(c.processor for c in costs))

    def _step(self, pipeline: Any, batch: list[Example]) -> Cost:
        clock, processor = time.perf_counter(), time.process_time()
        pipeline.update(batch, drop=0.1, sgd=False, losses={}, exclude=[], annotates=[])
        finish_update(pipeline, self.optimizer)
        return Cost(time.perf_counter() - clock, time.process_time() - processor)


def fresh(batch: list[Example]) -> list[Example]:
    return [Example(eg.predicted.copy(), eg.reference) for eg in batch]


def measure(folder: Path, words: int, rounds: int) -> str | None:
    """A row of the table, on rank 0."""
    torch.set_num_threads(1)
    with joined() as group:
        trainer = Trainer(group, folder, words)
        clock, processor = [], []
        for turn, (_, batch) in enumerate(islice(trainer.batches, rounds + WARM_UP)):
            if turn % 2:
                alone, both = trainer.alone(batch), trainer.together(batch)
            else:
                both, alone = trainer.together(batch), trainer.alone(batch)
            if turn >= WARM_UP:
                clock.append(alone.clock / both.clock)
                processor.append(alone.processor / both.processor)
    row = f"| {words} | {show(quartiles(clock))} | {show(quartiles(processor))} |"
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
    rows = ["| words in a batch | by the clock | by processor time |", "|---|---|---|"]
    for size in words or [1000, 4000]:
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
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    note = (
        "Time of a training step in one process with one thread, divided by that in two processes with a thread each: "
        f"medians and quartiles of {rounds} pairs of steps. Load averages at the end: {load}; two are this benchmark's."
    )
    text = ["# Two processes against one", "", *describe().splitlines(), "Seed: 0", "", note, ""]
    (ROOT / "results" / "distributed.md").write_text("\n".join([*text, *rows]) + "\n")


if __name__ == "__main__":
    typer.run(main)
