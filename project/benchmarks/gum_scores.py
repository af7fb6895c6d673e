"""Dev scores on GUM (tags, names, genre): this package against spacy-transformers, on the same encoder.

Both pipelines have the same heads, optimizer, batches, seeds and number of updates; they differ in what shares the
encoder. Run from the project's folder, after `python -m spacy project run gum-corpus`:

    python benchmarks/gum_scores.py corpus/gum --updates 200 --seeds 3

Writes benchmarks/results/gum_scores_{updates}x{words}.{json,md} after every run, and skips runs that are in the JSON
already.
"""

import json
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from environment import describe
from spacy import util
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_train_batches
from spacy.util import resolve_dot_names
from thinc.api import Config

ROOT = Path(__file__).parent
SCORES = {"tag_acc": "tags, accuracy", "ents_f": "names, F", "cats_score": "genre, macro F"}
PEER = "spacy-transformers"
OURS = "spacy_mtl"
OWN_OPTIMIZER = "spacy_mtl, encoder with AdamW of its own"
SYSTEMS = (OURS, PEER, OWN_OPTIMIZER)
HEAD_RATE, ENCODER_RATE = 2e-3, 1e-4  # with OWN_OPTIMIZER


NOTE = f"""Mean and sample standard deviation over seeds, in points, after the last update. The first two pipelines have
the same optimizer (thinc's Adam, one rate for encoder and heads), batches and heads. In the third the heads have the
rate {HEAD_RATE} and the encoder AdamW with {ENCODER_RATE}, which spacy-transformers does not offer.
"""


def make_config(
    folder: Path, system: str, *, updates: int, seed: int, words: int, rate: float
) -> Config:
    """The project's config for GUM, with spacy-transformers put in place of our component for the peer."""
    overrides = {
        "paths.train": str(folder / "train.spacy"),
        "paths.dev": str(folder / "dev.spacy"),
        "system.seed": seed,
        "system.gpu_allocator": None,
        "training.max_steps": updates,
        "training.optimizer.learn_rate.warmup_steps": max(updates // 10, 1),
        "training.eval_frequency": updates,
        "training.batcher.size": words,
        "training.optimizer.learn_rate.initial_rate": rate,
    }
    config = util.load_config(ROOT.parent / "configs" / "gum.cfg", overrides=overrides)
    if system == OURS:
        return config
    if system == OWN_OPTIMIZER:
        schedule = config["training"]["optimizer"]["learn_rate"]
        own = {**schedule, "initial_rate": ENCODER_RATE}
        config["components"]["shared_transformer"]["optimizer"] = {
            "@optimizers": "spacy_mtl.AdamW.v1",
            "learn_rate": own,
        }
        schedule["initial_rate"] = HEAD_RATE
        return config
    from spacy_mtl.encoder.huggingface import resolve_name

    encoder = resolve_name(config["paths"]["encoder"])
    config["components"]["shared_transformer"] = {
        "factory": "transformer",
        "max_batch_items": 4096,
        "model": {
            "@architectures": "spacy-transformers.TransformerModel.v3",
            "name": encoder,
            "tokenizer_config": {"use_fast": True},
            "get_spans": {
                "@span_getters": "spacy-transformers.strided_spans.v1",
                "window": 128,
                "stride": 96,
            },
        },
    }
    for head in ("tagger", "ner", "textcat"):
        config["components"][head]["model"]["tok2vec"] = {
            "@architectures": "spacy-transformers.TransformerListener.v1",
            "grad_factor": 1.0,
            "pooling": {"@layers": "reduce_mean.v1"},
            "upstream": "*",
        }
    return config


def run(config: Config, updates: int) -> dict[str, Any]:
    """Train from a config as `spacy train` does. Returns the dev scores after the last update."""
    nlp = init_nlp(config)
    settings = nlp.config.interpolate()
    util.fix_random_seed(settings["training"]["seed"])
    T = util.registry.resolve(settings["training"], schema=ConfigSchemaTraining)
    train_corpus, dev_corpus = resolve_dot_names(settings, [T["train_corpus"], T["dev_corpus"]])
    batches = create_train_batches(nlp, train_corpus, T["batcher"], T["max_epochs"])
    start = time.perf_counter()
    words = 0
    for _, batch in islice(batches, updates):
        nlp.update(batch, drop=T["dropout"], sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(T["optimizer"])
        T["optimizer"].step_schedules()
        words += sum(len(example) for example in batch)
    seconds = time.perf_counter() - start
    scores = nlp.evaluate(dev_corpus(nlp))
    return {"scores": {key: scores[key] for key in SCORES}, "train_words_per_s": words / seconds}


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
        setting = [str(own[0][key]) for key in ("updates", "words", "rate")]
        rows.append(f"| {' | '.join([system, str(len(own)), *setting, *cells])} |")
    return "\n".join(rows)


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation; a single value has none."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


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
    out.parent.mkdir(exist_ok=True)
    stored = json.loads(out.read_text()) if out.exists() else {}
    results = stored.get("results", [])
    settings = {"updates": updates, "words": words, "rate": rate}
    results = [r for r in results if settings.items() <= r.items()]
    for name, seed in [(s, n) for n in range(seeds) for s in system or SYSTEMS]:
        if any(r["system"] == name and r["seed"] == seed for r in results):
            continue
        found = run(make_config(folder, name, seed=seed, **settings), updates)
        results.append({"system": name, "seed": seed, **settings, **found})
        print(json.dumps(results[-1]), flush=True)
        out.write_text(json.dumps({"machine": describe(), "results": results}, indent=1) + "\n")
        lines = ["# Dev scores on GUM", "", *describe().splitlines(), "", table(results), "", NOTE]
        out.with_suffix(".md").write_text("\n".join(lines))
    print(table(results))


if __name__ == "__main__":
    typer.run(main)
