"""Tags as numbers against spaCy's own BILUO tags."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_mtl.errors import ConfigError
from spacy_mtl.pipeline.heads.biluo_gold import gold_tags
from spacy_mtl.pipeline.heads.biluo_tags import from_tags, n_tags, spans_of, to_tags

LABELS = ("PERSON", "GPE", "ORG")
VOCAB = spacy.blank("xx").vocab  # knows what whitespace is
NAMES = ["O", *(f"{kind}-{label}" for label in LABELS for kind in "BILU")]


def spacys(example: Example) -> list[int]:
    """spaCy's tags, one token after the other."""
    return [-1 if t in (None, "-", "") else NAMES.index(t) for t in example.get_aligned_ner()]


@st.composite
def docs(draw: st.DrawFn) -> Doc:
    """Words and spaces with entities, tokens outside, missing and blocked ones."""
    words = draw(st.lists(st.sampled_from(["a", "b", " ", "\n"]), min_size=1, max_size=12))
    doc = Doc(VOCAB, words=words)
    groups: dict[str, list[Span]] = {"ent": [], "outside": [], "missing": [], "blocked": []}
    start = 0
    while start < len(doc):
        stop = min(start + draw(st.integers(1, 4)), len(doc))
        kind = draw(st.sampled_from(list(groups)))
        label = draw(st.sampled_from(LABELS)) if kind == "ent" else ""
        groups[kind].append(Span(doc, start, stop, label=label))
        start = stop
    doc.set_ents(groups.pop("ent"), **groups, default="missing")
    return doc


@settings(max_examples=100, deadline=None)
@given(st.lists(docs(), min_size=1, max_size=3))
def test_gold_tags_are_those_of_spacy(references: list[Doc]) -> None:
    examples = []
    for reference in references:
        words = [t.text for t in reference]
        examples.append(Example(Doc(reference.vocab, words=words), reference))
    expected = []
    for example in examples:
        tags = spacys(example)
        for ent in example.reference.ents:
            if ent[0].is_space or ent[-1].is_space:  # spaCy's `ner` cannot predict it, nor can ours
                tags[ent.start : ent.end] = [-1] * len(ent)
        expected += tags
    assert gold_tags(examples, LABELS, name="ner").tolist() == expected


def test_other_tokens_than_the_reference_has_are_aligned_as_in_spacy() -> None:
    vocab = Vocab()
    gold = Doc(
        vocab,
        words=["New", "York", "City", "is", "big"],
        ents=["B-GPE", "I-GPE", "I-GPE", "O", "O"],
    )
    for words, spaces in (
        (["New York", "City", "is", "big"], None),
        (["New", "York", "City is", "big"], None),  # half of it is the entity's
        (["N", "ew", "York", "City", "is", "big"], [False, True, True, True, True, False]),
    ):
        example = Example(Doc(vocab, words=words, spaces=spaces), gold)
        found = gold_tags([example], LABELS, name="ner").tolist()
        assert found == spacys(example)
    same = Example(Doc(vocab, words=[t.text for t in gold]), gold)
    both = gold_tags([example, same, example], LABELS, name="ner").tolist()
    assert both == spacys(example) + spacys(same) + spacys(example)


def test_a_document_without_entity_annotation_is_unknown() -> None:
    vocab = Vocab()
    example = Example(Doc(vocab, words=["a", " "]), Doc(vocab, words=["a", " "]))
    assert gold_tags([example], LABELS, name="ner").tolist() == [-1, -1]


@pytest.mark.parametrize("words", [["Zoe", "left"], ["Zo", "e", "left"]])
def test_an_unknown_label_is_named(words: list[str]) -> None:
    vocab = Vocab()
    gold = Doc(vocab, words=["Zoe", "left"], ents=["B-PET", "O"])
    spaces = [False, True, True] if len(words) == 3 else None
    example = Example(Doc(vocab, words=words, spaces=spaces), gold)
    with pytest.raises(ConfigError, match=r"`PET`.*`names`.*`PERSON`, `GPE`, `ORG`"):
        gold_tags([example], LABELS, name="names")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-1, 2)), max_size=8))
def test_tags_and_attributes_are_each_others_inverse(stretches: list[tuple[int, int]]) -> None:
    hashes = [11, 22, 33]
    tags: list[int] = []
    spans = []
    for length, label in stretches:
        if label < 0:
            tags += [0] * length
            continue
        spans.append((len(tags), len(tags) + length, label))
        kinds = [4] if length == 1 else [1, *[2] * (length - 2), 3]
        tags += [4 * label + kind for kind in kinds]
    array = np.array(tags, dtype=np.int64)
    assert spans_of(array) == spans
    iob, types = from_tags(array, hashes)
    nothing = np.zeros(len(tags), dtype=bool)
    back = to_tags(iob.astype(np.int64), types, labels=hashes, doc_starts=nothing, is_space=nothing)
    assert back.tolist() == tags
    assert all(tag < n_tags(3) for tag in tags)
