"""What sharing gained or cost each task. Pure: results of runs in, numbers out."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

LEVEL = 0.05  # of the test, below which a difference is called one
FEARED = 0.1  # p of a test by itself, below which a loss counts though it is not shown
LEAST_SEEDS = 3  # with fewer there is no verdict
TOLERANCE = 1e-9  # of the largest gain, or of a point: a smaller spread comes from rounding
RIGHT_ANGLE = math.sqrt(0.5)  # `own_way` of equally long gradients that do not interact
MOST_TASKS = 9  # up to which all partitions are looked at: 21,147 of them


@dataclass(frozen=True)
class Difference:
    """Scores of one task in one group, less those of the task alone, seed by seed.

    gains: in points of the score, times 100. corrected_p: `p` after a correction for all tests of a report (see
        `corrected`). Default: None, for a test that is the only one, or that could not be made.
    """

    task: str
    group: tuple[str, ...]
    gains: tuple[float, ...]
    corrected_p: float | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(self.gains))

    @property
    def spread(self) -> float | None:
        """Sample standard deviation; None with one seed."""
        return float(np.std(self.gains, ddof=1)) if len(self.gains) > 1 else None

    @property
    def uncorrected_p(self) -> float | None:
        """Of a two-sided paired t-test that the mean is 0; None with one seed, or with the same gain in all."""
        if self.spread is None or self.spread <= self._rounding:
            return None
        t = self.mean / self.spread * math.sqrt(len(self.gains))
        return t_test(t, len(self.gains) - 1)

    @property
    def p(self) -> float | None:
        """The corrected one, where there is one."""
        return self.uncorrected_p if self.corrected_p is None else self.corrected_p

    @property
    def is_shown(self) -> bool:
        """True if the test, with at least three seeds, says that the task gains or loses."""
        return len(self.gains) >= LEAST_SEEDS and self.p is not None and self.p < LEVEL

    @property
    def is_feared(self) -> bool:
        """True if the task is expected to lose, whether or not that is shown.

        A correction for many tests guards against calling chance a loss. It does not make a loss unlikely, and a task
        that loses for certain costs more than a group that is not formed: so this is the test by itself, at 0.1; with
        fewer than three seeds, or without any spread, the mean.
        """
        if self.mean >= -self._rounding:
            return False
        p = self.uncorrected_p
        return len(self.gains) < LEAST_SEEDS or p is None or p < FEARED

    @property
    def verdict(self) -> str:
        """`gains`, `loses`, `no difference shown`, `too few seeds`, or `not tested: no spread`."""
        if len(self.gains) < LEAST_SEEDS:
            return "too few seeds"
        if self.is_shown:
            return "gains" if self.mean > 0 else "loses"
        if self.p is None and abs(self.mean) > self._rounding:
            return "not tested: no spread"
        return "no difference shown"

    @property
    def _rounding(self) -> float:
        return TOLERANCE * max(1.0, *map(abs, self.gains))


def t_test(t: float, df: int) -> float:
    """Two-sided p of Student's t with a whole number of degrees of freedom.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    theta = math.atan(abs(t) / math.sqrt(df))
    cos, sin = math.cos(theta), math.sin(theta)
    if df % 2:
        term, total = cos, cos if df > 1 else 0.0
        for k in range(3, df - 1, 2):
            term *= cos**2 * (k - 1) / k
            total += term
        inside = 2 / math.pi * (theta + sin * total)
    else:
        term = total = 1.0
        for k in range(2, df - 1, 2):
            term *= cos**2 * (k - 1) / k
            total += term
        inside = sin * total
    return min(max(1.0 - inside, 0.0), 1.0)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Each p after Holm's step-down correction for all of them, which holds however the tests depend on each other.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none gets smaller than the one before it, or
    larger than 1. None, of a test that could not be made, stays None and counts as one of the m.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2).
    """
    made = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    found: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, (len(ps) - rank) * p))
        found[place] = largest
    return found


def corrected(found: Iterable[Difference]) -> list[Difference]:
    """All differences of one report, with Holm's correction (see `holm`) over all their tests."""
    found = list(found)
    ps = holm([difference.uncorrected_p for difference in found])
    return [replace(d, corrected_p=p) for d, p in zip(found, ps, strict=True)]


def differences(results: Iterable[dict[str, Any]]) -> list[Difference]:
    """Of every task in every group of two or more, over the seeds that have both it and the task alone."""
    scores: dict[tuple[str, ...], dict[int, dict[str, float]]] = {}
    for result in results:
        scores.setdefault(tuple(result["heads"]), {})[result["seed"]] = result["scores"]
    found = []
    for group, by_seed in scores.items():
        for task in group if len(group) > 1 else ():
            alone = scores.get((task,), {})
            gains = tuple(
                100 * (by_seed[seed][task] - alone[seed][task])
                for seed in sorted(by_seed.keys() & alone.keys())
            )
            if gains:
                found.append(Difference(task, group, gains))
    return found


def partitions(tasks: Sequence[str]) -> Iterator[list[tuple[str, ...]]]:
    """All ways to put the tasks into groups."""
    if not tasks:
        yield []
        return
    first, *rest = tasks
    for n in range(len(rest) + 1):
        for others in combinations(rest, n):
            left = [task for task in rest if task not in others]
            for groups in partitions(left):
                yield [(first, *others), *groups]


def best_groups(
    tasks: Sequence[str],
    affinity: dict[tuple[str, str], float],
    *,
    without: Collection[tuple[str, ...]] = (),
) -> list[tuple[str, ...]]:
    """The partition in which the tasks gain most, all together, and none is expected to lose.

    What a task gains in a group is estimated by the mean of what it gains from each other member (Standley et al. 2020,
    arXiv 1905.07553, "higher order approximation"). With equal gains larger groups win: they are cheaper to run.

    affinity: (task, other) -> what the task gains from the other. without: groups of two or more that are not to be
        formed. Raises ValueError for more than nine tasks.
    """
    if len(tasks) > MOST_TASKS:
        raise ValueError(f"Groups are looked for among at most {MOST_TASKS} tasks.")

    refused = {frozenset(group) for group in without}

    @cache
    def is_good(group: tuple[str, ...]) -> bool:
        gains = [gain_in(group, task, affinity) for task in group]
        return frozenset(group) not in refused and all(round(gain, 9) >= 0.0 for gain in gains)

    return max(
        (p for p in partitions(tasks) if all(len(group) == 1 or is_good(group) for group in p)),
        key=lambda groups: (round(total_gain(groups, affinity), 9), -len(groups)),
    )


def gain_in(group: tuple[str, ...], task: str, affinity: dict[tuple[str, str], float]) -> float:
    """What a task gains in a group, as `best_groups` estimates it; 0 by itself."""
    others = [other for other in group if other != task]
    return sum(affinity[task, other] for other in others) / max(len(others), 1)


def total_gain(groups: Iterable[tuple[str, ...]], affinity: dict[tuple[str, str], float]) -> float:
    """What all tasks together gain in these groups, as `best_groups` estimates it."""
    return sum(gain_in(group, task, affinity) for group in groups for task in group)


def in_pairs(found: Iterable[Difference]) -> dict[tuple[str, str], Difference]:
    """(task, other) -> the difference of the task in the pair; larger groups are left out."""
    pairs = {}
    for difference in found:
        if len(difference.group) == 2:
            (other,) = set(difference.group) - {difference.task}
            pairs[difference.task, other] = difference
    return pairs


def pair_gains(found: Iterable[Difference]) -> dict[tuple[str, str], float]:
    """(task, other) -> the mean gain of the task in the pair."""
    return {pair: difference.mean for pair, difference in in_pairs(found).items()}


def expected_gains(found: Iterable[Difference]) -> dict[tuple[str, str], float]:
    """(task, other) -> the mean gain of the task in the pair if it is shown, or a loss that is to be feared; else 0.

    With fewer than three seeds nothing can be shown, and the mean stays.
    """
    return {
        pair: d.mean if d.is_shown or d.is_feared or len(d.gains) < LEAST_SEEDS else 0.0
        for pair, d in in_pairs(found).items()
    }


def own_way(own: float, other: float, cosine: float) -> float:
    """How far the sum of two gradients goes a task's own way: the cosine of the sum and the task's gradient.

    1: as alone. Two gradients of equal length at a right angle give 1 / sqrt(2); one that is drowned gives about its
    cosine with the other. To first order, a step of a given length along the sum lowers the task's loss by so much of
    what it would alone.

    own, other: lengths of the gradients, in any unit. Returns 0 if both are 0.
    """
    total = math.sqrt(max(own * own + other * other + 2.0 * own * other * cosine, 0.0))
    return (own + cosine * other) / total if total > 0 else 0.0


def by_pair(tasks: Iterable[str], values: Mapping[str, T]) -> dict[tuple[str, str], T]:
    """Values under `a/b` or `b/a`, by pairs of known tasks, sorted.

    Names may have a slash, so they are looked up, not split.
    """
    found = {}
    for pair in combinations(sorted(tasks), 2):
        for key in ("/".join(pair), "/".join(reversed(pair))):
            if key in values:
                found[pair] = values[key]
    return found


def named_groups(groups: Iterable[Sequence[str]]) -> str:
    """Which tasks to train with which, in words.

    >>> named_groups([["tagger"], ["ner", "textcat"]])
    'tagger alone; ner + textcat together'
    """
    return "; ".join(
        f"{group[0]} alone" if len(group) == 1 else f"{' + '.join(group)} together"
        for group in groups
    )


def own_way_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Of what `spacy mtl transfer` tells: task, the other, how far a step for both goes its way, and their cosine."""
    return [
        [task, other, f"{report['affinity'][f'{task}/{other}']:.2f}", f"{cosine:+.3f}"]
        for pair, cosine in by_pair(report["heads"], report["cosines"]).items()
        for task, other in (pair, pair[::-1])
        if f"{task}/{other}" in report["affinity"]
    ]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's, with mean ranks for ties; None for fewer than three values or without any variation."""
    if len(x) < 3:
        return None
    a, b = _ranks(x), _ranks(y)
    if not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype="d")
    return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])
