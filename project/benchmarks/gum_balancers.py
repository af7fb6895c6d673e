"""Does any of five tasks lose under a balancer where every document has them all? Dev scores on GUM.

Tags, genre, names, morphology and parses, together with each balancer, against a pipeline for each task alone, at equal
updates of the same batches, so also at equal epochs and with the same gold. Run from the project's folder, after
`python -m spacy project run gum-fetch` and `gum-convert`:

    python benchmarks/gum_balancers.py corpus/gum --updates 300 --encoder-rate 1e-4 --seeds 3

`--balancer NAME`, repeatable, trains these only, and pipelines alone if the JSON has none. Finished runs are kept in
training/gum_balancers_300x300_0.0001, so an interrupted command goes on. Writes
benchmarks/results/gum_balancers_300x300_0.0001.{json,md}, named by updates, words and rate.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from mix_scores import BALANCERS
from training import load_results, spread, store_results
from transfer_agreement import make_config

from spacy_mtl.cli.transfer import compare

ROOT = Path(__file__).parent
ALONE = "alone"
METHODS = {
    "plain sum": None,
    "EqualProjection": {"@balancers": "spacy_mtl.EqualProjection.v1"},
    **{name: block for name, block in BALANCERS.items() if name not in ("plain sum", "Static")},
}
NOTE = """`configs/gum.cfg` with five heads, names by `biluo_ner`. Scores, times 100: mean and
sample standard deviation over seeds. Gains: over a pipeline for the task alone, seed by seed; `worst`: of the task that
gained least, on average over seeds; the best first. Genre is the macro F of 15 genres.
"""


def table(results: list[dict[str, Any]]) -> list[str]:
    """Scores, and gains over alone."""
    alone = {r["seed"]: r["scores"] for r in results if r["balancer"] == ALONE}
    tasks = list(next(iter(alone.values())))
    lines = [["balancer", "seeds", *tasks], ["---"] * (len(tasks) + 2)]
    for name in (ALONE, *METHODS):
        own = [r["scores"] for r in results if r["balancer"] == name]
        if own:
            scores = [spread([100 * scores[task] for scores in own]) for task in tasks]
            lines.append([name, str(len(own)), *scores])
    gains: dict[str, list[dict[str, float]]] = {}
    for r in results:
        if r["balancer"] != ALONE and r["seed"] in alone:
            gain = {t: 100 * (r["scores"][t] - alone[r["seed"]][t]) for t in tasks}
            gains.setdefault(r["balancer"], []).append(gain)
    ranked = sorted(gains, key=lambda name: -mean(min(gain.values()) for gain in gains[name]))
    more = [["balancer", "seeds", *tasks, "worst"], ["---"] * (len(tasks) + 3)]
    for name in ranked:
        own = gains[name]
        cells = [spread([gain[task] for gain in own]) for task in tasks]
        more.append([name, str(len(own)), *cells, spread([min(gain.values()) for gain in own])])
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return [*rows, "", "## Gains", "", *("| " + " | ".join(line) + " |" for line in more), ""]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 300,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 300,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    encoder_rate: Annotated[float, typer.Option(help="Highest rate of the encoder.")] = 1e-4,
    balancer: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
) -> None:
    """Train each task alone, and all together with each balancer, and write the table."""
    for method in balancer or []:
        if method not in METHODS:
            raise typer.BadParameter(f"`{method}` is none of {', '.join(METHODS)}")
    name = f"gum_balancers_{updates}x{words}_{encoder_rate:g}"
    out = ROOT / "results" / f"{name}.json"
    runs = ROOT.parent / "training" / name
    stored = {(r["balancer"], r["seed"]) for r in load_results(out)}
    has_alone = balancer and all((ALONE, seed) in stored for seed in range(seeds))
    methods = [*([] if has_alone else ["plain sum"]), *(balancer or METHODS)]
    for method in dict.fromkeys(methods):  # with the plain sum each alone
        config = make_config(folder, words, rate=encoder_rate)
        config["components"]["shared_transformer"]["balancer"] = METHODS[method]
        report = compare(
            config,
            runs / method.replace(" ", "_"),
            steps=updates,
            seeds=seeds,
            pairs=False,
            equal="updates",
            quick=method != "plain sum",
            say=lambda text, method=method: print(method, text, flush=True),
        )
        heads = report["heads"]
        found: dict[tuple[str, int], dict[str, float]] = {}
        for run in report["runs"]:
            key = method if len(run["heads"]) == len(heads) else ALONE, run["seed"]
            found.setdefault(key, {}).update(run["scores"])
        new = [
            {"balancer": key, "seed": seed, "scores": {h: scores[h] for h in heads}}
            for (key, seed), scores in found.items()
        ]
        done = {(r["balancer"], r["seed"]) for r in new}
        kept = [r for r in load_results(out) if (r["balancer"], r["seed"]) not in done]
        title = f"Balancers on GUM, {updates} updates of {words} words, {encoder_rate:g} for the encoder"
        store_results(out, [*kept, *new], title, [*table([*kept, *new]), NOTE])
    print(*table(load_results(out)), sep="\n")


if __name__ == "__main__":
    typer.run(main)
