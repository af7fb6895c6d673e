"""Words per second of prediction with three heads, by length of the documents and by batch size.

At the same encoder weights, the same heads and the same text, measured in turn: ours; spacy-transformers with its
defaults, and with the settings that are fastest for each length; three single-task pipelines of spacy-transformers,
with the same fast settings, one after the other; and the bare Hugging Face encoder on the same wordpieces, sorted by
length, without tokenizer, alignment and heads. Ours in bf16, which `auto` takes on a processor that has it, is called
so; `--precision fp32` is what the others compute in. No corpus is needed:

    python benchmarks/prediction.py
    python benchmarks/prediction.py --source corpus/gum/dev.spacy --length tweet --rounds 9

A rerun replaces the rows of its lengths in benchmarks/results/prediction_{processor}.{json,md,svg}, where processor is
`amx`, `avx512_bf16` or `fp32`. On a machine that is not idle, OMP_NUM_THREADS=1 lets it measure processor time.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import peer
import stages
import torch
import typer
from corpus import LENGTHS, TASKS, Source, read, texts
from environment import processor_kind
from floor import BareEncoder
from plot import plot
from rounds import alternate, clock, conditions, keep, ratios, seconds, show, store, table
from spacy.language import Language
from systems import (
    ENCODER,
    agreement,
    build,
    copy_heads,
    has_factory,
    our_name,
    peer_config,
    trained,
)
from training import load_results

from spacy_mtl.encoder.precision import cpu_has_fast_bf16

RESULTS = Path(__file__).parent / "results" / f"prediction_{processor_kind()}.json"
KEYS = ("source", "length", "system", "batch_size")
PEER, TUNED, SINGLE = (
    "spacy-transformers",
    "spacy-transformers, tuned",
    "three single-task pipelines, tuned",
)
FLOOR, FLOOR_BF16 = "bare encoder, fp32", "bare encoder, bf16"
DEFAULT_BATCH = 64


def run(nlp: Language, documents: list[str], batch_size: int) -> int:
    """Predict all documents. Returns the number of words."""
    return sum(len(doc) for doc in nlp.pipe(documents, batch_size=batch_size))


def single_tasks(encoder: str, source: Source, heads: Language) -> list[Language]:
    """A pipeline with an encoder of its own for each task."""
    pipelines = [build(peer_config(encoder, tasks=[task]), source) for task in TASKS]
    for nlp in pipelines:
        copy_heads(heads, nlp)
    return pipelines


class Bench:
    """The systems on one source of text."""

    def __init__(
        self,
        source: Source,
        *,
        encoder: str,
        ner: str,
        precision: str,
        cache: Path | None,
        teach: int,
    ) -> None:
        kept: dict[str, Any] = {"encoder": encoder, "cache": cache, "words": teach}
        kept["precision"] = precision
        heads = trained(source, **kept)
        self.source, self.name = source, our_name(ner, precision)
        self.ours = heads if ner == "ner" else trained(source, ner=ner, **kept)
        self.peer = build(peer_config(encoder), source)
        copy_heads(heads, self.peer)
        self.single = single_tasks(encoder, source, heads)
        self.bare = BareEncoder(encoder)
        sample = texts(source, length=40, total=2_000, seed=1)
        self.agreement = agreement(heads, self.peer, sample)

    def tuned(self, nlp: Language, documents: list[str], settings: peer.PeerSettings) -> None:
        """Predict with settings of spacy-transformers, and put its defaults back."""
        settings.apply(nlp)
        run(nlp, documents, settings.batch_size)
        peer.PeerSettings().apply(nlp)

    def measure(
        self, length: str, *, total: int, sizes: list[int], rounds: int, seed: int, single: bool
    ) -> list[dict[str, Any]]:
        """Rows of one length."""
        n_words = LENGTHS[length]
        documents = texts(self.source, length=n_words, total=max(total, n_words), seed=seed)
        words = run(self.ours, documents, DEFAULT_BATCH)
        settings = peer.tune(
            lambda s: seconds(lambda: self.tuned(self.peer, documents, s)), long=n_words > 60
        )
        systems: dict[str, Callable[[], object]] = {
            TUNED: lambda: self.tuned(self.peer, documents, settings),
        }
        if single:
            systems[SINGLE] = lambda: [self.tuned(nlp, documents, settings) for nlp in self.single]
        notes = {TUNED: str(settings), SINGLE: str(settings)}
        floors = {FLOOR: torch.float32}
        if cpu_has_fast_bf16():
            floors[FLOOR_BF16] = torch.bfloat16
        for name, dtype in floors.items():
            budget = self.bare.best(documents, dtype, seconds)
            prepared = self.bare.batches(documents, budget)
            systems[name] = partial(self.bare.forward, prepared, dtype)
            notes[name] = f"{budget} wordpieces a batch"
        keys = {name: (name, None) for name in systems}
        for size in sizes:
            for name, nlp in ((self.name, self.ours), (PEER, self.peer)):
                keys[f"{name} {size}"] = (name, size)
                systems[f"{name} {size}"] = partial(run, nlp, documents, size)
        times = alternate(systems, rounds)
        parts = [stages.measure(self.ours, documents, DEFAULT_BATCH) for _ in range(rounds)]
        rows = []
        for key, (name, size) in keys.items():
            row = {
                "source": self.source.name,
                "length": length,
                "system": name,
                "batch_size": size,
                "documents": len(documents),
                "words": words,
                "words_per_s": round(words / statistics.median(times[key])),
                "against_tuned": ratios(times, key, TUNED),
                "against_floor": ratios(times, key, FLOOR),
                "against_floor_bf16": ratios(times, key, FLOOR_BF16)
                if FLOOR_BF16 in times
                else None,
                "note": notes.get(name, ""),
                "rounds": rounds,
                "seed": seed,
                "conditions": conditions(),
                "agreement": round(self.agreement, 4),
            }
            if name == self.name and size == DEFAULT_BATCH:
                row["stages"] = {
                    stage: statistics.median(part[stage] / words * 1e6 for part in parts)
                    for stage in parts[0]
                }
            rows.append(row)
        return rows


def body(results: list[dict[str, Any]]) -> list[str]:
    """The tables."""
    lines = [
        "Ratios within rounds: median and quartiles, above 1 is faster. *Tuned*: spacy-transformers with the settings",
        "in the last column, the fastest that were tried for this length. The bare encoder has no tokenizer, no heads.",
        "The heads are trained a little, on top of the encoder as it is, and are the same in all systems.",
    ]
    for source in dict.fromkeys(row["source"] for row in results):
        rows = [row for row in results if row["source"] == source]
        ours = [row for row in rows if row["system"].startswith("spacy_mtl")]
        with_ner = {row["system"].replace(", biluo_ner", ""): row["agreement"] for row in ours}
        shares = [f"{share:.1%} ({name})" for name, share in with_ner.items()]
        lines += ["", f"## Text: {source}", ""]
        lines += [
            f"{', '.join(shares)} of the tokens get the same tag and entity from ours and from "
            "spacy-transformers (windows differ, and precision where ours is not in fp32).",
            "",
        ]
        cells = []
        for row in sorted(rows, key=lambda row: list(LENGTHS).index(row["length"])):
            cells.append(
                [
                    f"{row['length']}, {row['documents']} x {LENGTHS[row['length']]}",
                    row["system"],
                    row["batch_size"] or "-",
                    row["words_per_s"],
                    show(row["against_tuned"]),
                    show(row["against_floor"]),
                    show(row.get("against_floor_bf16")),
                    row["note"],
                ]
            )
        header = ["documents", "system", "batch", "words/s", "against tuned"]
        header += ["against bare, fp32", "against bare, bf16", ""]
        lines += table(header, cells)
        lines += [
            "",
            f"### Where our time goes, microseconds a word, batch size {DEFAULT_BATCH}",
            "",
        ]
        timed = [row for row in rows if "stages" in row]
        names = list(dict.fromkeys(stage for row in timed for stage in row["stages"]))
        cells = [
            [row["length"], row["system"], *(f"{row['stages'].get(s, 0):.1f}" for s in names)]
            for row in timed
        ]
        lines += table(["documents", "system", *names], cells)
    return lines


def main(
    source: Annotated[Path | None, typer.Option(help="A .spacy or text file.")] = None,
    length: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(LENGTHS)}.")] = None,
    words: Annotated[int, typer.Option(help="Words a round, at least one document.")] = 3_000,
    batch_size: Annotated[list[int] | None, typer.Option(help="For nlp.pipe.")] = None,
    rounds: int = 5,
    single: Annotated[bool, typer.Option(help="Single-task pipelines too.")] = True,
    ner: Annotated[str, typer.Option(help="Factory of our ner.")] = "ner",
    precision: Annotated[str, typer.Option(help="Of our encoder.")] = "auto",
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    trained_in: Annotated[Path | None, typer.Option(help="Keeps trained heads.")] = None,
    teach: Annotated[int, typer.Option(help="Words that each head learns from.")] = 15_000,
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
    seed: int = 0,
) -> None:
    """Measure and write the tables and the plot."""
    if not has_factory(ner):
        typer.echo(f"Skipped: no factory `{ner}` is registered in this spaCy.")
        return
    chosen = length or list(LENGTHS)
    for name in chosen:
        if name not in LENGTHS:
            raise typer.BadParameter(f"`{name}` is not one of {', '.join(LENGTHS)}")
    bench = Bench(
        read(source, seed=seed),
        encoder=encoder,
        ner=ner,
        precision=precision,
        cache=trained_in,
        teach=teach,
    )
    for name in chosen:
        start = clock()
        sizes = batch_size or (
            [16, DEFAULT_BATCH, 256] if LENGTHS[name] < 5_000 else [DEFAULT_BATCH]
        )
        rows = bench.measure(
            name, total=words, sizes=sizes, rounds=rounds, seed=seed, single=single
        )
        results = keep(output, rows, KEYS)
        title = "Prediction: words per second"
        store(output, results, title, body(results))
        plot(load_results(output), output.with_suffix(".svg"))
        for row in rows:
            size = "" if row["batch_size"] is None else f", batch {row['batch_size']}"
            typer.echo(f"{name}, {row['system']}{size}: {show(row['against_tuned'])}")
        typer.echo(f"{name}: {clock() - start:.0f} s")


if __name__ == "__main__":
    typer.run(main)
