"""Several sources read as one corpus: what is not annotated is missing, and what is wrong is named."""

import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_mtl.annotation import count_units
from spacy_mtl.corpora.readers import MultiCorpus
from spacy_mtl.corpora.sources import source_of
from spacy_mtl.errors import ConfigError, CorpusError

from ..pipeline.sentences import SENTENCES
from .helpers import make_pipeline, write_docbin, write_jsonl

HEADS = ("tagger", "ner", "morphologizer", "parser", "textcat", "spancat", "trainable_lemmatizer")
N = len(SENTENCES)


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = spacy.blank("en")
    for head in HEADS:
        nlp.add_pipe(head)
    return nlp


@pytest.fixture
def path(tmp_path: Path, nlp: Language) -> Path:
    return write_docbin(tmp_path / "all.spacy", nlp)


def read(nlp: Language, sources: dict[str, Any], **settings: Any) -> list[Any]:
    return list(MultiCorpus(sources, **settings)(nlp))


def annotated_heads(nlp: Language, doc: Doc) -> set[str]:
    return {name for name, head in nlp.pipeline if count_units(head, doc)}


@pytest.mark.parametrize("head", HEADS)
def test_a_source_annotates_its_tasks_and_nothing_else(
    nlp: Language, path: Path, head: str
) -> None:
    for example in read(nlp, {"a": {"path": path, "tasks": [head]}}):
        assert annotated_heads(nlp, example.reference) == {head}


def test_a_source_without_tasks_keeps_what_its_documents_have(nlp: Language, path: Path) -> None:
    for example in read(nlp, {"a": {"path": path}}):
        assert annotated_heads(nlp, example.reference) == set(HEADS)


def test_other_annotation_stays_if_it_is_not_to_be_ignored(nlp: Language, path: Path) -> None:
    for example in read(nlp, {"a": {"path": path, "tasks": ["ner"], "ignore_others": False}}):
        assert annotated_heads(nlp, example.reference) == set(HEADS)


def test_no_entities_is_missing_where_entities_are_not_annotated(
    nlp: Language, tmp_path: Path
) -> None:
    doc = Doc(nlp.vocab, words=["It", "rained"], tags=["PRP", "VBD"], ents=["O", "O"])
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    tags, both = (
        read(nlp, {"a": {"path": tmp_path / "a.spacy", "tasks": tasks}})[0].reference
        for tasks in (["tagger"], ["tagger", "ner"])
    )
    assert [t.ent_iob_ for t in tags] == ["", ""]
    assert [t.ent_iob_ for t in both] == ["O", "O"]


def test_a_file_that_annotates_sentences_as_heads_keeps_them_for_the_parser_only(
    nlp: Language, path: Path
) -> None:
    (parsed, *_), (tagged, *_) = (
        read(nlp, {"a": {"path": path, "tasks": [task]}}) for task in ("parser", "tagger")
    )
    assert parsed.reference.has_annotation("SENT_START")
    assert not tagged.reference.has_annotation("SENT_START")


def test_annotation_for_a_component_of_the_users_own_is_kept(path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")
    nlp.add_pipe("tests_of_readers_own_head")
    (example, *_) = read(nlp, {"a": {"path": path, "tasks": ["tests_of_readers_own_head"]}})
    assert example.reference.ents
    assert example.reference.spans
    assert not example.reference[0].tag


@Language.component("tests_of_readers_own_head")
def _own_component(doc: Doc) -> Doc:
    return doc


_own_component.is_trainable = True  # type: ignore[attr-defined]


def test_documents_keep_text_tokens_and_the_name_of_their_source(nlp: Language, path: Path) -> None:
    found = read(nlp, {"a": {"path": path, "tasks": ["ner"]}, "b": {"path": path}})
    assert [eg.reference.text for eg in found] == [s.words for s in SENTENCES] * 2
    assert [source_of(eg.reference) for eg in found] == ["a"] * N + ["b"] * N
    assert all(not eg.predicted.has_annotation("TAG") for eg in found)


def test_folders_are_read_file_by_file_and_limits_hold(nlp: Language, tmp_path: Path) -> None:
    write_docbin(tmp_path / "x" / "b.spacy", nlp)
    write_jsonl(tmp_path / "x" / "deep" / "a.jsonl", [{"text": "so what", "cats": {"NEWS": 1.0}}])
    assert len(read(nlp, {"a": {"path": tmp_path / "x"}})) == N + 1
    assert len(read(nlp, {"a": {"path": tmp_path / "x", "limit": 2}})) == 2


def test_json_lines_hold_annotation_in_characters(nlp: Language, tmp_path: Path) -> None:
    text = "Anna likes Berlin."
    records = [
        {"text": text, "entities": [[0, 4, "PERSON"], [11, 17, "GPE"]]},
        {"text": text, "cats": {"NEWS": 1.0, "TALE": 0.0}, "meta": {"id": 3}},
        {"text": text, "spans": {"sc": [[0, 4, "PERSON"]]}, "entities": []},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    ents, cats, spans = (eg.reference for eg in read(nlp, {"a": {"path": path}}))
    assert [(e.text, e.label_) for e in ents.ents] == [("Anna", "PERSON"), ("Berlin", "GPE")]
    assert annotated_heads(nlp, ents) == {"ner"}
    assert cats.cats == {"NEWS": 1.0, "TALE": 0.0}
    assert annotated_heads(nlp, cats) == {"textcat"}
    assert [s.text for s in spans.spans["sc"]] == ["Anna"]
    assert annotated_heads(nlp, spans) == {"ner", "spancat"}


def test_offsets_are_those_of_the_text_whatever_the_words_are(
    nlp: Language, tmp_path: Path
) -> None:
    record = {
        "text": "A.B C",
        "words": ["A", ".", "B", "C"],
        "tags": ["X", "P", "X", "X"],
        "entities": [[2, 3, "PERSON"]],
    }
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    (example,) = read(nlp, {"a": {"path": path}})
    assert example.reference.text == example.predicted.text == "A.B C"
    assert [(e.text, e.start) for e in example.reference.ents] == [("B", 2)]
    assert [t.tag_ for t in example.reference] == ["X", "P", "X", "X"]


def test_known_mistakes_are_annotation_for_entities(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("masked_ner", config={"incorrect_spans_key": "wrong"})
    record = {"text": "Anna", "spans": {"wrong": [[0, 4, "PLACE"]], "other": [[0, 4, "X"]]}}
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    (example,) = read(nlp, {"a": {"path": path, "tasks": ["masked_ner"]}})
    assert list(example.reference.spans) == ["wrong"]
    assert count_units(ner, example.reference) == 1


def two_of_a_kind(tmp_path: Path, factory: str) -> tuple[Language, dict[str, Any]]:
    nlp = spacy.blank("en")
    blocks = {}
    for name, label in (("first", "PERSON"), ("second", "CITY")):
        nlp.add_pipe(factory, name=name)
        record = {"text": "Anna", "entities": [[0, 4, label]]}
        path = write_jsonl(tmp_path / f"{name}.jsonl", [record] * 3)
        blocks[name] = {"path": path, "tasks": [name]}
    return nlp, blocks


def test_two_heads_of_a_kind_have_sources_of_their_own(tmp_path: Path) -> None:
    nlp, blocks = two_of_a_kind(tmp_path, "masked_ner")
    examples = read(nlp, blocks)
    nlp.initialize(lambda: examples)
    assert [nlp.get_pipe(name).labels for name in blocks] == [("PERSON",), ("CITY",)]
    losses = nlp.update([eg for eg in examples if eg.source == "first"], losses={})
    assert losses["first"] > 0
    assert losses["second"] == 0


def test_a_head_that_would_train_on_another_ones_source_is_refused(tmp_path: Path) -> None:
    nlp, blocks = two_of_a_kind(tmp_path, "ner")
    with pytest.raises(ConfigError, match="`second` would be trained on source `first`"):
        MultiCorpus(blocks)(nlp)


def test_any_reader_can_be_a_source(nlp: Language, path: Path) -> None:
    corpus = spacy.registry.readers.get("spacy.Corpus.v1")(
        path=path, gold_preproc=False, max_length=0, limit=0, augmenter=None
    )
    found = read(nlp, {"a": {"reader": corpus, "tasks": ["tagger"]}})
    assert len(found) == N
    assert annotated_heads(nlp, found[0].reference) == {"tagger"}


def test_the_config_resolves_with_a_block_for_each_source(nlp: Language, path: Path) -> None:
    text = f"""
[corpora]

[corpora.train]
@readers = "spacy_mtl.MultiCorpus.v1"
sampling = "temperature"
alpha = 0.5

[corpora.train.sources]

[corpora.train.sources.a]
path = "{path}"
tasks = ["tagger"]
weight = 2.0

[corpora.train.sources.b]

[corpora.train.sources.b.reader]
@readers = "spacy.Corpus.v1"
path = "{path}"
gold_preproc = false
max_length = 0
limit = 0
augmenter = null
"""
    config = spacy.util.load_config_from_str(text)
    corpus = spacy.registry.resolve(config["corpora"])["train"]
    assert [source.name for source in corpus.sources] == ["a", "b"]
    assert len(list(corpus(nlp))) == 2 * N


# ---- bad input


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"path": "x.spacy", "task": ["ner"]}, r"`sources.news.task` is not a setting"),
        ({"path": "x.spacy", "tasks": "ner"}, r"`sources.news.tasks = 'ner'`.*a list"),
        ({"path": "x.spacy", "tasks": []}, r"`sources.news.tasks = \[\]`"),
        ({"path": "x.spacy", "weight": 0}, r"`sources.news.weight = 0`.*above 0"),
        ({"path": "x.spacy", "weight": float("inf")}, r"`sources.news.weight = inf`"),
        ({"path": "x.spacy", "limit": -1}, r"`sources.news.limit = -1`"),
        ({"path": "x.spacy", "limit": 2.0}, r"`sources.news.limit = 2.0`.*whole"),
        ({"path": "x.spacy", "ignore_others": "no"}, r"`sources.news.ignore_others = 'no'`"),
        ({"path": "x.spacy", "reader": print}, r"`sources.news.path = 'x.spacy'`.*left out"),
        ({"path": 3}, r"`sources.news.path = 3`"),
        ({"reader": "spacy.Corpus.v1"}, r"`sources.news.reader = 'spacy.Corpus.v1'`"),
        ("x.spacy", r"`sources.news = 'x.spacy'`.*a block"),
    ],
)
def test_a_wrong_setting_is_named_when_the_config_is_read(block: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MultiCorpus({"news": block})


@pytest.mark.parametrize("setting", [{"seed": -1}, {"shuffle_buffer": 0}])
def test_a_wrong_setting_of_the_reader_is_named(setting: dict[str, int]) -> None:
    ((key, value),) = setting.items()
    with pytest.raises(ConfigError, match=f"`{key} = {value}`"):
        MultiCorpus({"news": {"path": "x.spacy"}}, **setting)


def test_variables_in_the_training_block_are_understood(nlp: Language, path: Path) -> None:
    blocks = {"a": {"path": path}}
    train_config(nlp, blocks, max_epochs=3)
    nlp.config["variables"] = {"epochs": -1}
    nlp.config["training"]["max_epochs"] = "${variables.epochs}"
    assert len(list(MultiCorpus(blocks, stream=True)(nlp))) == N


def test_a_reader_needs_sources() -> None:
    with pytest.raises(ConfigError, match="no sources"):
        MultiCorpus({})


@pytest.mark.parametrize("task", ["nerr", "shared"])
def test_a_task_that_is_no_component_is_named(nlp: Language, path: Path, task: str) -> None:
    with pytest.raises(ConfigError, match=f"`{task}` in `sources.news.tasks` is not a component"):
        MultiCorpus({"news": {"path": path, "tasks": [task]}})(nlp)


def test_a_task_that_does_not_learn_is_refused(encoder_path: Path, path: Path) -> None:
    nlp = make_pipeline(encoder_path)
    with pytest.raises(ConfigError, match=r"`shared_transformer` in .* learns nothing"):
        MultiCorpus({"news": {"path": path, "tasks": ["shared_transformer"]}})(nlp)


@pytest.mark.parametrize("block", [{}, {"path": None}])
def test_a_source_needs_a_path(nlp: Language, block: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"`sources\.news\.path = None`"):
        read(nlp, {"news": block})


def test_a_path_that_does_not_exist_is_named(nlp: Language, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"sources.news.path = .*nowhere.* does not exist"):
        read(nlp, {"news": {"path": tmp_path / "nowhere"}})


def test_a_folder_without_corpora_is_named(nlp: Language, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(CorpusError, match=r"no file of a type that can be read"):
            read(nlp, {"news": {"path": path}})


def test_a_max_length_that_leaves_out_all_is_named(nlp: Language, tmp_path: Path) -> None:
    docs = [nlp.make_doc("no boundaries between these six words")] * 3
    DocBin(docs=docs).to_disk(tmp_path / "long.spacy")
    block = {"path": str(tmp_path / "long.spacy"), "max_length": 4}
    with pytest.raises(CorpusError, match=r"`sources.long.max_length = 4` leaves out all of them"):
        list(MultiCorpus({"long": block})(nlp))


def test_an_empty_source_is_named(nlp: Language, tmp_path: Path) -> None:
    DocBin().to_disk(tmp_path / "a.spacy")
    write_jsonl(tmp_path / "b.jsonl", ["", "  "])
    for name in ("a.spacy", "b.jsonl"):
        with pytest.raises(CorpusError, match=r"Source `news` .* holds no documents"):
            read(nlp, {"news": {"path": tmp_path / name}})


def test_a_source_in_which_nothing_is_annotated_for_its_task_is_named(
    nlp: Language, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Anna", "cats": {"NEWS": 1.0}}])
    with pytest.raises(CorpusError, match=r"None of the 1 documents of source `news`.*`ner`"):
        read(nlp, {"news": {"path": path, "tasks": ["ner", "textcat"]}})


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "Anna',
        '"Anna"',
        '{"texts": "Anna"}',
        '{"text": "Anna", "entities": [[0, 99]]}',
        '{"text": "Anna", "tagz": ["X"]}',
        '{"text": "Anna", "entities": [[0, 99, "PERSON"]]}',
        '{"text": "Anna", "entities": [[3, 0, "PERSON"]]}',
        '{"text": "Anna", "spans": {"sc": [[0, 99, "PERSON"]]}}',
        '{"text": "Anna", "cats": {"NEWS": "yes"}}',
        '{"text": "Anna", "cats": {"NEWS": null}}',
        '{"text": "Anna", "words": ["Bob"], "tags": ["X"]}',
    ],
)
def test_a_bad_line_of_json_is_named_with_its_place(
    nlp: Language, tmp_path: Path, line: str
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "Anna", "entities": []}])
    write_jsonl(tmp_path / "b.jsonl", [{"text": "Anna", "entities": []}, "", line])
    place = r"b\.jsonl \(file 2 of 2\), line 3"
    with pytest.raises(CorpusError, match=f"Source `news` cannot be read at .*{place}"):
        read(nlp, {"news": {"path": tmp_path}})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"text": "Anna", "tagz": ["X"]}',
            r"`tagz` is not the name of any annotation.*tags, .*meta",
        ),
        ('{"text": "Anna", "_input_hash": 3, "spans": []}', r"`_input_hash`.*`data-to-spacy`"),
        ('{"text": "Anna", "spans": [{"start": 0}]}', r"expected an object in `spans`, got"),
        ('{"text": "Anna", "cats": ["A"]}', r"expected an object in `cats`, got `\['A'\]`"),
        ('{"text": "Anna", "tags": "NNP"}', r"expected a list in `tags`, got `'NNP'`"),
        ('{"text": "Anna", "pos": ["propn"]}', r"`propn` in `pos` is no part of speech.*`PROPN`"),
        ('{"text": "Anna", "entities": [[0, 4, " "]]}', r"expected a label, got \[0, 4, ' '\]"),
        ('{"text": "Anna", "entities": [[0, 4, "A", "Q1"]]}', r"expected \[start, end, label\] in"),
        ('{"text": "Anna", "ner": ["PER"]}', r"expected tags such as `B-PER`.* got `PER`"),
        ('{"text": "Anna", "ner": ["O", "O"]}', r"expected a tag for each of 1 tokens.* got 2"),
        (
            '{"text": "Anna B", "ner": ["B-A", "U-A"]}',
            r"expected BILUO or IOB.* got `U-A` after `B-A`",
        ),
        (
            '{"text": "Anna B", "ner": ["B-A", "L-B"]}',
            r"expected BILUO or IOB.* got `L-B` after `B-A`",
        ),
        ('{"text": "Anna", "cats": {"": 1}}', r"expected a name for each category"),
        ('{"text": "Anna", "sent_starts": ["true"]}', r"expected true, false or null in `sent_"),
        ('{"text": "Anna", "sent_starts": [2]}', r"expected true, false or null in `sent_starts`"),
        ('{"text": "Anna", "links": {"0,4": {"Q": 1}}}', r"`links` cannot be written in JSON"),
        (
            '{"text": "Anna", "spans": {"sc": [[0, 3, "A"]]}}',
            r".*`spans.sc` does not begin.*`Anna`",
        ),
        ('{"text": "Anna", "spans": {"sc": [[0, 4, ""]]}}', r"expected a label, got"),
        ('{"text": "Anna", "tags": ["A"], "TAG": ["B"]}', r"`tags` and `TAG` are the same"),
        ('{"text": "Anna", "doc_annotation": ["A"]}', r"expected an object in `doc_annotation`"),
        ('{"text": "Anna", "doc_annotation": {"cats": {"A": 7}}}', r"expected a score from 0 to 1"),
        ('{"text": "Anna", "doc_annotation": {"entities": [[0, 9, "A"]]}}', r"expected .* inside"),
        ('{"text": "Anna", "ORTH": ["Bob"]}', r".*mismatched text 'Anna'"),
    ],
)
def test_a_bad_line_of_json_is_told_what_it_should_have(
    nlp: Language, tmp_path: Path, line: str, said: str
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [line])
    with pytest.raises(CorpusError, match=rf"line 1: {said}.*\. Correct or replace the file"):
        read(nlp, {"news": {"path": path}})


@pytest.mark.parametrize("name", ["ner", "entities"])
@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "L-PER", "O", "U-LOC"]),
        (["I-PER", "I-PER", "O", "I-LOC"], ["B-PER", "L-PER", "O", "U-LOC"]),
        (["B-PER", "L-PER", "O", "U-LOC"], ["B-PER", "L-PER", "O", "U-LOC"]),
        (["B-PER", None, "-", "B-LOC"], ["U-PER", "-", "-", "U-LOC"]),
        (["O", "O", "O", "O"], ["O", "O", "O", "O"]),
        ([None, None, None, None], ["-", "-", "-", "-"]),
    ],
)
def test_entities_may_be_iob_and_biluo_tags(
    nlp: Language, tmp_path: Path, name: str, tags: list[str | None], found: list[str]
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Anna Smith likes Riga", name: tags}])
    (example,) = read(nlp, {"news": {"path": path}})
    assert example.get_aligned_ner() == [None if tag == "-" else tag for tag in found]


def test_what_spacys_examples_write_is_read_again(nlp: Language, tmp_path: Path) -> None:
    doc = nlp.make_doc("Anna likes Riga. Bob does not.")
    given = Example.from_dict(
        doc,
        {
            "tags": ["NNP", "VBZ", "NNP", ".", "NNP", "VBZ", "RB", "."],
            "pos": ["PROPN", "VERB", "PROPN", "PUNCT", "PROPN", "AUX", "PART", "PUNCT"],
            "sent_starts": [True, None, None, None, True, None, None, None],
            "entities": [[0, 4, "PERSON"], [11, 15, "GPE"]],
            "cats": {"NEWS": 1.0, "TALE": 0.0},
            "spans": {"sc": [[0, 10, "A"], [5, 15, "B"]]},
        },
    ).reference
    record = {"text": doc.text, **Example(doc, given).to_dict()}
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    (example,) = read(nlp, {"news": {"path": path}})
    found = example.reference
    for attribute in ("tag_", "pos_", "is_sent_start", "ent_iob_", "ent_type_"):
        assert [getattr(t, attribute) for t in found] == [getattr(t, attribute) for t in given]
    assert found.cats == given.cats
    assert [(s.start, s.end, s.label_) for s in found.spans["sc"]] == [(0, 2, "A"), (1, 3, "B")]


def test_null_is_missing_and_a_byte_order_mark_is_no_text(nlp: Language, tmp_path: Path) -> None:
    line = '{"text": "Anna", "entities": null, "cats": {"NEWS": 1.0}, "tags": null}\n'
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode())
    (example,) = read(nlp, {"news": {"path": tmp_path / "a.jsonl"}})
    assert example.reference.text == "Anna"
    assert annotated_heads(nlp, example.reference) == {"textcat"}


def test_a_line_that_is_not_utf8_is_named_with_its_place(nlp: Language, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "Anna"}\n{"text": "\xff"}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl, line 2"):
        read(nlp, {"news": {"path": tmp_path / "a.jsonl"}})


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
def test_an_unreadable_file_in_the_middle_of_a_source_is_named(
    nlp: Language, tmp_path: Path, damage: str
) -> None:
    for name in "abc":
        write_docbin(tmp_path / f"{name}.spacy", nlp)
    content = (tmp_path / "b.spacy").read_bytes()
    middle = len(content) // 2
    damaged = {
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
        "text": b"hello",
    }
    (tmp_path / "b.spacy").write_bytes(damaged[damage])
    with pytest.raises(CorpusError, match=r"Source `news` .*b\.spacy \(file 2 of 3\)"):
        read(nlp, {"news": {"path": tmp_path}})


# ---- labels


def train_config(nlp: Language, blocks: dict[str, Any], **training: Any) -> None:
    """Say in the pipeline's config that these sources are what it trains on."""
    named = {k: {**v, "path": str(v["path"])} for k, v in blocks.items()}
    nlp.config["corpora"] = {"train": {"@readers": "spacy_mtl.MultiCorpus.v1", "sources": named}}
    nlp.config["training"].update({"train_corpus": "corpora.train", "max_epochs": 0, **training})


@pytest.mark.parametrize(
    ("task", "record", "label"),
    [
        ("ner", {"text": "Anna", "entities": [[0, 4, "PERSN"]]}, "PERSN"),
        ("tagger", {"text": "Anna", "words": ["Anna"], "tags": ["NNPP"]}, "NNPP"),
    ],
)
def test_a_label_that_the_head_does_not_know_is_named_with_its_place(
    encoder_path: Path, tmp_path: Path, task: str, record: dict[str, Any], label: str
) -> None:
    nlp = make_pipeline(encoder_path)
    known = {"text": "Anna", "entities": [[0, 4, "PERSON"]], "words": ["Anna"], "tags": ["PROPN"]}
    path = write_jsonl(tmp_path / "a.jsonl", [known, record])
    blocks = {"news": {"path": path, "tasks": [task]}}
    train_config(nlp, blocks)
    with pytest.raises(CorpusError, match=f"Document 2 of source `news` .*`{task}`.*`{label}`"):
        read(nlp, blocks)


def test_a_label_that_a_stream_brought_too_late_is_explained(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_pipeline(encoder_path)
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Anna", "entities": [[0, 4, "PERSN"]]}])
    blocks = {"news": {"path": path, "tasks": ["ner"]}}
    train_config(nlp, blocks, max_epochs=-1)
    with pytest.raises(CorpusError, match=r"`PERSN`.* in the first 100 examples only"):
        list(MultiCorpus(blocks, stream=True, seed=0)(nlp))


def test_an_unknown_label_in_a_dev_corpus_is_the_scorers_business(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make_pipeline(encoder_path)
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "Anna", "entities": [[0, 4, "PERSN"]]}])
    train_config(nlp, {"news": {"path": tmp_path / "train.jsonl", "tasks": ["ner"]}})
    assert len(read(nlp, {"news": {"path": path, "tasks": ["ner"]}})) == 1


def test_labels_are_free_before_the_head_is_initialized(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("textcat")
    records = [{"text": "Anna", "cats": {label: 1.0}} for label in ("a", "b", "c")]
    blocks = {"x": {"path": write_jsonl(tmp_path / "a.jsonl", records), "tasks": ["textcat"]}}
    train_config(nlp, blocks)
    nlp.initialize(lambda: MultiCorpus(blocks)(nlp))
    assert nlp.get_pipe("textcat").labels == ("a", "b", "c")


# ---- sampling and streams


@pytest.mark.parametrize(
    ("settings", "block"),
    [({"sampling": "uniform"}, {}), ({"sampling": "temperature"}, {}), ({}, {"weight": 2.0})],
)
def test_sampling_that_spacys_batchers_cannot_do_is_refused(
    nlp: Language, path: Path, settings: dict[str, Any], block: dict[str, Any]
) -> None:
    blocks: dict[str, Any] = {"a": {"path": path, **block}, "b": {"path": path}}
    train_config(nlp, blocks, batcher={"@batchers": "spacy.batch_by_words.v1"})
    with pytest.raises(ConfigError, match="needs a batcher that mixes anew"):
        MultiCorpus(blocks, **settings)(nlp)


def test_streaming_needs_endless_epochs(nlp: Language, path: Path) -> None:
    blocks = {"a": {"path": path}}
    train_config(nlp, blocks, max_epochs=3)
    with pytest.raises(ConfigError, match=r"`training.max_epochs = 3`"):
        MultiCorpus(blocks, stream=True)(nlp)


def test_the_training_corpus_is_recognised_however_its_paths_are_written(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_docbin(tmp_path / "a.spacy", nlp)
    monkeypatch.chdir(tmp_path)
    train_config(nlp, {"a": {"path": "./a.spacy", "tasks": ["ner"]}}, max_epochs=3)
    with pytest.raises(ConfigError, match=r"`training.max_epochs = 3`"):
        MultiCorpus({"a": {"path": "./a.spacy", "tasks": ["ner"]}}, stream=True)(nlp)


@pytest.fixture
def streamed(tmp_path: Path, nlp: Language) -> dict[str, Any]:
    small = write_docbin(tmp_path / "small.spacy", nlp)
    write_docbin(tmp_path / "large" / "1.spacy", nlp, repeat=3)
    write_docbin(tmp_path / "large" / "2.spacy", nlp, repeat=4)
    return {
        "small": {"path": small, "tasks": ["tagger"]},
        "large": {"path": tmp_path / "large", "tasks": ["ner"]},
    }


def test_spacy_may_look_at_a_stream_before_it_trains(
    nlp: Language, streamed: dict[str, Any]
) -> None:
    corpus = MultiCorpus(streamed, stream=True, shuffle_buffer=4, seed=5)
    looks = [[eg.index for eg in islice(corpus(nlp), 10)] for _ in range(3)]
    assert looks[0] == looks[1] == looks[2]
    epoch = [(eg.source, eg.index) for eg in corpus(nlp)]
    assert len(set(epoch)) == 8 * N
    assert [index for _, index in epoch[:10]] == looks[0]


def stream(
    nlp: Language, blocks: dict[str, Any], n: int, corpus: MultiCorpus | None = None, **kwargs: Any
) -> list[tuple[str, int]]:
    """The first draws, over as many epochs as it takes."""
    corpus = corpus or MultiCorpus(
        blocks, stream=True, **{"shuffle_buffer": 4, "seed": 5, **kwargs}
    )
    found: list[tuple[str, int]] = []
    while len(found) < n:
        for example in corpus(nlp):
            found.append((example.source, example.index))
            if len(found) == n:
                break
    return found


def test_a_streamed_epoch_has_every_example_once(nlp: Language, streamed: dict[str, Any]) -> None:
    found = stream(nlp, streamed, 2 * 8 * N)
    for epoch in (found[: 8 * N], found[8 * N :]):
        assert Counter(s for s, _ in epoch) == {"small": N, "large": 7 * N}
        assert len(set(epoch)) == 8 * N


def test_a_stream_can_sample_its_sources_alike(nlp: Language, streamed: dict[str, Any]) -> None:
    counts = Counter(s for s, _ in stream(nlp, streamed, 100, sampling="uniform"))
    assert 30 < counts["small"] < 70  # 12 or 13, if they were drawn in proportion


@pytest.mark.parametrize("sampling", ["proportional", "uniform"])
@pytest.mark.parametrize("done", [7, 50])
def test_a_stream_resumes_in_the_middle_of_an_epoch(
    nlp: Language, streamed: dict[str, Any], done: int, sampling: str
) -> None:
    def make() -> MultiCorpus:
        return MultiCorpus(streamed, stream=True, shuffle_buffer=4, seed=5, sampling=sampling)

    whole = stream(nlp, streamed, 70, make())
    corpus = make()
    first = stream(nlp, streamed, done, corpus) if done else []
    resumed = make()
    resumed.load_state_dict(corpus.state_dict())
    assert first + stream(nlp, streamed, 70 - done, resumed) == whole


def test_the_seed_of_the_training_fixes_the_order(nlp: Language, streamed: dict[str, Any]) -> None:
    def once(seed: int) -> list[tuple[str, int]]:
        random.seed(seed)
        return stream(nlp, streamed, 40, seed=None)

    assert once(1) == once(1) != once(2)
