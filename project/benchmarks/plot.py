"""The picture of results/prediction_*.json: speeds by length, and where our time goes."""

from pathlib import Path
from typing import Any

from corpus import LENGTHS

COLOURS = ("#1b5e9b", "#c8c8c8", "#8a8a8a", "#e0a458", "#3c8d5a", "#a04a6a")
ORDER = ("forward", "ner", "tagger", "textcat", "wordpieces", "tokenizer")


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Write an SVG. Without matplotlib (extra `report`) nothing is written, and a line says so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No plot: matplotlib is missing, install the extra `report`.")
        return
    source = rows[-1]["source"]
    rows = [row for row in rows if row["source"] == source and row["batch_size"] in (None, 64)]
    lengths = [name for name in LENGTHS if any(row["length"] == name for row in rows)]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    speed, shares = figure.subplots(1, 2, width_ratios=[3, 2])
    _speeds(speed, rows, lengths)
    _shares(shares, rows, lengths)
    figure.savefig(path, metadata={"Date": None})


def _labels(lengths: list[str]) -> list[str]:
    return [f"{name}\n{LENGTHS[name]:,} words" for name in lengths]


def _speeds(axes: Any, rows: list[dict[str, Any]], lengths: list[str]) -> None:
    systems = list(dict.fromkeys(row["system"] for row in rows))
    systems.sort(key=lambda name: not name.startswith("spacy_mtl"))
    width = 0.84 / len(systems)
    for i, system in enumerate(systems):
        found = {row["length"]: row["against_tuned"] for row in rows if row["system"] == system}
        places = [j for j, name in enumerate(lengths) if name in found]
        values = [found[lengths[j]] for j in places]
        middle = [v[1] for v in values]
        bars = axes.bar(
            [j + (i - (len(systems) - 1) / 2) * width for j in places],
            middle,
            width,
            yerr=[[v[1] - v[0] for v in values], [v[2] - v[1] for v in values]],
            label=system,
            color=COLOURS[i % len(COLOURS)],
            ecolor="#444444",
            error_kw={"linewidth": 0.8},
        )
        axes.bar_label(bars, labels=[f"{m:.1f}" for m in middle], fontsize=7, padding=2)
    axes.axhline(1, color="#444444", linewidth=0.8)
    axes.set_xticks(range(len(lengths)), _labels(lengths))
    axes.set_ylabel("speed, spacy-transformers tuned = 1")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.35)
    axes.legend(fontsize=8, ncols=2, loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _shares(axes: Any, rows: list[dict[str, Any]], lengths: list[str]) -> None:
    timed = {row["length"]: row["stages"] for row in rows if "stages" in row}
    lengths = [name for name in lengths if name in timed]
    bottom = [0.0] * len(lengths)
    for i, stage in enumerate((*ORDER, "rest")):
        values = []
        for name in lengths:
            parts = timed[name]
            rest = sum(v for s, v in parts.items() if s not in ORDER)
            values.append(
                100 * (rest if stage == "rest" else parts.get(stage, 0)) / sum(parts.values())
            )
        axes.bar(range(len(lengths)), values, bottom=bottom, label=stage, color=SHADES[i])
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes.set_xticks(range(len(lengths)), _labels(lengths), fontsize=8)
    axes.set_ylabel("share of our time, %")
    axes.set_ylim(0, 100)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        names[::-1],
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
    )
    axes.spines[["top", "right"]].set_visible(False)


SHADES = ("#1b5e9b", "#e0a458", "#3c8d5a", "#a04a6a", "#7fb0d8", "#c8c8c8", "#8a8a8a")
