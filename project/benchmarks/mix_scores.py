"""Dev scores of one pipeline for EWT (tags), GUM (names) and SST-2 (sentiment), each annotated for one task.

Against a pipeline for each task alone, and against spacy-transformers with the same documents, batches and epochs. Run
from the project's folder, after `python -m spacy project run mix-fetch` and `mix-convert`:

    python benchmarks/mix_scores.py corpus/mix --share 0.3 --epochs 2 --seeds 3

Takes a fixed random part (`--share`) of each source's training documents. Writes
benchmarks/results/mix_scores_{share}x{epochs}.{json,md} after every run, and skips runs that are in the JSON already.
`--rate` gives the encoder another highest learning rate than the config has, in every system, and `--precision` another
precision than fp32; their files end in `_rate{rate}` and `_{precision}`. What is trained in bf16 reads the dev sets in
bf16, and once more in fp32.
"""

import copy
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy import util
from spacy.language import Language
from spacy.tokens import DocBin
from thinc.api import Config
from training import (
    DEFAULT,
    as_peer,
    entity_recogniser,
    load_results,
    one_optimizer,
    prepare,
    reader_in,
    run,
    run_pipeline,
    set_precision,
    set_updates,
    spread,
    store_results,
)

ROOT = Path(__file__).parent
SCORES = {"tagger": "tag_acc", "ner": "ents_f", "textcat": "cats_micro_f"}
TITLES = {"tagger": "tags, accuracy", "ner": "names, F", "textcat": "sentiment, accuracy"}
SOURCES = {"tagger": "ewt", "ner": "gum", "textcat": "sst2"}
NER_FIRST = ["tagger", "ner", "textcat"]
NER_LAST = ["tagger", "textcat", "ner"]
ONE_RATE = 2e-4  # of Adam for heads and encoder, where they share one optimizer

# Other balancers than that of configs/mix.cfg, as blocks of a config
BALANCERS: dict[str, dict[str, Any] | None] = {
    "plain sum": None,
    "Static": {"@balancers": "spacy_mtl.Static.v1", "weights": {"textcat": 50.0}},
    **{
        method: {"@balancers": f"spacy_mtl.{method}.v1"}
        for method in (
            "NormEqual",
            "GradNorm",
            "DBMTL",
            "Uncertainty",
            "FAMO",
            "PCGrad",
            "CAGrad",
            "IMTLG",
            "AlignedMTL",
            "UPGrad",
        )
    },
}
# Of the rows that were measured before the default was another one
EQUAL = {"balancer": BALANCERS["NormEqual"]}
# What each system is: order of the heads, who shares the encoder, whether a missing category is missing, another ner
SYSTEMS: dict[str, dict[str, Any]] = {
    "spacy_mtl": {"order": NER_FIRST, **EQUAL},
    "spacy_mtl, ner last": {"order": NER_LAST, **EQUAL},
    "alone, same epochs and batch size": {"alone": "epochs"},
    "alone, same epochs and updates with gold": {"alone": "updates"},
    "spacy_mtl, masked_ner": {"order": NER_FIRST, "ner": "masked_ner", **EQUAL},
    "spacy_mtl, biluo_ner": {"order": NER_FIRST, "ner": "biluo_ner"},
    "alone, biluo_ner, same epochs and batch size": {
        "alone": "epochs",
        "ner": "biluo_ner",
        "tasks": ["ner"],
    },
    "alone, biluo_ner, same epochs and updates with gold": {
        "alone": "updates",
        "ner": "biluo_ner",
        "tasks": ["ner"],
    },
    "spacy-transformers": {"order": NER_FIRST, "peer": True, "masked": False},
    "spacy-transformers, ner last": {"order": NER_LAST, "peer": True, "masked": False},
    "ner last: gradient repaired": {"order": NER_LAST, "masked": False, "one": True, **EQUAL},
    "ner last: target repaired": {"order": NER_LAST, "peer": True, "masked": True},
    "ner last: both repaired": {"order": NER_LAST, "masked": True, "one": True, **EQUAL},
    **{
        f"balanced: {name}": {"order": NER_FIRST, "balancer": block, "ner": "biluo_ner"}
        for name, block in BALANCERS.items()
    },
}
NOTE = """Mean and sample standard deviation over seeds, in points. `gold`: thousands of words that carried the task's
gold, and the updates in which there were any. A pipeline *alone* has the config of `spacy_mtl` and one head; with the
same batch size it makes fewer updates in the same epochs; with as many updates as carry the task's gold in the mix its
batches are smaller.
`spacy_mtl, biluo_ner` is `configs/mix.cfg`, with the default balancer, EqualProjection: an optimizer for the encoder,
one for the heads; the other rows of `spacy_mtl` have NormEqual and another entity recogniser, spaCy's `ner` if none
is named. spacy-transformers and the rows `ner last: ...`, which isolate its two faults, have one optimizer (thinc's
Adam, rate {rate}) for all. spaCy's stock behaviour is `spacy-transformers, ner last`. Rows `balanced: ...` are
`spacy_mtl, biluo_ner` with another balancer; Static has a weight of 50 on the classifier's gradient.
"""

BALANCERS_NOTE = """Points over a pipeline for each task alone, with the same seed and in the same epochs, and those of
the task that gained least, on average over seeds; the best first. The last column is over pipelines alone that make as
many updates with gold, with smaller batches. All have `biluo_ner`.
"""
BORROWED_NOTE = "Of the pipelines alone, these were trained in fp32, for want of the same in {precision}: {runs}.\n"


def write_part(folder: Path, share: float, out: Path) -> None:
    """A fixed random part of each source's training documents; the dev set in full."""
    vocab = spacy.blank("en").vocab
    for name in SOURCES.values():
        docs = list(DocBin().from_disk(folder / "train" / f"{name}.spacy").get_docs(vocab))
        chosen = sorted(random.Random(0).sample(range(len(docs)), round(share * len(docs))))
        path = out / f"{name}.spacy"
        DocBin(docs=[docs[i] for i in chosen]).to_disk(path)


def make_config(
    folder: Path,
    part: Path,
    *,
    order: list[str],
    seed: int,
    words: int,
    epochs: int,
    rate: float | None = None,
    ner: str = "ner",
    precision: str = "fp32",
) -> Config:
    """configs/mix.cfg with these heads only, and spaCy's batches by words, which the peer can have too.

    rate: the encoder's highest learning rate, None for that of the config. ner: the entity recogniser's factory.
    """
    overrides = {
        "paths.train": str(part),
        "paths.dev": str(folder / "dev"),
        "system.seed": seed,
        "system.gpu_allocator": None,
    }
    config = util.load_config(ROOT.parent / "configs" / "mix.cfg", overrides=overrides)
    set_precision(config, precision)
    config["nlp"]["pipeline"] = ["shared_transformer", *order]
    components = config["components"]
    components["ner"] = entity_recogniser(ner)
    config["components"] = {name: components[name] for name in config["nlp"]["pipeline"]}
    if rate is not None:
        optimizer = config["components"]["shared_transformer"]["optimizer"]
        optimizer["learn_rate"]["initial_rate"] = rate
    kept = [SOURCES[task] for task in order]
    for corpus in ("train", "dev"):
        sources = config["corpora"][corpus]["sources"]
        config["corpora"][corpus]["sources"] = {k: v for k, v in sources.items() if k in kept}
    config["training"]["batcher"] = {
        "@batchers": "spacy.batch_by_words.v1",
        "size": words,
        "tolerance": 0.2,
        "discard_oversize": False,
    }
    config["training"].pop("logger", None)
    config["training"]["max_epochs"] = epochs
    return config


def count_updates(config: Config) -> int:
    """Batches in all epochs."""
    counted = copy.deepcopy(config)
    set_updates(counted, 100)
    _, batches, _, _ = prepare(counted)
    return sum(1 for _ in batches())


def find_words(config: Config, updates: int) -> tuple[int, int]:
    """The number of words in a batch that makes about so many updates, and how many it makes."""
    words = config["training"]["batcher"]["size"]
    found = {words: count_updates(config)}
    for _ in range(4):
        words = max(round(words * found[words] / updates), 1)
        if words in found:
            break
        tried = copy.deepcopy(config)
        tried["training"]["batcher"]["size"] = words
        found[words] = count_updates(tried)
    return min(found.items(), key=lambda pair: abs(pair[1] - updates))


def run_shared(settings: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Train all heads on one encoder."""
    config = make_config(order=settings["order"], ner=settings.get("ner", "ner"), **given)
    if settings.get("one") or settings.get("peer"):
        one_optimizer(config, given["rate"] or ONE_RATE)
    if settings.get("peer"):
        as_peer(config)
    if not settings.get("masked", True):
        config["components"]["textcat"]["factory"] = "textcat"
        config["components"]["textcat"]["scorer"] = {"@scorers": "spacy_mtl.MaskedTextcatScorer.v1"}
    if "balancer" in settings:
        config["components"]["shared_transformer"]["balancer"] = settings["balancer"]
    updates = count_updates(config)
    set_updates(config, updates)
    nlp, dev_corpus, found = run_pipeline(config, updates)
    if given["precision"] != "fp32" and not settings.get("peer"):
        found["scores_in_fp32"] = scores_in(nlp, dev_corpus, "fp32")
    return {"updates": updates, **found}


def scores_in(nlp: Language, dev_corpus: Any, precision: str) -> dict[str, float]:
    """What a trained pipeline scores when its encoder reads in another precision."""
    reader = reader_in(nlp, precision)
    scores = reader.evaluate(dev_corpus(reader))
    return {key: scores[key] for key in SCORES.values()}


def run_alone(task: str, *, gold_updates: int | None, **given: Any) -> dict[str, Any]:
    """Train one head. gold_updates: make so many updates in the same epochs, with smaller batches."""
    config = make_config(order=[task], **given)
    batcher = config["training"]["batcher"]
    if gold_updates is None:
        updates = count_updates(config)
    else:
        batcher["size"], updates = find_words(config, gold_updates)
    set_updates(config, updates)
    return {"updates": updates, "words": batcher["size"], **run(config, updates)}


def run_system(
    name: str, results: list[dict[str, Any]], *, tasks: list[str] | None = None, **given: Any
) -> dict[str, Any]:
    """One seed of one system. tasks: of one that is alone, only these."""
    settings = SYSTEMS[name]
    if "alone" not in settings:
        return run_shared(settings, **given)
    ner = settings.get("ner", "ner")
    gold: dict[str, int] = {}
    if settings["alone"] == "updates":
        mixes = [f"spacy_mtl, {ner}", "spacy_mtl", "spacy_mtl, biluo_ner"]
        first = {r["system"]: r["gold_updates"] for r in results if r["seed"] == 0}
        found = [first[mixed] for mixed in mixes if mixed in first]
        if not found:
            raise typer.BadParameter(f"`{name}` needs seed 0 of `spacy_mtl` first")
        gold = found[0]
    parts = {
        task: run_alone(task, gold_updates=gold.get(task), ner=ner, **given)
        for task in tasks or settings.get("tasks", SCORES)
    }
    return {
        "updates": {task: part["updates"] for task, part in parts.items()},
        "words": {task: part["words"] for task, part in parts.items()},
        "scores": {SCORES[task]: part["scores"][SCORES[task]] for task, part in parts.items()},
        "gold_updates": {task: part["gold_updates"][task] for task, part in parts.items()},
        "gold_words": {task: part["gold_words"][task] for task, part in parts.items()},
        "train_words_per_s": {task: part["train_words_per_s"] for task, part in parts.items()},
    }


def find(results: list[dict[str, Any]], name: str, seed: int) -> dict[str, Any] | None:
    """The record of a run."""
    return next((r for r in results if (r["system"], r["seed"]) == (name, seed)), None)


def missing_tasks(name: str, record: dict[str, Any] | None, wanted: list[str] | None) -> list[str]:
    """What is still to be trained, of all tasks or, alone, of those that are wanted."""
    tasks = list(SYSTEMS[name].get("tasks", SCORES))
    if "alone" in SYSTEMS[name] and wanted is not None:
        tasks = [task for task in tasks if task in wanted]
    return [task for task in tasks if record is None or SCORES[task] not in record["scores"]]


def merged(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """One record of the tasks of both, which were trained alone."""
    both = dict(old or {})
    for key, value in new.items():
        is_both = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = {**both[key], **value} if is_both else value
    return both


def _gains_in_fp32(own: list[dict[str, Any]]) -> list[str]:
    """By task, how much higher the same pipelines score when they read in fp32."""
    read = [r for r in own if "scores_in_fp32" in r]
    gains = {
        key: [100 * (r["scores_in_fp32"][key] - r["scores"][key]) for r in read]
        for key in SCORES.values()
    }
    return [spread(values) for values in gains.values() if values]


def table(results: list[dict[str, Any]]) -> str:
    """A row for each system."""
    header = ["pipeline", "seeds", *TITLES.values(), "gold, k words", "gold, updates"]
    both = any("scores_in_fp32" in r for r in results)
    if both:
        header.append("read in fp32 instead")
    rows = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for system in SYSTEMS:
        own = [r for r in results if r["system"] == system]
        if not own:
            continue
        cells = [
            spread([100 * r["scores"][key] for r in own if key in r["scores"]])
            for key in SCORES.values()
        ]
        gold = [
            " / ".join(
                str(round(own[0][key][task] / unit)) if task in own[0][key] else "-"
                for task in SCORES
            )
            for key, unit in (("gold_words", 1000), ("gold_updates", 1))
        ]
        if both:
            gold.append(" / ".join(_gains_in_fp32(own)) or "-")
        rows.append(f"| {' | '.join([system, str(len(own)), *cells, *gold])} |")
    return "\n".join(rows)


ALONE = {  # what the balancers are compared with
    "same epochs": "same epochs and batch size",
    "same updates with gold": "same epochs and updates with gold",
}


def alone_runs(results: list[dict[str, Any]], how: str) -> dict[tuple[int, str], tuple[str, float]]:
    """(seed, task) -> system and the task's score alone, in points; names with `biluo_ner`."""
    kinds = {f"alone, {how}": ("tagger", "textcat"), f"alone, biluo_ner, {how}": ("ner",)}
    return {
        (r["seed"], task): (r["system"], 100 * r["scores"][SCORES[task]])
        for r in results
        for task in kinds.get(r["system"], ())
        if SCORES[task] in r["scores"]
    }


def balancer_table(
    results: list[dict[str, Any]], in_fp32: list[dict[str, Any]], precision: str
) -> list[str]:
    """For each balancer what the tasks gained over a pipeline alone, seed by seed, and what the worst one did.

    in_fp32: where `results`, of another precision, lack a pipeline alone, that of these.
    """
    ours = "spacy_mtl, biluo_ner"
    names = {ours: DEFAULT, **{f"balanced: {name}": name for name in BALANCERS}}
    gains: dict[str, dict[str, list[dict[str, float]]]] = {}
    borrowed: dict[str, set[int]] = {}
    for label, how in ALONE.items():
        own_runs, other_runs = alone_runs(results, how), alone_runs(in_fp32, how)
        runs = {**other_runs, **own_runs}
        for r in results:
            if r["system"] in names and all((r["seed"], task) in runs for task in SCORES):
                gain = {}
                for task, key in SCORES.items():
                    system, alone = runs[r["seed"], task]
                    gain[task] = 100 * r["scores"][key] - alone
                    if (r["seed"], task) not in own_runs:
                        borrowed.setdefault(f"{system}: {task}", set()).add(r["seed"])
                gains.setdefault(r["system"], {}).setdefault(label, []).append(gain)
    if not gains:
        return []
    header = ["balancer", "seeds", *TITLES.values(), *(f"worst, {label}" for label in ALONE)]
    rows = []
    for system, name in names.items():
        by_label = gains.get(system, {})
        first = by_label.get("same epochs", [])
        cells = [spread([gain[task] for gain in first]) for task in SCORES]
        worst = [spread([min(g.values()) for g in by_label.get(label, [])]) for label in ALONE]
        if first:
            mean = statistics.mean(min(gain.values()) for gain in first)
            rows.append((mean, [name, str(len(first)), *cells, *worst]))
    lines = ["## Balancers", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(row)} |" for _, row in sorted(rows, key=lambda row: -row[0])]
    lines += ["", BALANCERS_NOTE]
    if borrowed:
        listed = [f"{run}, seeds {sorted(seeds)}" for run, seeds in sorted(borrowed.items())]
        lines.append(BORROWED_NOTE.format(precision=precision, runs="; ".join(listed)))
    return ["", *lines]


def write(out: Path, results: list[dict[str, Any]], precision: str, note: str) -> str:
    """Store results and their tables; the tables."""
    other = out.with_name(out.name.replace(f"_{precision}", ""))
    in_fp32 = load_results(other) if other != out else []
    tables = [table(results), "", note, *balancer_table(results, in_fp32, precision)]
    store_results(out, results, "Dev scores of a mix", tables)
    return "\n".join(tables)


def main(
    folder: Annotated[
        Path, typer.Argument(help="Folder with train/ and dev/ of the three corpora.")
    ],
    share: Annotated[float, typer.Option(help="Part of the training documents.")] = 0.3,
    epochs: Annotated[int, typer.Option(help="Passes over each source.")] = 2,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 500,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    rate: Annotated[float | None, typer.Option(help="The encoder's highest learning rate.")] = None,
    precision: Annotated[str, typer.Option(help="Of our encoder: fp32 or bf16.")] = "fp32",
    system: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Of the systems alone, only these; repeatable.")
    ] = None,
) -> None:
    """Train every system with each seed and write the table."""
    suffix = "" if rate is None else f"_rate{rate:g}"
    suffix += "" if precision == "fp32" else f"_{precision}"
    out = ROOT / "results" / f"mix_scores_{share:g}x{epochs}{suffix}.json"
    note = NOTE.format(rate=rate or ONE_RATE)
    for name in system or []:
        if name not in SYSTEMS:
            raise typer.BadParameter(f"`{name}` is none of {', '.join(SYSTEMS)}")
    for name in task or []:
        if name not in SCORES:
            raise typer.BadParameter(f"`{name}` is none of {', '.join(SCORES)}")
    with tempfile.TemporaryDirectory() as part:
        write_part(folder, share, Path(part))
        given: dict[str, Any] = {
            "folder": folder,
            "part": Path(part),
            "epochs": epochs,
            "words": words,
            "rate": rate,
            "precision": precision,
        }
        for name, seed in [(s, n) for n in range(seeds) for s in system or SYSTEMS]:
            results = load_results(out)  # anew: another process may fill the same file
            old = find(results, name, seed)
            tasks = missing_tasks(name, old, task)
            if not tasks:
                continue
            new = run_system(name, results, tasks=tasks, seed=seed, **given)
            results = load_results(out)
            record = merged(find(results, name, seed), {"system": name, "seed": seed, **new})
            print(json.dumps(record), flush=True)
            results = [r for r in results if (r["system"], r["seed"]) != (name, seed)] + [record]
            write(out, results, precision, note)
    print(write(out, load_results(out), precision, note))


if __name__ == "__main__":
    typer.run(main)
