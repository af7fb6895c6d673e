"""Heads of our own."""

from collections.abc import Iterable

from .base import ConfigError, listed


def nothing_annotated(name: str, *, needs: str, takes_labels: bool) -> ConfigError:
    labels = f" give its labels in `[initialize.components.{name}.labels]`," if takes_labels else ""
    return ConfigError(
        f"`{name}` has nothing to learn from: none of the examples that it is initialized with has {needs}. Add "
        "examples that do to `[corpora.train]` (with `max_epochs = -1` among the first 100, which are all that spaCy "
        f"shows),{labels} or take `{name}` out of `[nlp] pipeline`."
    )


def bad_entity_label(label: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`{label!r}` cannot be a label of `{name}`: labels are texts, such as `PERSON`, that are not empty. Correct "
        f"it where it is added, or in `[initialize.components.{name}] labels`."
    )


def unknown_entity_label(label: str, *, name: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"The entity label `{label}` is in a training document but not among the labels of `{name}`: {listed(known)}. "
        f"Correct the document, or name the label in `[initialize.components.{name}] labels`."
    )


def gold_and_wrong(text: str, label: str, *, key: str, name: str) -> ConfigError:
    return ConfigError(
        f"`{text}` is a gold entity `{label}`, and in the span group `{key}`, which "
        f"`components.{name}.incorrect_spans_key` names for spans that are no entities. Take it out of one of the two."
    )


def not_a_biluo_model(name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.model` cannot be used by `biluo_ner`, which decodes tags and not transitions. Replace the "
        f'block `[components.{name}.model]` by `@architectures = "spacy_mtl.BiluoTagger.v1"` and keep its `tok2vec`.'
    )
