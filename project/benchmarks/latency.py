"""How long one document takes: p50 and p95 of `nlp(text)`, ours against spacy-transformers, by length.

At the same encoder weights and heads; both systems read each document in turn. No corpus is needed:

    python benchmarks/latency.py

Writes benchmarks/results/latency_{processor}.{json,md}, where processor is `amx`, `avx512_bf16` or `fp32`.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from corpus import LENGTHS, read, texts
from environment import processor_kind
from rounds import conditions, keep, quartiles, seconds, show, store, table
from systems import ENCODER, build, copy_heads, has_factory, our_name, peer_config, trained

RESULTS = Path(__file__).parent / "results" / f"latency_{processor_kind()}.json"
KEYS = ("source", "length", "system")
PEER = "spacy-transformers"


def measure(ours: Any, peer: Any, documents: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each document in both systems; every other document goes to the other one first."""
    times: tuple[list[float], list[float]] = ([], [])
    for i, text in enumerate(documents):
        for which in (0, 1) if i % 2 else (1, 0):
            nlp = (ours, peer)[which]
            times[which].append(seconds(lambda nlp=nlp, text=text: nlp(text)))
    return times


def main(
    source: Annotated[Path | None, typer.Option(help="A .spacy or text file.")] = None,
    length: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(LENGTHS)}.")] = None,
    documents: Annotated[int, typer.Option(help="Of each length; fewer of the long ones.")] = 100,
    words: Annotated[int, typer.Option(help="Most words of a length in all.")] = 10_000,
    ner: Annotated[str, typer.Option(help="Factory of our ner.")] = "ner",
    precision: Annotated[str, typer.Option(help="Of our encoder.")] = "auto",
    encoder: Annotated[str, typer.Option(help="Its name, as in a config.")] = ENCODER,
    trained_in: Annotated[Path | None, typer.Option(help="Keeps trained heads.")] = None,
    teach: Annotated[int, typer.Option(help="Words that each head learns from.")] = 15_000,
    output: Annotated[Path, typer.Option(help="The JSON.")] = RESULTS,
    seed: int = 0,
) -> None:
    """Measure and write the table."""
    if not has_factory(ner):
        typer.echo(f"Skipped: no factory `{ner}` is registered in this spaCy.")
        return
    text = read(source, seed=seed)
    kept: dict[str, Any] = {"encoder": encoder, "precision": precision, "cache": trained_in}
    heads = trained(text, words=teach, **kept)
    ours = heads if ner == "ner" else trained(text, ner=ner, words=teach, **kept)
    peer = build(peer_config(encoder), text)
    copy_heads(heads, peer)
    name = our_name(ner, precision)
    rows = []
    for chosen in length or [key for key, n in LENGTHS.items() if n < 5_000]:
        n_words = LENGTHS[chosen]
        total = max(min(words, documents * n_words), 2 * n_words)
        stretch = texts(text, length=n_words, total=total, seed=seed)
        measure(ours, peer, stretch[:3])  # warm-up
        ours_s, peer_s = (np.array(times) for times in measure(ours, peer, stretch))
        ratio = quartiles((peer_s / ours_s).tolist())
        for system, times in ((name, ours_s), (PEER, peer_s)):
            row: dict[str, Any] = {
                "source": text.name,
                "length": chosen,
                "system": system,
                "documents": len(stretch),
                "p50_ms": float(np.quantile(times, 0.5)) * 1e3,
                "p95_ms": float(np.quantile(times, 0.95)) * 1e3,
                "peer_against_ours": ratio if system == name else None,
                "conditions": conditions(),
                "seed": seed,
            }
            rows.append(row)
            typer.echo(f"{chosen}, {system}: {row['p50_ms']:.1f} ms, p95 {row['p95_ms']:.1f} ms")
    results = keep(output, rows, KEYS)
    cells = [
        [
            row["source"],
            f"{row['length']}, {row['documents']} of about {LENGTHS[row['length']]} words",
            row["system"],
            f"{row['p50_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            show(row["peer_against_ours"]),
        ]
        for row in results
    ]
    note = "The last column: how many times as long spacy-transformers takes for the same document, quartiles."
    header = ["text", "documents", "system", "p50, ms", "p95, ms", "spacy-transformers / ours"]
    store(output, results, "Latency of one document", [note, "", *table(header, cells)])


if __name__ == "__main__":
    typer.run(main)
