"""Scores of each head on the documents that are annotated for it, in all and by source.

spaCy's own scorers have three faults on mixed documents: an exclusive text classifier is told off for every document
that has no category, dependencies that are missing in one document are left out of all later ones, and a score that is
None in one evaluation loses its weight for the rest of the training.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from spacy.pipeline.dep_parser import DependencyParser
from spacy.pipeline.entity_linker import EntityLinker
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import logger

from .annotation import has_categories, is_annotated, keep_layers
from .corpora.sources import source_of
from .worst_task import KEY, WorstTask, is_number, main_keys, main_score

ScoreFunction = Callable[..., dict[str, Any]]
Scores = dict[str, Any]

_NOT_A_NUMBER = ("_per_type", "_per_feat", "_desc")


def masked_textcat_score(examples: Iterable[Example], **kwargs: Any) -> Scores:
    """`Scorer.score_cats` for exclusive classes, over the documents that have gold categories.

    Only categories among `labels` count, if these are given. spaCy's own scorer counts a prediction on a document
    without any as a false positive. Every score is None if no document has categories.
    """
    labels = list(kwargs.get("labels", ()))
    annotated = [eg for eg in examples if has_categories(eg.reference, labels)]
    scores = Scorer.score_cats(annotated, "cats", multi_label=False, **kwargs)
    return scores if annotated else without_numbers(scores)


def without_numbers(scores: Scores) -> Scores:
    """None in place of every score; descriptions stay, since `spacy evaluate` prints them."""
    return {key: value if isinstance(value, str) else None for key, value in scores.items()}


def make_masked_textcat_scorer() -> ScoreFunction:
    """Scorer of `masked_textcat` (`spacy_mtl.MaskedTextcatScorer.v1`)."""
    return masked_textcat_score


class TaskScorer:
    """The scorer of a head behind a shared_transformer, whether it listens or not; put in the place of the head's own.

    It gives the head's own scorer the documents that are annotated for the head, and no others: so what else is in the
    corpus, and in which order, changes nothing. For documents from a `spacy_mtl.MultiCorpus.v1` it adds each score by
    source, such as `ents_f@gum`.

    In the evaluations of `spacy train`, a score that cannot be computed for lack of annotated documents keeps its last
    value, or is 0.0 if it never had one; spaCy would drop it from `[training.score_weights]` for good. Elsewhere it is
    None. There it also adds `worst_task`, with which `[training.score_weights]` can choose the checkpoint whose worst
    task is best (see `spacy_mtl.worst_task.WorstTask`).

    Two heads of a kind, such as two classifiers, have scores of the same names. The last head that has annotated
    documents gives these, as in spaCy; those of each head are there too, as `cats_score/NAME`.

    scorer: the head's own. component: the head. worst_task: follows all heads of the pipeline, if it is known. heads:
        all heads that are scored so, by name, in the order of the pipeline.
    """

    def __init__(self, scorer: ScoreFunction, component: Any) -> None:
        self.scorer = scorer
        self.component = component
        self.worst_task: WorstTask | None = None
        self.heads: dict[str, Any] = {}
        self.last: Scores = {}

    def __call__(self, examples: Iterable[Example], **kwargs: Any) -> Scores:
        """All that the head's own scorer returns, and by source. None where no document is annotated."""
        annotated = [eg for eg in examples if is_annotated(self.component, eg.reference)]
        scores = self._score(annotated, **kwargs)
        by_source: dict[str, list[Example]] = defaultdict(list)
        for example in annotated:
            name = source_of(example.reference)
            if name is not None:
                by_source[name].append(example)
        for name, part in by_source.items():
            found = scores if len(part) == len(annotated) else self._score(part, **kwargs)
            scores |= {f"{k}@{name}": v for k, v in found.items() if is_number(v)}
        alike = self._alike()
        suffix = f"/{self.component.name}" if len(alike) > 1 else ""
        if suffix:
            own = {k: v for k, v in scores.items() if v is None or is_number(v)}
            scores |= {f"{key}{suffix}": value for key, value in own.items()}
        if is_training():
            scores = self._held(scores, n_annotated=len(annotated))
            main = main_score(self.component, scores)
            if self.worst_task is not None and main is not None:
                scores[KEY] = self.worst_task.add(self.component.name, main)
        if suffix and not annotated and alike[0] is not self.component:
            # what another head of the kind has scored must stand
            scores = {k: v for k, v in scores.items() if "@" in k or k.endswith(suffix) or k == KEY}
        return scores

    def __getstate__(self) -> dict[str, Any]:
        """A head that is copied or pickled does not take the others along."""
        return {**self.__dict__, "heads": {}}

    def _alike(self) -> list[Any]:
        """The heads whose scores have this head's names, and the head itself."""
        keys = set(main_keys(self.component))
        return [h for h in self.heads.values() if h is self.component or keys & set(main_keys(h))]

    def _score(self, examples: list[Example], **kwargs: Any) -> Scores:
        if not examples:
            return without_numbers(self.scorer([], **kwargs))
        component = self.component
        if isinstance(component, DependencyParser):
            scores = self.scorer(examples, **kwargs)
            if any(_is_partly_parsed(eg.reference) for eg in examples):
                merged = self.scorer([_merged(examples)], **kwargs)
                scores |= {key: value for key, value in merged.items() if key.startswith("dep")}
            return scores
        if isinstance(component, EntityLinker):
            examples = [
                Example(eg.predicted, keep_layers(eg.reference, ["links"])) for eg in examples
            ]
        elif isinstance(component, TextCategorizer) and not isinstance(
            component, MultiLabel_TextCategorizer
        ):
            examples = [_with_prediction(eg, component.labels) for eg in examples]
        return self.scorer(examples, **kwargs)

    def _held(self, scores: Scores, *, n_annotated: int) -> Scores:
        self.last |= {key: value for key, value in scores.items() if is_number(value)}
        lacking = [k for k, v in scores.items() if v is None and not k.endswith(_NOT_A_NUMBER)]
        if not n_annotated:
            logger.warning(
                "No document of this evaluation is annotated for `%s`: its scores stay as they were.",
                self.component.name,
            )
        held = {key: self.last.get(key, 0.0) for key in lacking}
        gone = {key: value for key, value in self.last.items() if key not in scores}
        return {**scores, **gone, **held}


def is_training() -> bool:
    """True inside an evaluation of `spacy train`."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if (
            frame.f_code.co_name == "evaluate"
            and frame.f_globals.get("__name__") == "spacy.training.loop"
        ):
            return True
    return False


def install(
    component: Any, worst_task: WorstTask | None = None, heads: dict[str, Any] | None = None
) -> None:
    """Put a TaskScorer in the place of a head's scorer, once; that of another pipeline's head starts anew.

    heads: all heads of the pipeline that are scored so; the component is added.
    """
    scorer = getattr(component, "scorer", None)
    if not callable(scorer):
        return
    if not isinstance(scorer, TaskScorer):
        scorer = component.scorer = TaskScorer(scorer, component)
    if scorer.worst_task is not worst_task:
        scorer.worst_task, scorer.last = worst_task, {}
    scorer.heads = {} if heads is None else heads
    scorer.heads[component.name] = component


def _is_partly_parsed(doc: Doc) -> bool:
    return not all(token.dep for token in doc)


def _merged(examples: list[Example]) -> Example:
    """All examples as one, in which every token has an index of its own.

    `Scorer.score_deps` keeps the indices of tokens without a gold dependency from one document to the next.
    """
    predicted, reference = (
        Doc.from_docs(
            docs,
            ensure_whitespace=False,
            attrs=["SPACY", "DEP", "HEAD"],
            exclude=("spans", "tensor", "user_data"),
        )
        for docs in zip(*((eg.predicted, eg.reference) for eg in examples), strict=True)
    )
    return Example(predicted, reference)


def _with_prediction(example: Example, labels: Iterable[str]) -> Example:
    """The example; with a wrong prediction if there is none, for which spaCy's scorer raises an IndexError."""
    labels = list(labels)
    if any(label in example.predicted.cats for label in labels):
        return example
    gold = max(labels, key=lambda label: example.reference.cats.get(label, 0.0))
    predicted = example.predicted.copy()
    predicted.cats = {label: 0.0 for label in labels if label != gold} or {gold: 0.0}
    return Example(predicted, example.reference)
