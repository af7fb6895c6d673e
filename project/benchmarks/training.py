"""What the benchmarks of scores share: the peer's pipeline from our config, one training run, tables."""

import copy
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from environment import describe
from spacy import util
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_train_batches
from spacy.util import resolve_dot_names
from thinc.api import Config

from spacy_mtl.annotation import heads_of, is_annotated
from spacy_mtl.pipeline.factories import DEFAULTS

Result = dict[str, Any]
DEFAULT = DEFAULTS["balancer"]["@balancers"].split(".")[1]
LISTENER = "spacy_mtl.SharedTransformerListener.v1"


SPACYS_NER_MODEL: dict[str, Any] = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
    "tok2vec": {"@architectures": LISTENER},
}


def entity_recogniser(factory: str) -> dict[str, Any]:
    """The block of a component. `ner` and `masked_ner` have spaCy's model, any other one that of its factory."""
    if factory in ("ner", "masked_ner"):
        return {"factory": factory, "model": copy.deepcopy(SPACYS_NER_MODEL)}
    return {"factory": factory}


def as_peer(config: Config) -> None:
    """Put spacy-transformers in the place of our component and listeners."""
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
    for head in config["components"].values():
        model = head.get("model", {})
        if model.get("tok2vec", {}).get("@architectures") == LISTENER:
            model["tok2vec"] = {
                "@architectures": "spacy-transformers.TransformerListener.v1",
                "grad_factor": 1.0,
                "pooling": {"@layers": "reduce_mean.v1"},
                "upstream": "*",
            }


def one_optimizer(config: Config, rate: float) -> None:
    """Let `[training.optimizer]` step the encoder too, at one rate for all, and weigh all heads alike."""
    config["components"]["shared_transformer"].pop("optimizer", None)
    config["components"]["shared_transformer"]["balancer"] = None
    config["training"]["optimizer"]["learn_rate"]["initial_rate"] = rate
    for head in config["components"].values():
        head.get("model", {}).get("tok2vec", {}).pop("grad_factor", None)


def set_encoder_rate(config: Config, rate: float = 1e-4) -> None:
    """The encoder's highest rate, where it has an optimizer of its own; by default that of older trainings on GUM."""
    optimizer = config["components"]["shared_transformer"]["optimizer"]
    optimizer["learn_rate"]["initial_rate"] = rate


def gum_config(folder: Path, *, words: int, seed: int = 0) -> Config:
    """configs/gum.cfg. folder: with train.spacy and dev.spacy. words: in a batch, as its batcher counts them."""
    overrides = {
        "paths.train": str(folder / "train.spacy"),
        "paths.dev": str(folder / "dev.spacy"),
        "system.seed": seed,
        "system.gpu_allocator": None,
        "training.batcher.size": words,
    }
    return util.load_config(Path(__file__).parents[1] / "configs" / "gum.cfg", overrides=overrides)


def set_precision(config: Config, precision: str = "fp32") -> None:
    """Of the encoder, for training and prediction. fp32 is what spacy-transformers has on any processor."""
    config["components"]["shared_transformer"]["model"]["precision"] = precision


def reader_in(nlp: Language, precision: str) -> Language:
    """A copy of a pipeline that predicts in another precision."""
    changed = {"components": {"shared_transformer": {"model": {"precision": precision}}}}
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        return util.load_model(folder, config=changed)


def set_updates(config: Config, updates: int) -> None:
    """Length of the training, and schedules that fit it."""
    config["training"]["max_steps"] = updates
    config["training"]["eval_frequency"] = updates
    for block in (config["training"], config["components"]["shared_transformer"]):
        schedule = (block.get("optimizer") or {}).get("learn_rate")
        if isinstance(schedule, dict):
            schedule["warmup_steps"] = max(updates // 10, 1)
            schedule["total_steps"] = updates


def prepare(
    config: Config,
) -> tuple[Language, Callable[..., Iterable[Any]], Any, Callable[..., Any]]:
    """An initialized pipeline, a function that starts its training batches, its optimizer, and its dev corpus.

    The function takes the names of the sources to read, None for all.
    """
    nlp = init_nlp(config)
    settings = nlp.config.interpolate()
    util.fix_random_seed(settings["training"]["seed"])
    T = util.registry.resolve(settings["training"], schema=ConfigSchemaTraining)
    train_corpus, dev_corpus = resolve_dot_names(settings, [T["train_corpus"], T["dev_corpus"]])

    def batches(sources: Collection[str] | None = None) -> Iterable[Any]:
        corpus = train_corpus
        if sources is not None:
            (corpus,) = resolve_dot_names(keep_sources(settings, sources), [T["train_corpus"]])
        return create_train_batches(nlp, corpus, T["batcher"], T["max_epochs"])

    return nlp, batches, T["optimizer"], dev_corpus


def keep_sources(config: Config, names: Collection[str]) -> Config:
    """A copy whose training corpus has these sources only."""
    kept = copy.deepcopy(config)
    corpus = kept["corpora"]["train"]
    corpus["sources"] = {k: v for k, v in corpus["sources"].items() if k in names}
    return kept


def finish_update(nlp: Any, optimizer: Any) -> None:
    """Step all components that are trained."""
    for _, pipe in nlp.pipeline:
        if hasattr(pipe, "finish_update"):
            pipe.finish_update(optimizer)


def run(config: Config, updates: int) -> Result:
    """What `run_pipeline` finds."""
    return run_pipeline(config, updates)[-1]


def run_pipeline(config: Config, updates: int) -> tuple[Language, Callable[..., Any], Result]:
    """Train from a config as `spacy train` does.

    Returns the pipeline, its dev corpus, and all dev scores that are numbers after the last update, words per second,
    and for each head the updates and words that carried gold for it.
    """
    nlp, batches, optimizer, dev_corpus = prepare(config)
    dropout = nlp.config["training"]["dropout"]
    heads = heads_of(nlp)
    gold_updates: Counter[str] = Counter()
    gold_words: Counter[str] = Counter()
    start = time.perf_counter()
    words = 0
    for _, batch in islice(batches(), updates):
        nlp.update(batch, drop=dropout, sgd=False)
        finish_update(nlp, optimizer)
        optimizer.step_schedules()
        words += sum(len(example) for example in batch)
        for name, head in heads.items():
            own = [len(eg) for eg in batch if is_annotated(head, eg.reference)]
            gold_updates[name] += bool(own)
            gold_words[name] += sum(own)
    seconds = time.perf_counter() - start
    scores = nlp.evaluate(dev_corpus(nlp))
    found = {
        "scores": {k: v for k, v in scores.items() if isinstance(v, float) and k != "speed"},
        "train_words_per_s": words / seconds,
        "gold_updates": dict(gold_updates),
        "gold_words": dict(gold_words),
    }
    return nlp, dev_corpus, found


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation; a single value has none."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def load_results(path: Path) -> list[Result]:
    """What earlier runs have stored; each with the `machine` that it ran on."""
    if not path.exists():
        return []
    stored = json.loads(path.read_text())
    return [{**r, "machine": stored["machines"][r["machine"]]} for r in stored["results"]]


def store_results(path: Path, results: list[Result], title: str, body: list[str]) -> None:
    """Write the JSON, and beside it the table as Markdown under versions and processors.

    Results without a `machine` are new, of this one; a file may be filled by several.
    """
    path.parent.mkdir(exist_ok=True)
    of_each = [r.get("machine") or describe() for r in results]
    machines = list(dict.fromkeys(of_each))
    numbered = [
        {**r, "machine": machines.index(machine)}
        for r, machine in zip(results, of_each, strict=True)
    ]
    path.write_text(json.dumps({"machines": machines, "results": numbered}, indent=1) + "\n")
    head = dict.fromkeys(line for machine in machines for line in machine.splitlines())
    path.with_suffix(".md").write_text("\n".join([f"# {title}", "", *head, "", *body]) + "\n")
