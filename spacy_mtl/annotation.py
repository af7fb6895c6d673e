"""Which annotation each head learns from: how much of it a document has, and how to take out the rest.

A *layer* is one kind of annotation: `tag`, `pos`, `morph`, `lemma`, `dep`, `sents`, `ents`, `links`, `cats`, or
`spans:KEY` for the span group KEY (`spans:*`: all groups). `dep` brings sentence boundaries along. `links` are entities
with an id in a knowledge base; they do not say that there are no other entities.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from spacy.attrs import (
    DEP,
    ENT_ID,
    ENT_IOB,
    ENT_KB_ID,
    ENT_TYPE,
    HEAD,
    IDS,
    LEMMA,
    MORPH,
    POS,
    SENT_START,
    TAG,
)
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
from spacy.tokens import Doc, Span

# The order matters: some of these classes are subclasses of others further down.
_LAYERS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Morphologizer, ("pos", "morph")),
    (SentenceRecognizer, ("sents",)),
    (Tagger, ("tag",)),
    (EditTreeLemmatizer, ("lemma",)),
    (DependencyParser, ("dep",)),
    (EntityRecognizer, ("ents",)),
    (EntityLinker, ("links",)),
    (TextCategorizer, ("cats",)),
)
_ATTRIBUTES: dict[str, tuple[int, ...]] = {
    "tag": (TAG,),
    "pos": (POS,),
    "morph": (MORPH,),
    "lemma": (LEMMA,),
    "dep": (HEAD, DEP),
    "sents": (SENT_START,),
    "ents": (ENT_IOB, ENT_TYPE, ENT_KB_ID, ENT_ID),
}
_ATTRIBUTE_NAMES = {value: name for name, value in IDS.items()}
_UNITS = {
    "tag": "tokens",
    "pos": "tokens",
    "lemma": "tokens",
    "dep": "tokens",
    "sents": "tokens",
    "ents": "tokens",
    "cats": "documents",
}


TASKS_KEY = "spacy_mtl.tasks"  # in `user_data` of reference documents: the heads that their source is annotated for


def heads_of(nlp: Language) -> dict[str, Any]:
    """The components of a pipeline that learn from annotation, by name: those that can be trained, but for encoders."""
    return {name: pipe for name, pipe in nlp.pipeline if is_head(pipe)}


def is_head(component: Any) -> bool:
    """True for a component that learns from annotation by itself: it can be trained, and is no encoder."""
    return getattr(component, "is_trainable", False) and not hasattr(component, "listener_map")


def layers_of(component: Any) -> frozenset[str] | None:
    """The layers that a component learns from; None for a component that is not one of spaCy's heads or ours.

    A component of your own may say it in an attribute `annotation_layers`.
    """
    own = getattr(component, "annotation_layers", None)
    if own is not None:
        return frozenset(own)
    if isinstance(component, SpanCategorizer | SpanFinder):
        return frozenset([f"spans:{component.cfg['spans_key']}"])
    if isinstance(component, EntityRecognizer) and component.incorrect_spans_key is not None:
        return frozenset(["ents", f"spans:{component.incorrect_spans_key}"])
    for kind, layers in _LAYERS:
        if isinstance(component, kind):
            return frozenset(layers)
    return None


def finds_entities(component: Any) -> bool:
    """True for spaCy's `ner` and our `biluo_ner`."""
    from .pipeline.heads.biluo_ner import BiluoEntityRecognizer

    return isinstance(component, EntityRecognizer | BiluoEntityRecognizer)


def asks_tasks(component: Any) -> bool:
    """True for a component that does not train on documents whose source is annotated for other heads only."""
    from .pipeline.heads.masking import AnnotatedOnly

    return isinstance(component, AnnotatedOnly) or not getattr(component, "is_trainable", False)


def unit_of(component: Any) -> str:
    """What `count_units` counts for a component: `tokens`, `documents` or `entities`."""
    if isinstance(component, EntityLinker):
        return "entities"
    layers = layers_of(component) or ()
    return next((_UNITS[layer] for layer in sorted(layers) if layer in _UNITS), "tokens")


def count_units(component: Any, doc: Doc) -> int:
    """How much a head has to learn from a reference document: 0 if it is not annotated for it.

    Tokens with a tag, lemma, dependency, known sentence boundary or known entity tag; linked entities; all tokens of a
    document that has the head's span group, even an empty one; 1 for a document with one of the classifier's
    categories. A component of unknown kind counts every token. 0 in a document from a source that is annotated for
    other heads only.
    """
    tasks = doc.user_data.get(TASKS_KEY)
    name = getattr(component, "name", None)
    if tasks is not None and name is not None and name not in tasks:
        return 0
    if isinstance(component, EntityLinker):
        return sum(1 for ent in doc.ents if ent.kb_id)
    if isinstance(component, TextCategorizer):
        return int(has_categories(doc, component.labels))
    if isinstance(component, SpanCategorizer | SpanFinder):
        return len(doc) if component.cfg["spans_key"] in doc.spans else 0
    layers = layers_of(component)
    if layers is None:
        return len(doc)
    if not len(doc):
        return 0
    if finds_entities(component):
        key = component.incorrect_spans_key
        known = int(np.count_nonzero(doc.to_array(ENT_IOB)))
        return known or (sum(len(span) for span in doc.spans.get(key, ())) if key else 0)
    if "sents" in layers:
        return int(np.count_nonzero(known_sentence_starts(doc)))
    return max((_count_layer(doc, layer) for layer in layers), default=0)


def _count_layer(doc: Doc, layer: str) -> int:
    """How many units of a layer a document has; the layers of components that say which they learn from."""
    if layer == "cats":
        return int(bool(doc.cats))
    if layer == "links":
        return sum(1 for ent in doc.ents if ent.kb_id)
    if layer.startswith("spans:"):
        key = layer.removeprefix("spans:")
        return len(doc) if (doc.spans if key == "*" else key in doc.spans) else 0
    counted = {"dep": DEP, "ents": ENT_IOB}.get(layer) or _ATTRIBUTES[layer][0]
    return int(np.count_nonzero(doc.to_array(counted)))


def has_categories(doc: Doc, labels: Collection[str]) -> bool:
    """True if a document has one of these categories, or, where none are given, any."""
    return any(label in doc.cats for label in labels) if labels else bool(doc.cats)


def is_annotated(component: Any, doc: Doc) -> bool:
    """True if the head has something to learn from this reference document."""
    return count_units(component, doc) > 0


def known_sentence_starts(doc: Doc) -> np.ndarray:
    """[T] whether it is known if a sentence starts at the token.

    Documents that mark starts only, and no token as "not a start", are taken as complete: that is how spaCy reads them.
    Otherwise a token without a mark is unknown. A document without any mark is not annotated; spaCy marks the first
    token of every document by itself, which says nothing.
    """
    marks = doc.to_array([SENT_START]).astype("int64").reshape(-1)
    if not marks[1:].any():
        return np.zeros(len(marks), dtype=bool)
    if (marks == -1).any():
        return marks != 0
    return np.ones(len(marks), dtype=bool)


def keep_layers(doc: Doc, layers: Collection[str]) -> Doc:
    """A copy of a document in which all layers but these are missing.

    Words, spaces and user data are kept. Raises ValueError for a layer that does not exist.
    """
    for layer in layers:
        if layer not in (*_ATTRIBUTES, "cats", "links") and not layer.startswith("spans:"):
            raise ValueError(f"`{layer}` is not an annotation layer.")
    kept = Doc(
        doc.vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        user_data=dict(doc.user_data),
    )
    kept.has_unknown_spaces = doc.has_unknown_spaces
    present = {layer for layer in layers if layer in _ATTRIBUTES}
    if "dep" in present and doc.has_annotation("DEP"):
        present.discard("sents")  # the heads say it
    else:
        present.discard("dep")  # without dependencies every token would be a sentence of its own
    attributes = [a for layer in sorted(present) for a in _ATTRIBUTES[layer]]
    if attributes and len(doc):
        names = [_ATTRIBUTE_NAMES[a] for a in attributes]
        kept.from_array(names, doc.to_array(names).reshape(len(doc), -1))
    if "links" in layers and "ents" not in layers:
        linked = [
            Span(kept, e.start, e.end, label=e.label, kb_id=e.kb_id, span_id=e.id)
            for e in doc.ents
            if e.kb_id
        ]
        kept.set_ents(linked, default="missing")
    if "cats" in layers:
        kept.cats = dict(doc.cats)
    for key, group in doc.spans.items():
        if f"spans:{key}" in layers or "spans:*" in layers:
            kept.spans[key] = [
                Span(kept, s.start, s.end, label=s.label, kb_id=s.kb_id, span_id=s.id)
                for s in group
            ]
    return kept


def unknown_labels(component: Any, doc: Doc, *, others: Collection[Any] = ()) -> list[str]:
    """Labels of a reference document that an initialized head does not know, sorted; [] for heads without fixed labels.

    others: further heads that the document is annotated for, whose categories are none of this head's business.
    """
    if not has_own_labels(component):
        return []
    known, found = set(component.labels), set(labels_of(component, doc))
    if isinstance(component, TextCategorizer):
        known.update(*(other.labels for other in others if isinstance(other, TextCategorizer)))
        found = set(doc.cats)  # a category that the document is not in has to exist as well
    elif isinstance(component, Tagger):
        prefix = component.cfg.get("neg_prefix") or ""
        found = {tag.removeprefix(prefix) for tag in found}
    return sorted(found - known)


def has_own_labels(component: Any) -> bool:
    """True for heads whose labels `unknown_labels` knows how to find."""
    if isinstance(component, Morphologizer | SentenceRecognizer):
        return False
    kinds = TextCategorizer | SpanCategorizer | Tagger
    return isinstance(component, kinds) or finds_entities(component)


def is_initialized(component: Any) -> bool:
    """True if a head's labels are fixed, because its weights have their shapes."""
    nodes = list(component.model.walk())
    return not any(node.has_param(name) is None for node in nodes for name in node.param_names)


def labels_of(component: Any, doc: Doc) -> list[str]:
    """The labels that a reference document has for a head, with repetitions."""
    if isinstance(component, TextCategorizer):
        return [label for label, score in doc.cats.items() if score > 0]
    if isinstance(component, EntityLinker):
        return [ent.kb_id_ for ent in doc.ents if ent.kb_id]
    if finds_entities(component):
        return [ent.label_ for ent in doc.ents]
    if isinstance(component, SpanCategorizer):
        return [span.label_ for span in doc.spans.get(component.cfg["spans_key"], ())]
    if isinstance(component, Morphologizer):
        return [f"{t.morph}|POS={t.pos_}".removeprefix("|") for t in doc if t.pos or t.has_morph()]
    if isinstance(component, DependencyParser):
        return [token.dep_ for token in doc if token.dep]
    if isinstance(component, Tagger) and not isinstance(component, SentenceRecognizer):
        return [token.tag_ for token in doc if token.tag]
    return []


def has_negatives_only(component: Any, doc: Doc) -> bool:
    """True for an annotated document that tells a head of spans only that there are none."""
    if finds_entities(component):
        return not doc.ents
    if isinstance(component, SpanCategorizer | SpanFinder):
        return not doc.spans.get(component.cfg["spans_key"])
    return False
