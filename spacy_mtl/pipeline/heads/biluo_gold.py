"""Gold tags of a batch of examples, as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, ORTH
from spacy.tokens import Doc
from spacy.training import Example

from ... import errors
from ...types import Array, Bools, Ints
from .biluo_tags import BEGIN, IN, LAST, UNKNOWN, to_tags

_KINDS = {"B": 1, "I": 2, "L": 3, "U": 4}


def attributes(docs: Sequence[Doc], names: Sequence[int]) -> Any:
    """[T, names] attributes of all tokens of some documents."""
    arrays = [doc.to_array(list(names)).reshape(len(doc), len(names)) for doc in docs]
    return np.concatenate([np.zeros((0, len(names)), dtype=np.uint64), *arrays])


def gold_tags(examples: Sequence[Example], labels: Sequence[str], *, name: str) -> Ints:
    """[T] the tag of each predicted token; UNKNOWN where the annotation is missing or cannot be aligned, as in spaCy.

    Entities that begin or end at whitespace are UNKNOWN too: they could not be predicted.

    Raises ConfigError for a label that is not among `labels`; `name` is that of the head.
    """
    same = [_same_tokens(example) for example in examples]
    plain = [eg.reference for eg, is_same in zip(examples, same, strict=True) if is_same]
    fast = iter(_split(_read(plain, labels, name=name), plain))
    parts = [
        next(fast) if is_same else _aligned(example, labels, name=name)
        for example, is_same in zip(examples, same, strict=True)
    ]
    tags = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    space = attributes([eg.predicted for eg in examples], (IS_SPACE,))[:, 0].astype(bool)
    _forget_at_whitespace(tags, space)
    return tags


def _forget_at_whitespace(tags: Ints, space: Bools) -> None:
    """Make entities UNKNOWN whose first or last token is whitespace."""
    kind = (tags - 1) % 4 + 1
    for i in np.flatnonzero(space & (tags > 0)):
        if kind[i] == IN:
            continue
        start, end = i, i + 1
        while kind[start] in (IN, LAST) and start > 0 and tags[start - 1] > 0:
            start -= 1
        while kind[end - 1] in (BEGIN, IN) and end < len(tags) and tags[end] > 0:
            end += 1
        tags[start:end] = UNKNOWN


def _same_tokens(example: Example) -> bool:
    x, y = example.predicted, example.reference
    return len(x) == len(y) and bool((x.to_array(ORTH) == y.to_array(ORTH)).all())


def _split(tags: Ints, docs: Sequence[Doc]) -> list[Ints]:
    return np.split(tags, np.cumsum([len(doc) for doc in docs])[:-1]) if docs else []


def _read(docs: Sequence[Doc], labels: Sequence[str], *, name: str) -> Ints:
    values = attributes(docs, (ENT_IOB, ENT_TYPE, IS_SPACE))
    lengths = np.array([len(doc) for doc in docs], dtype=np.int64)
    annotated = np.array([doc.has_annotation("ENT_IOB") for doc in docs], dtype=bool)
    starts = np.zeros(len(values), dtype=bool)
    starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    strings = docs[0].vocab.strings if docs else None
    hashes = [strings.add(label) for label in labels] if strings is not None else []
    try:
        tags = to_tags(
            values[:, 0].astype(np.int64),
            values[:, 1],
            labels=hashes,
            doc_starts=starts,
            is_space=values[:, 2].astype(bool),
        )
    except KeyError as error:
        assert strings is not None
        raise errors.unknown_entity_label(strings[error.args[0]], name=name, known=labels) from None
    tags[np.repeat(~annotated, lengths)] = UNKNOWN
    return tags


def _aligned(example: Example, labels: Sequence[str], *, name: str) -> Ints:
    """Where the predicted document has other tokens than the reference."""
    numbers = {label: i for i, label in enumerate(labels)}
    tags = np.full(len(example.predicted), UNKNOWN, dtype=np.int64)
    for i, tag in enumerate(example.get_aligned_ner()):
        if tag == "O":
            tags[i] = 0
        elif tag not in (None, "-", ""):
            kind, _, label = tag.partition("-")
            if label not in numbers:
                raise errors.unknown_entity_label(label, name=name, known=labels)
            tags[i] = 4 * numbers[label] + _KINDS[kind]
    return tags


def wrong_tags(
    examples: Sequence[Example],
    key: str,
    labels: Sequence[str],
    gold: Ints,
    found: Ints,
    probabilities: Array,
    *,
    name: str,
) -> list[tuple[int, int]]:
    """(token, tag) pairs that make entities of spans which are known to be none: one for each span.

    Of a span of one token that is its U. Of a longer one, where the head finds that entity, it is the L of its last
    token, so that a longer entity may begin where it does; where the head would not choose that L by itself, the
    likeliest of the tags that lead to it. Tokens whose gold tag is known are left to it.

    key: the span group. gold, found: [T] gold tags, and those that the head finds. probabilities: [T, tags].
    Raises ConfigError for a span that is a gold entity too.
    """
    numbers = {label: i for i, label in enumerate(labels)}
    wrong = []
    offset = 0
    for example in examples:
        group = example.reference.spans.get(key, ())
        gold_ents = {(e.start_char, e.end_char, e.label) for e in example.reference.ents}
        for span in group:
            if (span.start_char, span.end_char, span.label) in gold_ents:
                raise errors.gold_and_wrong(span.text, span.label_, key=key, name=name)
        for span in example.get_aligned_spans_y2x(group, allow_overlap=True):
            if span.label_ not in numbers:
                continue  # the head cannot predict it anyway
            base = 4 * numbers[span.label_]
            start, final = offset + span.start, offset + span.end - 1
            if gold[final] != UNKNOWN:
                continue
            if start == final:
                wrong.append((final, base + 4))
                continue
            tags = [base + 1, *[base + 2] * (final - start - 1), base + 3]
            if found[start : final + 1].tolist() == tags:
                wrong.append(_to_unlearn(start, tags, gold, probabilities))
        offset += len(example.predicted)
    return wrong


def _to_unlearn(start: int, tags: list[int], gold: Ints, probabilities: Array) -> tuple[int, int]:
    pairs = list(zip(range(start, start + len(tags)), tags, strict=True))
    last = pairs[-1]
    if probabilities[last[0]].argmax() == last[1]:
        return last
    return max(
        (pair for pair in pairs if gold[pair[0]] == UNKNOWN), key=lambda pair: probabilities[pair]
    )
