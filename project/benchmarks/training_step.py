"""What balancing, diagnostics and a shared embedding lookup do to the time of a training step.

MiniLM with tagger, morphologizer, ner and textcat, all annotated in every batch. Each variant alternates with the plain
sum on the same batch; the table gives the median ratio of the two and its quartiles, which other work on the machine
widens. Beside it, for what happens in places of its own (counting units, measuring, weighing): the median share of the
rest of the step, timed inside the same steps. On a processor time is that of all threads together. Run from the
project's folder, after `python -m spacy project run gum-convert`; writes benchmarks/results/training_step.md:

    python benchmarks/training_step.py corpus/gum
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from environment import describe
from spacy.training import Example
from training import DEFAULT, entity_recogniser, finish_update, gum_config, prepare, set_updates

import spacy_mtl.encoder.transformer as encoder
from spacy_mtl.balancing import BALANCERS
from spacy_mtl.encoder.precision import resolve_precision
from spacy_mtl.pipeline.balance import GradientBalance, GradientMeter
from spacy_mtl.pipeline.diagnostics import GradientLog
from spacy_mtl.pipeline.factories import DEFAULTS
from spacy_mtl.pipeline.statistics import TaskStatistics

ROOT = Path(__file__).parent
CALIBRATED = f"{DEFAULT}, all tasks calibrated"


def make_config(folder: Path, words: int) -> Any:
    """configs/gum.cfg with spaCy's `ner` and a fourth head."""
    config = gum_config(folder, words=words)
    config["components"]["shared_transformer"]["balancer"] = (
        None  # what the others are compared with
    )
    config["components"]["ner"] = entity_recogniser("ner")
    tagger = config["components"]["tagger"]
    config["components"]["morphologizer"] = {
        "factory": "morphologizer",
        "model": {**tagger["model"], "@architectures": "spacy.Tagger.v2"},
    }
    config["nlp"]["pipeline"].insert(-1, "morphologizer")  # before `vector_cleaner`
    config["training"]["batcher"] = {
        "@batchers": "spacy.batch_by_words.v1",
        "size": words,
        "tolerance": 0.2,
        "discard_oversize": False,
    }
    config["training"].pop("logger", None)
    config["training"]["max_epochs"] = 1
    set_updates(config, 1000)
    return config


def calibrations(updates: int) -> int:
    """How many batches of a training calibrate a task that all of them have, unless told otherwise."""
    meter = GradientMeter(DEFAULTS["calibrate_every"])
    return sum(meter._is_due("") for _ in range(updates))


@contextmanager
def balanced(shared: Any, method: str) -> Iterator[None]:
    """With a balancer."""
    shared.balance = GradientBalance(BALANCERS[method](), shared.meter)
    yield
    shared.balance, shared.statistics = None, None


@contextmanager
def calibrated(shared: Any) -> Iterator[None]:
    """With a balancer, and a backward pass for each task that takes its reach."""
    never, shared.meter = shared.meter, GradientMeter(1)
    with balanced(shared, DEFAULT):
        yield
    shared.meter = never


@contextmanager
def logged(shared: Any, nlp: Any) -> Iterator[None]:
    """With the measurements of TaskLogger."""
    shared.statistics = TaskStatistics.of(nlp)
    shared.statistics.gradients = GradientLog()
    yield
    shared.statistics = None


@contextmanager
def looked_up_each_time() -> Iterator[None]:
    """With an embedding lookup for every micro-batch."""
    once = encoder.looked_up_once
    encoder.looked_up_once = lambda *_: nullcontext()
    yield
    encoder.looked_up_once = once


class Stopwatch:
    """Adds up the time that some methods of an object take."""

    def __init__(self, owner: Any, *names: str) -> None:
        self.seconds = 0.0
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            result = method(*args, **kwargs)
            self.seconds += clock() - start
            return result

        return timed


def clock() -> float:
    """Seconds; the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy.")],
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 500,
    rounds: Annotated[int, typer.Option(help="Batches for each variant.")] = 11,
) -> None:
    """Measure and write the table."""
    nlp, batches, optimizer, _ = prepare(make_config(folder, words))
    shared: Any = nlp.get_pipe("shared_transformer")
    shared.meter = GradientMeter()  # which never calibrates
    stream = iter(batches())
    inside = Stopwatch(shared, "_count", "_weigh")

    def step(batch: list[Example]) -> tuple[float, float]:
        fresh = [Example(eg.predicted.copy(), eg.reference) for eg in batch]
        inside.seconds = 0.0
        start = clock()
        nlp.update(fresh, drop=0.1, sgd=False)
        finish_update(nlp, optimizer)
        return clock() - start, inside.seconds

    variants: dict[str, Callable[[], Any]] = {
        **{f"balancer {m}": lambda m=m: balanced(shared, m) for m in BALANCERS},
        CALIBRATED: lambda: calibrated(shared),
        "measurements of TaskLogger": lambda: logged(shared, nlp),
        "an embedding lookup for each micro-batch": looked_up_each_time,
    }
    for _ in range(3):
        step(next(stream)[1])
    rows = ["| variant | ratio | quartiles | timed inside |", "|---|---|---|---|"]
    medians, insides = {}, {}
    for name, variant in variants.items():
        ratios, shares = [], []
        for turn in range(rounds):
            _, batch = next(stream)
            seconds = {}
            for varied in (True, False) if turn % 2 else (False, True):
                with variant() if varied else nullcontext():
                    seconds[varied] = step(batch)
            (whole, part), (plain, _) = seconds[True], seconds[False]
            ratios.append(whole / plain)
            shares.append(part / (whole - part))
        low, middle, high = statistics.quantiles(ratios, n=4)
        medians[name] = middle
        insides[name] = statistics.median(shares)
        share = f"{insides[name]:.2%}"
        rows.append(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {share} |")
        print(rows[-1], flush=True)
    dtype = resolve_precision("auto", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    of_balancers = [medians[f"balancer {method}"] for method in BALANCERS]
    costs = []
    for updates in (300, 1000, 2000, 10000):
        usual, often = insides[f"balancer {DEFAULT}"], insides[CALIBRATED]
        cost = usual + calibrations(updates) / updates * (often - usual)
        costs.append(f"{cost:.1%} of {updates:,} updates")
    note = (
        f"Time of a training step, divided by that with the plain sum; {words} words, {rounds} pairs each, "
        f"{str(dtype).removeprefix('torch.')}, threads: {torch.get_num_threads()}. "
        f"The mean of the balancers' ratios is {statistics.mean(of_balancers):.3f}. The default's share with its "
        f"calibrations, timed inside: {', '.join(costs)}; as much with the log of TaskLogger, which takes them too."
    )
    text = ["# What a training step costs", "", *describe().splitlines(), "", note, "", *rows]
    (ROOT / "results" / "training_step.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    typer.run(main)
