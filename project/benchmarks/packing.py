"""How to lay out micro-batches: sets `COSTS` and `TRAINING_COSTS` in pipeline/shim.py, and shows what few shapes gain.

Times the encoder alone, as it predicts and as it trains (forward and backward pass with dropout), over batches of
which each has new lengths, as in a stream. Layouts take turns within each batch: padded, and without padding (*flat*)
by what a call of attention is said to cost, and flat with as many rows as there are in the place of `compiled_rows`.
No corpus is needed:

    python benchmarks/packing.py

Writes benchmarks/results/packing_{processor}.{json,md}, where processor is `amx`, `avx512_bf16` or `fp32`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from environment import processor_kind
from numpy.typing import NDArray
from rounds import Row, conditions, keep, quartiles, seconds, show, store, table
from systems import ENCODER

from spacy_mtl.encoder import attention
from spacy_mtl.encoder.huggingface import HuggingFaceEncoder, load_pretrained
from spacy_mtl.encoder.precision import resolve_precision
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.pipeline.shim import COSTS
from spacy_mtl.text.packing import pack
from spacy_mtl.text.windows import make_windows
from spacy_mtl.types import EncoderInput, Wordpieces

RESULTS = Path(__file__).parent / "results" / f"packing_{processor_kind()}.json"
KEYS = ("precision", "kind", "what", "wordpieces", "layout")
# What a document may have, in wordpieces, and its share of a batch's wordpieces
KINDS = {
    "sentences": {(5, 60): 1.0},
    "documents": {(120, 250): 1.0},
    "both": {(5, 60): 0.5, (120, 250): 0.5},
}
REFERENCE = "flat, 16"
NOTE = """Median and quartiles over batches of how long a layout takes in times of `flat, 16`; below 1 is faster. The
number is what a call (of attention, if flat) costs, in wordpieces. `any rows`: matrices have as many rows as there are
wordpieces, and oneDNN compiles products for each number. All batches are new ones.
"""


@dataclass(frozen=True)
class Layout:
    """Arguments of `pack`, and whether matrices may have any number of rows."""

    call_cost: int
    flat: bool = True
    any_rows: bool = False

    def inputs(self, lengths: NDArray[Any], encoder: HuggingFaceEncoder) -> EncoderInput:
        """Documents of random wordpieces, each a token of its own."""
        n = int(lengths.sum())
        pieces = Wordpieces(
            ids=np.random.default_rng(0).integers(5, encoder.model.config.vocab_size, n),
            doc_lengths=lengths,
            token_starts=np.arange(n),
            token_lengths=np.ones(n, dtype=np.int64),
            doc_tokens=lengths,
        )
        windows = make_windows(pieces.doc_lengths, window=256, stride=240)
        costs = COSTS["amx" if processor_kind() == "amx" else "cpu", self.flat]
        return pack(
            pieces,
            windows,
            encoder.affixes,
            max_batch_wordpieces=costs.max_batch_wordpieces,
            call_cost=self.call_cost,
            copy_cost=costs.copy_cost,
            flat=self.flat,
        )

    def rows(self) -> AbstractContextManager[Any]:
        """The context of its calls."""
        if not self.any_rows:
            return nullcontext()
        return patch.object(attention, "compiled_rows", lambda n, *_, **__: n)


LAYOUTS = {
    "padded, 32": Layout(32, flat=False),
    REFERENCE: Layout(16),
    "flat, 64": Layout(64),
    "flat, 256": Layout(256),
    "flat, 1024": Layout(1024),
    f"{REFERENCE}, any rows": Layout(16, any_rows=True),
}


def draw(kind: str, wordpieces: int, random: np.random.Generator) -> NDArray[Any]:
    """Lengths of the documents of a batch."""
    found: list[int] = []
    for (low, high), share in KINDS[kind].items():
        own = 0
        while own < wordpieces * share:
            found.append(int(random.integers(low, high)))
            own += found[-1]
    return random.permutation(np.array(found))


def predict(encode: Any, model: torch.nn.Module, inputs: EncoderInput) -> None:
    """A forward pass."""
    with torch.inference_mode():
        encode(model, inputs)


def train(encode: Any, model: torch.nn.Module, inputs: EncoderInput) -> None:
    """A forward and a backward pass."""
    (vectors,) = encode(model, inputs)
    vectors.sum().backward()
    model.zero_grad(set_to_none=True)


def measure(
    run: Callable[[EncoderInput], None],
    encoder: HuggingFaceEncoder,
    kind: str,
    wordpieces: int,
    rounds: int,
    warm: int,
    seed: int,
) -> dict[str, list[float]]:
    """Seconds of each layout with each batch."""
    random = np.random.default_rng(seed)
    times: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for turn in range(-warm, rounds):
        lengths = draw(kind, wordpieces, random)
        for key in list(LAYOUTS) if turn % 2 else list(LAYOUTS)[::-1]:
            inputs = LAYOUTS[key].inputs(lengths, encoder)
            with LAYOUTS[key].rows():
                taken = seconds(partial(run, inputs))
            if turn >= 0:
                times[key].append(taken)
    return times


def body(results: list[Row]) -> list[str]:
    """The tables."""
    lines = []
    for given in dict.fromkeys((r["precision"], r["what"]) for r in results):
        own = [r for r in results if (r["precision"], r["what"]) == given]
        cells = []
        for case in dict.fromkeys((r["kind"], r["wordpieces"]) for r in own):
            found = {r["layout"]: r for r in own if (r["kind"], r["wordpieces"]) == case}
            cells.append([*case, *(show(found[key]["ratio"]) for key in LAYOUTS)])
        header = ["documents", "wordpieces", *LAYOUTS]
        lines += [f"## {given[1]}, {given[0]}", "", *table(header, cells), ""]
    return [*lines, NOTE]


def main(
    what: Annotated[list[str] | None, typer.Option(help="predict, train")] = None,
    wordpieces: Annotated[
        list[int] | None, typer.Option(help="Of a batch; default: 600 and 2,400.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(KINDS)}.")] = None,
    rounds: Annotated[int, typer.Option(help="Batches that count.")] = 15,
    warm: Annotated[int, typer.Option(help="Batches before.")] = 5,
    precision: Annotated[str, typer.Option(help="Of the encoder.")] = "auto",
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
    seed: int = 0,
) -> None:
    """Measure and write the table."""
    for name in kind or ():
        if name not in KINDS:
            raise typer.BadParameter(f"`{name}` is not one of {', '.join(KINDS)}")
    loaded = load_pretrained(encoder, transformer_config={}, tokenizer_config={})
    dtype = resolve_precision(precision, torch.device("cpu"))
    encode = partial(encode_layers, pooling="mean", dtype=dtype, every=False)
    for name, run in (("predict", predict), ("train", train)):
        if name not in (what or ("predict", "train")):
            continue
        model = loaded.model.train(name == "train")
        for n in wordpieces or (600, 2_400):
            for chosen in kind or KINDS:
                times = measure(partial(run, encode, model), loaded, chosen, n, rounds, warm, seed)
                rows = [
                    {
                        "precision": str(dtype).removeprefix("torch."),
                        "kind": chosen,
                        "what": name,
                        "wordpieces": n,
                        "layout": layout,
                        "ratio": quartiles(
                            [a / b for a, b in zip(own, times[REFERENCE], strict=True)]
                        ),
                        "conditions": conditions(),
                        "seed": seed,
                    }
                    for layout, own in times.items()
                ]
                told = ", ".join(f"{r['layout']}: {r['ratio'][1]:.2f}" for r in rows)
                typer.echo(f"{name}, {chosen}, {n}: {told}")
                results = keep(output, rows, KEYS)
                store(output, results, "Layouts of micro-batches", body(results))


if __name__ == "__main__":
    typer.run(main)
