"""What the overlap of windows is good for: dev scores on long documents, read with several overlaps.

Pipelines with `configs/gum.cfg`, but spaCy's `ner`, are trained; then the dev set of GUM, whose documents `gum-convert`
has cut, is joined to documents of some 1,000 words, which have five windows of 256 wordpieces each. Run
from the project's folder, after `python -m spacy project run gum-fetch` and `gum-convert`:

    python benchmarks/windows.py corpus/gum --updates 600 --words 300 --seeds 3

Writes benchmarks/results/windows_{updates}x{words}.{json,md} after every run, and skips runs that are in the JSON.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from gum_scores import OWN_OPTIMIZER, SCORES, make_config
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from systems import unannotated
from training import load_results, run_pipeline, spread, store_results

ROOT = Path(__file__).parent
WINDOW, LENGTH = 256, 1_000
DEFAULT = 224
STRIDES = (128, 192, DEFAULT, 240, 248, 256)
KEYS = [key for key in SCORES if key != "cats_score"]  # joined documents have no genre
NOTE = """Mean and sample standard deviation over seeds, in points. `stride`: wordpieces from one window of 256 to the
next, at most; with 256 windows do not overlap. `encoded`: wordpieces that the encoder reads of each wordpiece of the
dev set, special ones included. Gains: over the same pipelines read at {default}.
"""


def join(examples: Iterable[Example], length: int) -> list[Doc]:
    """The gold documents, one behind the other until there are so many words."""
    parts: list[list[Doc]] = [[]]
    for example in examples:
        if sum(map(len, parts[-1])) >= length:
            parts.append([])
        parts[-1].append(example.reference)
    docs = [Doc.from_docs(part) for part in parts]
    return [doc for doc in docs if doc is not None]


def read_at(nlp: Language, stride: int, gold: list[Doc]) -> dict[str, Any]:
    """Dev scores with another overlap of windows, and what it costs."""
    shim = nlp.get_pipe("shared_transformer").shim
    shim.window, shim.stride = WINDOW, stride
    examples = [Example(unannotated(doc, nlp), doc) for doc in gold]
    inputs = [shim.prepare([example.predicted]) for example in examples]
    encoded = sum(int(batch.lengths.sum()) for found in inputs for batch in found.micro_batches)
    pieces = sum(shim.count_wordpieces([doc.text for doc in gold]))
    scores = nlp.evaluate(examples)
    return {"encoded": encoded / pieces, "scores": {key: scores[key] for key in KEYS}}


def table(results: list[dict[str, Any]]) -> str:
    """A row for each stride."""
    header = ["stride", "seeds", "encoded"]
    header += [cell for key in KEYS for cell in (SCORES[key], "gain")]
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    own = {(r["stride"], r["seed"]): r for r in results}
    seeds = sorted({r["seed"] for r in results})
    for stride in STRIDES:
        cells = [str(stride), str(len(seeds)), f"{own[stride, seeds[0]]['encoded']:.3f}"]
        for key in KEYS:
            values = [100 * own[stride, seed]["scores"][key] for seed in seeds]
            usual = [100 * own[DEFAULT, seed]["scores"][key] for seed in seeds]
            gains = [a - b for a, b in zip(values, usual, strict=True)]
            cells += [spread(values), spread(gains)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 600,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 300,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
) -> None:
    """Train with each seed, read with each stride and write the table."""
    out = ROOT / "results" / f"windows_{updates}x{words}.json"
    for seed in range(seeds):
        results = load_results(out)
        if any(r["seed"] == seed for r in results):
            continue
        config = make_config(
            folder, OWN_OPTIMIZER, updates=updates, seed=seed, words=words, rate=0.0
        )
        nlp, dev_corpus, _ = run_pipeline(config, updates)
        gold = join(dev_corpus(nlp), LENGTH)
        for stride in STRIDES:
            results.append({"stride": stride, "seed": seed, **read_at(nlp, stride, gold)})
            print(json.dumps(results[-1]), flush=True)
        note = NOTE.format(default=DEFAULT)
        store_results(out, results, "Overlap of windows", [table(results), "", note])
    print(table(load_results(out)))


if __name__ == "__main__":
    typer.run(main)
