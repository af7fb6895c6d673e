"""Dev scores on GUM (tags, names, genre): this package against spacy-transformers, on the same encoder.

Both pipelines have the same heads, optimizer, batches, seeds and number of updates; they differ in what shares the
encoder. Run from the project's folder, after `python -m spacy project run gum-corpus`:

    python benchmarks/gum_scores.py corpus/gum --updates 200 --seeds 3

Writes benchmarks/results/gum_scores.{json,md} after every run, and skips runs that are in the JSON already.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from environment import describe
from spacy import util
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from thinc.api import Config

ROOT = Path(__file__).parent
SCORES = {"tag_acc": "tags, accuracy", "ents_f": "names, F", "cats_score": "genre, macro F"}
PEER = "spacy-transformers"
OURS = "spacy_mtl"


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


def run(config: Config) -> dict[str, Any]:
    """Train from a config. Returns the dev scores after the last update and the seconds that it took."""
    start = time.perf_counter()
    nlp = init_nlp(config)
    found: dict[str, Any] = {}

    def log(nlp: Any, stdout: Any, stderr: Any) -> Any:
        def step(info: dict[str, Any] | None) -> None:
            if info is not None and info["step"] > 0:
                found.update(info["other_scores"], updates=info["step"])

        return step, lambda: None

    nlp.config["training"]["logger"] = {"@loggers": "benchmark_logger"}
    spacy.registry.loggers("benchmark_logger", func=lambda: log)
    train(nlp, None)
    return {**found, "seconds": time.perf_counter() - start}


def table(results: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, in points."""
    rows = [
        "| pipeline | seeds | updates | words a batch | rate | "
        + " | ".join(SCORES.values())
        + " |"
    ]
    rows.append("|---|---|---|---|---|" + "---|" * len(SCORES))
    for system in (PEER, OURS):
        own = [r for r in results if r["system"] == system]
        if not own:
            continue
        cells = [spread([100 * r["scores"][key] for r in own]) for key in SCORES]
        setting = [str(own[0][key]) for key in ("updates", "words", "rate")]
        rows.append(f"| {' | '.join([system, str(len(own)), *setting, *cells])} |")
    return "\n".join(rows)


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 200,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 1000,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-4,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
) -> None:
    """Train both pipelines with each seed and write the table."""
    out = ROOT / "results" / "gum_scores.json"
    out.parent.mkdir(exist_ok=True)
    stored = json.loads(out.read_text()) if out.exists() else {}
    results = stored.get("results", [])
    settings = {"updates": updates, "words": words, "rate": rate}
    results = [r for r in results if settings.items() <= r.items()]
    for seed in range(seeds):
        for system in (OURS, PEER):
            if any(r["system"] == system and r["seed"] == seed for r in results):
                continue
            config = make_config(folder, system, seed=seed, **settings)
            found = run(config)
            scores = {key: found[key] for key in SCORES}
            entry = {"system": system, "seed": seed, **settings, "scores": scores}
            results.append({**entry, "seconds": round(found["seconds"], 1)})
            print(json.dumps(results[-1]), flush=True)
            out.write_text(json.dumps({"machine": describe(), "results": results}, indent=1) + "\n")
            lines = ["# Dev scores on GUM", "", *describe().splitlines(), "", table(results), ""]
            out.with_suffix(".md").write_text("\n".join(lines))
    print(table(results))


if __name__ == "__main__":
    typer.run(main)
