"""Measuring systems in turn, and what the tables of speeds share."""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from training import Result, load_results, store_results

Row = dict[str, Any]


def clock() -> float:
    """Seconds: processor time if one thread computes, which other work hardly changes; else wall time.

    With a GPU wall time, when it has finished.
    """
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def conditions() -> str:
    """A line for a table: threads and kind of time."""
    n = torch.get_num_threads()
    if torch.cuda.is_initialized():
        return "Time is wall time."
    return f"Threads: {n}; time is {'processor time' if n == 1 else 'wall time'}."


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = clock()
    run()
    return clock() - start


def alternate(
    systems: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of each system in each round. Every round runs all systems once, every other round backwards."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(-warm, rounds):
        order = list(systems) if turn % 2 else list(systems)[::-1]
        for name in order:
            taken = seconds(systems[name])
            if turn >= 0:
                times[name].append(taken)
    return times


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile; of fewer than two values, the value itself."""
    if len(values) < 2:
        return list(values) * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(times: Mapping[str, list[float]], name: str, reference: str) -> list[float]:
    """Quartiles of how many times as fast a system is as another, within rounds."""
    return quartiles([b / a for a, b in zip(times[name], times[reference], strict=True)])


def show(values: list[float] | None) -> str:
    """Median and quartiles of ratios."""
    if values is None:
        return "-"
    low, middle, high = values
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def keep(path: Path, rows: list[Row], keys: tuple[str, ...]) -> list[Result]:
    """The stored rows and the new ones, which replace those that are the same in `keys`."""
    new = {tuple(row[key] for key in keys) for row in rows}
    old = [row for row in load_results(path) if tuple(row.get(key) for key in keys) not in new]
    return old + rows


def table(header: list[str], rows: list[list[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def store(
    path: Path, results: list[Result], title: str, body: list[str], *, how: str | None = None
) -> None:
    """Write JSON and Markdown. how: what kind of time it is, if not that of `clock`."""
    store_results(path, results, title, [how or conditions(), "", *body])
