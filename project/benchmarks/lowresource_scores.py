"""Does sharing help where there is little data? 1,000 sentences of EWT (tags) and of GUM (names), all of SST-2.

One pipeline for all three against pipelines for tags and for names alone, with the same passes over the small sources,
the same gold in each update and about the same number of updates. Run from the project's folder, after
`python -m spacy project run lowresource-convert`:

    python benchmarks/lowresource_scores.py corpus/lowresource --passes 12 --seeds 3

`--ner biluo_ner` takes that in the place of `ner`; `--balancer NAME`, repeatable, trains together with another balancer
than `configs/mix.cfg` has, or with `none`.

The dev scores are taken several times in each run; the best of a run counts, by its own task alone, by the sum of tags
and names together. Writes benchmarks/results/lowresource_scores_{passes}_{ner}.{json,md} after every run, and skips
runs that are in the JSON already.
"""

import json
import math
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from mix_scores import SCORES, SOURCES, TITLES, make_config, set_ner
from spacy.tokens import DocBin
from thinc.api import Config
from training import finish_update, load_results, prepare, set_updates, spread, store_results

ROOT = Path(__file__).parent
TASKS = ["tagger", "ner", "textcat"]
SMALL = ["tagger", "ner"]
WORDPIECES = 180  # of one task in a batch
NOTE = """Mean and sample standard deviation over seeds, in points, at the best of the evaluations of each run; `passes`
over the small sources at that step. All pipelines have `configs/mix.cfg`; alone: one head and its own source.
"""


def configure(
    folder: Path,
    *,
    order: list[str],
    seed: int,
    passes: int,
    sizes: dict[str, int],
    ner: str,
    balancer: str | None,
) -> tuple[Config, int]:
    """The config and the number of documents that the run draws. balancer: None for that of the config.

    In the mix each batch is as much larger as there are more tasks, and SST-2 is seen once.
    """
    config = make_config(
        folder, folder / "train", order=order, seed=seed, words=WORDPIECES, epochs=0
    )
    if ner != "ner":
        set_ner(config, ner)
    if balancer is not None:
        block = None if balancer == "none" else {"@balancers": f"spacy_mtl.{balancer}.v1"}
        config["components"]["shared_transformer"]["balancer"] = block
    config["training"]["batcher"] = {
        "@batchers": "spacy_mtl.BatchByWordpieces.v1",
        "size": WORDPIECES * len(order),
        "mix": True,
        "discard_oversize": False,
    }
    wanted = {SOURCES[t]: sizes[SOURCES[t]] * (passes if t in SMALL else 1) for t in order}
    for name, block in config["corpora"]["train"]["sources"].items():
        block["weight"] = wanted[name] / sizes[name]
    return config, sum(wanted.values())


def count_documents(folder: Path) -> dict[str, int]:
    """Documents in each source."""
    files = {name: folder / "train" / f"{name}.spacy" for name in SOURCES.values()}
    return {name: len(DocBin().from_disk(path)) for name, path in files.items()}


def run(config: Config, n_documents: int, *, passes: int, evaluations: int) -> dict[str, Any]:
    """Train on so many documents, evaluating now and then. Returns the curve of dev scores."""
    set_updates(config, 100)
    _, batches, _, _ = prepare(config)
    updates = drawn = 0
    for _, batch in batches():
        updates += 1
        drawn += len(batch)
        if drawn >= n_documents:
            break
    set_updates(config, updates)
    nlp, batches, optimizer, dev_corpus = prepare(config)
    every = math.ceil(updates / evaluations)
    curve = []
    for step, (_, batch) in enumerate(islice(batches(), updates), 1):
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


def table(results: list[dict[str, Any]]) -> str:
    """Together, alone, and the difference, seed by seed."""
    rows = ["| task | balancer | seeds | together | passes | alone | passes | together - alone |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    both = [SCORES[t] for t in SMALL]
    balancers = dict.fromkeys(r["balancer"] for r in results if not r["task"])
    for task in SMALL:
        key = SCORES[task]
        alone = {r["seed"]: best(r, [key]) for r in results if r["task"] == task}
        for balancer in balancers:
            together = [r for r in results if not r["task"] and r["balancer"] == balancer]
            shared = {r["seed"]: best(r, both) for r in together}
            seeds = sorted(shared.keys() & alone.keys())
            cells = []
            for points in (shared, alone):
                cells.append(spread([100 * points[s][key] for s in seeds]))
                cells.append("/".join(f"{points[s]['passes']:.0f}" for s in seeds))
            gain = spread([100 * (shared[s][key] - alone[s][key]) for s in seeds])
            head = [TITLES[task], balancer or "that of the config", str(len(seeds))]
            rows.append(f"| {' | '.join([*head, *cells, gain])} |")
    return "\n".join(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train/ and dev/.")],
    passes: Annotated[int, typer.Option(help="Over the small sources.")] = 12,
    evaluations: Annotated[int, typer.Option(help="In each run.")] = 4,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    ner: Annotated[str, typer.Option(help="Factory of the entity recogniser.")] = "ner",
    balancer: Annotated[
        list[str] | None, typer.Option(help="Other balancers too; repeatable; `none`.")
    ] = None,
) -> None:
    """Train together and alone with each seed and write the table."""
    out = ROOT / "results" / f"lowresource_scores_{passes}_{ner}.json"
    sizes = count_documents(folder)
    runs = [(None, None), *((task, None) for task in SMALL), *((None, b) for b in balancer or [])]
    for seed in range(seeds):
        for task, method in runs:
            results = load_results(out)  # anew: another process may fill the same file
            record = {"task": task, "seed": seed, "balancer": method}
            if any(record.items() <= r.items() for r in results):
                continue
            config, n = configure(
                folder,
                order=[task] if task else TASKS,
                seed=seed,
                passes=passes,
                sizes=sizes,
                ner=ner,
                balancer=method,
            )
            record |= run(config, n, passes=passes, evaluations=evaluations)
            results = [*load_results(out), record]
            store_results(out, results, "Little data", [table(results), "", NOTE])
    print(table(load_results(out)))


if __name__ == "__main__":
    typer.run(main)
