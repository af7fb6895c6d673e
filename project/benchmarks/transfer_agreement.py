"""Does `spacy mtl transfer --quick` say what training every pair of tasks says?

Trains five heads on GUM alone, in pairs and all together, as `spacy mtl transfer --pairs` does, and compares what each
task gained in each pair with what the tasks' gradients say in the run with all, which is all that `--quick` looks at.
Run from the project's folder, after `python -m spacy project run gum-fetch` and `gum-convert`:

    python benchmarks/transfer_agreement.py corpus/gum --updates 300 --seeds 3

The encoder gets the plain sum of gradients; with `--balancer NormEqual`, or another one, what that makes of them.
Finished runs are kept in training/transfer_agreement, so an interrupted command goes on. Writes
benchmarks/results/transfer_agreement.{json,md}; with a balancer the names of both end in `_{balancer}`.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from thinc.api import Config
from training import LISTENER, gum_config, set_encoder_rate, spread, store_results

from spacy_mtl.cli.transfer import compare
from spacy_mtl.transfer.comparison import (
    RIGHT_ANGLE,
    Difference,
    best_groups,
    by_pair,
    in_pairs,
    rank_correlation,
    total_gain,
)

ROOT = Path(__file__).parent
Pair = tuple[str, str]  # a task, and the other one
TOK2VEC = {"@architectures": LISTENER}
HEADS: dict[str, dict[str, Any]] = {
    "ner": {"factory": "biluo_ner"},
    "morphologizer": {
        "factory": "morphologizer",
        "model": {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC},
    },
    "parser": {
        "factory": "parser",
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "parser",
            "extra_state_tokens": False,
            "hidden_width": 64,
            "maxout_pieces": 2,
            "use_upper": False,
            "tok2vec": TOK2VEC,
        },
    },
}
NOTE = """Gains: points of the task's score in the pair, less those of the task alone, at equal updates; mean and
sample standard deviation over seeds. `cosine`: of the two tasks' gradients of the encoder's parameters, mean over the
audits of the runs with all tasks. `own way`: the cosine of the sum of both gradients and the task's own, from these
and the tasks' mean lengths there (`spacy_mtl.transfer.comparison.own_way`). Rank correlations are Spearman's, over all
tasks and partners. The encoder gets the plain sum of gradients.
"""
PLAIN, BALANCED = (
    "the plain sum of gradients.",
    "what `{}` makes of the gradients, and lengths are those.",
)


def make_config(
    folder: Path, words: int, balancer: str | None = None, rate: float = 1e-4
) -> Config:
    """configs/gum.cfg with five heads, and this rate for the encoder."""
    config = gum_config(folder, words=words)
    set_encoder_rate(config, rate)
    config["components"] |= HEADS
    block = None if balancer is None else {"@balancers": f"spacy_mtl.{balancer}.v1"}
    config["components"]["shared_transformer"]["balancer"] = block
    config["nlp"]["pipeline"] = ["shared_transformer", "tagger", "textcat", *HEADS]
    config["training"].pop("score_weights")
    return config


def gains_of(report: dict[str, Any]) -> dict[Pair, list[float]]:
    """What each task gained with each other, seed by seed."""
    found = [
        Difference(d["task"], tuple(d["group"]), tuple(d["gains"])) for d in report["differences"]
    ]
    return {pair: list(difference.gains) for pair, difference in in_pairs(found).items()}


def repeatable(gains: dict[Pair, list[float]]) -> float | None:
    """How well one seed's gains agree with the means of the other seeds: what no estimate can be expected to beat."""
    n_seeds = min(len(values) for values in gains.values())
    found = []
    for seed in range(n_seeds) if n_seeds > 1 else ():
        own = [values[seed] for values in gains.values()]
        others = [mean([*values[:seed], *values[seed + 1 :]]) for values in gains.values()]
        found.append(rank_correlation(own, others))
    kept = [value for value in found if value is not None]
    return mean(kept) if kept else None


def show(report: dict[str, Any]) -> list[str]:
    """The table and what follows from it."""
    gains, heads = gains_of(report), report["heads"]
    cosines = {
        pair: value
        for (one, other), value in by_pair(heads, report["cosines"]).items()
        for pair in ((one, other), (other, one))
    }
    own_ways = {pair: report["affinity"]["/".join(pair)] for pair in gains}
    means = {pair: mean(values) for pair, values in gains.items()}
    rows = ["| task | beside | gain | own way | cosine |", "|---|---|---|---|---|"]
    for pair in sorted(gains, key=lambda pair: means[pair]):
        shown = [spread(gains[pair]), f"{own_ways[pair]:.2f}", f"{cosines[pair]:+.3f}"]
        rows.append(f"| {' | '.join([*pair, *shown])} |")
    together = [d for d in report["differences"] if len(d["group"]) == len(heads)]
    rows += ["", "| all together | gain |", "|---|---|"]
    rows += [f"| {d['task']} | {spread(d['gains'])} |" for d in together]
    order = list(gains)
    of_cosines = rank_correlation([cosines[p] for p in order], [means[p] for p in order])
    found = {
        "what `--quick` judges by, own ways": report["agreement"],
        "cosines": of_cosines,
        "one seed's gains and the means of the other seeds'": repeatable(gains),
    }
    rows += ["", "Rank correlation with what the pairs gained:", ""]
    rows += [f"- {name}: {'-' if v is None else format(v, '.2f')}" for name, v in found.items()]
    rows += ["", "Groups, and what their pairs gain:", ""]
    above = {pair: value - RIGHT_ANGLE for pair, value in own_ways.items()}
    for name, affinity in (("pairs", means), ("own ways", above), ("cosines", cosines)):
        groups = best_groups(heads, affinity)
        total = total_gain(groups, means)
        named = "; ".join(" + ".join(group) for group in groups)
        rows.append(f"- by {name}: {named}: {total:+.2f} points.")
    audits = [r["gradients"]["audit"] for r in report["runs"] if len(r["heads"]) == len(heads)]
    rows += ["", "Signs of cosines that are those of the encoder's true gradients, by audits:", ""]
    for level in ("pooled", "token"):
        shares = [100 * audit[f"{level}_sign_right"] for audit in audits]
        rows.append(f"- {level} gradients: {spread(shares)}%.")
    return [*rows, ""]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train.spacy and dev.spacy of GUM.")],
    updates: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 300,
    words: Annotated[int, typer.Option(help="Words in a batch.")] = 300,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    balancer: Annotated[str | None, typer.Option(help="Such as NormEqual; default: none.")] = None,
) -> None:
    """Train every group with each seed and write the tables."""
    name = "transfer_agreement" if balancer is None else f"transfer_agreement_{balancer}"
    report = compare(
        make_config(folder, words, balancer),
        ROOT.parent / "training" / name,
        steps=updates,
        seeds=seeds,
        pairs=True,
        equal="updates",
        quick=False,
        say=lambda text: print(text, flush=True),
    )
    title = (
        f"Agreement of --quick, {updates} updates of {words} words, {seeds} seed{'s' * (seeds > 1)}"
    )
    note = NOTE if balancer is None else NOTE.replace(PLAIN, BALANCED.format(balancer))
    store_results(ROOT / "results" / f"{name}.json", [report], title, [*show(report), note])


if __name__ == "__main__":
    typer.run(main)
