"""What will go wrong in training, as far as the corpora tell."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from .survey import Exposure, SourceSurvey, Survey, few

Level = Literal["error", "warning"]

OFTEN, SELDOM = 20.0, 1.0  # epochs: more than the one beside less than the other is worth a warning
TOO_OFTEN, TOO_SELDOM = 50.0, 0.5
CLASHING = 0.1  # share of a source's labels, by count, that another source never uses
TRAINED_ON_ABSENCE = {
    "textcat": "as being in no category",
    "senter": "as having no second sentence",
    "spancat": "as having no spans",
    "spancat_singlelabel": "as having no spans",
    "span_finder": "as having no spans",
}
TRANSITIONS = ("ner", "parser")
# heads for which a label that a source does not use is unknown there, not absent
MASKED_BY_LABEL = ("textcat_multilabel", "masked_textcat_multilabel", "masked_morphologizer")
FIRST_DRAWS = 100  # of a stream; spaCy initializes heads with so many
RARE_DRAWS = 5


@dataclass(frozen=True)
class Finding:
    """Something that will go wrong, and what to do about it. `error`: the training cannot do what the config asks."""

    level: Level
    text: str


def find_problems(
    train: Survey,
    dev: Survey,
    exposures: Mapping[str, Exposure],
    *,
    factories: Mapping[str, str],
    frozen: set[str],
    known_labels: Mapping[str, set[str]],
    streams: bool = False,
    samples: bool = True,
) -> list[Finding]:
    """What the corpora tell, the worst first.

    factories: the factory of each head. frozen: heads that are not trained. known_labels: what the config gives to
    heads in `[initialize]`. streams: whether the training corpus is a `MultiCorpus` that is streamed. samples: whether
    it is one at all.
    """
    heads = [name for name in factories if name not in frozen]
    found = [
        *_unannotated_heads(train, dev, heads),
        *_unknown_labels(train, known_labels, heads),
        *_trained_on_absence(train, factories, heads),
        *_only_negative(train, heads),
        *_clashing_labels(train, factories, heads),
        *(_rare_at_first(train, exposures, known_labels, heads) if streams else ()),
        *_labels_only_in_dev(train, dev, heads),
        *_exposure(exposures, samples=samples),
        *_overlap(train, dev),
    ]
    return sorted(found, key=lambda finding: finding.level != "error")


def _unannotated_heads(train: Survey, dev: Survey, heads: list[str]) -> Iterator[Finding]:
    for task in heads:
        if not train.annotated(task):
            yield Finding(
                "error",
                f"No source annotates `{task}`. Add one, freeze `{task}` in `[training] frozen_components`, or take it "
                "out of `[nlp] pipeline`.",
            )
        if not dev.annotated(task):
            yield Finding(
                "warning",
                f"The dev set has no gold for `{task}`: nobody will see how it does, and the best checkpoint is chosen "
                "without it. Add annotated documents to `[corpora.dev]`.",
            )


def _unknown_labels(
    train: Survey, known: Mapping[str, set[str]], heads: list[str]
) -> Iterator[Finding]:
    for task in heads:
        for source in train.annotated(task):
            count = source.tasks[task]
            given = set(count.labels) - known[task] if task in known else set()
            unknown = sorted(count.unknown | given)
            if unknown:
                yield Finding(
                    "error",
                    f"Source `{source.name}` has labels that `{task}` does not know: {few(unknown)}. Correct them, or "
                    f"add them to `[initialize.components.{task}.labels]`.",
                )


def _trained_on_absence(
    train: Survey, factories: Mapping[str, str], heads: list[str]
) -> Iterator[Finding]:
    for task in heads:
        taught = TRAINED_ON_ABSENCE.get(factories[task])
        unannotated = sum(s.documents - s.tasks[task].documents for s in train.sources.values())
        if not unannotated or not train.annotated(task):
            continue
        if taught:
            yield Finding(
                "warning",
                f"`{task}` will be trained on {unannotated} documents without annotation {taught}. Set "
                f'`[components.{task}] factory = "masked_{factories[task]}"`, for which missing is missing.',
            )
        elif factories[task] in TRANSITIONS:
            yield Finding(
                "warning",
                f"{unannotated} documents without annotation will change what `{task}` learns a little: where a "
                "feature has no token, spaCy's transition-based heads read the last token of the batch. Set "
                f'`[components.{task}] factory = "masked_{factories[task]}"`, which does not see these documents.',
            )


def _only_negative(train: Survey, heads: list[str]) -> Iterator[Finding]:
    for task in heads:
        for source in train.annotated(task):
            count = source.tasks[task]
            if count.documents >= 10 and count.only_negative == count.documents:
                stated = (
                    f"Take `{task}` out of `sources.{source.name}.tasks`"
                    if source.stated
                    else f"List what it does annotate in `sources.{source.name}.tasks`"
                )
                yield Finding(
                    "warning",
                    f"All {count.documents} documents of source `{source.name}` tell `{task}` that there is nothing to "
                    f"find. {stated}, if that is not so.",
                )


def _clashing_labels(
    train: Survey, factories: Mapping[str, str], heads: list[str]
) -> Iterator[Finding]:
    for task in heads:
        if factories[task] in MASKED_BY_LABEL:
            continue
        fix = "Map both to one scheme, or give each a head of its own."
        if factories[task] == "morphologizer":
            fix = (
                "If one has parts of speech only and the other features, set "
                f'`[components.{task}] factory = "masked_morphologizer"`. Otherwise map both to one scheme.'
            )
        for one, other in combinations(train.annotated(task), 2):
            missing = [_unshared(one, other, task), _unshared(other, one, task)]
            if not any(missing):
                continue
            parts = [
                f"only `{source.name}` has {few(labels)}"
                for source, labels in zip((one, other), missing, strict=True)
                if labels
            ]
            yield Finding(
                "warning",
                f"The labels of `{task}` clash: {', '.join(parts)}. Each source teaches that the other's labels do not "
                f"occur in its documents. {fix}",
            )


def _rare_at_first(
    train: Survey,
    exposures: Mapping[str, Exposure],
    known: Mapping[str, set[str]],
    heads: list[str],
) -> Iterator[Finding]:
    """Heads whose labels spaCy will look for among the first examples of a stream, where they are rare."""
    for task in heads:
        sources = train.annotated(task)
        draws = FIRST_DRAWS * sum(exposures[source.name].draws for source in sources)
        if sources and task not in known and draws < RARE_DRAWS:
            yield Finding(
                "warning",
                f"`{task}` learns its labels from the first {FIRST_DRAWS} examples of the stream, of which about "
                f"{draws:.1f} are annotated for it. Give them in `[initialize.components.{task}.labels]`; "
                "`python -m spacy init labels` writes them to a file.",
            )


def _unshared(one: SourceSurvey, other: SourceSurvey, task: str) -> list[str]:
    """Labels of one source that the other never uses, if they make up enough of the one and could be expected there."""
    mine, theirs = one.tasks[task].labels, other.tasks[task].labels
    if not mine or not theirs:
        return []
    per_unit = other.tasks[task].units / max(one.tasks[task].units, 1)
    # A rare label may be absent from a small source by chance: five or more would be expected there.
    absent = [label for label in mine if label not in theirs and mine[label] * per_unit >= 5]
    share = sum(mine[label] for label in absent) / mine.total()
    return sorted(absent) if share >= CLASHING or _respelled(absent, theirs) else []


def _respelled(labels: list[str], others: Mapping[str, Any]) -> bool:
    """True if a label differs from one of the other source by its case only."""
    return bool({label.lower() for label in labels} & {label.lower() for label in others})


def _labels_only_in_dev(train: Survey, dev: Survey, heads: list[str]) -> Iterator[Finding]:
    for task in heads:
        seen = {label for s in train.annotated(task) for label in s.tasks[task].labels}
        unseen = {label for s in dev.annotated(task) for label in s.tasks[task].labels} - seen
        if seen and unseen and train.units[task] != "entities":
            yield Finding(
                "warning",
                f"The dev set has labels of `{task}` that no source has: {few(sorted(unseen))}. They will count as "
                "errors.",
            )


def _exposure(exposures: Mapping[str, Exposure], *, samples: bool) -> Iterator[Finding]:
    epochs = {name: e.epochs for name, e in exposures.items() if e.epochs is not None}
    if not epochs:
        return
    most, least = max(epochs, key=lambda n: epochs[n]), min(epochs, key=lambda n: epochs[n])
    fix = "Change `[training] max_steps`."
    if samples:
        fix = "Change `[corpora.train] sampling` or a source's `weight`, or `[training] max_steps`."
    if epochs[most] > OFTEN and epochs[least] < SELDOM:
        yield Finding(
            "warning",
            f"Source `{most}` will be seen {epochs[most]:.1f} times and `{least}` {epochs[least]:.1f} times. {fix}",
        )
        return
    if epochs[most] > TOO_OFTEN:
        yield Finding("warning", f"Source `{most}` will be seen {epochs[most]:.1f} times. {fix}")
    if epochs[least] < TOO_SELDOM:
        yield Finding("warning", f"Source `{least}` will be seen {epochs[least]:.1f} times. {fix}")


def _overlap(train: Survey, dev: Survey) -> Iterator[Finding]:
    dev_texts = {text for source in dev.sources.values() for text in source.texts}
    for source in train.sources.values():
        shared = len(source.texts & dev_texts)
        if shared:
            yield Finding(
                "warning",
                f"{shared} of the {len(source.texts)} different texts of source `{source.name}` are in the dev set "
                "too: its scores will be too good.",
            )
