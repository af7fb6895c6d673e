"""What a Doc says, as annotations in the schema that Spark NLP's users know. Pure: no Spark.

    annotatorType  begin  end  result  metadata  embeddings

`begin` and `end` are offsets in the text, `end` inclusive: an empty span has `end = begin - 1`. Their unit is the code
point, which is what Python and Spark SQL's `substring` count; with `utf16` it is the UTF-16 code unit, which is what
`String` counts in Java and Scala, and Spark NLP with it. The two differ behind characters beyond U+FFFF, such as emoji.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from thinc.api import to_numpy

# Labels whose name is taken in the metadata.
SCORE_NAMES = {"sentence": "label.sentence"}


class Annotation(NamedTuple):
    """One annotation. It equals the `Row` that Spark returns for it.

    metadata: strings by name; `sentence` is the number of the sentence, from 0. embeddings: of a token, else empty.
    """

    annotatorType: str  # noqa: N815  (names and order are those of the schema)
    begin: int
    end: int
    result: str
    metadata: Mapping[str, str]
    embeddings: Sequence[float] = ()


@dataclass(frozen=True)
class Categories:
    """The labels of one text classifier. threshold: None if exactly one of them is true, else the least score."""

    labels: tuple[str, ...]
    threshold: float | None

    def chosen(self, cats: Mapping[str, float]) -> list[str]:
        """The labels that hold, the most probable first; none for a document without scores."""
        scores = {label: cats[label] for label in self.labels if label in cats}
        ranked = sorted(scores, key=lambda label: -scores[label])
        if self.threshold is None:
            return ranked[:1]
        return [label for label in ranked if scores[label] >= self.threshold]


def categories_of(nlp: Language) -> tuple[Categories, ...]:
    """The text classifiers of a pipeline, in its order."""
    found = []
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, TextCategorizer):
            several = isinstance(pipe, MultiLabel_TextCategorizer)
            threshold = float(pipe.cfg["threshold"] or 0.0) if several else None
            found.append(Categories(tuple(pipe.labels), threshold))
    return tuple(found)


class Reading:
    """A Doc with what several kinds of annotation need, computed once.

    doc: from the pipeline. classifiers: from `categories_of`. utf16: unit of the offsets.
    """

    def __init__(
        self, doc: Doc, classifiers: Sequence[Categories] = (), *, utf16: bool = False
    ) -> None:
        self.doc = doc
        self.classifiers = classifiers
        self.units = utf16_units(doc.text) if utf16 else None
        spans = doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2)
        starts, stops = spans[:, 0], spans.sum(axis=1)
        if self.units is not None:
            starts, stops = self.units[starts], self.units[stops]
        self.begins: list[int] = starts.tolist()
        self.ends: list[int] = (stops - 1).tolist()
        has_sentences = doc.has_annotation("SENT_START")
        self.sentences = [(s.start, s.end) for s in doc.sents] if has_sentences else [(0, len(doc))]
        self.in_sentence = [
            {"sentence": str(i)} for i, (a, b) in enumerate(self.sentences) for _ in range(a, b)
        ]

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Begin and inclusive end of the characters from `start` to before `stop`."""
        if self.units is not None:
            start, stop = int(self.units[start]), int(self.units[stop])
        return start, stop - 1

    def by_token(self, kind: str, results: Sequence[str]) -> list[Annotation]:
        """One annotation for each token."""
        columns = (self.begins, self.ends, results, self.in_sentence)
        return [Annotation(kind, *values) for values in zip(*columns, strict=True)]


def utf16_units(text: str) -> Any:
    """How many UTF-16 code units stand before each character, and in all: int64 [characters + 1].

    >>> utf16_units("a😀b").tolist()
    [0, 1, 3, 4]
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    units = np.ones(len(points) + 1, dtype=np.int64)
    units[0] = 0
    units[1:] += points > 0xFFFF
    return np.cumsum(units)


def document(reading: Reading) -> list[Annotation]:
    text = reading.doc.text
    return [Annotation("document", *reading.span(0, len(text)), text, {"sentence": "0"})]


def sentence(reading: Reading) -> list[Annotation]:
    found = []
    for i, (start, stop) in enumerate(reading.sentences):
        if stop > start:
            span = (reading.begins[start], reading.ends[stop - 1])
            text = reading.doc[start:stop].text
            found.append(Annotation("document", *span, text, {"sentence": str(i)}))
    return found


def token(reading: Reading) -> list[Annotation]:
    return reading.by_token("token", [t.text for t in reading.doc])


def pos(reading: Reading) -> list[Annotation]:
    return reading.by_token("pos", [t.pos_ for t in reading.doc])


def tag(reading: Reading) -> list[Annotation]:
    return reading.by_token("pos", [t.tag_ for t in reading.doc])


def lemma(reading: Reading) -> list[Annotation]:
    return reading.by_token("token", [t.lemma_ for t in reading.doc])


def entity(reading: Reading) -> list[Annotation]:
    found = []
    for i, ent in enumerate(reading.doc.ents):
        metadata = {"entity": ent.label_, **reading.in_sentence[ent.start], "chunk": str(i)}
        if ent.kb_id_:
            metadata["kb_id"] = ent.kb_id_
        span = (reading.begins[ent.start], reading.ends[ent.end - 1])
        found.append(Annotation("chunk", *span, ent.text, metadata))
    return found


def category(reading: Reading) -> list[Annotation]:
    """The most probable label of each exclusive classifier, and of the others the labels that reach the threshold.

    The metadata has the score of each of the classifier's labels; that of one called `sentence` is `label.sentence`.
    """
    cats = reading.doc.cats
    known = {label for classifier in reading.classifiers for label in classifier.labels}
    others = Categories(tuple(label for label in cats if label not in known), 0.5)
    span = reading.span(0, len(reading.doc.text))
    found = []
    for classifier in (*reading.classifiers, others):
        scores = {
            SCORE_NAMES.get(label, label): str(cats[label])
            for label in classifier.labels
            if label in cats
        }
        for label in classifier.chosen(cats):
            metadata = {"sentence": "0", **scores}
            found.append(Annotation("category", *span, label, metadata))
    return found


def dependency(reading: Reading) -> list[Annotation]:
    """`result` is the head's text, `head` its number in the sentence from 1; the root has `ROOT` and 0."""
    found = []
    for start, stop in reading.sentences:
        for t in reading.doc[start:stop]:
            head = t.head.i
            is_root = head == t.i
            metadata = {
                **reading.in_sentence[t.i],
                "relation": t.dep_,
                "head": str(0 if is_root else head - start + 1),
                "head.begin": str(-1 if is_root else reading.begins[head]),
                "head.end": str(-1 if is_root else reading.ends[head]),
            }
            span = (reading.begins[t.i], reading.ends[t.i])
            result = "ROOT" if is_root else t.head.text
            found.append(Annotation("dependency", *span, result, metadata))
    return found


def embeddings(reading: Reading) -> list[Annotation]:
    """`doc.tensor`, a vector for each token; that of whitespace is zero, and its `isOOV` is true."""
    vectors: Any = to_numpy(reading.doc.tensor)
    if len(vectors) != len(reading.doc):
        return []
    return [
        a._replace(
            metadata={
                **a.metadata,
                "token": a.result,
                "pieceId": "-1",
                "isWordStart": "true",
                "isOOV": str(not vector.any()).lower(),
            },
            embeddings=vector,
        )
        for a, vector in zip(
            reading.by_token("word_embeddings", [t.text for t in reading.doc]), vectors, strict=True
        )
    ]


class Kind(NamedTuple):
    """A kind of annotation.

    annotator_type: as the column's metadata has it. read: the annotations of a document. written_as: what spaCy's
        components declare that they assign; empty for what every Doc has.
    """

    annotator_type: str
    read: Callable[[Reading], list[Annotation]]
    written_as: frozenset[str] = frozenset()


KINDS = {
    "document": Kind("document", document),
    "sentence": Kind("document", sentence, frozenset({"doc.sents", "token.is_sent_start"})),
    "token": Kind("token", token),
    "pos": Kind("pos", pos, frozenset({"token.pos"})),
    "tag": Kind("pos", tag, frozenset({"token.tag"})),
    "lemma": Kind("token", lemma, frozenset({"token.lemma"})),
    "entity": Kind("chunk", entity, frozenset({"doc.ents"})),
    "category": Kind("category", category, frozenset({"doc.cats"})),
    "dependency": Kind("dependency", dependency, frozenset({"token.dep"})),
    "embeddings": Kind("word_embeddings", embeddings, frozenset({"doc.tensor"})),
}
