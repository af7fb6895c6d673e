"""On a GPU: words per second in prediction and training against spacy-transformers, how busy it is, and its memory.

At the same encoder weights, heads and text, measured in turn, and at the same precision: both in fp32, and ours in bf16
against spacy-transformers with `mixed_precision` (fp16). In prediction also the bare Hugging Face encoder on the same
wordpieces, sorted by length. No corpus is needed:

    python benchmarks/gpu.py --gpu 0

Without spacy-transformers its rows are left out, and the table says so. Writes benchmarks/results/gpu.{json,md}.
`--gpu -1` runs all of it on a processor, to try the script.
"""

import importlib.util
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from corpus import LENGTHS, Source, read, texts
from floor import BareEncoder
from rounds import alternate, keep, ratios, show, store, table
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from systems import ENCODER, build, copy_heads, make_config, peer_config, train_heads, unannotated
from thinc.api import Config, require_gpu, set_gpu_allocator
from training import finish_update
from training_speed import Trainee, batches, full

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PEER, OURS, BARE = "spacy-transformers", "spacy_mtl", "bare encoder"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
MIXED = "bf16"  # ours; spacy-transformers' is fp16
BATCH = 256  # documents
KEYS = ("work", "length", "ner", "precision", "system")
Work = dict[str, Callable[[], object]]


def has_peer() -> bool:
    """Whether spacy-transformers is installed."""
    return importlib.util.find_spec("spacy_transformers") is not None


def configs(encoder: str, ner: str, precision: str) -> dict[str, Config]:
    """Of both systems."""
    found = {OURS: make_config(encoder, ner=ner, precision=precision)}
    if has_peer():
        found[PEER] = peer_config(encoder)
        found[PEER]["components"]["shared_transformer"]["model"]["mixed_precision"] = (
            precision == MIXED and torch.cuda.is_available()
        )
    return found


def pipelines(
    source: Source, encoder: str, ner: str, precision: str, teach: int
) -> dict[str, Language]:
    """Both systems. Heads of the same kind have the same weights."""
    found = {
        name: build(config, source) for name, config in configs(encoder, ner, precision).items()
    }
    train_heads(found[OURS], source, words=teach)
    if PEER in found and ner == "ner":
        copy_heads(found[OURS], found[PEER])
    elif PEER in found:
        spacys = build(make_config(encoder, precision=precision), source)
        train_heads(spacys, source, words=teach)
        copy_heads(spacys, found[PEER])
    return found


def read_all(nlp: Language, documents: list[str]) -> int:
    """Predict. Returns the number of words."""
    return sum(len(doc) for doc in nlp.pipe(documents, batch_size=BATCH))


def step(trainee: Trainee, docs: list[Doc]) -> None:
    """An update as `spacy train` makes it, without waiting for the GPU in between."""
    examples = [Example(unannotated(doc, trainee.nlp), doc) for doc in docs]
    trainee.nlp.update(examples, drop=0.1, sgd=False)
    finish_update(trainee.nlp, trainee.optimizer)


def usage(run: Callable[[], object]) -> tuple[float | None, float | None]:
    """The share of the time in which the GPU computes, and the most memory above what was held before, in MB.

    None without a GPU.
    """
    if not torch.cuda.is_initialized():
        return None, None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
    busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1_000
    return busy / start.elapsed_time(stop), (torch.cuda.max_memory_allocated() - before) / 1e6


def rows_of(
    runs: Work, *, words: int, rounds: int, reference: str, **keys: Any
) -> list[dict[str, Any]]:
    """Measured in turn."""
    times = alternate(runs, rounds, warm=2)
    found = []
    for name, run in runs.items():
        busy, memory = usage(run)
        found.append(
            {
                **keys,
                "system": name,
                "words_per_s": round(words / statistics.median(times[name])),
                "against_peer": ratios(times, name, reference),
                "busy": busy,
                "memory_mb": memory,
                "rounds": rounds,
            }
        )
    return found


def predict(
    systems: dict[str, Language],
    bare: BareEncoder,
    documents: list[str],
    *,
    precision: str,
    rounds: int,
    **keys: Any,
) -> list[dict[str, Any]]:
    """Rows of one length of documents."""
    runs: Work = {name: partial(read_all, nlp, documents) for name, nlp in systems.items()}
    dtype = PRECISIONS[precision]
    budget = bare.best(documents, dtype, lambda run: alternate({"": run}, 1, warm=0)[""][0])
    runs[BARE] = partial(bare.forward, bare.batches(documents, budget), dtype)
    words = read_all(systems[OURS], documents)
    reference = PEER if PEER in systems else OURS
    given = {**keys, "work": "predict", "precision": precision}
    return rows_of(runs, words=words, rounds=rounds, reference=reference, **given)


def train(
    source: Source, encoder: str, *, ner: str, precision: str, words: int, rounds: int
) -> list[dict[str, Any]]:
    """Rows of training: each round makes the same ten updates."""
    parts = batches(source, words, 10, 0)
    runs: Work = {}
    for name, config in configs(encoder, ner, precision).items():
        trainee = Trainee(build(config, source))
        runs[name] = lambda trainee=trainee: [step(trainee, docs) for docs in parts]
    reference = PEER if PEER in runs else OURS
    n_words = sum(len(doc) for docs in parts for doc in docs)
    keys = {"work": "train", "length": f"{words} words a batch", "ner": ner, "precision": precision}
    return rows_of(runs, words=n_words, rounds=rounds, reference=reference, **keys)


def body(results: list[dict[str, Any]]) -> list[str]:
    """The table."""
    header = ["work", "texts", "our ner", "precision", "system", "words/s"]
    header += ["against spacy-transformers", "GPU busy", "memory, MB"]
    cells = [
        [
            *(row[key] for key in ("work", "length", "ner", "precision", "system", "words_per_s")),
            show(row["against_peer"] if has_peer() else None),
            "-" if row["busy"] is None else f"{row['busy']:.0%}",
            "-" if row["memory_mb"] is None else round(row["memory_mb"]),
        ]
        for row in results
    ]
    lines = [
        "Ratios within rounds: median and quartiles, above 1 is faster. `bf16` is ours; spacy-transformers has fp16",
        "there. `GPU busy`: time of all kernels over the time of a round. Memory: the most in a round, beside weights.",
    ]
    if not has_peer():
        lines.append("spacy-transformers is not installed: its rows are missing.")
    return [*lines, "", *table(header, cells)]


def main(
    gpu: Annotated[int, typer.Option(help="Number of the GPU; -1: the processor.")] = 0,
    length: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(LENGTHS)}.")] = None,
    words: Annotated[int, typer.Option(help="Words a round in prediction.")] = 100_000,
    batch_words: Annotated[
        list[int] | None, typer.Option(help="Words of training's batches.")
    ] = None,
    precision: Annotated[list[str] | None, typer.Option(help="fp32, bf16")] = None,
    ner: Annotated[list[str] | None, typer.Option(help="Factories of our ner.")] = None,
    rounds: int = 5,
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    teach: Annotated[int, typer.Option(help="Words that each head learns from.")] = 15_000,
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
) -> None:
    """Measure and write the table."""
    if gpu >= 0:
        require_gpu(gpu)
        set_gpu_allocator("pytorch")
    source = read(None, seed=0)
    for chosen in precision or list(PRECISIONS):
        for own in ner or ["ner", "biluo_ner"]:
            systems = pipelines(source, encoder, own, chosen, teach)
            bare = BareEncoder(encoder, "cpu" if gpu < 0 else "cuda")
            found = []
            for name in length or ["tweet", "sentence", "paragraph", "document"]:
                documents = texts(source, length=LENGTHS[name], total=words, seed=0)
                keys = {"length": name, "ner": own, "precision": chosen, "rounds": rounds}
                found += predict(systems, bare, documents, **keys)
            del systems, bare
            annotated = full(read(None, seed=0))
            for size in batch_words or [500, 4_000]:
                keys = {"ner": own, "precision": chosen, "words": size, "rounds": rounds}
                found += train(annotated, encoder, **keys)
            store(output, keep(output, found, KEYS), "On a GPU", body(keep(output, found, KEYS)))
            for row in found:
                typer.echo(
                    f"{', '.join(str(row[key]) for key in KEYS)}: {show(row['against_peer'])}"
                )


if __name__ == "__main__":
    typer.run(main)
