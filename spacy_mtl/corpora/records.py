"""Lines of JSON: a text and its annotation, under the names that `Example.from_dict` takes, checked one by one."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from spacy.language import Language
from spacy.parts_of_speech import IDS
from spacy.tokens import Doc
from spacy.training import Example, iob_to_biluo
from spacy.util import get_words_and_spaces

from ..errors import listed

# What a line may have beside its text, and its type
_KINDS: dict[str, type] = {
    **dict.fromkeys(("words", "spaces", "tags", "pos", "morphs", "lemmas"), list),
    **dict.fromkeys(("heads", "deps", "sent_starts", "entities"), list),
    **dict.fromkeys(("cats", "spans"), dict),
}
# The same in what `Example.to_dict` gives, and in older formats
_OTHER_NAMES = {
    **{"ORTH": "words", "SPACY": "spaces", "TAG": "tags", "POS": "pos", "MORPH": "morphs"},
    **{"LEMMA": "lemmas", "HEAD": "heads", "DEP": "deps", "SENT_START": "sent_starts"},
    "ner": "entities",
}
_BLOCKS = ("token_annotation", "doc_annotation")
_NO_ANNOTATION = ("text", "meta", "ids", "brackets")
_MISSING = (None, "", "-")
_SENT_STARTS = (True, False, None, -1)  # 1 is True, 0 is False


def from_record(record: Any, nlp: Language) -> Doc:
    """The reference document of a line; null is missing. Raises ValueError, with what is wrong, for what cannot be."""
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError('expected an object with "text"')
    text = record["text"]
    annotation = dict(_named(record))
    # `Example.to_dict` gives each token itself as its head where there is no parse
    if "deps" in annotation and not any(annotation["deps"]):
        annotation.pop("heads", None)
    words, spaces = annotation.pop("words", None), annotation.pop("spaces", None)
    doc = nlp.make_doc(text) if words is None else _tokenized(text, words, spaces, nlp)
    for key, check in _CHECKS.items():
        if key in annotation:
            annotation[key] = check(annotation[key], doc)
    return Example.from_dict(doc, annotation).reference


def _named(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of each kind of annotation, each once. Raises ValueError for one that does not exist."""
    seen: dict[str, str] = {}
    for given, value in _flattened(record):
        key = _OTHER_NAMES.get(given, given)
        if key == "links" and value:
            raise ValueError(
                "`links` cannot be written in JSON, whose keys are texts. Use `.spacy` files"
            )
        if key in _NO_ANNOTATION or key == "links":
            continue
        if key not in _KINDS:
            known = ", ".join((*_KINDS, "meta"))
            raise ValueError(
                f"`{key}` is not the name of any annotation; there are {known}. Prodigy's "
                "`data-to-spacy` makes `.spacy` files of its own lines"
            )
        if key in seen:
            raise ValueError(f"`{seen[key]}` and `{given}` are the same; leave one out")
        seen[key] = given
        if not isinstance(value, _KINDS[key]):
            need = "an object" if _KINDS[key] is dict else "a list"
            raise ValueError(f"expected {need} in `{given}`, got `{repr(value)[:80]}`")
        yield key, value


def _flattened(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if value is None:
            continue
        if key not in _BLOCKS:
            yield key, value
        elif isinstance(value, dict):
            yield from ((k, v) for k, v in value.items() if v is not None)
        else:
            raise ValueError(f"expected an object in `{key}`, got `{repr(value)[:80]}`")


def _tokenized(text: str, words: list[str], spaces: list[bool] | None, nlp: Language) -> Doc:
    """The text in the tokens of the record. Raises ValueError if they do not add up to it."""
    if spaces is None:
        found, spaces = get_words_and_spaces(words, text)
        if found != words:
            raise ValueError("expected `spaces`, since there is more than one space between words")
    doc = Doc(nlp.vocab, words=words, spaces=spaces)
    if doc.text != text:
        raise ValueError(f"expected words that make up the text, got `{doc.text}`")
    return doc


def _entities(values: list[Any], doc: Doc) -> list[Any]:
    """(start, end, label) in characters, or a BILUO tag for each token."""
    if values and all(isinstance(value, str) or value is None for value in values):
        return _biluo_tags(values, doc)
    checked = []
    for value in values:
        match value:
            case [int(start), int(end), str(label)]:
                checked.append((start, end, label))
            case _:
                raise ValueError(f"expected [start, end, label] in `entities`, got {value}")
        _refuse_outside(*checked[-1], doc)
    return checked


def _biluo_tags(tags: list[str | None], doc: Doc) -> list[str]:
    """BILUO tags as they are, IOB tags made to BILUO; null and `-`: it is not known what the token is."""
    if len(tags) != len(doc):
        raise ValueError(
            f"expected a tag for each of {len(doc)} tokens in `entities`, got {len(tags)}"
        )
    known = ["-" if tag in _MISSING else str(tag) for tag in tags]
    for tag in known:
        if tag not in ("-", "O") and not (tag[0] in "BILU" and tag[1:2] == "-" and tag[2:].strip()):
            raise ValueError(
                f"expected tags such as `B-PER`, `O` or null in `entities`, got `{tag}`"
            )
    if not any(tag[0] in "LU" for tag in known):
        runs = (list(run) for _, run in groupby(known, key=lambda tag: tag == "-"))
        return [tag for run in runs for tag in (run if run[0] == "-" else iob_to_biluo(run))]
    previous = "O"
    for tag in [*known, "O"]:
        inside = previous[0] in "BI"
        if inside != (tag[0] in "IL") or (inside and tag[2:] != previous[2:]):
            raise ValueError(
                f"expected BILUO or IOB tags in `entities`, got `{tag}` after `{previous}`"
            )
        previous = tag
    return known


def _spans(groups: dict[str, Any], doc: Doc) -> dict[str, list[tuple[Any, ...]]]:
    return {key: [_span(span, key, doc) for span in group] for key, group in groups.items()}


def _span(span: Any, key: str, doc: Doc) -> tuple[Any, ...]:
    match span:
        case [int(start), int(end), str(label)] | [int(start), int(end), str(label), str()]:
            _refuse_outside(start, end, label, doc)
        case _:
            raise ValueError(f"expected [start, end, label] in `spans.{key}`, got {span}")
    if doc.char_span(start, end) is None:
        cut = listed(t.text for t in doc if t.idx < end and t.idx + len(t) > start)
        raise ValueError(
            f"{span} in `spans.{key}` does not begin and end where tokens do ({cut}); the tokenizer's are taken unless "
            "the line has `words`"
        )
    return tuple(span)


def _refuse_outside(start: int, end: int, label: str, doc: Doc) -> None:
    if not 0 <= start < end <= len(doc.text):
        raise ValueError(f"expected [start, end, label] inside the text, got {[start, end, label]}")
    if not label.strip():
        raise ValueError(f"expected a label, got {[start, end, label]}")


def _cats(scores: dict[str, Any], doc: Doc) -> dict[str, float]:
    for label, score in scores.items():
        if not label.strip():
            raise ValueError("expected a name for each category in `cats`, got an empty one")
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ValueError(f"expected a score from 0 to 1 for category `{label}`, got `{score}`")
    return scores


def _pos(values: list[Any], doc: Doc) -> list[Any]:
    for value in values:
        if value is not None and value not in IDS:
            known = listed(name for name in IDS if name)
            raise ValueError(f"`{value}` in `pos` is no part of speech; there are {known}")
    return values


def _sent_starts(values: list[Any], doc: Doc) -> list[Any]:
    for value in values:
        if isinstance(value, str | float | list | dict) or value not in _SENT_STARTS:
            raise ValueError(f"expected true, false or null in `sent_starts`, got `{value}`")
    return values


_CHECKS: dict[str, Callable[[Any, Doc], Any]] = {
    "entities": _entities,
    "spans": _spans,
    "cats": _cats,
    "pos": _pos,
    "sent_starts": _sent_starts,
}
