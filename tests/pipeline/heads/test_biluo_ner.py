"""`biluo_ner` in the place of spaCy's `ner`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_mtl.annotation import count_units, layers_of, unknown_labels
from spacy_mtl.errors import ConfigError
from spacy_mtl.pipeline.heads.biluo_ner import CONFIDENCE, BiluoEntityRecognizer

from ..helpers import head, make_config, make_nlp
from ..sentences import make_examples
from .tiny import TOK2VEC, gradient, make, untrained

KEY = "mistakes"
WORDS = "Anna Smith met Bob in New York City ."
TAGS = ["B-PERSON", "I-PERSON", "O", "B-PERSON", "O", "B-GPE", "I-GPE", "I-GPE", "O"]


def annotated(nlp: Language) -> list[Example]:
    return [
        untrained(nlp, WORDS, ents=TAGS),
        untrained(nlp, "Riga is far", ents=["B-GPE", "O", "O"]),
        untrained(nlp, "nobody knows", ents=["O", "O"]),
    ]


def learn(nlp: Language, examples: Iterable[Example], steps: int = 60) -> dict[str, float]:
    losses: dict[str, float] = {}
    optimizer = Adam(0.05)
    for _ in range(steps):
        losses = {}
        nlp.update(list(examples), sgd=optimizer, losses=losses)
    return losses


def learned(**config: Any) -> tuple[Language, BiluoEntityRecognizer]:
    nlp, component = make("biluo_ner", annotated, **config)
    learn(nlp, annotated(nlp))
    return nlp, component


def words(nlp: Language, text: str) -> Doc:
    return Doc(nlp.vocab, words=text.split())


def ents(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_it_learns_to_find_entities_and_scores_as_ner_does() -> None:
    nlp, component = learned()
    assert component.labels == ("GPE", "PERSON")
    doc = nlp(words(nlp, WORDS))
    assert ents(doc) == [("Anna Smith", "PERSON"), ("Bob", "PERSON"), ("New York City", "GPE")]
    assert all(token.ent_iob in (2, 3, 1) for token in doc)
    scores = nlp.evaluate(annotated(nlp))
    assert scores["ents_f"] == 1.0
    assert set(scores["ents_per_type"]) == {"GPE", "PERSON"}


def test_the_gradient_is_that_of_the_cross_entropy() -> None:
    nlp, component = learned()
    example = untrained(nlp, "Anna met Riga", ents=["B-PERSON", "", "B-GPE"])
    example.reference.set_ents(
        list(example.reference.ents), missing=[example.reference[1:2]], default="unmodified"
    )
    scores = component.model.predict([example.predicted])
    _, (found,) = gradient(component, [example])
    assert not found[1].any()
    for row, column in np.ndindex(scores[0].shape):
        losses = []
        for step in (1e-2, -1e-2):
            moved = scores[0].astype("f8").copy()
            moved[row, column] += step
            losses.append(component.get_loss([example], [moved])[0])
        assert found[row, column] == pytest.approx((losses[0] - losses[1]) / 2e-2, abs=1e-3)


def test_entities_that_are_there_already_stay_and_blocked_tokens_stay_out() -> None:
    nlp, _ = learned()
    doc = words(nlp, WORDS)
    doc.set_ents(
        [Span(doc, 0, 1, "PET", kb_id="Q5"), Span(doc, 6, 9, "EVENT")],
        blocked=[doc[3:4]],
        default="missing",
    )
    nlp(doc)
    assert ("Anna", "PET") in ents(doc)
    assert ("York City .", "EVENT") in ents(doc)
    assert doc[0].ent_kb_id_ == "Q5"
    assert doc[3].ent_iob == 3
    assert not doc[3].ent_type


def test_no_entity_crosses_a_sentence_boundary() -> None:
    nlp, _ = learned()
    doc = words(nlp, WORDS)
    for token in doc:
        token.is_sent_start = token.i in (0, 6)
    nlp(doc)
    assert all(ent[0].sent == ent[-1].sent for ent in doc.ents)


def test_no_entity_begins_or_ends_at_whitespace() -> None:
    nlp, _ = learned()
    doc = Doc(nlp.vocab, words=["\n", "Anna", " ", "Smith", " ", "Riga", " "])
    nlp(doc)
    assert doc.ents
    assert not any(ent[0].is_space or ent[-1].is_space for ent in doc.ents)


def test_gold_that_ends_at_whitespace_teaches_nothing() -> None:
    nlp, component = learned()
    gold = Doc(nlp.vocab, words=["Anna", " ", "sings"], ents=["B-PERSON", "I-PERSON", "O"])
    example = Example(Doc(nlp.vocab, words=["Anna", " ", "sings"]), gold)
    _, gradients = component.get_loss([example], component.predict([example.predicted]))
    assert not gradients[0][:2].any()
    assert gradients[0][2].any()


def test_confidence_that_another_process_has_set_can_be_read() -> None:
    if Span.has_extension(CONFIDENCE):
        Span.remove_extension(CONFIDENCE)
    learned(confidence=True)  # what a process does that has not predicted anything yet
    assert Span.has_extension(CONFIDENCE)
    Span.remove_extension(CONFIDENCE)
    learned()
    assert not Span.has_extension(CONFIDENCE)


@pytest.mark.parametrize("texts", [[], [""], ["", "Anna"]])
def test_documents_without_words_are_no_trouble(texts: list[str]) -> None:
    nlp, _ = learned()
    assert [doc.text for doc in nlp.pipe(texts)] == texts
    nlp.update([Example.from_dict(nlp.make_doc(t), {"entities": []}) for t in texts], sgd=Adam(0.1))


def test_confidence_is_the_probability_of_an_entitys_tags() -> None:
    nlp, component = learned(confidence=True)
    docs = [words(nlp, WORDS), words(nlp, ""), words(nlp, "nobody knows Riga")]
    for doc in docs:
        component.set_annotations([doc], component.predict([doc]))
    found = [ent._.get(CONFIDENCE) for doc in docs for ent in doc.ents]
    assert all(0 < p <= 1 for p in found)
    scores = component.predict([docs[0]])[0].astype("f8")
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    person = component.labels.index("PERSON")
    assert found[0] == pytest.approx(p[0, 1 + 4 * person] * p[1, 3 + 4 * person], rel=1e-4)
    together = [words(nlp, WORDS), words(nlp, ""), words(nlp, "nobody knows Riga")]
    component.set_annotations(together, component.predict(together))
    assert [ent._.get(CONFIDENCE) for doc in together for ent in doc.ents] == pytest.approx(found)


def test_a_known_mistake_is_unlearned() -> None:
    nlp, component = make("biluo_ner", annotated, incorrect_spans_key=KEY)
    learn(nlp, annotated(nlp))
    assert layers_of(component) == {"ents", f"spans:{KEY}"}
    for text, start, end in (("Bob is far", 0, 1), ("in New York City", 1, 4)):
        label = nlp(words(nlp, text)).ents[0].label_
        wrong = untrained(nlp, text)
        wrong.reference.set_ents([], default="missing")
        wrong.reference.spans[KEY] = [Span(wrong.reference, start, end, label)]
        assert count_units(component, wrong.reference) == end - start
        learn(nlp, [wrong], steps=20)
        found = [(e.start, e.end, e.label_) for e in nlp(words(nlp, text)).ents]
        assert (start, end, label) not in found


def test_the_gradient_of_a_known_mistake_is_that_of_its_loss() -> None:
    nlp, component = make("biluo_ner", annotated, incorrect_spans_key=KEY)
    learn(nlp, annotated(nlp), steps=5)
    wrong = untrained(nlp, "Bob is far")
    wrong.reference.set_ents([], default="missing")
    wrong.reference.spans[KEY] = [Span(wrong.reference, 0, 1, "PERSON")]
    scores = component.model.predict([wrong.predicted])
    _, (found,) = component.get_loss([wrong], scores)
    assert found.any()
    for column in range(scores[0].shape[1]):
        losses = []
        for step in (1e-2, -1e-2):
            moved = scores[0].astype("f8").copy()
            moved[0, column] += step
            losses.append(component.get_loss([wrong], [moved])[0])
        assert found[0, column] == pytest.approx((losses[0] - losses[1]) / 2e-2, abs=1e-3)


@pytest.mark.parametrize("margin", [5.0, 17.0, 20.0, 40.0, 120.0, 1000.0])
def test_the_gradient_of_a_mistake_that_the_head_is_sure_of_is_exact(margin: float) -> None:
    nlp, component = make("biluo_ner", annotated, incorrect_spans_key=KEY)
    wrong = untrained(nlp, "Bob")
    wrong.reference.set_ents([], default="missing")
    wrong.reference.spans[KEY] = [Span(wrong.reference, 0, 1, "PERSON")]
    scores = np.zeros((1, 1 + 4 * len(component.labels)), dtype="f4")
    unit = 4 * (1 + component.labels.index("PERSON"))
    scores[0, unit] = margin
    others = scores.shape[1] - 1
    p = 1 / (1 + others * np.exp(-margin))
    loss, (d_scores,) = component.get_loss([wrong], [scores])
    expected = np.full(scores.shape, -p / others)
    expected[0, unit] = p
    np.testing.assert_allclose(d_scores, expected, rtol=1e-5)
    assert loss == pytest.approx(margin + np.log1p(others * np.exp(-margin)) - np.log(others), 1e-5)


def test_a_mistake_is_unlearned_whose_last_tag_the_head_would_not_choose_by_itself() -> None:
    nlp, component = make("biluo_ner", annotated, incorrect_spans_key=KEY)
    wrong = untrained(nlp, "New York is")
    wrong.reference.set_ents([], default="missing")
    wrong.reference.spans[KEY] = [Span(wrong.reference, 0, 2, "GPE")]
    begin = 1 + 4 * component.labels.index("GPE")
    scores = np.zeros((3, 1 + 4 * len(component.labels)), dtype="f4")
    scores[:, 0] = 5.0, 4.1, 5.0
    scores[0, begin], scores[1, begin + 2] = 8.0, 4.0

    def found() -> Sequence[Span]:
        doc = nlp.make_doc("New York is")
        component.set_annotations([doc], [scores])
        return doc.ents

    assert found()
    for _ in range(100):
        loss, (d_scores,) = component.get_loss([wrong], [scores])
        assert loss > 0.0 or not found()
        scores = scores - 0.1 * d_scores
    assert not found()
    assert scores[0].argmax() == 0 or scores[1].argmax() == 0


@pytest.mark.parametrize("given", ["a list", "what spaCy's ner wrote"])
def test_labels_of_the_initialize_block_reach_it_through_spacys_validation(
    tmp_path: Path, given: str
) -> None:
    nlp = spacy.blank("xx")
    labels: Any = ["GP", "PE"]  # two letters each, which could be taken for a dict's items
    if given != "a list":
        spacys = spacy.blank("xx")
        spacys.add_pipe("ner")
        spacys.initialize(lambda: annotated(spacys))
        srsly.write_json(tmp_path / "ner.json", spacys.get_pipe("ner").label_data)  # type: ignore[attr-defined]
        labels = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "ner.json")}
    model = head("biluo_ner", TOK2VEC)["model"]
    nlp.add_pipe("biluo_ner", config={"model": model})
    nlp.config["initialize"]["components"] = {"biluo_ner": {"labels": labels}}
    nlp.initialize(lambda: annotated(nlp))
    expected = ("GP", "PE") if given == "a list" else ("GPE", "PERSON")
    assert tuple(sorted(nlp.get_pipe("biluo_ner").labels)) == expected  # type: ignore[attr-defined]


def test_a_span_that_is_gold_and_a_mistake_is_refused() -> None:
    nlp, _ = make("biluo_ner", annotated, incorrect_spans_key=KEY)
    example = untrained(nlp, "Riga is far", ents=["B-GPE", "O", "O"])
    example.reference.spans[KEY] = [Span(example.reference, 0, 1, "GPE")]
    with pytest.raises(ConfigError, match=f"`Riga` is a gold entity `GPE`.*`{KEY}`"):
        nlp.update([example])


def test_unannotated_documents_change_nothing() -> None:
    both = []
    for more in (0, 5):
        nlp, component = make("biluo_ner", annotated)
        others = [untrained(nlp, "who is Ann Lee") for _ in range(more)]
        nlp.update([*others, *annotated(nlp)], sgd=Adam(0.05))
        both.append(component.model.to_bytes())
    assert both[0] == both[1]


def test_a_copy_of_the_model_grows_by_itself() -> None:
    _, component = make("biluo_ner", annotated)
    copied = component.model.copy()
    copied.attrs["resize_output"](copied, 13)
    assert copied.get_ref("output_layer").get_dim("nO") == 13
    assert component.model.get_ref("output_layer").get_dim("nO") == 9


def test_a_label_that_is_added_later_is_learned_and_the_others_stay() -> None:
    nlp, component = learned()
    before = component.predict([words(nlp, WORDS)])[0]
    assert component.add_label("PET") == 1
    assert component.add_label("PET") == 0
    after = component.predict([words(nlp, WORDS)])[0]
    assert after.shape[1] == before.shape[1] + 4
    np.testing.assert_array_equal(before, after[:, : before.shape[1]])
    assert ents(nlp(words(nlp, WORDS)))[0] == ("Anna Smith", "PERSON")
    learn(nlp, [*annotated(nlp), untrained(nlp, "Rex barks", ents=["B-PET", "O"])])
    assert ents(nlp(words(nlp, "Rex barks"))) == [("Rex", "PET")]
    assert ents(nlp(words(nlp, WORDS)))[0] == ("Anna Smith", "PERSON")
    copy = spacy.blank("xx")
    fresh = copy.add_pipe("biluo_ner", config={"model": head("biluo_ner", TOK2VEC)["model"]})
    copy.from_bytes(nlp.to_bytes())
    assert fresh.labels == ("GPE", "PERSON", "PET")  # type: ignore[attr-defined]
    assert ents(copy(words(copy, "Rex barks"))) == [("Rex", "PET")]


@pytest.mark.parametrize("label", ["", 3, None])
def test_a_label_that_is_none_is_refused(label: Any) -> None:
    _, component = make("biluo_ner", annotated)
    with pytest.raises(ConfigError, match="cannot be a label of `biluo_ner`"):
        component.add_label(label)


@pytest.mark.parametrize(
    "given",
    [
        ["ORG", "GPE", "PERSON"],
        {"0": {"": 1}, "1": {"ORG": 3, "GPE": 1, "PERSON": 1}, "4": {"ORG": 3, "": 1}},
    ],
)
def test_labels_may_be_given_as_a_list_or_as_those_of_spacys_ner(given: Any) -> None:
    nlp = spacy.blank("xx")
    component = nlp.add_pipe("biluo_ner", config={"model": head("biluo_ner", TOK2VEC)["model"]})
    component.initialize(lambda: annotated(nlp), nlp=nlp, labels=given)  # type: ignore[attr-defined]
    assert component.labels == ("ORG", "GPE", "PERSON")  # type: ignore[attr-defined]
    assert component.label_data == ["ORG", "GPE", "PERSON"]  # type: ignore[attr-defined]


def test_without_entity_annotation_there_is_nothing_to_initialize_with() -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("biluo_ner", config={"model": head("biluo_ner", TOK2VEC)["model"]})
    with pytest.raises(ConfigError, match="entity annotation"):
        nlp.initialize(lambda: [untrained(nlp, "who knows")])


def test_a_label_of_the_documents_that_the_head_does_not_know_is_found() -> None:
    nlp, component = make("biluo_ner", annotated)
    doc = untrained(nlp, "Rex barks", ents=["B-PET", "O"]).reference
    assert unknown_labels(component, doc) == ["PET"]


def test_spacys_transition_model_is_refused_with_the_fix(encoder_path: Path) -> None:
    config = make_config(encoder_path, {"ner": {**head("ner"), "factory": "biluo_ner"}})
    with pytest.raises(ConfigError, match=r"`components.ner.model`.*spacy_mtl.BiluoTagger.v1"):
        spacy.lang.en.English.from_config(config)


def test_the_factory_alone_listens_to_the_shared_transformer(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(encoder_path, {"tagger": head("tagger"), "ner": {"factory": "biluo_ner"}})
    examples = make_examples(nlp.vocab)
    optimizer = Adam(0.01)
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    texts = [example.text for example in examples]
    before = [ents(doc) for doc in nlp.pipe(texts)]
    assert any(before)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert [ents(doc) for doc in loaded.pipe(texts)] == before
    assert [ents(loaded(text)) for text in texts] == before
