"""The checkpoint whose worst task is best: a score for `[training.score_weights]` that looks at all tasks."""

import math
from dataclasses import dataclass, field
from typing import Any

from spacy.pipeline.dep_parser import DependencyParser
from spacy.pipeline.edit_tree_lemmatizer import EditTreeLemmatizer
from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.senter import SentenceRecognizer
from spacy.pipeline.span_finder import SpanFinder
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.textcat import TextCategorizer

KEY = "worst_task"

# The first that a head has counts. Subclasses stand before their bases.
_MAIN_SCORES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Morphologizer, ("morph_acc", "pos_acc")),
    (SentenceRecognizer, ("sents_f",)),
    (Tagger, ("tag_acc",)),
    (EditTreeLemmatizer, ("lemma_acc",)),
    (DependencyParser, ("dep_las",)),
    (EntityRecognizer, ("ents_f",)),
    (EntityLinker, ("nel_micro_f",)),
    (TextCategorizer, ("cats_score",)),
)


def main_score(component: Any, scores: dict[str, Any]) -> float | None:
    """The one score that stands for a head.

    For a head of another kind it is the mean of its scores whose names end in `_f`, `_acc` or `_score`. A head of your
    own may name it in an attribute `main_score`. None if there is none.
    """
    for key in main_keys(component):
        if is_number(scores.get(key)):
            return float(scores[key])
    if not any(isinstance(component, kind) for kind, _ in _MAIN_SCORES):
        found = [v for k, v in scores.items() if k.endswith(("_f", "_acc", "_score"))]
        numbers = [float(v) for v in found if is_number(v)]
        return sum(numbers) / len(numbers) if numbers else None
    return None


def main_keys(component: Any) -> tuple[str, ...]:
    """The scores that can stand for a head, the first that it has; none for a head of another kind."""
    own = getattr(component, "main_score", None)
    if own is not None:
        return (str(own),)
    if isinstance(component, SpanCategorizer | SpanFinder):
        return (f"spans_{component.cfg['spans_key']}_f",)
    return next((keys for kind, keys in _MAIN_SCORES if isinstance(component, kind)), ())


def is_number(value: Any) -> bool:
    """True for a score; scorers also return None, texts and dicts."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def part_of(value: float) -> float:
    """The part of its best score that an evaluation's worst task had: a `WorstTask.value` without what it counts.

    >>> part_of(0.4), part_of(3.4), part_of(2.0)
    (0.4, 0.4, 1.0)
    """
    return value if value <= 1.0 else round(value - math.ceil(value) + 1.0, 9)


@dataclass
class WorstTask:
    """Follows the main scores of all heads through the evaluations of a training.

    In each evaluation a task has a part of the best score that it has had so far; the smallest of these is the
    evaluation's worst task. A later best score makes earlier evaluations worse, so all are compared anew each time.

    spaCy keeps the checkpoint with the highest score, and cannot be told that earlier scores have changed. So `value`
    counts: an evaluation that is better than all before, as they look now, gets (how often that has happened) + 1 +
    (part of its worst task), which is more than any before it; any other gets the part of its worst task alone.

    evaluations: main scores by task, of those before the current one. n_best: how many of them were the best in their
        time. best_steps: the step at which each task was best, for whoever calls `note_step`.
    """

    evaluations: list[dict[str, float]] = field(default_factory=list)
    current: dict[str, float] = field(default_factory=dict)
    n_best: int = 0
    best_steps: dict[str, int] = field(default_factory=dict)

    def reset(self) -> None:
        """A new training begins."""
        self.evaluations, self.current, self.n_best, self.best_steps = [], {}, 0, {}

    def add(self, task: str, score: float) -> float:
        """Add a task's main score in an evaluation; a task that comes again begins the next one.

        Returns the evaluation's value, over the tasks so far.
        """
        if task in self.current:
            self._close()
        self.current[task] = score
        return self.value

    @property
    def value(self) -> float:
        """Of the current evaluation."""
        *before, worst = self._worst_parts()
        return self.n_best + 1 + worst if worst > max(before, default=-1.0) else worst

    def _worst_parts(self) -> list[float]:
        """Of each evaluation, the current one last: the smallest part that a task has of its best score so far."""
        evaluations = [*self.evaluations, self.current]
        best: dict[str, float] = {}
        for scores in evaluations:
            for task, score in scores.items():
                best[task] = max(score, best.get(task, score))
        return [
            min((s / best[t] if best[t] > 0 else 1.0 for t, s in scores.items()), default=0.0)
            for scores in evaluations
        ]

    def note_step(self, step: int) -> None:
        """Say at which step of the training the current evaluation was made."""
        for task, score in self.current.items():
            if all(score > before.get(task, float("-inf")) for before in self.evaluations):
                self.best_steps[task] = step

    def _close(self) -> None:
        self.n_best += self.value > 1.0  # only that of a best one is
        self.evaluations.append(self.current)
        self.current = {}
