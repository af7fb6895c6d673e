"""Do scores suffer from bf16? Trains `configs/mix.cfg` in fp32 and in bf16, and reads the dev sets in both.

Run from the project's folder, after `python -m spacy project run mix-fetch` and `mix-convert`:

    python benchmarks/precision_scores.py corpus/mix --share 0.3 --epochs 2 --seeds 3

The training is that of `spacy_mtl, biluo_ner` in mix_scores.py. Writes
benchmarks/results/precision_scores_{share}x{epochs}.{json,md} after every run, and skips runs that are in the JSON.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from mix_scores import NER_FIRST, SCORES, TITLES, count_updates, make_config, write_part
from training import load_results, run_pipeline, set_updates, spread, store_results

ROOT = Path(__file__).parent
PRECISIONS = ("fp32", "bf16")
NOTE = """Mean and sample standard deviation over seeds, in points. `less`: how much higher the scores of the same
pipelines are when they read in fp32, seed by seed.
"""


def measure(folder: Path, part: Path, *, seed: int, epochs: int, trained_in: str) -> dict[str, Any]:
    """Dev scores of one training, by the precision that the dev sets are read in."""
    config = make_config(
        folder,
        part,
        order=NER_FIRST,
        seed=seed,
        words=500,
        epochs=epochs,
        ner="biluo_ner",
        precision=trained_in,
    )
    updates = count_updates(config)
    set_updates(config, updates)
    nlp, dev_corpus, _ = run_pipeline(config, updates)
    found = {}
    with tempfile.TemporaryDirectory() as saved:
        nlp.to_disk(saved)
        for precision in PRECISIONS:
            changed = {"components": {"shared_transformer": {"model": {"precision": precision}}}}
            reader = spacy.load(saved, config=changed)
            scores = reader.evaluate(dev_corpus(reader))
            found[precision] = {key: scores[key] for key in SCORES.values()}
    return found


def table(results: list[dict[str, Any]]) -> str:
    """A row for each pair of precisions."""
    header = ["trained in", "read in", "seeds"]
    for title in TITLES.values():
        header += [title, "less"]
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for trained_in in PRECISIONS:
        own = [r["read_in"] for r in results if r["trained_in"] == trained_in]
        for precision in PRECISIONS if own else ():
            cells = [trained_in, precision, str(len(own))]
            for key in SCORES.values():
                cells.append(spread([100 * r[precision][key] for r in own]))
                cells.append(spread([100 * (r["fp32"][key] - r[precision][key]) for r in own]))
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main(
    folder: Annotated[
        Path, typer.Argument(help="Folder with train/ and dev/ of the three corpora.")
    ],
    share: Annotated[float, typer.Option(help="Part of the training documents.")] = 0.3,
    epochs: Annotated[int, typer.Option(help="Passes over each source.")] = 2,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    trained_in: Annotated[
        list[str] | None, typer.Option(help="Only this precision; repeatable.")
    ] = None,
) -> None:
    """Train with each seed and precision and write the table."""
    out = ROOT / "results" / f"precision_scores_{share:g}x{epochs}.json"
    with tempfile.TemporaryDirectory() as part:
        write_part(folder, share, Path(part))
        for seed, name in [(n, p) for n in range(seeds) for p in trained_in or PRECISIONS]:
            record: dict[str, Any] = {"trained_in": name, "seed": seed}
            if any(record.items() <= r.items() for r in load_results(out)):
                continue
            record["read_in"] = measure(
                folder, Path(part), seed=seed, epochs=epochs, trained_in=name
            )
            print(json.dumps(record), flush=True)
            results = [*load_results(out), record]
            store_results(out, results, "Scores in bf16 and fp32", [table(results), "", NOTE])
    print(table(load_results(out)))


if __name__ == "__main__":
    typer.run(main)
