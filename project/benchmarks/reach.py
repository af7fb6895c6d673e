"""How far do a task's gradients reach? Their length at the encoder's parameters, and how it can be had more cheaply.

Trains `configs/mix.cfg` (tags of EWT, names of GUM, sentiment of SST-2) on batches of 500 words and, every seventh
update, takes each task's own gradient of all parameters. The table divides its length by others of the same gradient:
that at the token vectors, that of their sum over tokens, and those of parts of the parameters. A measure that is as
good as the whole has the same quotient for every task. Run from the project's folder, after
`python -m spacy project run mix-convert`; writes benchmarks/results/reach.md:

    python benchmarks/reach.py corpus/mix
"""

import tempfile
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from environment import describe
from mix_scores import NER_FIRST, make_config, write_part
from training import finish_update, prepare, set_updates

from spacy_mtl.pipeline.shim import EncoderShim

ROOT = Path(__file__).parent
EVERY = 7
WHOLE = "all parameters"
Lengths = dict[str, float]  # of one gradient, by where it was measured


def kind_of(name: str, parameter: torch.Tensor) -> str:
    """The row of the table that a parameter belongs to."""
    if parameter.ndim == 1:
        return "biases and norms (the sample)"
    if "embeddings" in name:
        return "embeddings"
    if "attention" in name:
        return "attention"
    return "feed-forward, first" if "intermediate" in name else "feed-forward, second"


def lengths_of(shim: EncoderShim, gradient: Any) -> Lengths:
    """Of a gradient of the last batch's token vectors, [T, width]: there, and at the parameters."""
    named = [(n, p) for n, p in shim.require().model.named_parameters() if p.requires_grad]
    (flat,) = shim._go_down([gradient], [p for _, p in named])
    squares: Counter[str] = Counter()
    for (name, parameter), part in zip(
        named, flat.split([p.numel() for _, p in named]), strict=True
    ):
        squares[kind_of(name, parameter)] += float((part * part).sum())
    lengths = {kind: square**0.5 for kind, square in squares.items()}
    lengths[WHOLE] = squares.total() ** 0.5
    lengths["token vectors"] = float(np.linalg.norm(gradient))
    lengths["sum over tokens"] = float(np.linalg.norm(gradient.sum(axis=0)))
    return lengths


def table(found: list[tuple[str, Lengths]]) -> list[str]:
    """Geometric means of quotients, and their spread as a factor."""
    tasks = sorted({task for task, _ in found})
    logs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task, lengths in found:
        for kind, length in lengths.items():
            if length > 0:
                logs[kind][task].append(float(np.log(lengths[WHOLE] / length)))
    rows = [f"| {WHOLE} / | {' | '.join(tasks)} | largest / smallest |"]
    rows.append("|---" * (len(tasks) + 2) + "|")
    for kind, by_task in logs.items():
        if kind == WHOLE:
            continue
        means = [float(np.exp(np.mean(by_task[task]))) for task in tasks]
        spreads = [float(np.exp(np.std(by_task[task]))) for task in tasks]
        cells = [f"{m:.3g} (x {s:.2f})" for m, s in zip(means, spreads, strict=True)]
        rows.append(f"| {kind} | {' | '.join(cells)} | {max(means) / min(means):.2f} |")
    return rows


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with train/ and dev/ of three corpora.")],
    updates: Annotated[int, typer.Option(help="Length of the training.")] = 200,
    skip: Annotated[int, typer.Option(help="Updates that are not measured.")] = 40,
    ner: Annotated[str, typer.Option(help="Factory of the entity recogniser.")] = "biluo_ner",
    seed: Annotated[int, typer.Option(help="Of training.")] = 0,
) -> None:
    """Train, measure and write the table."""
    found: list[tuple[str, Lengths]] = []
    with tempfile.TemporaryDirectory() as part:
        write_part(folder, 0.3, Path(part))
        config = make_config(
            folder, Path(part), order=NER_FIRST, seed=seed, words=500, epochs=0, ner=ner
        )
        set_updates(config, updates)
        nlp, batches, optimizer, _ = prepare(config)
        shared: Any = nlp.get_pipe("shared_transformer")
        for step, (_, batch) in enumerate(islice(batches(), updates)):
            nlp.update(batch, drop=nlp.config["training"]["dropout"], sgd=False)
            if step >= skip and step % EVERY == 0:
                slots = shared._batch.buffer.slots
                found += [(t, lengths_of(shared.shim, g)) for t, g in slots.items() if g.any()]
            finish_update(nlp, optimizer)
            optimizer.step_schedules()
    note = (
        f"Geometric means over {len(found)} gradients, taken every {EVERY} updates from {skip} to {updates}, and the "
        f"factor that one standard deviation of the logarithm makes. `{ner}`, seed {seed}."
    )
    text = ["# Lengths of gradients", "", *describe().splitlines(), "", note, "", *table(found)]
    (ROOT / "results" / "reach.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    typer.run(main)
