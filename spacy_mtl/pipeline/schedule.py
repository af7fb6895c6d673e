"""Schedules: those of a config, and one that can go back."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def schedules_of(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schedules of the optimizers of a config, for the heads and of components, each with its place."""
    blocks = {"training": config["training"]}
    blocks |= {f"components.{name}": block for name, block in config["components"].items()}
    for place, block in blocks.items():
        for key, value in (block.get("optimizer") or {}).items():
            if isinstance(value, dict):
                yield f"{place}.optimizer.{key}", value


class Replayed:
    """What a schedule, which may be a generator, gives at each step, counted from 0; its last value stays.

    before: what counts as its last value until it has given one.
    """

    def __init__(self, values: Iterable[float], *, before: float) -> None:
        self._values = iter(values)
        self._past: list[float] = []
        self.last = before

    def __call__(self, step: int) -> float:
        """The value at a step, asked for in any order."""
        while len(self._past) <= step:
            self.last = float(next(self._values, self.last))
            self._past.append(self.last)
        return self._past[step]
