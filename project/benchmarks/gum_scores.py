"""Dev scores on GUM (tags, names, genre): this package against spacy-transformers, on the same encoder.

Both pipelines have the same heads, optimizer, batches, seeds and number of updates; they differ in what shares the
encoder. Run from the project's folder, after `python -m spacy project run gum-fetch` and `gum-convert`:

    python benchmarks/gum_scores.py corpus/gum --updates 200 --seeds 3

Writes benchmarks/results/gum_scores_{updates}x{words}.{json,md} after every run, and skips runs that are in the JSON
already.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from thinc.api import Config
from training import (
    as_peer,
    entity_recogniser,
    gum_config,
    load_results,
    one_optimizer,
    run,
    set_encoder_rate,
    set_precision,
    set_updates,
    spread,
    store_results,
)

ROOT = Path(__file__).parent
SCORES = {"tag_acc": "tags, accuracy", "ents_f": "names, F", "cats_score": "genre, macro F"}
PEER = "spacy-transformers"
OURS = "spacy_mtl"
OWN_OPTIMIZER = "spacy_mtl, encoder with AdamW of its own"
PLAIN_SUM = f"{OWN_OPTIMIZER}, plain sum"
NORM_EQUAL = f"{OWN_OPTIMIZER}, NormEqual"
FASTER = f"{OWN_OPTIMIZER}, 2e-4"
AS_IS = "spacy_mtl, configs/gum.cfg as it is"
SYSTEMS = (OURS, PEER, PLAIN_SUM, NORM_EQUAL, OWN_OPTIMIZER, FASTER, AS_IS)
NOTE = """Mean and sample standard deviation over seeds, in points, after the last update. The first two pipelines have
the same optimizer (thinc's Adam, one rate for encoder and heads), batches and heads, and the plain sum of their
gradients. The others have AdamW for the encoder and another rate for the heads, which spacy-transformers does not
offer, and the default balancer, EqualProjection, if none is named. The last has `biluo_ner` in place of
spaCy's `ner`, which all others have.
"""


def make_config(
    folder: Path, system: str, *, updates: int, seed: int, words: int, rate: float
) -> Config:
    """The project's config for GUM; with one optimizer, and spacy-transformers in place of our component, if asked."""
    config = gum_config(folder, words=words, seed=seed)
    set_precision(config)
    if system != AS_IS:
        config["components"]["ner"] = entity_recogniser("ner")
    if system not in (FASTER, AS_IS):
        set_encoder_rate(config)
    if system == PLAIN_SUM:
        config["components"]["shared_transformer"]["balancer"] = None
    elif system == NORM_EQUAL:
        block = {"@balancers": "spacy_mtl.NormEqual.v1"}
        config["components"]["shared_transformer"]["balancer"] = block
    elif system in (OURS, PEER):
        one_optimizer(config, rate)
    if system == PEER:
        as_peer(config)
    set_updates(config, updates)
    return config


def table(results: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, in points."""
    rows = [
        "| pipeline | seeds | updates | words a batch | rate | "
        + " | ".join(SCORES.values())
        + " |"
    ]
    rows.append("|---|---|---|---|---|" + "---|" * len(SCORES))
    for system in SYSTEMS:
        own = [r for r in results if r["system"] == system]
        if not own:
            continue
        cells = [spread([100 * r["scores"][key] for r in own]) for key in SCORES]
        setting = [str(own[0][key]) for key in ("updates", "words")]
        encoder = "0.0002" if system in (FASTER, AS_IS) else "0.0001"
        setting.append(str(own[0]["rate"]) if system in (OURS, PEER) else f"{encoder} and 0.002")
        rows.append(f"| {' | '.join([system, str(len(own)), *setting, *cells])} |")
    return "\n".join(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 200,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 1000,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-4,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    system: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
) -> None:
    """Train both pipelines with each seed and write the table."""
    out = ROOT / "results" / f"gum_scores_{updates}x{words}.json"
    settings = {"updates": updates, "words": words, "rate": rate}
    results = [r for r in load_results(out) if settings.items() <= r.items()]
    for name, seed in [(s, n) for n in range(seeds) for s in system or SYSTEMS]:
        if any(r["system"] == name and r["seed"] == seed for r in results):
            continue
        found = run(make_config(folder, name, seed=seed, **settings), updates)
        results.append({"system": name, "seed": seed, **settings, **found})
        print(json.dumps(results[-1]), flush=True)
        store_results(out, results, "Dev scores on GUM", [table(results), "", NOTE])
    print(table(results))


if __name__ == "__main__":
    typer.run(main)
