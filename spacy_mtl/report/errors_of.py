"""What a head got right and wrong on documents that the pipeline has annotated: pairs of labels, and where they are."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from spacy.language import Language
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
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example

from ..annotation import heads_of, is_annotated, known_sentence_starts, layers_of
from ..corpora.sources import source_of
from ..pipeline.heads.biluo_ner import BiluoEntityRecognizer
from ..pipeline.heads.masking import align_known
from .confusion import LabelPair, count_overlaps, match_spans
from .confusion import Span as LabelledSpan

Kind = Literal["tokens", "entities", "spans", "documents"]
SPAN = "span"  # the label of a span without one
NO, YES = "inside", "start"  # of a sentence


@dataclass(frozen=True)
class Mistake:
    """A unit with a wrong label.

    document: its place among the examples. start, end: tokens of the predicted document; for entities and spans of the
    reference; 0 and 0 for a whole document. gold, predicted: None for nothing.
    """

    document: int
    start: int
    end: int
    gold: str | None
    predicted: str | None


@dataclass
class Judged:
    """One kind of annotation of a head.

    what: the name of its labels. kind: what has a label. pairs: how often a gold label was predicted as another, or as
    itself. open: labels without an end, such as lemmas, of which no table can be made. note: what the pairs do not say.
    """

    what: str
    kind: Kind
    pairs: Counter[LabelPair] = field(default_factory=Counter)
    mistakes: list[Mistake] = field(default_factory=list)
    open: bool = False
    note: str = ""

    def add(self, document: int, start: int, end: int, gold: Any, predicted: Any) -> None:
        """Count a unit."""
        self.pairs[gold, predicted] += 1
        if gold != predicted:
            self.mistakes.append(Mistake(document, start, end, gold, predicted))


def choose(examples: Iterable[Example], limit: int) -> list[Example]:
    """At most so many examples, as many of each source, evenly from its beginning to its end."""
    by_source: dict[str | None, list[Example]] = {}
    for example in examples:
        by_source.setdefault(source_of(example.reference), []).append(example)
    left, chosen = limit, []
    groups = sorted(by_source.values(), key=len)
    for i, group in enumerate(groups):
        n = min(len(group), left // (len(groups) - i))
        left -= n
        places = {int(p) for p in np.linspace(0, len(group) - 1, n).round()} if n else set()
        chosen += [group[p] for p in sorted(places)]
    return chosen


def predict(nlp: Language, examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples as each head leaves them, by its name.

    Where two heads write the same annotation, each is asked without the other.
    """
    heads = {name: layers_of(pipe) or frozenset() for name, pipe in heads_of(nlp).items()}
    found: dict[tuple[str, ...], list[Example]] = {}
    by_head = {}
    for name, layers in heads.items():
        rivals = tuple(
            other
            for other, others in heads.items()
            if other != name and (layers & others) - {"cats"}
        )
        if rivals not in found:
            with nlp.select_pipes(disable=list(rivals)):
                docs = nlp.pipe(example.predicted.copy() for example in examples)
                found[rivals] = [
                    Example(doc, example.reference)
                    for doc, example in zip(docs, examples, strict=True)
                ]
        by_head[name] = found[rivals]
    return by_head


def judge(component: Any, examples: Sequence[Example]) -> list[Judged]:
    """What a head did, for each kind of annotation that it writes; [] for a head of a kind that we do not know.

    examples: with the head's predictions. Those that are not annotated for it, and units that are not, do not count.
    """
    annotated = [(i, eg) for i, eg in enumerate(examples) if is_annotated(component, eg.reference)]
    for kind, judges in _JUDGES:
        if isinstance(component, kind):
            found = [judge_one(component, annotated) for judge_one in judges]
            return [judged for judged in found if judged.pairs] or found[:1]
    return []


Numbered = Sequence[tuple[int, Example]]


def _tokens(what: str, attribute: str) -> Callable[[Any, Numbered], Judged]:
    """For labels of tokens that both documents have as a string."""

    def judge_tokens(component: Any, examples: Numbered) -> Judged:
        judged = Judged(what, "tokens", open=attribute == "LEMMA")
        negative = component.cfg.get("neg_prefix") if attribute == "TAG" else None
        for i, example in examples:
            gold = example.get_aligned(attribute, as_string=True)
            for token, label in zip(example.predicted, gold, strict=True):
                if label and not (negative and label.startswith(negative)):
                    predicted = str(getattr(token, f"{attribute.lower()}_")) or None
                    judged.add(i, token.i, token.i + 1, label, predicted)
        return judged

    return judge_tokens


def _morphs(component: Any, examples: Numbered) -> Judged:
    judged = Judged("morphological features", "tokens")
    for i, example in examples:
        known = np.array([token.has_morph() for token in example.reference], dtype=bool)
        gold = example.get_aligned("MORPH", as_string=True)
        for token, label, is_known in zip(
            example.predicted, gold, align_known(example, known), strict=True
        ):
            if label is not None and is_known:
                judged.add(i, token.i, token.i + 1, label or "_", str(token.morph) or "_")
    if set(judged.pairs) == {("_", "_")}:
        judged.pairs.clear()
    return judged


def _sentences(component: Any, examples: Numbered) -> Judged:
    judged = Judged("sentence boundaries", "tokens")
    for i, example in examples:
        known = align_known(example, known_sentence_starts(example.reference))
        gold = example.get_aligned_sent_starts()
        if not gold:
            continue
        for token, start, is_known in zip(example.predicted, gold, known, strict=True):
            if is_known and start is not None:
                judged.add(
                    i,
                    token.i,
                    token.i + 1,
                    YES if start else NO,
                    YES if token.is_sent_start else NO,
                )
    return judged


def _dependencies(component: Any, examples: Numbered) -> Judged:
    judged = Judged("dependency labels", "tokens")
    elsewhere = 0
    for i, example in examples:
        heads, labels = example.get_aligned_parse(projectivize=False)
        for token, head, label in zip(example.predicted, heads, labels, strict=True):
            if label:
                judged.add(i, token.i, token.i + 1, label, token.dep_ or None)
                elsewhere += head is not None and head != token.head.i
    judged.note = (
        f"Whatever their label, {elsewhere:,} of {judged.pairs.total():,} tokens have another head."
    )
    return judged


def _span_judge(
    what: str,
    kind: Kind,
    gold_of: Callable[[Any, Doc], Iterable[Any]],
    predicted_of: Callable[[Any, Doc], Iterable[Any]],
) -> Callable[[Any, Numbered], Judged]:
    """For labelled spans. As in spaCy's scorer, boundaries are those of the reference's tokens."""

    def judge_spans(component: Any, examples: Numbered) -> Judged:
        judged = Judged(what, kind)
        overlaps = missed = 0
        for i, example in examples:
            gold = [_as_tuple(span) for span in gold_of(component, example.reference)]
            predicted = list(_aligned(example, predicted_of(component, example.predicted), kind))
            matches = match_spans(gold, predicted)
            overlaps += count_overlaps(matches)
            for one, other in matches:
                start, end, _ = one or other or (0, 0, "")
                judged.add(i, start, end, one and one[2], other and other[2])
                missed += other is None
        if overlaps:
            judged.note = (
                f"Of {missed:,} missed {kind} {overlaps:,} overlap a spurious one: found, but with "
                "other boundaries."
            )
        return judged

    return judge_spans


def _as_tuple(span: Any) -> LabelledSpan:
    return span.start, span.end, span.label_ or SPAN


def _aligned(example: Example, spans: Iterable[Any], kind: Kind) -> Iterator[LabelledSpan]:
    """Predicted spans in tokens of the reference; without those where it is not known whether there is an entity."""
    x2y, reference = example.alignment.x2y, example.reference
    for span in spans:
        places = x2y[span.start : span.end]
        if len(places):
            start, end = int(places[0]), int(places[-1]) + 1
            if kind != "entities" or all(token.ent_iob != 0 for token in reference[start:end]):
                yield start, end, span.label_ or SPAN


def _links(component: Any, examples: Numbered) -> Judged:
    judged = Judged("links to the knowledge base", "entities", open=True)
    for i, example in examples:
        x2y, found = example.alignment.x2y, {}
        for ent in example.predicted.ents:
            places = x2y[ent.start : ent.end]
            if len(places):
                found[int(places[0]), int(places[-1]) + 1] = ent.kb_id_
        for ent in example.reference.ents:
            if ent.kb_id:
                predicted = found.get((ent.start, ent.end)) or None
                judged.add(i, ent.start, ent.end, ent.kb_id_, predicted)
    return judged


def _exclusive(component: Any, examples: Numbered) -> Judged:
    judged = Judged("categories", "documents")
    for i, example in examples:
        gold, predicted = (
            {label: doc.cats[label] for label in component.labels if label in doc.cats}
            for doc in (example.reference, example.predicted)
        )
        best = max(gold, key=gold.__getitem__)
        if gold[best] > 0:
            judged.add(i, 0, 0, best, max(predicted, key=predicted.__getitem__, default=None))
    return judged


def _several(component: Any, examples: Numbered) -> Judged:
    judged = Judged("categories", "documents")
    threshold = component.cfg["threshold"]
    for i, example in examples:
        for label in component.labels:
            if label in example.reference.cats:
                gold = example.reference.cats[label] > 0
                predicted = example.predicted.cats.get(label, 0.0) >= threshold
                if gold or predicted:
                    judged.add(i, 0, 0, label if gold else None, label if predicted else None)
    return judged


def _group(component: Any, doc: Doc) -> Iterable[Any]:
    spans: Iterable[Any] = doc.spans.get(component.cfg["spans_key"], ())
    return spans


def _ents(component: Any, doc: Doc) -> Iterable[Any]:
    ents: Iterable[Any] = doc.ents
    return ents


# Subclasses stand before their bases.
_JUDGES: tuple[tuple[Any, tuple[Callable[[Any, Numbered], Judged], ...]], ...] = (
    (Morphologizer, (_tokens("parts of speech", "POS"), _morphs)),
    (SentenceRecognizer, (_sentences,)),
    (Tagger, (_tokens("tags", "TAG"),)),
    (EditTreeLemmatizer, (_tokens("lemmas", "LEMMA"),)),
    (DependencyParser, (_dependencies,)),
    (
        EntityRecognizer | BiluoEntityRecognizer,
        (_span_judge("entity labels", "entities", _ents, _ents),),
    ),
    (EntityLinker, (_links,)),
    (MultiLabel_TextCategorizer, (_several,)),
    (TextCategorizer, (_exclusive,)),
    (SpanCategorizer, (_span_judge("span labels", "spans", _group, _group),)),
    (SpanFinder, (_span_judge("spans", "spans", _group, _group),)),
)
