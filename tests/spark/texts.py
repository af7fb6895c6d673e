"""Texts of every kind, and what spaCy alone says about them: an oracle that shares no code with the stage."""

import random
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc

from ..pipeline.sentences import TEXTS

ODD = [
    "😀",
    "👩‍👩‍👧",
    "日本語",
    "a\u0301",
    "שלום",
    "\n\n",
    "\t",
    "\u00a0",
    "\U0001d518",
    "\U0001d518nd",
    "-",
    "x" * 80,
]
WORDS = [word for text in TEXTS for word in text.split()]
LONG = 100_000


def make_texts(n: int, *, seed: int = 0, long: int | None = None) -> list[str | None]:
    """`n` texts: sentences of known words with odd ones between, 2% nulls, 2% empty, and one of `long` characters."""
    rng = random.Random(seed)
    texts: list[str | None] = []
    for i in range(n):
        if i % 50 in (7, 31):
            texts.append(None if i % 50 == 7 else "")
            continue
        words = rng.choices(WORDS, k=rng.randint(1, 14))
        if rng.random() < 0.5:
            words.insert(rng.randrange(len(words) + 1), rng.choice(ODD))
        texts.append(" ".join(words))
    if long:
        texts[n // 3] = ("The dog likes 😀 Anna . " * (long // 20))[:long]
    return texts


def oracle(doc: Doc) -> dict[str, list[tuple[Any, ...]]]:
    """Begin, inclusive end, result and what the metadata should say, straight from spaCy's attributes."""

    def at(token: Any) -> tuple[int, int]:
        return token.idx, token.idx + len(token.text) - 1

    best = max(doc.cats, key=lambda label: doc.cats[label])
    return {
        "document": [(0, len(doc.text) - 1, doc.text)],
        "sentence": [(s.start_char, s.end_char - 1, s.text) for s in doc.sents],
        "token": [(*at(t), t.text) for t in doc],
        "pos": [(*at(t), t.pos_) for t in doc],
        "tag": [(*at(t), t.tag_) for t in doc],
        "lemma": [(*at(t), t.lemma_) for t in doc],
        "entity": [(e.start_char, e.end_char - 1, e.text, e.label_) for e in doc.ents],
        "category": [(0, len(doc.text) - 1, best)],
        "dependency": [
            (*at(t), "ROOT", t.dep_, "0")
            if t.head is t or t.head.i == t.i
            else (*at(t), t.head.text, t.dep_, str(t.head.i - t.sent.start + 1))
            for t in doc
        ],
    }


EXTRA = {"entity": ("entity",), "dependency": ("relation", "head")}


def simplified(kind: str, annotations: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Annotations, as tuples or Spark's rows or dictionaries, in the oracle's form."""
    found = []
    for a in annotations:
        get = a.__getitem__ if isinstance(a, dict) else lambda name, a=a: getattr(a, name)
        metadata = dict(get("metadata"))
        extra = (metadata[name] for name in EXTRA.get(kind, ()))
        found.append((get("begin"), get("end"), get("result"), *extra))
    return found
