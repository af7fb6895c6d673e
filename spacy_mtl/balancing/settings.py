"""Checks of a balancer's settings. Their keys are below `[components.shared_transformer.balancer]`."""

from collections.abc import Mapping
from typing import Any

from ..errors import bad_setting

_LARGEST_WEIGHT = 1e6


def number(
    value: Any, *, key: str, low: float, high: float, above: bool = False, below: bool = False
) -> float:
    """A number from `low` to `high`; `above` excludes the one, `below` the other. Raises ConfigError."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not fits or (above and value == low) or (below and value == high):
        first = f"above {low:g}" if above else f"at least {low:g}"
        last = f"below {high:g}" if below else f"at most {high:g}"
        raise bad_setting(value, key=f"balancer.{key}", need=f"a number, {first} and {last}")
    return float(value)


def whole_number(value: Any, *, key: str, low: int) -> int:
    """A whole number of at least `low`. Raises ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise bad_setting(value, key=f"balancer.{key}", need=f"a whole number, at least {low}")
    return value


def task_weights(value: Any) -> dict[str, float]:
    """The user's factor for each task that has one. Raises ConfigError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(task, str) for task in value):
        need = "a block with a number for each task, such as `tagger = 1.0`"
        raise bad_setting(value, key="balancer.weights", need=need)
    return {
        task: number(weight, key=f"weights.{task}", low=0.0, high=_LARGEST_WEIGHT)
        for task, weight in value.items()
    }
