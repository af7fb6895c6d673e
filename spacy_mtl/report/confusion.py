"""Which labels are taken for which. Pure: pairs of labels in, a table out."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..types import Ints

Span = tuple[int, int, str]  # start, end, label
LabelPair = tuple[str | None, str | None]  # gold, predicted; None: nothing there
Match = tuple[Span | None, Span | None]

MOST = 12  # labels with a row of their own
MISSED, SPURIOUS = "missed", "spurious"


@dataclass(frozen=True)
class Confusion:
    """How often a gold label (row) was predicted as a label (column).

    labels: those with a row and a column of their own, the most frequent first. n_others: labels that are summed up in
    one more row and column; others_wrong: how many of their units were taken for another one of them, which the table
    cannot show.
    counts: [labels (+ 1 others) (+ 1 spurious), labels (+ 1 others) (+ 1 missed)]; has_absent: whether the last ones
    are there.
    n, n_right: units in all, and with the right label.
    """

    labels: tuple[str, ...]
    counts: Ints
    n_others: int
    others_wrong: int
    has_absent: bool
    n: int
    n_right: int

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows."""
        return (*self._known, *([SPURIOUS] if self.has_absent else []))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self._known, *([MISSED] if self.has_absent else []))

    @property
    def _known(self) -> tuple[str, ...]:
        others = [f"{self.n_others} other labels"] if self.n_others else []
        return (*self.labels, *others)


def confusion(pairs: Mapping[LabelPair, int], most: int = MOST) -> Confusion:
    """The table of all pairs; with more than `most` labels, of the most confused ones, and the others summed up."""
    total: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for (gold, predicted), n in pairs.items():
        for label in {gold, predicted} - {None}:
            assert label is not None
            wrong[label] += n * (gold != predicted)
        if gold is not None:
            total[gold] += n
    every = sorted({*total, *wrong}, key=lambda label: (-total[label], label))
    kept = every
    if len(every) > most:
        ranked = sorted(every, key=lambda label: (-wrong[label], -total[label], label))
        kept = [label for label in every if label in set(ranked[:most])]
    places = {label: i for i, label in enumerate(kept)}
    has_others = len(every) > len(kept)
    has_absent = any(None in pair for pair in pairs)
    size = len(kept) + has_others + has_absent
    counts = np.zeros((size, size), dtype=np.int64)
    others_wrong = 0
    for (gold, predicted), n in pairs.items():
        row, column = (
            size - 1 if label is None else places.get(label, len(kept))
            for label in (gold, predicted)
        )
        counts[row, column] += n
        if gold != predicted and gold not in places and predicted not in places:
            others_wrong += n * (None not in (gold, predicted))
    return Confusion(
        labels=tuple(kept),
        counts=counts,
        n_others=len(every) - len(kept),
        others_wrong=others_wrong,
        has_absent=has_absent,
        n=sum(pairs.values()),
        n_right=sum(n for (gold, predicted), n in pairs.items() if gold == predicted),
    )


def most_confused(pairs: Mapping[LabelPair, int]) -> list[tuple[LabelPair, int]]:
    """The wrong pairs, the most frequent first."""
    wrong = [(pair, n) for pair, n in pairs.items() if pair[0] != pair[1]]
    return sorted(wrong, key=lambda found: (-found[1], str(found[0])))


def match_spans(gold: Iterable[Span], predicted: Iterable[Span]) -> list[Match]:
    """Who is taken for whom: first spans that are the same, then those that differ in the label only.

    What is left is missed or spurious, also where a gold and a predicted span overlap.
    """
    left_gold, left_predicted = Counter(gold), Counter(predicted)
    both = left_gold & left_predicted
    matches: list[Match] = [(span, span) for span in both.elements()]
    left_gold -= both
    left_predicted -= both
    by_place: dict[tuple[int, int], list[Span]] = {}
    for span in sorted(left_predicted.elements()):
        by_place.setdefault(span[:2], []).append(span)
    for span in sorted(left_gold.elements()):
        others = by_place.get(span[:2])
        matches.append((span, others.pop(0) if others else None))
    matches += [(None, span) for others in by_place.values() for span in others]
    return sorted(matches, key=lambda match: next(s for s in match if s is not None))


def count_overlaps(matches: Collection[Match]) -> int:
    """Missed spans that overlap a spurious one: found, with other boundaries."""
    missed = [gold for gold, predicted in matches if predicted is None and gold is not None]
    spurious = [predicted for gold, predicted in matches if gold is None and predicted is not None]
    return sum(any(m[0] < s[1] and s[0] < m[1] for s in spurious) for m in missed)
