"""Named entity recognition by tags, decoded as arrays for the whole batch (factory `biluo_ner`)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model, to_numpy

from ... import errors
from ...types import Array, Bools, Ints
from .biluo_decoding import decode
from .biluo_gold import attributes, gold_tags, wrong_tags
from .biluo_tags import UNKNOWN, from_tags, n_tags, spans_of
from .masking import AnnotatedOnly, GetExamples

CONFIDENCE = "ent_confidence"
_TINY = 1e-30


class BiluoEntityRecognizer(AnnotatedOnly, TrainablePipe):
    """A drop-in for spaCy's `ner`: the same labels, `doc.ents`, scorer and `[initialize]`.

    Each token gets one of the tags B, I, L, U of each label, or O; the best valid sequence is found exactly
    (`biluo_decoding`). There is no Python for each token, so it takes a small part of the time of spaCy's
    transition-based head.

    As in spaCy: entities that are there already, such as an entity ruler's, stay; blocked tokens stay out; no entity
    begins or ends at whitespace or crosses a sentence boundary that is set; tokens whose annotation is missing, cannot
    be aligned with the prediction's, or says that an entity begins or ends at whitespace, are not trained on.
    `doc.ents = []` says that there are no entities; a document without entity annotation is not seen.

    Unlike spaCy's: an unknown label in the gold is an error, and there is neither `rehearse` nor a beam.

    model: from `spacy_mtl.BiluoTagger.v1`. incorrect_spans_key: span group of reference documents with spans that are
    known not to be entities. confidence: whether to set `span._.ent_confidence` of each entity found: the product of
    its tokens' probabilities, of their tags by themselves, 0 to 1. scorer: of `doc.ents`.
    """

    needs = "entity annotation"
    main_score = "ents_f"  # see `spacy_mtl.worst_task`

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Array]],
        name: str = "biluo_ner",
        *,
        incorrect_spans_key: str | None = None,
        confidence: bool = False,
        scorer: Callable[..., Any] | None = None,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.incorrect_spans_key = incorrect_spans_key
        self.confidence = confidence
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": []}
        if confidence and not Span.has_extension(CONFIDENCE):
            Span.set_extension(
                CONFIDENCE, default=None
            )  # here: other processes may set what this one reads

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the output layer."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """What `spacy init labels` writes and `[initialize.components.NAME] labels` reads."""
        return list(self.labels)

    @property
    def annotation_layers(self) -> tuple[str, ...]:
        """What it learns from, see `spacy_mtl.annotation`."""
        key = self.incorrect_spans_key
        return ("ents",) if key is None else ("ents", f"spans:{key}")

    def add_label(self, label: str) -> int:
        """Add a label; the output layer of an initialized model grows. Returns 0 if it was there."""
        if not isinstance(label, str) or not label:
            raise errors.bad_entity_label(label, name=self.name)
        if label in self.labels:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.model.get_ref("output_layer").has_dim("nO"):
            self.set_output(n_tags(len(self.labels)))
        return 1

    def initialize(
        self,
        get_examples: GetExamples,
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | dict[str, Any] | None = None,
    ) -> None:
        """Find the labels in the annotated examples, and give the model its shape.

        labels: take these instead; a list, or what `spacy init labels` wrote for spaCy's `ner`.
        Raises ConfigError if no example is annotated.
        """
        examples = self.annotated_examples(get_examples, labels)
        found = {e.label_ for eg in examples() for e in eg.reference.ents} if labels is None else ()
        for label in sorted(found) if labels is None else _listed(labels):
            self.add_label(label)
        sample = [eg.predicted for _, eg in zip(range(10), examples(), strict=False)]
        output = self.model.get_ref("output_layer")
        if not output.has_dim("nO"):
            self.set_output(n_tags(len(self.labels)))
        self.model.initialize(X=sample, Y=[self._blank(doc) for doc in sample])

    def _blank(self, doc: Doc) -> Array:
        return self.model.ops.alloc2f(len(doc), n_tags(len(self.labels)))

    # ---- prediction

    def predict(self, docs: Iterable[Doc]) -> list[Array]:
        """Scores of the tags, before any softmax: [tokens, 1 + 4 labels] for each document."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [self._blank(doc) for doc in docs]
        scores: list[Array] = self.model.predict(docs)
        return scores

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Array]) -> None:
        """Set `doc.ents` to the best valid tags."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return
        stops = np.cumsum([len(doc) for doc in docs])
        flat = to_numpy(self.model.ops.xp.concatenate(scores))
        tags, fixed, iob, types = _decoded(docs, flat)
        hashes = [self.vocab.strings.add(label) for label in self.labels]
        new_iob, new_types = from_tags(tags, hashes)
        found = np.stack([np.where(fixed, iob, new_iob), np.where(fixed, types, new_types)], axis=1)
        for doc, start, stop in zip(docs, [0, *stops], stops, strict=False):
            if len(doc):
                doc.from_array([ENT_IOB, ENT_TYPE], found[start:stop])
        if self.confidence:
            self._set_confidence(docs, tags, flat, stops)

    def _set_confidence(self, docs: list[Doc], tags: Ints, scores: Array, stops: Ints) -> None:
        top = scores.max(axis=1, keepdims=True)
        log_total = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
        sums = np.concatenate(
            [[0.0], np.cumsum(scores[np.arange(len(tags)), tags] - log_total, dtype=np.float64)]
        )
        for start, end, label in spans_of(tags):
            nth = int(np.searchsorted(stops, start, side="right"))
            offset = int(stops[nth - 1]) if nth else 0
            span = Span(docs[nth], start - offset, end - offset, label=self.labels[label])
            span._.set(CONFIDENCE, float(np.exp(sums[end] - sums[start])))

    # ---- training

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Array]
    ) -> tuple[float, list[Array]]:
        """Cross entropy of the known tokens' tags, summed over tokens, and its gradient, [tokens, tags] each.

        The gradient is the softmax of the scores minus 1 at the gold tag, and zero where the tag is missing. Of a span
        that is known to be no entity one tag is made less likely, -log(1 - p); `biluo_gold.wrong_tags` says which, and
        that of several tokens a span is left alone unless the head finds it.

        Raises ConfigError for a label that the head does not know, or for a span that is gold and known to be wrong.
        """
        examples = list(examples)
        xp = self.model.ops.xp
        gold = gold_tags(examples, self.labels, name=self.name)
        flat = xp.concatenate(scores)
        probabilities = self.model.ops.softmax(flat)
        d_flat = probabilities.copy()
        known = np.flatnonzero(gold != UNKNOWN)
        rows, columns = xp.asarray(known), xp.asarray(gold[known])
        loss = -xp.log(xp.maximum(probabilities[rows, columns], _TINY)).sum()
        d_flat[rows, columns] -= 1.0
        d_flat[xp.asarray(np.flatnonzero(gold == UNKNOWN))] = 0.0
        if self.incorrect_spans_key is not None:
            found, *_ = _decoded([eg.predicted for eg in examples], to_numpy(flat))
            wrong = wrong_tags(
                examples,
                self.incorrect_spans_key,
                self.labels,
                gold,
                found,
                to_numpy(probabilities),
                name=self.name,
            )
            for row, column in wrong:
                # the gradient of log(sum exp(scores)) - log(sum of those of other tags), right for p next to 1 too
                others = flat[row].copy()
                others[column] = -xp.inf
                top = others.max()
                share = xp.exp(others - top)
                log_others = top + xp.log(share.sum())
                p = probabilities[row, column]
                loss += xp.logaddexp(flat[row, column], log_others) - log_others
                d_flat[row] -= p * share / share.sum()
                d_flat[row, column] += p
        stops = np.cumsum([len(s) for s in scores])[:-1]
        return float(loss), xp.split(d_flat, stops.tolist())


def _decoded(docs: Sequence[Doc], scores: Array) -> tuple[Ints, Bools, Array, Array]:
    """[tokens] each: the best valid tags, which tokens' entities were there already, ENT_IOB and ENT_TYPE."""
    values = attributes(docs, (ENT_IOB, ENT_TYPE, SENT_START, IS_SPACE))
    iob, types = values[:, 0], values[:, 1]
    stops = np.cumsum([len(doc) for doc in docs])
    last = np.append(values[1:, 2] == 1, True)
    last[stops[stops > 0] - 1] = True
    fixed = (iob == 1) | (iob == 3)
    tags = decode(scores.copy(), last=last, blank=values[:, 3].astype(bool), fixed=fixed)
    return tags, fixed, iob, types


def _listed(labels: Sequence[str] | dict[str, Any]) -> list[str]:
    """Labels from a list, or from the actions that spaCy's `ner` writes: `{"0": {"": 1}, "1": {"PERSON": 5}, ...}`."""
    if not isinstance(labels, dict):
        return list(labels)
    return list(dict.fromkeys(label for action in labels.values() for label in action if label))


def make_biluo_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Array]],
    incorrect_spans_key: str | None,
    confidence: bool,
    scorer: Callable[..., Any] | None,
) -> BiluoEntityRecognizer:
    """Build a `biluo_ner`, see BiluoEntityRecognizer. Raises ConfigError for a model of spaCy's `ner`."""
    if not (model.has_ref("output_layer") and "resize_output" in model.attrs):
        raise errors.not_a_biluo_model(name)
    return BiluoEntityRecognizer(
        nlp.vocab,
        model,
        name,
        incorrect_spans_key=incorrect_spans_key,
        confidence=confidence,
        scorer=scorer,
    )
