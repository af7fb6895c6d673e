"""Does sharing help where there is little data? 1,000 sentences of EWT (tags) and of GUM (names), all of SST-2.

One pipeline for all three against pipelines for each task alone, with the same passes over the sources, the same gold
in each update and about the same number of updates. Run from the project's folder, after
`python -m spacy project run mix-fetch` and `lowresource-convert`:

    python benchmarks/lowresource_scores.py corpus/lowresource --passes 12 --seeds 3

Of fewer sentences, after `lowresource-convert` with `--vars.lowresource_sentences 200` and moving its folder:

    python benchmarks/lowresource_scores.py corpus/lowresource200 --passes 24 --seeds 3

`--ner ner` takes spaCy's in the place of `biluo_ner`. `--variant NAME`, repeatable, trains these only: `VARIANTS` below
lists them, with other passes, partners, rates, orders, frozen or mixed layers and balancers.

`--precision bf16` trains and reads in it; the file's name ends in `_bf16` then.

The dev scores are taken several times in each run; the best of a run counts, by its own task alone, by the sum of tags
and names together. Of sentiment, whose source is seen once, the last one counts. Writes
benchmarks/results/{folder}_scores_{passes}_{ner}.{json,md} after every run, and skips runs that are in the JSON.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import adapter
import typer
from mix_scores import BALANCERS, EQUAL, NER_FIRST, SCORES, SOURCES, TITLES, make_config
from spacy.tokens import DocBin
from thinc.api import Config
from training import (
    DEFAULT,
    LISTENER,
    finish_update,
    load_results,
    prepare,
    set_updates,
    spread,
    store_results,
)

ROOT = Path(__file__).parent
SMALL = ["tagger", "ner"]
LARGE = "textcat"
WORDPIECES = 180  # of one task in a batch
# the default of its factory
BILUO = {"@architectures": "spacy_mtl.BiluoTagger.v1", "tok2vec": {"@architectures": LISTENER}}
Part = tuple[list[str], int]  # sources that are drawn from together, and how many documents of them


def norm_equal(**weights: float) -> dict[str, Any]:
    """The block of a balancer, with weights."""
    return {"@balancers": "spacy_mtl.NormEqual.v1", "weights": weights}


# What each is: the heads, times the passes over the small sources, the encoder's highest rate, frozen layers, the heads
# that learn a mix of layers, or have an adapter, passes over SST-2, the heads whose sources come before the others, how
# long each head's gradient is made
VARIANTS: dict[str, dict[str, Any]] = {
    "together": {},
    "alone": {"alone": True},
    "alone, two times the passes": {"alone": True, "passes": 2},
    "alone, three times the passes": {"alone": True, "passes": 3},
    "together, two times the passes": {"passes": 2, **EQUAL},
    "tags and names": {"order": SMALL, **EQUAL},
    "tags and sentiment": {"order": ["tagger", "textcat"], **EQUAL},
    "names and sentiment": {"order": ["ner", "textcat"], **EQUAL},
    "together, rate 0.00005": {"rate": 5e-5, **EQUAL},
    "together, rate 0.0001": {"rate": 1e-4, **EQUAL},
    "together, rate 0.0004": {"rate": 4e-4, **EQUAL},
    "together, embeddings frozen": {"freeze_embeddings": True, **EQUAL},
    "together, lower half frozen": {"freeze_layers": 3, **EQUAL},
    "together, tagger mixes layers": {"mix": ["tagger"], **EQUAL},
    "together, a third of the sentiment": {"sentiment": 1 / 3, **EQUAL},
    "together, sentiment first": {"first": ["textcat"], **EQUAL},
    "together, names with a third of the gradient": {"balancer": norm_equal(ner=1 / 3)},
    "together, tags with three times the gradient": {"balancer": norm_equal(tagger=3.0)},
    "alone, rate 0.00005": {"alone": True, "rate": 5e-5},
    "alone, rate 0.0001": {"alone": True, "rate": 1e-4},
    "alone, mixes layers": {"alone": True, "mix": ["tagger"]},
    "together, adapters": {"adapters": NER_FIRST, **EQUAL},
    **{f"balanced: {name}": {"balancer": block} for name, block in BALANCERS.items()},
}
NOTE = """Mean and sample standard deviation over seeds, in points, at the best of the evaluations of each run; `passes`
over the small sources at that step. All pipelines have `configs/mix.cfg`; alone: one head and its own source. `gain`:
over the best that the task reached alone with the same seed, in any number of passes. Sentiment is that at the end of
the run, over that at the end of a pipeline alone. `worst`: of the gains of a seed, on average over seeds. `together`
has the default balancer, EqualProjection, its variants have NormEqual.
"""
SAME_EPOCHS = """Points over a pipeline alone at the same rate, after the last update of each: every source has been
read as often, in 1,276 updates together, in 1,306, 1,191 and 969 alone. `worst`: of the gains of a seed, on average
over seeds.
"""


def configure(
    folder: Path,
    settings: dict[str, Any],
    *,
    order: list[str],
    seed: int,
    passes: int,
    sizes: dict[str, int],
    ner: str,
    precision: str = "fp32",
) -> tuple[Config, list[Part]]:
    """The config and what the run draws, part by part.

    In the mix each batch is as much larger as there are more tasks, and SST-2 is seen once unless `settings` differ.
    """
    config = make_config(
        folder,
        folder / "train",
        order=order,
        seed=seed,
        words=WORDPIECES,
        epochs=0,
        rate=settings.get("rate"),
        ner=ner,
        precision=precision,
    )
    shared = config["components"]["shared_transformer"]
    for key in ("freeze_layers", "freeze_embeddings"):
        if key in settings:
            shared["model"][key] = settings[key]
    if "balancer" in settings:
        shared["balancer"] = settings["balancer"]
    for head in settings.get("mix", []):
        config["components"][head]["model"]["tok2vec"]["layers"] = "mix"
    for head in settings.get("adapters", []):
        if head in order:
            model = config["components"][head].setdefault("model", dict(BILUO))
            model["tok2vec"] = {
                "@architectures": adapter.NAME,
                "tok2vec": model["tok2vec"],
            }
    config["training"]["batcher"] = {
        "@batchers": "spacy_mtl.BatchByWordpieces.v1",
        "size": WORDPIECES * len(order),
        "mix": True,
        "discard_oversize": False,
    }
    often = {SOURCES[t]: passes if t in SMALL else settings.get("sentiment", 1) for t in order}
    for name, block in config["corpora"]["train"]["sources"].items():
        block["weight"] = float(often[name])
    first = [SOURCES[t] for t in settings.get("first", [])]
    parts = [first, [name for name in often if name not in first]]
    return config, [(part, round(sum(sizes[s] * often[s] for s in part))) for part in parts if part]


def count_documents(folder: Path) -> dict[str, int]:
    """Documents in each source."""
    files = {name: folder / "train" / f"{name}.spacy" for name in SOURCES.values()}
    return {name: len(DocBin().from_disk(path)) for name, path in files.items()}


def draw(batches: Callable[..., Iterable[Any]], parts: list[Part]) -> Iterator[Any]:
    """The batches of a run."""
    for sources, n_documents in parts:
        drawn = 0
        for _, batch in batches(sources):
            yield batch
            drawn += len(batch)
            if drawn >= n_documents:
                break


def run(config: Config, parts: list[Part], *, passes: int, evaluations: int) -> dict[str, Any]:
    """Train on these documents, evaluating now and then. Returns the curve of dev scores."""
    set_updates(config, 100)
    _, batches, _, _ = prepare(config)
    updates = sum(1 for _ in draw(batches, parts))
    set_updates(config, updates)
    nlp, batches, optimizer, dev_corpus = prepare(config)
    every = math.ceil(updates / evaluations)
    curve = []
    for step, batch in enumerate(draw(batches, parts), 1):
        nlp.update(batch, drop=nlp.config["training"]["dropout"], sgd=False)
        finish_update(nlp, optimizer)
        optimizer.step_schedules()
        if step % every == 0 or step == updates:
            scores = nlp.evaluate(dev_corpus(nlp))
            kept = {k: scores[k] for k in SCORES.values() if scores.get(k) is not None}
            curve.append({"step": step, "passes": passes * step / updates, **kept})
            print(json.dumps(curve[-1]), flush=True)
    return {"updates": updates, "curve": curve}


def best(result: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """The evaluation with the highest sum of scores."""
    return max(result["curve"], key=lambda point: sum(point[key] for key in keys))


def best_alone(results: list[dict[str, Any]], task: str) -> dict[int, float]:
    """seed -> the best score that the task has reached alone, in any number of passes."""
    found: dict[int, float] = {}
    for r in results:
        if r["task"] == task:
            score = best(r, [SCORES[task]])[SCORES[task]]
            found[r["seed"]] = max(found.get(r["seed"], 0.0), score)
    return found


def at_the_end(results: list[dict[str, Any]], task: str = LARGE) -> dict[int, float]:
    """seed -> the task's score after the last update, of the runs that have it."""
    key = SCORES[task]
    return {r["seed"]: r["curve"][-1][key] for r in results if key in r["curve"][-1]}


def balancer_table(results: list[dict[str, Any]]) -> list[str]:
    """Scores after the last update, and seed by seed what is gained over alone at the same rate; best first."""
    alone = {
        task: at_the_end([r for r in results if (r["variant"], r["task"]) == ("alone", task)], task)
        for task in SCORES
    }
    titles = [cell for task in SCORES for cell in (TITLES[task], "gain")]
    rows = [f"| balancer | seeds | {' | '.join(titles)} | worst of three |"]
    rows.append("|" + "---|" * (len(titles) + 3))
    scores = [cell for ends in alone.values() for cell in (points(ends.values()), "")]
    rows.append(f"| alone | {len(alone[LARGE])} | {' | '.join(scores)} | |")
    found: list[tuple[float, str]] = []
    for variant in VARIANTS:
        own = [r for r in results if r["variant"] == variant]
        if not own or not (variant == "together" or variant.startswith("balanced: ")):
            continue
        ends = {task: at_the_end(own, task) for task in SCORES}
        seeds = [s for s in ends[LARGE] if all(s in alone[task] for task in SCORES)]
        gains = {t: [100 * (ends[t][s] - alone[t][s]) for s in seeds] for t in SCORES}
        worst = [min(values) for values in zip(*gains.values(), strict=True)]
        if worst:
            name = DEFAULT if variant == "together" else variant.removeprefix("balanced: ")
            cells = [c for t in SCORES for c in (points(ends[t].values()), spread(gains[t]))]
            cells = [name, str(len(seeds)), *cells, spread(worst)]
            found.append((mean(worst), f"| {' | '.join(cells)} |"))
    return [*rows, *(row for _, row in sorted(found, reverse=True))]


def points(scores: Iterable[float]) -> str:
    """Mean and standard deviation, times 100."""
    return spread([100 * score for score in scores])


def table(results: list[dict[str, Any]]) -> str:
    """A row for each variant; gains seed by seed."""
    header = ["pipeline", "updates"]
    for task in SMALL:
        header += [TITLES[task], "seeds", "passes", "gain"]
    header += [f"{TITLES[LARGE]}, at the end", "gain", "worst of tags and names", "worst of three"]
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    alone = {task: best_alone(results, task) for task in SMALL}
    large_alone = at_the_end([r for r in results if r["task"] == LARGE])
    for variant, settings in VARIANTS.items():
        all_own = [r for r in results if r["variant"] == variant]
        if not all_own:
            continue
        cells = ["/".join(str(r["updates"]) for r in all_own if r["seed"] == all_own[0]["seed"])]
        gains: dict[int, list[float]] = {}
        for task in SMALL:
            key = SCORES[task]
            own = [r for r in all_own if r["task"] in (None, task) and key in r["curve"][0]]
            keys = [SCORES[t] for t in SMALL if own and SCORES[t] in own[0]["curve"][0]]
            points = {r["seed"]: best(r, keys) for r in own}
            seeds = sorted(points)
            gain = {s: 100 * (points[s][key] - alone[task][s]) for s in seeds if s in alone[task]}
            for seed, value in gain.items():
                gains.setdefault(seed, []).append(value)
            cells += [
                spread([100 * points[s][key] for s in seeds]),
                str(len(seeds)),
                "/".join(f"{points[s]['passes']:.0f}" for s in seeds),
                "" if settings.get("alone") else spread(list(gain.values())),
            ]
        of_two = {seed: min(values) for seed, values in gains.items() if len(values) == len(SMALL)}
        large = at_the_end(all_own)
        of_large = {s: 100 * (large[s] - large_alone[s]) for s in large if s in large_alone}
        of_three = [min(of_two[s], of_large[s]) for s in of_two if s in of_large]
        cells.append(spread([100 * score for score in large.values()]))
        found = [list(of_large.values()), list(of_two.values()), of_three]
        cells += ["" if settings.get("alone") else spread(values) for values in found]
        rows.append(f"| {' | '.join([variant, *cells])} |")
    return "\n".join(rows)


def write(out: Path, results: list[dict[str, Any]]) -> str:
    """Store results and their table; the table."""
    rows = table(results)
    more = ["## Balancers, same epochs", "", SAME_EPOCHS, *balancer_table(results), ""]
    store_results(out, results, "Little data", [rows, "", NOTE, *more])
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train/ and dev/.")],
    passes: Annotated[int, typer.Option(help="Over the small sources.")] = 12,
    evaluations: Annotated[int, typer.Option(help="In each run.")] = 4,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    ner: Annotated[str, typer.Option(help="Factory of the entity recogniser.")] = "biluo_ner",
    precision: Annotated[str, typer.Option(help="Of our encoder: fp32 or bf16.")] = "fp32",
    variant: Annotated[
        list[str] | None, typer.Option(help="Only these; repeatable. Default: together and alone.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Of the variants alone, only these; repeatable.")
    ] = None,
) -> None:
    """Train every variant with each seed and write the table."""
    for name in variant or []:
        if name not in VARIANTS:
            raise typer.BadParameter(f"`{name}` is none of {', '.join(VARIANTS)}")
    for name in task or []:
        if name not in SCORES:
            raise typer.BadParameter(f"`{name}` is none of {', '.join(SCORES)}")
    suffix = "" if precision == "fp32" else f"_{precision}"
    out = ROOT / "results" / f"{folder.name}_scores_{passes}_{ner}{suffix}.json"
    sizes = count_documents(folder)
    runs = [
        (name, only)
        for name in variant or ["together", "alone"]
        for only in ((task or SCORES) if VARIANTS[name].get("alone") else [None])
    ]
    for seed in range(seeds):
        for name, only in runs:
            results = load_results(out)  # anew: another process may fill the same file
            record: dict[str, Any] = {"variant": name, "task": only, "seed": seed}
            if any(record.items() <= r.items() for r in results):
                continue
            settings = VARIANTS[name]
            own_passes = passes * settings.get("passes", 1)
            config, parts = configure(
                folder,
                settings,
                order=[only] if only else settings.get("order", NER_FIRST),
                seed=seed,
                passes=own_passes,
                sizes=sizes,
                ner=ner,
                precision=precision,
            )
            record |= run(config, parts, passes=own_passes, evaluations=evaluations)
            write(out, [*load_results(out), record])
    print(write(out, load_results(out)))


if __name__ == "__main__":
    typer.run(main)
