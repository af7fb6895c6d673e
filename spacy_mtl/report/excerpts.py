"""Examples of a head's errors, cut out of their documents; entities and spans are drawn by displaCy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from markupsafe import Markup, escape
from spacy import displacy
from spacy.tokens import Doc
from spacy.training import Example

from .errors_of import SPAN, Judged, Kind, Mistake

BEFORE, AFTER = 15, 25  # tokens around an error
NOTHING = Markup("")
LONGEST = 50  # tokens of a document without a place where the error is

ENTITY = (  # displaCy's own, but for colours that the page sets, and without escaping by hand
    '<mark class="entity" style="background: {bg}">{text} <span class="label">{label}</span></mark>'
)


@dataclass(frozen=True)
class Excerpt:
    """An error: what is marked in the text and what is around it, or, for entities and spans, both sides as markup."""

    gold: str
    predicted: str
    before: str = ""
    marked: str = ""
    after: str = ""
    gold_markup: Markup = NOTHING
    predicted_markup: Markup = NOTHING


def excerpts(
    component: Any, judged: Judged, examples: Sequence[Example], n: int
) -> Iterator[Excerpt]:
    """At most `n` errors, of as many kinds and documents as possible, the most frequent kinds first."""
    for mistake in pick(judged.mistakes, n):
        example = examples[mistake.document]
        gold, predicted = mistake.gold or "", mistake.predicted or ""
        if judged.kind in ("entities", "spans") and not judged.open:
            sides = _both_sides(component, example, mistake, judged.kind)
            yield Excerpt(gold, predicted, gold_markup=sides[0], predicted_markup=sides[1])
        elif judged.kind == "documents":
            yield Excerpt(gold, predicted, after=_start(example.predicted))
        else:
            doc = example.reference if judged.kind == "entities" else example.predicted
            if judged.what == "dependency labels":
                gold, predicted = _with_heads(example, mistake)
            yield Excerpt(gold, predicted, *_around(doc, mistake.start, mistake.end))


def pick(mistakes: Iterable[Mistake], n: int) -> list[Mistake]:
    """One of each kind in turn, the most frequent kinds first; from a document again only when all have been used."""
    by_pair: dict[Any, list[Mistake]] = {}
    for mistake in mistakes:
        by_pair.setdefault((mistake.gold, mistake.predicted), []).append(mistake)
    ranked = sorted(by_pair.values(), key=len, reverse=True)
    in_turn = [m for turn in zip_longest(*ranked) for m in turn if m is not None]
    seen: set[int] = set()
    first: list[Mistake] = []
    again: list[Mistake] = []
    for mistake in in_turn:
        (again if mistake.document in seen else first).append(mistake)
        seen.add(mistake.document)
    return (first + again)[:n]


def _around(doc: Doc, start: int, end: int) -> tuple[str, str, str]:
    first, last = max(0, start - BEFORE), min(len(doc), end + AFTER)
    before = "".join(token.text_with_ws for token in doc[first:start])
    after = doc[end - 1].whitespace_ + doc[end:last].text
    return (
        ("… " if first else "") + before,
        doc[start:end].text,
        after + (" …" if last < len(doc) else ""),
    )


def _start(doc: Doc) -> str:
    return doc[:LONGEST].text + (" …" if len(doc) > LONGEST else "")


def _with_heads(example: Example, mistake: Mistake) -> tuple[str, str]:
    heads, _ = example.get_aligned_parse(projectivize=False)
    doc, head = example.predicted, heads[mistake.start]
    gold = "" if head is None else f" of “{doc[head].text}”"
    return (
        f"{mistake.gold}{gold}",
        f"{mistake.predicted or ''} of “{doc[mistake.start].head.text}”",
    )


def _both_sides(
    component: Any, example: Example, mistake: Mistake, kind: Kind
) -> tuple[Markup, Markup]:
    """Gold and prediction around an error, which is in tokens of the reference."""
    reference, predicted = example.reference, example.predicted
    first, last = max(0, mistake.start - BEFORE), min(len(reference), mistake.end + AFTER)
    places = example.alignment.y2x[first:last]
    window = (int(places.min()), int(places.max()) + 1) if len(places) else (0, 0)
    key = None if kind == "entities" else component.cfg["spans_key"]
    return _drawn(reference, first, last, key), _drawn(predicted, *window, key)


def _drawn(doc: Doc, first: int, last: int, key: str | None) -> Markup:
    """Entities, or the spans of a group, of a part of a document. displaCy escapes texts, but not labels."""
    part = doc[first:last]
    found = doc.ents if key is None else doc.spans.get(key, ())
    inside = [span for span in found if span.start >= first and span.end <= last]
    settings = {"lang": doc.lang_, "direction": doc.vocab.writing_system.get("direction", "ltr")}
    parsed: dict[str, Any] = {"title": None, "settings": settings}
    options: dict[str, Any] = {}
    if key is None:
        offset = part.start_char
        parsed["text"] = part.text
        parsed["ents"] = [
            {
                "start": span.start_char - offset,
                "end": span.end_char - offset,
                "label": str(escape(span.label_)),
            }
            for span in inside
        ]
        options["template"] = ENTITY
    else:
        parsed["tokens"] = [token.text for token in part]
        parsed["spans"] = [
            {
                "start_token": span.start - first,
                "end_token": span.end - first,
                "label": str(escape(span.label_ or SPAN)),
            }
            for span in inside
        ]
    style = "ent" if key is None else "span"
    markup = displacy.render(parsed, style=style, manual=True, options=options, jupyter=False)
    return Markup(markup)
