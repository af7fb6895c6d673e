"""Law 2 in scoring: what is not annotated for a head changes none of its scores, and is never an exception."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.evaluate import evaluate
from spacy.language import Language
from spacy.pipeline.dep_parser import parser_score
from spacy.pipeline.entity_linker import entity_linker_score
from spacy.scorer import Scorer
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.training.loop import create_evaluation_callback

from spacy_mtl.annotation import TASKS_KEY, keep_layers, layers_of
from spacy_mtl.corpora.sources import SOURCE_KEY
from spacy_mtl.scoring import TaskScorer, install, masked_textcat_score

from .pipeline.conftest import encoder_path
from .pipeline.helpers import make_nlp
from .pipeline.sentences import SENTENCES, SPANS_KEY, make_doc

__all__ = ["encoder_path"]

HEADS = (
    "tagger",
    "morphologizer",
    "senter",
    "trainable_lemmatizer",
    "parser",
    "ner",
    "textcat",
    "textcat_multilabel",
    "spancat",
    "span_finder",
    "entity_linker",
)
KEYS = {"senter": "sents_f", "parser": "dep_las", "ner": "ents_f", "tagger": "tag_acc"}


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = spacy.blank("en")
    for head in HEADS:
        nlp.add_pipe(head)
    for name in ("textcat", "textcat_multilabel"):
        for label in ("NEWS", "TALE"):
            nlp.get_pipe(name).add_label(label)
    return nlp


def predicted(gold: Doc, rng: random.Random) -> Doc:
    """The gold document with some of its annotation made wrong, as if a pipeline had predicted it."""
    layers = {"tag", "pos", "morph", "lemma", "dep", "ents", "cats", f"spans:{SPANS_KEY}"}
    if rng.random() < 0.3:
        layers.discard("dep")
    doc = keep_layers(gold, layers)
    if "dep" not in layers:
        for token in doc:
            token.is_sent_start = token.i % 2 == 0
    for token in doc:
        if rng.random() < 0.4:
            token.tag_ = token.lemma_ = token.dep_ = "wrong"
            token.pos_ = "INTJ"
            token.set_morph("Number=Plur")
    if rng.random() < 0.5:
        doc.ents = [Span(doc, e.start, e.end, "WRONG", kb_id="Q9") for e in doc.ents]
        doc.spans[SPANS_KEY] = [Span(doc, 0, 1, "WRONG")]
        doc.cats = {label: 1.0 - score for label, score in doc.cats.items()}
    return doc


def make_examples(
    nlp: Language, head: str, *, seed: int = 0
) -> tuple[list[Example], list[Example]]:
    """Annotated for the head; and with predictions for it but annotated for all others only."""
    rng = random.Random(seed)
    layers = layers_of(nlp.get_pipe(head)) or frozenset()
    every = {"tag", "pos", "morph", "lemma", "dep", "ents", "cats", f"spans:{SPANS_KEY}"}
    hidden = {"sents": {"dep"}, "links": {"ents"}, "dep": {"dep", "sents"}}
    others = every - {x for layer in layers for x in hidden.get(layer, {layer})}
    annotated, rest = [], []
    for sentence in SENTENCES * 4:
        gold = make_doc(nlp.vocab, sentence)
        annotated.append(Example(predicted(gold, rng), gold))
        rest.append(Example(predicted(gold, rng), keep_layers(gold, others)))
    short = nlp.make_doc("so")
    rest += [
        Example(nlp.make_doc(""), nlp.make_doc("")),
        Example(short, nlp.make_doc("so")),
    ]
    return annotated, rest


def scorer_of(nlp: Language, head: str) -> Callable[..., dict[str, Any]]:
    pipe = nlp.get_pipe(head)
    kwargs = {**getattr(pipe, "cfg", {}), "labels": pipe.labels}
    own = entity_linker_score if head == "entity_linker" else pipe.scorer
    return lambda examples: TaskScorer(own, pipe)(examples, **kwargs)


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_those_on_annotated_documents_in_any_mix_and_order(
    nlp: Language, head: str
) -> None:
    annotated, rest = make_examples(nlp, head)
    score = scorer_of(nlp, head)
    expected = score(annotated)
    assert any(isinstance(v, float) and 0 < v < 1 for v in expected.values())
    for seed in range(5):
        mixed = annotated + rest
        random.Random(seed).shuffle(mixed)
        assert score(mixed) == expected


@pytest.mark.parametrize("head", [h for h in HEADS if h != "entity_linker"])
def test_scores_on_fully_annotated_documents_are_spacys(nlp: Language, head: str) -> None:
    annotated, _ = make_examples(nlp, head)
    pipe = nlp.get_pipe(head)
    own = pipe.scorer(annotated, **{**getattr(pipe, "cfg", {}), "labels": pipe.labels})
    assert scorer_of(nlp, head)(annotated) == own


@pytest.mark.parametrize("head", HEADS)
def test_without_annotated_documents_there_is_no_score(nlp: Language, head: str) -> None:
    _, rest = make_examples(nlp, head)
    scores = scorer_of(nlp, head)(rest)
    assert scores
    assert {value for key, value in scores.items() if not key.endswith("_desc")} == {None}


def test_spacy_evaluate_prints_a_classifier_without_gold(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, ("tagger", "textcat"))
    nlp.to_disk(tmp_path / "model")
    docs = [keep_layers(make_doc(nlp.vocab, s), ["tag"]) for s in SENTENCES]
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    scores = evaluate(str(tmp_path / "model"), tmp_path / "dev.spacy", silent=False)
    assert scores["tag_acc"] is not None
    assert scores["cats_score"] is None


# ---- the faults of spaCy's own scorers


def partly_parsed(nlp: Language) -> list[Example]:
    """Two documents; the first lacks the dependencies of its first three tokens."""
    examples = []
    for missing, sentence in ((3, SENTENCES[0]), (0, SENTENCES[2])):
        gold = make_doc(nlp.vocab, sentence)
        prediction = keep_layers(gold, ["dep"])
        prediction[0].dep_ = "wrong"
        deps = ["" if i < missing else token.dep_ for i, token in enumerate(gold)]
        reference = Doc(
            nlp.vocab, [t.text for t in gold], heads=[t.head.i for t in gold], deps=deps
        )
        examples.append(Example(prediction, reference))
    return examples


def test_missing_dependencies_stay_in_their_own_document(nlp: Language) -> None:
    examples = partly_parsed(nlp)
    score = scorer_of(nlp, "parser")
    there, back = score(examples), score(examples[::-1])
    assert there == back
    # 2 of 2 known dependencies in the first (punctuation is not scored), 3 of 4 in the second
    assert there["dep_las"] == pytest.approx(5 / 6)
    theirs = [parser_score(order)["dep_las"] for order in (examples, examples[::-1])]
    assert theirs[0] != theirs[1]


def test_a_mention_without_a_link_is_not_scored_by_the_linker(nlp: Language) -> None:
    doc = nlp.make_doc("Anna met Bob")
    doc.ents = [Span(doc, 0, 1, "P", kb_id="Q1"), Span(doc, 2, 3, "P", kb_id="Q2")]
    gold = nlp.make_doc("Anna met Bob")
    gold.ents = [Span(gold, 0, 1, "P", kb_id="Q1"), Span(gold, 2, 3, "P")]
    scores = scorer_of(nlp, "entity_linker")([Example(doc, gold)])
    assert scores["nel_micro_f"] == 1.0


def test_gold_categories_without_a_prediction_count_as_an_error(nlp: Language) -> None:
    gold = nlp.make_doc("so it is")
    gold.cats = {"NEWS": 1.0, "TALE": 0.0}
    right = nlp.make_doc("so it is")
    right.cats = {"NEWS": 0.9, "TALE": 0.1}
    examples = [Example(nlp.make_doc("so it is"), gold), Example(right, gold)]
    with pytest.raises((IndexError, ValueError)):
        Scorer.score_cats(examples, "cats", labels=("NEWS", "TALE"), multi_label=False)
    scores = scorer_of(nlp, "textcat")(examples)
    assert scores["cats_f_per_type"]["NEWS"]["r"] == 0.5


def test_a_classifier_is_scored_on_documents_with_its_own_categories(nlp: Language) -> None:
    gold, other = nlp.make_doc("so it is"), nlp.make_doc("so it is")
    gold.cats, other.cats = {"NEWS": 1.0}, {"happy": 1.0}
    examples = [Example(gold.copy(), gold), Example(gold.copy(), other)]
    assert scorer_of(nlp, "textcat")(examples)["cats_micro_p"] == 1.0
    assert masked_textcat_score(examples, labels=["NEWS", "TALE"])["cats_micro_p"] == 1.0


# ---- by source


def test_each_source_has_scores_of_its_own(nlp: Language) -> None:
    annotated, rest = make_examples(nlp, "ner", seed=3)
    halves = {"gum": annotated[:5], "wnut": annotated[5:], "ewt": rest}
    for name, part in halves.items():
        for example in part:
            example.reference.user_data[SOURCE_KEY] = name
    score = scorer_of(nlp, "ner")
    scores = score(annotated + rest)
    for name in ("gum", "wnut"):
        assert scores[f"ents_f@{name}"] == score(halves[name])["ents_f"]
    assert scores["ents_f@gum"] != scores["ents_f@wnut"]
    assert not any(key.endswith("@ewt") for key in scores)
    assert not any("per_type@" in key for key in scores)


# ---- in a pipeline


def test_heads_that_listen_are_scored_so(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger", "textcat"))
    gold = [make_doc(nlp.vocab, s) for s in SENTENCES]
    examples = [Example(nlp.make_doc(g.text), keep_layers(g, ["cats"])) for g in gold]
    plain = [Example(nlp.make_doc(g.text), keep_layers(g, ["tag"])) for g in gold]
    alone, mixed = nlp.evaluate(examples), nlp.evaluate(plain + examples)
    assert alone["cats_macro_f"] == mixed["cats_macro_f"]
    assert alone["tag_acc"] is None
    assert mixed["tag_acc"] is not None


def bow_textcat(
    nlp: Language, name: str = "textcat", factory: str = "textcat", *, first: bool = False
) -> None:
    model = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": True,
        "length": 512,
        "ngram_size": 1,
        "no_output_layer": False,
    }
    nlp.add_pipe(factory, name=name, config={"model": model}, first=first or None)


@pytest.mark.parametrize("place", ["behind", "before"])
def test_heads_that_do_not_listen_are_scored_so_too(encoder_path: Path, place: str) -> None:
    nlp = make_nlp(encoder_path, ("tagger",))
    bow_textcat(nlp, first=place == "before")
    gold = [make_doc(nlp.vocab, s) for s in SENTENCES]
    examples = [Example(nlp.make_doc(g.text), keep_layers(g, ["cats"])) for g in gold]
    plain = [Example(nlp.make_doc(g.text), keep_layers(g, ["tag"])) for g in gold]
    nlp.initialize(lambda: [Example(nlp.make_doc(g.text), g) for g in gold])
    alone, mixed = nlp.evaluate(examples), nlp.evaluate(plain + examples)
    assert alone["cats_micro_p"] == mixed["cats_micro_p"]
    assert alone["cats_score"] == mixed["cats_score"]


def test_two_heads_of_a_kind_leave_each_others_scores_alone(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ("tagger",))
    for name in ("mood", "topic"):
        bow_textcat(nlp, name, "masked_textcat")
    gold = [make_doc(nlp.vocab, s) for s in SENTENCES]

    def annotated(name: str, labels: tuple[str, str]) -> list[Example]:
        examples = []
        for number, doc in enumerate(gold):
            reference = keep_layers(doc, [])
            reference.cats = {label: float(number % 2 == i) for i, label in enumerate(labels)}
            reference.user_data[TASKS_KEY] = (name,)
            examples.append(Example(nlp.make_doc(doc.text), reference))
        return examples

    tags = [Example(nlp.make_doc(g.text), keep_layers(g, ["tag"])) for g in gold]
    mood, topic = annotated("mood", ("good", "bad")), annotated("topic", ("sport", "law"))
    nlp.initialize(lambda: [*tags, *mood, *topic])
    one, other, both = nlp.evaluate(mood), nlp.evaluate(topic), nlp.evaluate([*mood, *topic])
    assert one["cats_score"] == one["cats_score/mood"] == both["cats_score/mood"] is not None
    assert other["cats_score"] == other["cats_score/topic"] == both["cats_score/topic"] is not None
    assert one["cats_score/topic"] is None
    assert both["cats_score"] == both["cats_score/topic"]  # the last one's, as in spaCy
    assert not any("/tagger" in key for key in both)

    now = [[*mood, *topic]]
    weights = {"cats_score": 0.0, "cats_score/mood": 0.5, "cats_score/topic": 0.5}
    callback = create_evaluation_callback(nlp, lambda _: now[0], weights)
    known = callback()[0]
    assert known == (both["cats_score/mood"] + both["cats_score/topic"]) / 2
    now[0] = mood
    again, scores = callback()
    assert again == known  # held
    assert scores["cats_score"] == one["cats_score"]
    now[0] = tags
    assert callback()[0] == known


def test_a_scorer_is_replaced_once_and_survives_a_round_trip(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, ("tagger",))
    tagger = nlp.get_pipe("tagger")
    first = tagger.scorer
    assert isinstance(first, TaskScorer)
    install(tagger)
    assert tagger.scorer is first
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path).get_pipe("tagger")
    assert isinstance(loaded.scorer, TaskScorer)
    assert not isinstance(loaded.scorer.scorer, TaskScorer)


def test_in_training_a_score_without_gold_keeps_its_value_and_its_weight(
    encoder_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nlp = make_nlp(encoder_path, ("tagger", "ner"))
    gold = [make_doc(nlp.vocab, s) for s in SENTENCES]
    dev = {
        "both": [Example(nlp.make_doc(g.text), g) for g in gold],
        "names": [Example(nlp.make_doc(g.text), keep_layers(g, ["ents"])) for g in gold],
    }
    now = ["names"]
    weights = {"tag_acc": 1.0, "ents_f": 0.0}
    callback = create_evaluation_callback(nlp, lambda _: dev[now[0]], weights)
    assert callback()[0] == 0.0  # never known
    assert "annotated for `tagger`" in caplog.text
    now[0] = "both"
    known = callback()[0]
    assert known == nlp.evaluate(dev["both"])["tag_acc"]
    assert known > 0
    now[0] = "names"
    assert callback()[0] == known
    assert nlp.evaluate(dev["names"])["tag_acc"] is None  # outside of training nothing is made up
