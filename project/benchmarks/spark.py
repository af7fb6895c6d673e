"""What does Spark cost? Two tasks of `SpacyAnnotator` against two processes of `nlp.pipe`, one thread each.

A MiniLM pipeline with a tagger, an entity recogniser and a classifier annotates the same generated texts, alternately;
each side has loaded its pipelines before the clock starts. Spark reads parquet, annotates, and makes all the output
columns; the plain processes only make documents. Run from the project's folder; after each round it writes
benchmarks/results/spark.md:

    python benchmarks/spark.py [--texts 400] [--rounds 5]
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from environment import describe
from spacy.training import Example
from spacy.util import load_config, load_model_from_config

ROOT = Path(__file__).parent
Result = tuple[dict[str, list[float]], dict[str, list[float]]]
PROCESSES = 2
BATCH = 64
sys.path.insert(0, str(ROOT.parent / "scripts"))


def make_texts(n: int) -> list[str]:
    """Reviews and news of the sample corpora, in turn."""
    from make_corpora import NEWS_RULES, REVIEW_RULES, Expander, news, reviews

    sources = (reviews(Expander(REVIEW_RULES, 0, False)), news(Expander(NEWS_RULES, 0, False)))
    return [next(sources[i % 2])["text"] for i in range(n)]


def make_pipeline(path: Path) -> None:
    """Save the pipeline of `configs/sample.cfg`, not trained: that changes no time but that of rare entities."""
    config = load_config(ROOT.parent / "configs" / "sample.cfg", interpolate=True)
    nlp = load_model_from_config(config, auto_fill=True)
    doc = nlp.make_doc("Anna likes Riga .")
    annotations = [
        {"tags": ["NNP", "VBZ", "NNP", "."]},
        {"entities": [(0, 4, "PERSON"), (11, 15, "GPE")]},
        {"cats": {"positive": 1.0, "negative": 0.0}},
    ]
    examples = [Example.from_dict(doc.copy(), values) for values in annotations]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(10):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(path)


def plain(path: str, texts: list[str], pipe: Connection) -> None:
    """A process that annotates all its texts whenever it is told to, and says when it has done so."""
    import spacy
    import torch

    torch.set_num_threads(1)
    nlp = spacy.load(path)
    list(nlp.pipe(texts[:BATCH], batch_size=BATCH))
    pipe.send(peak(os.getpid()))
    while pipe.recv():
        for _ in nlp.pipe(texts, batch_size=BATCH):
            pass
        pipe.send(peak(os.getpid()))


def peak(pid: int) -> float:
    """Highest resident memory of a process so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def workers(jvm: int) -> list[int]:
    """Python processes that run tasks: children of the daemon of Spark's Java process."""
    parents, daemons = {}, set()
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if b"pyspark.daemon" in (entry / "cmdline").read_bytes():
                daemons.add(pid)
        except (ValueError, OSError):
            continue
    own = {pid for pid in daemons if parents[pid] == jvm}
    return [pid for pid in daemons if parents[pid] in own]


class Spark:
    """The texts as a parquet folder with a file for each task, and the stage."""

    def __init__(self, path: str, texts: list[str], folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from spacy_mtl.spark import SpacyAnnotator, local_session

        self.session = local_session(PROCESSES)
        self.session.sparkContext.setLogLevel("ERROR")
        gateway: Any = self.session.sparkContext._gateway
        self.jvm: int = gateway.proc.pid
        stage = SpacyAnnotator(inputCol="text", model=path, batchSize=BATCH)
        for name, given in (("warm", texts[: BATCH * PROCESSES]), ("all", texts)):
            (folder / name).mkdir()
            for i in range(PROCESSES):
                own = pa.table({"text": given[i::PROCESSES]})
                pq.write_table(own, folder / name / f"{i}.parquet")
        read = self.session.read.option("recursiveFileLookup", "true").parquet
        self.frames = {name: stage.transform(read(str(folder / name))) for name in ("warm", "all")}

    def seconds(self, name: str) -> float:
        start = time.perf_counter()
        self.frames[name].write.format("noop").mode("overwrite").save()
        return time.perf_counter() - start


def measure(texts: list[str], rounds: int, folder: Path) -> Iterator[Result]:
    """After each round, seconds of all rounds so far by side, and the peaks of memory in MB."""
    path = str(folder / "pipeline")
    make_pipeline(Path(path))
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for i in range(PROCESSES):
        ours, theirs = context.Pipe()
        process = context.Process(target=plain, args=(path, texts[i::PROCESSES], theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    memory = {"plain": [pipe.recv() for pipe in pipes], "spark": [0.0] * PROCESSES}
    spark = Spark(path, texts, folder)
    times: dict[str, list[float]] = {"plain": [], "spark": []}
    for round_ in range(rounds):
        # which side begins changes from round to round; an idle worker of Spark's ends after a minute, so it is woken
        for side in itertools.islice(itertools.cycle(times), round_ % 2, round_ % 2 + 2):
            if side == "spark":
                spark.seconds("warm")
                times[side].append(spark.seconds("all"))
                found = sorted((peak(pid) for pid in workers(spark.jvm)), reverse=True)[:PROCESSES]
                memory[side] = [max(pair) for pair in zip(memory[side], found, strict=True)]
            else:
                start = time.perf_counter()
                for pipe in pipes:
                    pipe.send(True)
                memory[side] = [pipe.recv() for pipe in pipes]
                times[side].append(time.perf_counter() - start)
        memory["jvm"] = [peak(spark.jvm)]
        yield times, memory
    for pipe in pipes:
        pipe.send(False)
    for process in processes:
        process.join()
    spark.session.stop()


def report(texts: list[str], times: dict[str, list[float]], memory: dict[str, list[float]]) -> str:
    """The table as Markdown."""
    words = sum(len(text.split()) for text in texts)
    ratios = [a / b for a, b in zip(times["plain"], times["spark"], strict=True)]
    rows = [
        f"| {title} | {words / statistics.median(times[side]):.0f} | {max(memory[side]):.0f} |"
        for side, title in (("plain", "two processes, `nlp.pipe`"), ("spark", "Spark, `local[2]`"))
    ]
    lines = [
        "# Spark against plain processes",
        "",
        *describe().splitlines(),
        f"pyspark {version('pyspark')}, pyarrow {version('pyarrow')}",
        "",
        "| | words per second, median | peak memory of a Python process, MB |",
        "|---|---|---|",
        *rows,
        "",
        f"Spark's share of the plain speed: median {statistics.median(ratios):.2f} of {len(ratios)} rounds, from "
        f"{min(ratios):.2f} to {max(ratios):.2f}. Spark's Java process had {memory['jvm'][0]:.0f} MB at most.",
        "",
        f"{len(texts)} texts of {words / len(texts):.0f} words (seed 0), MiniLM-L6 with three heads, one thread "
        "a process, batches of 64; memory includes the pipeline.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    texts = make_texts(arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        for times, memory in measure(texts, arguments.rounds, Path(folder)):
            print({side: f"{values[-1]:.1f} s" for side, values in times.items()}, flush=True)
            text = report(texts, times, memory)
            (ROOT / "results" / "spark.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
