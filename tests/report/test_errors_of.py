"""What heads get wrong, against documents made by hand."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_mtl.annotation import TASKS_KEY
from spacy_mtl.corpora.sources import SOURCE_KEY
from spacy_mtl.report.errors_of import Judged, Mistake, choose, judge, predict
from spacy_mtl.report.excerpts import excerpts, pick

from ..pipeline.conftest import encoder_path
from ..pipeline.helpers import head, make_nlp

__all__ = ["encoder_path"]

WORDS = ["Anna", "Smith", "saw", "old", "Riga"]


@pytest.fixture(scope="module")
def nlp() -> Language:
    return spacy.blank("en")


def example(nlp: Language, predicted: dict[str, Any], gold: dict[str, Any]) -> Example:
    """One document, as it was predicted and as it should be."""
    docs = []
    for values in (predicted, gold):
        values = dict(values)
        spans, cats = values.pop("spans", None), values.pop("cats", {})
        doc = Doc(nlp.vocab, words=values.pop("words", WORDS), **values)
        doc.cats = cats
        if spans is not None:
            doc.spans["sc"] = [Span(doc, *span) for span in spans]
        docs.append(doc)
    return Example(*docs)


def judged(nlp: Language, factory: str, examples: list[Example], **config: Any) -> list[Judged]:
    component = nlp.create_pipe(factory, config=config)
    for label in ("A", "B", "C"):
        if factory.startswith("textcat"):
            component.add_label(label)  # type: ignore[attr-defined]
    return judge(component, examples)


def test_tags(nlp: Language) -> None:
    one = example(
        nlp, {"tags": ["N", "N", "V", "V", "N"]}, {"tags": ["N", "N", "V", "A", ""]}
    )  # the last is not annotated
    unannotated = example(nlp, {"tags": ["N"] * 5}, {})
    (found,) = judged(nlp, "tagger", [unannotated, one])
    assert found.pairs == Counter({("N", "N"): 2, ("V", "V"): 1, ("A", "V"): 1})
    assert found.mistakes == [Mistake(1, 3, 4, "A", "V")]
    assert (found.what, found.kind, found.open) == ("tags", "tokens", False)


def test_a_document_for_other_heads_does_not_count(nlp: Language) -> None:
    one = example(nlp, {"tags": ["N"] * 5}, {"tags": ["V"] * 5})
    one.reference.user_data[TASKS_KEY] = ("ner",)
    component = nlp.create_pipe("tagger")
    component.name = "tagger"  # type: ignore[attr-defined]
    (found,) = judge(component, [one])
    assert not found.pairs


def test_another_tokenization_is_aligned(nlp: Language) -> None:
    one = example(
        nlp,
        {"words": ["Anna", "Smith", "saw", "old", "Ri", "ga"], "tags": ["N"] * 6},
        {"tags": ["N", "V", "N", "N", "N"], "words": WORDS},
    )
    (found,) = judged(nlp, "tagger", [one])
    assert found.pairs[("V", "N")] == 1
    assert found.pairs.total() >= 4


def test_entities(nlp: Language) -> None:
    gold = {"ents": ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]}
    predicted = {"ents": ["B-ORG", "I-ORG", "B-X", "O", "B-LOC"]}
    (found,) = judged(nlp, "ner", [example(nlp, predicted, gold)])
    assert found.pairs == Counter(
        {("PER", "ORG"): 1, (None, "X"): 1, ("LOC", None): 1, (None, "LOC"): 1}
    )
    assert found.note.startswith("Of 1 missed entities 1 overlap a spurious one")
    assert found.mistakes[0] == Mistake(0, 0, 2, "PER", "ORG")


def test_an_entity_where_it_is_unknown_is_not_spurious(nlp: Language) -> None:
    gold = {"ents": ["B-PER", "I-PER", "O", "", ""]}
    predicted = {"ents": ["B-PER", "I-PER", "B-X", "O", "B-LOC"]}
    (found,) = judged(nlp, "ner", [example(nlp, predicted, gold)])
    assert found.pairs == Counter({("PER", "PER"): 1, (None, "X"): 1})


def test_spans_of_a_group(nlp: Language) -> None:
    gold = {"spans": [(0, 2, "A"), (0, 2, "B"), (3, 5, "C")]}
    predicted = {"spans": [(0, 2, "B"), (3, 5, "A"), (2, 3, "A")]}
    config = {"spans_key": "sc"}
    (found,) = judged(nlp, "spancat", [example(nlp, predicted, gold)], **config)
    assert found.pairs == Counter({("A", None): 1, ("B", "B"): 1, ("C", "A"): 1, (None, "A"): 1})
    bare = {"spans": [(0, 2, ""), (3, 4, "")]}
    (found,) = judged(nlp, "span_finder", [example(nlp, bare, gold)], **config)
    assert found.what == "spans"
    (none,) = judged(nlp, "spancat", [example(nlp, predicted, {})], **config)
    assert not none.pairs


def test_exclusive_categories(nlp: Language) -> None:
    pairs = [
        ({"A": 0.7, "B": 0.3}, {"A": 1.0, "B": 0.0}),
        ({"A": 0.4, "B": 0.6}, {"A": 1.0, "B": 0.0}),
        ({"A": 0.4, "B": 0.6}, {"A": 0.0, "B": 0.0}),  # in no category: nothing to be right about
        ({"A": 0.9, "B": 0.1}, {"other": 1.0}),
        ({}, {"B": 1.0}),
    ]
    examples = [example(nlp, {"cats": p}, {"cats": g}) for p, g in pairs]
    (found,) = judged(nlp, "textcat", examples)
    assert found.pairs == Counter({("A", "A"): 1, ("A", "B"): 1, ("B", None): 1})


def test_several_categories(nlp: Language) -> None:
    gold = {"A": 1.0, "B": 0.0}  # C is not asked about
    one = example(nlp, {"cats": {"A": 0.4, "B": 0.6, "C": 0.9}}, {"cats": gold})
    (found,) = judged(nlp, "textcat_multilabel", [one], threshold=0.5)
    assert found.pairs == Counter({("A", None): 1, (None, "B"): 1})


def test_sentence_starts(nlp: Language) -> None:
    gold = {"sent_starts": [True, False, True, None, False]}
    predicted = {"sent_starts": [True, True, False, True, False]}
    (found,) = judged(nlp, "senter", [example(nlp, predicted, gold)])
    assert found.pairs == Counter(
        {("start", "start"): 1, ("inside", "start"): 1, ("start", "inside"): 1}
        | {("inside", "inside"): 1}
    )


def test_dependencies_and_heads(nlp: Language) -> None:
    gold = {"heads": [1, 2, 2, 4, 2], "deps": ["compound", "nsubj", "ROOT", "amod", "dobj"]}
    predicted = {"heads": [2, 2, 2, 4, 2], "deps": ["compound", "nsubj", "ROOT", "det", "dobj"]}
    one = example(nlp, predicted, gold)
    (found,) = judged(nlp, "parser", [one])
    assert found.pairs[("amod", "det")] == 1
    assert found.pairs.total() == 5
    assert "1 of 5 tokens have another head" in found.note
    (shown,) = excerpts(nlp.create_pipe("parser"), found, [one], 3)
    assert (shown.gold, shown.predicted) == ("amod of “Riga”", "det of “Riga”")
    assert (shown.before, shown.marked, shown.after) == ("Anna Smith saw ", "old", " Riga")


def test_lemmas_make_no_table(nlp: Language) -> None:
    gold = {"lemmas": ["Anna", "Smith", "see", "old", "Riga"]}
    one = example(nlp, {"lemmas": ["Anna", "Smith", "saw", "old", "Riga"]}, gold)
    (found,) = judged(nlp, "trainable_lemmatizer", [one])
    assert found.open
    assert found.mistakes == [Mistake(0, 2, 3, "see", "saw")]


def test_morphology_has_two_tables(nlp: Language) -> None:
    gold = {"pos": ["PROPN"] * 5, "morphs": ["Number=Sing", "", "Tense=Past", "", ""]}
    predicted = {"pos": ["PROPN"] * 4 + ["X"], "morphs": ["", "", "Tense=Past", "", ""]}
    pos, morph = judged(nlp, "morphologizer", [example(nlp, predicted, gold)])
    assert pos.pairs == Counter({("PROPN", "PROPN"): 4, ("PROPN", "X"): 1})
    assert morph.pairs[("Number=Sing", "_")] == 1
    only_pos = example(nlp, {"pos": ["X"] * 5}, {"pos": ["X"] * 5})
    assert [found.what for found in judged(nlp, "morphologizer", [only_pos])] == ["parts of speech"]


def test_links(nlp: Language) -> None:
    one = example(
        nlp, {"ents": ["B-P", "I-P", "O", "O", "B-P"]}, {"ents": ["B-P", "I-P", "O", "O", "B-P"]}
    )
    for doc, ids in ((one.predicted, ("Q1", "Q3")), (one.reference, ("Q1", "Q2"))):
        doc.ents = [
            Span(doc, e.start, e.end, e.label, kb_id=i) for e, i in zip(doc.ents, ids, strict=True)
        ]
    (found,) = judged(nlp, "entity_linker", [one])
    assert found.pairs == Counter({("Q1", "Q1"): 1, ("Q2", "Q3"): 1})
    assert found.open
    (shown,) = excerpts(nlp.create_pipe("entity_linker"), found, [one], 1)
    assert (shown.gold, shown.predicted, shown.marked) == ("Q2", "Q3", "Riga")


def test_a_head_of_an_unknown_kind_is_left_out() -> None:
    assert judge(object(), []) == []


def test_documents_are_chosen_evenly(nlp: Language) -> None:
    def of(source: str, n: int) -> list[Example]:
        found = []
        for i in range(n):
            one = example(nlp, {}, {})
            one.reference.user_data |= {SOURCE_KEY: source, "i": i}
            found.append(one)
        return found

    examples = [*of("large", 100), *of("small", 2), *of("middle", 10)]
    chosen = [eg.reference.user_data for eg in choose(examples, 12)]
    by_source = Counter(data[SOURCE_KEY] for data in chosen)
    assert by_source == {"small": 2, "middle": 5, "large": 5}
    assert [d["i"] for d in chosen if d[SOURCE_KEY] == "large"] == [0, 25, 50, 74, 99]
    assert len(choose(examples, 1000)) == 112
    assert len(choose(examples, 1)) == 1


def test_two_heads_of_a_kind_are_asked_one_without_the_other(encoder_path: Path) -> None:
    heads = {"first": {**head("tagger")}, "second": {**head("tagger"), "factory": "masked_tagger"}}
    nlp = make_nlp(encoder_path, heads | {"ner": head("ner")})
    for name, tag in (("first", 0), ("second", 1)):
        pipe = nlp.get_pipe(name)
        node = next(n for n in pipe.model.walk() if n.has_param("b"))  # type: ignore[attr-defined]
        bias = node.get_param("b") * 0
        bias[tag] = 100.0
        node.set_param("b", bias)
    found = predict(nlp, [example(nlp, {}, {"tags": ["N"] * 5})])
    labels = nlp.get_pipe("first").labels  # type: ignore[attr-defined]
    assert {t.tag_ for t in found["first"][0].predicted} == {labels[0]}
    assert {t.tag_ for t in found["second"][0].predicted} == {labels[1]}
    assert found["ner"][0].predicted.has_annotation("ENT_IOB")


def test_examples_are_of_many_kinds_and_documents() -> None:
    def made(document: int, gold: str) -> Mistake:
        return Mistake(document, 0, 1, gold, "X")

    mistakes = [made(0, "A"), made(0, "A"), made(1, "A"), made(0, "B"), made(2, "C")]
    found = [(m.document, m.gold) for m in pick(mistakes, 4)]
    assert found == [(0, "A"), (2, "C"), (1, "A"), (0, "B")]
    assert pick(mistakes, 0) == []


def test_a_long_document_is_cut_around_the_error(nlp: Language) -> None:
    words = [f"w{i}" for i in range(200)]
    ents = ["O"] * 200
    ents[100] = ents[5] = "B-A"
    one = example(nlp, {"words": words, "ents": ["O"] * 200}, {"words": words, "ents": ents})
    (found,) = judged(nlp, "ner", [one])
    found.mistakes = [m for m in found.mistakes if m.start == 100]
    (shown,) = excerpts(nlp.create_pipe("ner"), found, [one], 1)
    assert "w100" in shown.gold_markup
    assert "w100" in shown.predicted_markup
    assert "w84" not in shown.gold_markup
    assert "w130" not in shown.predicted_markup
    assert shown.gold_markup.count("<mark") == 1
