"""Plots as inline SVG: without a ground, text in the page's colour, lines in colours that the page's CSS sets."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib import style as mpl_style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

from .data import Curve

TEXT = "#0a0b0c"  # becomes `currentColor`
# Sentinels of series, with three to one or more of contrast on white; the page has others for dark grounds.
COLOURS = ("#0072b2", "#c44e00", "#00795a", "#a8437d", "#7a5c00", "#117a9b", "#6a3d9a", "#555b66")
DARK_COLOURS = (
    "#56b4e9",
    "#ff9a5c",
    "#2cc59a",
    "#e693c0",
    "#e6c229",
    "#5fd3e8",
    "#c3a6ee",
    "#b6bcc6",
)
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SIZE = (4.5, 3.0)  # inches: on a phone the text keeps a size that can be read
LETTER = 0.085  # inches, about
NEGATIVE, MIDDLE, POSITIVE = "#d95f02", "#f7f7f7", "#3a7fc1"
_SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.titlesize": 10,
    "axes.titlecolor": TEXT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "grid.alpha": 0.2,
    "grid.color": TEXT,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "spacy_mtl",
    "text.color": TEXT,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def line_plot(
    name: str,
    curves: Sequence[Curve],
    *,
    y: str,
    numbers: Sequence[int],
    log: bool = False,
    percent: bool = False,
) -> Markup:
    """Lines over steps, one for each task.

    name: for ids. numbers: of the tasks in the pipeline, so that a task looks the same in all plots.
    """
    with _style():
        figure = Figure(figsize=SIZE)
        axes = figure.subplots()
        _draw(axes, curves, numbers, log=log)
        _legend(figure, axes)
        _finish(axes, y=y, log=log, percent=percent)
        axes.set_xlabel("step")
        return _as_svg(figure, name)


def learning_plot(
    name: str,
    scores: Sequence[Curve],
    losses: Curve,
    batch_losses: Curve | None,
    *,
    score_name: str,
    unit: str,
    number: int,
    best: tuple[float, float] | None,
) -> Markup:
    """A task's score, above its loss, over steps. scores: of all dev documents first, then by source."""
    with _style():
        figure = Figure(figsize=(SIZE[0], 4.4))
        above, below = figure.subplots(2, sharex=True)
        _draw(above, scores, [number, *range(number + 1, number + len(scores))])
        if best is not None:
            above.plot(
                *best, "o", ms=11, mfc="none", mec=COLOURS[number % 8], label="best", clip_on=False
            )
        _finish(above, y=score_name or "no score")
        low, high = above.get_ylim()
        if high - low < 1:  # points of a score: no mountains of noise
            above.set_ylim(low - 1, high + 1)
        _legend(figure, above)
        if batch_losses is not None and batch_losses.steps:
            _draw(below, [batch_losses], [number], plain=True)
        _draw(below, [losses], [number])
        _finish(below, y=f"loss per {unit}")
        below.set_xlabel("step")
        return _as_svg(figure, name)


def heat_map(
    name: str,
    tasks: Sequence[str],
    values: np.ndarray,
    *,
    percent: bool = False,
) -> Markup:
    """[tasks, tasks] values in cells below the diagonal, NaN for none; from -1 to 1, or from 0 to 1 in percent."""
    n = len(tasks)
    side = max(2.6, 1.0 + 0.62 * n)
    room = LETTER * max(map(len, tasks))
    ramp = (MIDDLE, NEGATIVE) if percent else (NEGATIVE, MIDDLE, POSITIVE)
    with _style():
        figure = Figure(figsize=(side + room, side + 0.7 * room))
        axes = figure.subplots()
        shown = np.ma.masked_invalid(values[1:, :-1])
        colours = LinearSegmentedColormap.from_list(name, ramp)
        low = 0.0 if percent else -1.0
        mesh = axes.pcolormesh(shown, cmap=colours, vmin=low, vmax=1.0, edgecolors="none")
        mesh.set_gid("cells")
        for row, column in np.argwhere(~np.ma.getmaskarray(shown)):
            value = float(shown[row, column])
            text = (
                f"{100 * value:.0f} %"
                if percent
                else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
            )
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color="#000000")
        axes.set_xticks(np.arange(n - 1) + 0.5, tasks[:-1], rotation=45, ha="right")
        axes.set_yticks(np.arange(n - 1) + 0.5, tasks[1:])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        return _as_svg(figure, name)


def _draw(
    axes: Any,
    curves: Sequence[Curve],
    numbers: Sequence[int],
    *,
    log: bool = False,
    plain: bool = False,
) -> None:
    """plain: thin and without markers, behind a line with them."""
    for curve, number in zip(curves, numbers, strict=False):
        values = np.array(curve.values)
        if log:
            values[values <= 0] = np.nan
        (line,) = axes.plot(
            curve.steps,
            values,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[(number + number // len(DASHES)) % len(DASHES)],
            marker="" if plain else MARKERS[number % len(MARKERS)],
            markevery=max(1, len(values) // 8),
            linewidth=1.0 if plain else None,
            alpha=0.6 if plain else None,
            label=f" {curve.task}" if curve.task.startswith("_") else curve.task,
        )
        line.set_gid(f"{'smoothed' if plain else 'series'}-{axes.get_subplotspec().num1}-{number}")


def _finish(axes: Any, *, y: str, log: bool = False, percent: bool = False) -> None:
    axes.set_ylabel(y)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(
            lambda value, _: f"{value:g}"
        )  # those of the scale itself are of mathtext
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    if percent:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _legend(figure: Any, axes: Any) -> None:
    """Above the plot, which keeps its height. In as many columns as the names leave room for."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    width, height = figure.get_size_inches()
    n_columns = max(1, min(len(names), int(width / (0.7 + LETTER * max(map(len, names))))))
    figure.set_size_inches(width, height + 0.2 * -(-len(names) // n_columns))
    place = {"loc": "outside upper center", "ncols": n_columns}
    figure.legend(handles, names, fontsize="small", handlelength=3.2, **place)


@contextmanager
def _style() -> Iterator[None]:
    with mpl_style.context("default"), mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has them
        yield


def _as_svg(figure: Figure, name: str) -> Markup:
    """For a page: ids of its own, no metadata, colours that the page sets."""
    stream = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(stream, metadata=metadata)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
    svg = svg.replace(TEXT, "currentColor")
    for i, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--series-{i})")
    return Markup(svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))
