"""A schedule that can go back."""

from collections.abc import Iterable


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
