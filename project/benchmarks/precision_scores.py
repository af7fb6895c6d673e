"""Dev scores of the same pipelines, read in fp32, in bf16 and in 8-bit integers.

Pipelines with `configs/gum.cfg` (tags, names, genre), and with spaCy's `ner` in place of its `biluo_ner`, are trained
in fp32 and read in each precision. Run from the project's folder, after `python -m spacy project run gum-fetch` and
`gum-convert`:

    python benchmarks/precision_scores.py corpus/gum --updates 600 --words 300 --seeds 3

Writes benchmarks/results/precision_scores_{updates}x{words}.{json,md} after every run, and skips runs that are in the
JSON. bf16 gives the same numbers, but for rounding, on a processor that has no instructions for it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from gum_scores import FASTER, SCORES, make_config
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.training import Example
from systems import unannotated
from training import (
    entity_recogniser,
    load_results,
    reader_in,
    run_pipeline,
    spread,
    store_results,
)

ROOT = Path(__file__).parent
NERS = ("ner", "biluo_ner")
PRECISIONS = ("fp32", "bf16", "int8")
NOTE = """Mean and sample standard deviation over seeds, in points, after the last update. Differences: from the same
pipelines read in fp32. `distance`: mean length of the differences of token vectors, in percent of their length.
All read the tokens of the dev set; `gum_scores.py` lets them be made of the text, which costs tags 0.1 point.
`same`: share of the tokens with the same tag, and the same place in the same kind of entity, as in fp32.
"""


def read_in(nlp: Language, precision: str, gold: Iterable[Example]) -> dict[str, Any]:
    """Scores, and what each token got: its vector, tag and place in an entity."""
    reader = reader_in(nlp, precision)
    reader.disable_pipe("vector_cleaner")
    gold = list(gold)
    docs = list(reader.pipe([unannotated(eg.reference, reader) for eg in gold]))
    examples = [Example(doc, eg.reference) for doc, eg in zip(docs, gold, strict=True)]
    scores = Scorer(nlp=reader).score(examples)
    return {
        "scores": {key: scores[key] for key in SCORES},
        "vectors": np.concatenate([doc.tensor for doc in docs]),
        "given": [(t.tag_, t.ent_iob_, t.ent_type_) for doc in docs for t in doc],
    }


def compare(nlp: Language, gold: list[Example]) -> dict[str, Any]:
    """A row's part for each precision."""
    found = {precision: read_in(nlp, precision, gold) for precision in PRECISIONS}
    exact = found["fp32"]
    lengths = np.maximum(np.linalg.norm(exact["vectors"], axis=1), 1e-9)  # 0 for whitespace
    rows = {}
    for precision, row in found.items():
        off = np.linalg.norm(row["vectors"] - exact["vectors"], axis=1) / lengths
        same = [a == b for a, b in zip(row["given"], exact["given"], strict=True)]
        rows[precision] = {
            "scores": row["scores"],
            "distance": float(off.mean()),
            "same": float(np.mean(same)),
        }
    return rows


def table(results: list[dict[str, Any]]) -> str:
    """A row for each recogniser and precision."""
    header = ["names by", "precision", "seeds", "distance", "same"]
    header += [cell for name in SCORES.values() for cell in (name, "difference")]
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for ner in NERS:
        runs = [r for r in results if r["ner"] == ner]
        for precision in PRECISIONS if runs else ():
            own = [r["read"][precision] for r in runs]
            cells = [f"`{ner}`", precision, str(len(runs))]
            cells += [f"{100 * np.mean([r[key] for r in own]):.1f}" for key in ("distance", "same")]
            for key in SCORES:
                values = [100 * r["scores"][key] for r in own]
                exact = [100 * r["read"]["fp32"]["scores"][key] for r in runs]
                differences = [a - b for a, b in zip(values, exact, strict=True)]
                cells += [spread(values), "" if precision == "fp32" else spread(differences)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 600,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 300,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
) -> None:
    """Train with each seed, read in each precision and write the table."""
    out = ROOT / "results" / f"precision_scores_{updates}x{words}.json"
    for seed in range(seeds):
        for ner in NERS:
            results = load_results(out)
            if any((r["ner"], r["seed"]) == (ner, seed) for r in results):
                continue
            config = make_config(folder, FASTER, updates=updates, seed=seed, words=words, rate=0.0)
            config["components"]["ner"] = entity_recogniser(ner)
            nlp, dev_corpus, _ = run_pipeline(config, updates)
            results.append({"ner": ner, "seed": seed, "read": compare(nlp, list(dev_corpus(nlp)))})
            print(json.dumps(results[-1]), flush=True)
            title = "The same pipelines, read in several precisions"
            store_results(out, results, title, [table(results), "", NOTE])
    print(table(load_results(out)))


if __name__ == "__main__":
    typer.run(main)
