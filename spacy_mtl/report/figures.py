"""The plots of a report, each with its numbers and what is to be read instead of it."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from . import data, plots
from .collect import Report, Task
from .tables import Table, by_step

WIDE = 5  # tasks, with more of which a heat map scrolls on a phone


@dataclass(frozen=True)
class Plot:
    """A plot with what is to be read instead of it."""

    id: str
    caption: str
    alt: str
    svg: Markup
    table: Table
    is_wide: bool = False


def learning(task: Task) -> Plot | None:
    """A task's score and loss; None if the log has neither."""
    score, losses, batches = task.scores, task.losses, task.batch_losses
    if not score.steps and not losses.steps and not (batches and batches.steps):
        return None
    curves = [_percent(curve) for curve in (score, *task.by_source) if curve.steps]
    at_best = task.score_at(task.best_step)
    best = None
    if at_best is not None and task.best_step is not None:
        best = (task.best_step, 100 * at_best)
    svg = plots.learning_plot(
        f"learning-{task.number}",
        curves,
        losses,
        batches,
        score_name=task.score_name or "score",
        unit=task.unit,
        number=task.number,
        best=best,
    )
    name = task.score_name or "mean score"
    said = [_in_words(f"{name}, times 100,", _percent(score))]
    said.append(_in_words(f"loss per {task.unit}", losses))
    if best is not None:
        said.append(f"best at step {best[0]:,} with {best[1]:.2f}")
    header = ["Step", f"{name}, times 100", *(f"… on {c.task}" for c in task.by_source)]
    table = by_step(
        f"Scores and losses of {task.name}",
        [*header, f"Loss per {task.unit}"],
        [_percent(score), *map(_percent, task.by_source), losses],
        ["{:.2f}"] * (1 + len(task.by_source)) + ["{:.4f}"],
    )
    caption = (
        f"{task.name}: {name} on the dev corpus, times 100, and loss per annotated {task.unit}"
    )
    if batches is not None and batches.steps:
        caption += "; the thin line is the loss of batches, smoothed"
    alt = f"Line plots of {task.name} over steps: {'; '.join(filter(None, said))}."
    return Plot(f"learning-{task.number}", caption, alt, svg, table)


def gradient_plots(report: Report) -> list[Plot]:
    """Shares, factors and lengths. Without a balancer there are no factors to be seen."""
    by_batch = bool(report.batches)
    measures: list[tuple[data.Measure, str, str, str]] = [
        ("share", "share of the gradient", "Share of the encoder's gradient", "{:.1%}"),
        (
            "gradient",
            "gradient per unit",
            "Length of the gradient per annotated unit, before the balancer",
            "{:.3g}",
        ),
    ]
    if report.balancer is not None:
        measures.insert(1, ("factor", "factor", "Factors of the balancer", "{:.3g}"))
    found = []
    for measure, label, caption, form in measures:
        curves, numbers = [], []
        for task in report.tasks:
            if by_batch:
                points = data.of_batches(report.batches, task.name, per_step=report.per_step)
                curve = data.smooth(data.curve(points, task.name, measure), report.window)
            else:
                curve = data.curve(data.of_rows(report.rows, task.name), task.name, measure)
            if curve.steps:
                curves.append(curve)
                numbers.append(task.number)
        if not curves:
            continue
        name = f"gradients-{measure}"
        log = measure == "gradient" or (measure == "factor" and _far_apart(curves))
        caption += " (log scale)" * log
        svg = plots.line_plot(
            name,
            curves,
            y=label,
            numbers=numbers,
            log=log,
            percent=measure == "share",
        )
        said = "; ".join(_in_words(curve.task, curve, form) for curve in curves)
        how = f"means over {_steps(report.window)}" if by_batch else "means between evaluations"
        table = by_step(
            f"{caption}, {how}",
            ["Step", *(curve.task for curve in curves)],
            curves,
            [form] * len(curves),
        )
        alt = f"Line plot over steps, {label}: {said}."
        found.append(Plot(name, f"{caption}; {how}", alt, svg, table))
    return found


def _far_apart(curves: list[data.Curve]) -> bool:
    """Whether the smaller ones would be a line on the ground of a linear scale; False if some are not positive."""
    values = [value for curve in curves for value in curve.values]
    return min(values) > 0 and max(values) > 20 * min(values)


def heat_maps(report: Report) -> list[Plot]:
    """Cosines, conflicts, and the cosines of audits, of all pairs of tasks."""
    pairs = data.pairs_of(report.rows, report.batches)
    tasks = [t.name for t in report.tasks if any(t.name in pair for pair in pairs)]
    places = {task: i for i, task in enumerate(tasks)}
    texts = {
        "cosine": "Mean cosine of the gradients of two tasks; below 0 they pull apart",
        "conflict": "Share of batches in which two tasks pull apart",
        "true_cosine": "Mean cosine of the gradients of the encoder's parameters, where audited",
    }
    found = []
    for measure, caption in texts.items():
        values = np.full((len(tasks), len(tasks)), np.nan)
        rows, said = [], []
        is_share = measure == "conflict"
        for pair, point in pairs.items():
            value = getattr(point, measure)
            if value is not None:
                first, second = sorted(pair, key=places.__getitem__)
                values[places[second], places[first]] = value
                shown = f"{100 * value:.0f} %" if is_share else f"{value:+.3f}"
                rows.append([f"{first} and {second}", shown])
                said.append(f"{first} and {second} {shown}")
        if rows:
            name = f"pairs-{measure.replace('_', '-')}"
            svg = plots.heat_map(name, tasks, values, percent=is_share)
            alt = f"Heat map. {caption}: {', '.join(said)}."
            header = ["Tasks", "Share" if is_share else "Cosine"]
            table = Table(caption, header, rows)
            found.append(Plot(name, caption, alt, svg, table, is_wide=len(tasks) > WIDE))
    return found


def _in_words(name: str, curve: data.Curve, form: str = "{:.4g}") -> str:
    if not curve.steps:
        return ""
    first, last = form.format(curve.values[0]), form.format(curve.values[-1])
    return f"{name} from {first} at step {curve.steps[0]:,.0f} to {last} at step {curve.steps[-1]:,.0f}"


def _steps(n: int) -> str:
    return "a step" if n == 1 else f"{n:,} steps"


def _percent(curve: data.Curve) -> data.Curve:
    return data.Curve(curve.task, curve.steps, tuple(100 * value for value in curve.values))
