"""Training words per second, ours against spacy-transformers on the same batches: `nlp.update`, then `finish_update`.

As `spacy train` does, with dropout 0.1. `--precision` is that of our encoder; rows in bf16, which `auto` takes on a
processor that has it, are called so. Ours steps its encoder with an AdamW of its own, as in our configs, and once
more with the one optimizer for all that spacy-transformers has. Two kinds of corpora: *full*, each document annotated
for all heads, and *mixed*, each for one. In the mixed ones ours has `masked_textcat`, since spaCy's own takes a
document without categories for one in no class; textcat is last in the pipeline, where spacy-transformers loses no
backward pass, so both do the same work. No corpus is needed: the sample corpora are mixed, and the full one is their
news with invented tags and categories.

    python benchmarks/training_speed.py

Writes benchmarks/results/training_speed_{processor}.{json,md}, where processor is `amx`, `avx512_bf16` or
`fp32`.
"""

import random
import statistics
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from corpus import Source, read, sample
from environment import processor_kind
from rounds import clock, conditions, keep, ratios, show, store, table
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from systems import (
    ENCODER,
    build,
    has_factory,
    make_config,
    our_name,
    peer_config,
    unannotated,
)
from thinc.api import Adam

RESULTS = Path(__file__).parent / "results" / f"training_speed_{processor_kind()}.json"
KEYS = ("source", "kind", "system", "batch_words")
PEER = "spacy-transformers"
WARM = 2


def full(source: Source) -> Source:
    """Documents with all three annotations: the source's own, or invented ones, which cost the same time."""
    docs = source.gold["ner"]
    if any(doc.cats and doc.has_annotation("TAG") for doc in docs):
        docs = [doc for doc in docs if doc.cats and doc.has_annotation("TAG")]
        return Source(source.name, source.words, dict.fromkeys(source.gold, docs))
    tags = sorted({token.tag_ for doc in source.gold["tagger"] for token in doc if token.tag_})
    labels = sorted({label for doc in source.gold["textcat"] for label in doc.cats})
    for i, doc in enumerate(docs):
        for token in doc:
            token.tag_ = tags[len(token) % len(tags)]
        doc.cats = {label: float(j == i % len(labels)) for j, label in enumerate(labels)}
    return Source(source.name, source.words, dict.fromkeys(source.gold, docs))


def batches(source: Source, words: int, count: int, seed: int) -> list[list[Doc]]:
    """Batches of about so many words, documents of all tasks in chance order."""
    docs = list({id(doc): doc for docs in source.gold.values() for doc in docs}.values())
    random.Random(seed).shuffle(docs)
    result: list[list[Doc]] = [[]]
    for doc in docs * (1 + words * count // max(sum(map(len, docs)), 1)):
        if result[-1] and sum(map(len, result[-1])) + len(doc) > words:
            if len(result) == count:
                break
            result.append([])
        result[-1].append(doc)
    return result


class Trainee:
    """A pipeline, its optimizer, and what a step costs by component."""

    def __init__(self, nlp: Language) -> None:
        self.nlp, self.optimizer = nlp, Adam(2e-4, L2=0.01, grad_clip=1.0)
        self.stages: dict[str, float] = {}

    def step(self, docs: list[Doc]) -> float:
        """Seconds of an update with all components and their `finish_update`; making the examples is not counted."""
        examples = [Example(unannotated(doc, self.nlp), doc) for doc in docs]
        losses: dict[str, float] = {}
        whole = clock()
        for verb in ("update", "finish_update"):
            for name, pipe in self.nlp.pipeline:
                start = clock()
                if verb == "update":
                    pipe.update(examples, drop=0.1, sgd=None, losses=losses)
                else:
                    pipe.finish_update(self.optimizer)
                stage = f"{name}.{verb}"
                self.stages[stage] = self.stages.get(stage, 0.0) + clock() - start
        return clock() - whole


def measure(
    kind: str,
    source: Source,
    *,
    encoder: str,
    ner: str,
    precision: str,
    words: int,
    rounds: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of one kind of corpus; a round is a batch that both systems take."""
    name = our_name(ner, precision)
    systems = {PEER: Trainee(build(peer_config(encoder), source, seed=seed))}
    for title, own in ((name, True), (f"{name}, one optimizer", False)):
        config = make_config(encoder, ner=ner, precision=precision)
        if not own:
            del config["components"]["shared_transformer"]["optimizer"]
        if kind == "mixed":
            config["components"]["textcat"]["factory"] = "masked_textcat"
        systems[title] = Trainee(build(config, source, seed=seed))
    times: dict[str, list[float]] = {system: [] for system in systems}
    n_words = []
    for turn, docs in enumerate(batches(source, words, rounds + WARM, seed)):
        for system in systems if turn % 2 else list(systems)[::-1]:
            taken = systems[system].step(docs)
            if turn < WARM:
                systems[system].stages.clear()
            else:
                times[system].append(taken)
        n_words += [sum(map(len, docs))] if turn >= WARM else []
    return [
        {
            "source": source.name,
            "kind": kind,
            "system": system,
            "batch_words": words,
            "words_per_s": round(
                statistics.median(n / t for n, t in zip(n_words, times[system], strict=True))
            ),
            "against_peer": ratios(times, system, PEER),
            "stages": {s: t / sum(n_words) * 1e6 for s, t in trainee.stages.items()},
            "rounds": len(n_words),
            "conditions": conditions(),
            "seed": seed,
        }
        for system, trainee in systems.items()
    ]


def body(results: list[dict[str, Any]]) -> list[str]:
    """The tables."""
    cells = [
        [
            *(row[key] for key in ("source", "kind", "system", "batch_words", "words_per_s")),
            show(row["against_peer"]),
            row["rounds"],
        ]
        for row in results
    ]
    header = [
        "text",
        "corpora",
        "system",
        "words a batch",
        "words/s",
        "against the peer",
        "batches",
    ]
    lines = ["Ratios within batches: median and quartiles, above 1 is faster.", ""]
    lines += [*table(header, cells), "", "## Microseconds a word", ""]
    lines += [
        "Our encoder runs its backward pass in its own `finish_update`, the peer's in the `update` of the last head.",
        "",
    ]
    stages = list(dict.fromkeys(stage for row in results for stage in row["stages"]))
    cells = [
        [row["kind"], row["system"], *(f"{row['stages'].get(s, 0):.0f}" for s in stages)]
        for row in results
    ]
    return [*lines, *table(["corpora", "system", *stages], cells)]


def main(
    source: Annotated[Path | None, typer.Option(help="A .spacy file.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="full, mixed")] = None,
    words: Annotated[int, typer.Option(help="Words a batch.")] = 500,
    rounds: Annotated[int, typer.Option(help="Batches that count.")] = 11,
    ner: Annotated[str, typer.Option(help="Factory of our ner.")] = "ner",
    precision: Annotated[str, typer.Option(help="Of our encoder.")] = "auto",
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
    seed: int = 0,
) -> None:
    """Measure and write the table."""
    if not has_factory(ner):
        typer.echo(f"Skipped: no factory `{ner}` is registered in this spaCy.")
        return
    for chosen in kind or ["full", "mixed"]:
        if chosen == "full":
            corpus = full(read(source, seed=seed))
        elif chosen == "mixed":
            corpus = Source("sample corpora", [], sample(spacy.blank("en"), seed))
        else:
            raise typer.BadParameter(f"`{chosen}` is not `full` or `mixed`")
        rows = measure(
            chosen,
            corpus,
            encoder=encoder,
            ner=ner,
            precision=precision,
            words=words,
            rounds=rounds,
            seed=seed,
        )
        results = keep(output, rows, KEYS)
        store(output, results, "Training: words per second", body(results))
        for row in rows:
            typer.echo(f"{chosen}, {row['system']}: {show(row['against_peer'])}")


if __name__ == "__main__":
    typer.run(main)
