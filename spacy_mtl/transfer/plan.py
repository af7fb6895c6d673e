"""Which pipelines are trained, and with which configs."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from urllib.parse import quote

from spacy.util import dot_to_object
from thinc.api import Config

from .. import errors

READER = "spacy_mtl.MultiCorpus.v1"


@dataclass(frozen=True)
class Run:
    """One training: these heads on one encoder, with this seed."""

    heads: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """A name for files, of this run alone."""
        return f"{'+'.join(quote(head, safe=' ') for head in self.heads)}-{self.seed}"


def plan_runs(heads: Iterable[str], seeds: int, *, pairs: bool) -> list[Run]:
    """All together, each alone, and perhaps each pair; seed by seed, so that an interrupted plan has whole seeds."""
    heads = tuple(heads)
    groups = [heads, *((head,) for head in heads)]
    if pairs and len(heads) > 2:
        groups += list(combinations(heads, 2))
    return [Run(group, seed) for seed in range(seeds) for group in groups]


def config_for(config: Config, run: Run, heads: Iterable[str]) -> Config:
    """The interpolated config with these heads only, and what belongs to the others taken out.

    heads: all heads of the comparison. Other components stay as they are. A source of a `MultiCorpus` that is annotated
    for none of the run's heads is left out.

    Raises ConfigError if a corpus has no source for any of them.
    """
    kept = deepcopy(config)
    gone = set(heads) - set(run.heads)
    kept["nlp"]["pipeline"] = [name for name in kept["nlp"]["pipeline"] if name not in gone]
    for name in gone:
        kept["components"].pop(name, None)
        kept.get("initialize", {}).get("components", {}).pop(name, None)
    training = kept["training"]
    for key in ("frozen_components", "annotating_components"):
        training[key] = [name for name in training.get(key) or [] if name not in gone]
    for component in kept["components"].values():
        weights = (component.get("balancer") or {}).get("weights")
        if isinstance(weights, dict):
            component["balancer"]["weights"] = {t: w for t, w in weights.items() if t not in gone}
    for name in (training["train_corpus"], training["dev_corpus"]):
        corpus = dot_to_object(kept, name)
        if isinstance(corpus, dict) and corpus.get("@readers") == READER:
            corpus["sources"] = _sources_for(corpus["sources"], run.heads, gone, key=name)
    return Config(kept)


def _sources_for(
    sources: Mapping[str, Any], heads: tuple[str, ...], gone: set[str], *, key: str
) -> dict[str, Any]:
    found = {}
    for name, block in sources.items():
        tasks = block.get("tasks")
        if tasks is None:
            found[name] = block
        elif set(tasks) - gone:
            found[name] = {**block, "tasks": [task for task in tasks if task not in gone]}
    if not found:
        raise errors.no_source_for(heads, key=f"{key}.sources")
    return found
