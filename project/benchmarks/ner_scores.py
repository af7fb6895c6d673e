"""Dev scores of `biluo_ner` against spaCy's `ner`, on the same encoder, batches and number of updates.

Run from the project's folder with a folder of `train.spacy` and `dev.spacy`, whose name becomes that of the results:

    python benchmarks/ner_scores.py corpus/gum --updates 400 --words 400 --seeds 3

A folder of WNUT17 can be made of its two CoNLL files by `python -m spacy convert FILE FOLDER -c ner`.

Both have `configs/gum.cfg` with this head alone. Words per second are those of the head as a stage of `nlp.pipe`, on
the dev set, after training. Writes benchmarks/results/ner_scores_{folder}_{updates}x{words}.{json,md} after every run,
and skips runs that are in the JSON already.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.language import Language
from thinc.api import Config
from training import (
    entity_recogniser,
    gum_config,
    load_results,
    run_pipeline,
    set_encoder_rate,
    set_precision,
    set_updates,
    spread,
    store_results,
)

ROOT = Path(__file__).parent
SYSTEMS = ("ner", "biluo_ner")
ROUNDS = 5
NOTE = """Mean and sample standard deviation over seeds. The heads learn from the same batches in the same order.
Speed: of the head alone as a stage of `nlp.pipe`, in processor time, median of 5 passes over the dev set; seed by seed.
"""


def make_config(folder: Path, factory: str, *, updates: int, seed: int, words: int) -> Config:
    """configs/gum.cfg with one head, and a rate of 0.0001 for the encoder."""
    config = gum_config(folder, words=words, seed=seed)
    set_precision(config)
    set_encoder_rate(config)
    components = config["components"]
    config["nlp"]["pipeline"] = ["shared_transformer", "ner"]
    config["components"] = {name: components[name] for name in config["nlp"]["pipeline"]}
    config["training"]["score_weights"] = {"ents_f": 1.0}
    config["components"]["ner"] = entity_recogniser(factory)
    set_updates(config, updates)
    return config


def stage_speed(nlp: Language, dev_corpus: Any) -> float:
    """Words in a second of processor time of the last component, which reads what the others have written."""
    docs = [example.reference for example in dev_corpus(nlp)]
    docs = [nlp.make_doc(doc.text) for doc in docs]
    for _, pipe in nlp.pipeline[:-1]:
        docs = list(pipe.pipe(docs))
    _, head = nlp.pipeline[-1]
    seconds = []
    for _ in range(ROUNDS):
        for doc in docs:
            doc.set_ents([], default="missing")
        start = time.process_time()
        for _ in head.pipe(iter(docs), batch_size=nlp.batch_size):
            pass
        seconds.append(time.process_time() - start)
    return sum(len(doc) for doc in docs) / statistics.median(seconds)


def table(results: list[dict[str, Any]]) -> str:
    """A row for each head."""
    header = ["head", "seeds", "precision", "recall", "F", "times the words/s of `ner`"]
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    speeds = {(r["system"], r["seed"]): r["stage_words_per_s"] for r in results}
    for system in SYSTEMS:
        own = [r for r in results if r["system"] == system]
        if own:
            cells = [
                spread([100 * r["scores"][key] for r in own])
                for key in ("ents_p", "ents_r", "ents_f")
            ]
            ratios = [
                speeds[system, seed] / speeds["ner", seed]
                for (name, seed) in sorted(speeds)
                if name == system and ("ner", seed) in speeds
            ]
            cells.append(", ".join(f"{ratio:.1f}" for ratio in ratios) or "-")
            rows.append(f"| `{system}` | {' | '.join([str(len(own)), *cells])} |")
    return "\n".join(rows)


def write(out: Path, results: list[dict[str, Any]], *, updates: int, words: int) -> str:
    """Store results and their table; the table."""
    rows = table(results)
    body = [f"{updates} updates of {words} words.", "", rows, "", NOTE]
    store_results(out, results, f"Named entities of {out.stem.split('_')[2]}", body)
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 400,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 500,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    system: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
) -> None:
    """Train both heads with each seed and write the table."""
    out = ROOT / "results" / f"ner_scores_{folder.name}_{updates}x{words}.json"
    for name, seed in [(s, n) for n in range(seeds) for s in system or SYSTEMS]:
        results = load_results(out)
        if any(r["system"] == name and r["seed"] == seed for r in results):
            continue
        config = make_config(folder, name, updates=updates, seed=seed, words=words)
        nlp, dev_corpus, found = run_pipeline(config, updates)
        speed = stage_speed(nlp, dev_corpus)
        record = {"system": name, "seed": seed, "stage_words_per_s": speed, **found}
        print(json.dumps(record), flush=True)
        write(out, [*load_results(out), record], updates=updates, words=words)
    print(write(out, load_results(out), updates=updates, words=words))


if __name__ == "__main__":
    typer.run(main)
