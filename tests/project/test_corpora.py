"""The project's scripts: sample corpora, and conversion to spaCy's format."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin

from .scripts import DATA, LAYERS, SCRIPTS, convert, converted, layers, needs, run

FILES = {f"{name}/{split}.{end}" for split in ("train", "dev") for name, end in (
    ("reviews", "jsonl"), ("news", "jsonl"), ("mails", "conllu"))}  # fmt: skip


def make(folder: Path, *, seed: int = 0, hash_seed: int = 0) -> Path:
    command = [sys.executable, str(SCRIPTS / "make_corpora.py"), str(folder), "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sample"), hash_seed=1)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def texts(path: Path) -> list[str]:
    """The text of each document."""
    if path.suffix == ".jsonl":
        return [record["text"] for record in records(path)]
    documents = path.read_text("utf8").split("# newdoc id")[1:]
    return [" ".join(re.findall("# text = (.*)", document)) for document in documents]


def content_words(documents: list[str]) -> set[str]:
    return {word.lower() for text in documents for word in re.findall("[A-Za-z]{4,}", text)}


# --------------------------------------------------------------------------------- sample corpora


@pytest.mark.slow
def test_the_corpora_are_the_same_bytes_under_any_hash_seed(sample: Path, tmp_path: Path) -> None:
    other = make(tmp_path, hash_seed=4711)
    for name in sorted(FILES | {"manifest.json"}):
        assert (other / name).read_bytes() == (sample / name).read_bytes(), name


def test_another_seed_writes_other_texts(sample: Path, tmp_path: Path) -> None:
    other = make(tmp_path, seed=1)
    for name in sorted(FILES):
        same = set(texts(other / name)) & set(texts(sample / name))
        assert len(same) < 0.05 * len(texts(sample / name)), name


def test_the_manifest_describes_every_file(sample: Path) -> None:
    manifest = json.loads((sample / "manifest.json").read_text("utf8"))
    assert manifest["files"].keys() == FILES
    for name, entry in manifest["files"].items():
        data = (sample / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["documents"] == len(texts(sample / name))


@pytest.mark.parametrize("source", ["reviews/{}.jsonl", "news/{}.jsonl", "mails/{}.conllu"])
def test_dev_repeats_no_document_and_brings_new_words(sample: Path, source: str) -> None:
    train, dev = (texts(sample / source.format(split)) for split in ("train", "dev"))
    assert len({*train, *dev}) == len(train) + len(dev)
    words = content_words(dev)
    assert 0.1 < len(words - content_words(train)) / len(words) < 0.4


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_texts_are_clean(sample: Path, name: str) -> None:
    for text in texts(sample / name):
        assert not re.search(
            r"[{}<>|@\[\]]|  | [.,?!]|(?<!\.)\.\.(?!\.)", text.replace("@", "", 1)
        ), text
        assert not re.search(r"\b(a [aeio]|an [b-df-gj-np-tv-z])", text), text


def test_no_review_template_dominates(sample: Path) -> None:
    sentences = [s for text in texts(sample / "reviews/dev.jsonl") for s in text.split(". ")]
    starts = Counter(" ".join(sentence.split()[:4]).lower() for sentence in sentences)
    assert starts.most_common(1)[0][1] < 0.1 * len(sentences)


def test_reviews_have_one_sentiment_each_and_as_many_of_all(sample: Path) -> None:
    counts: Counter[str] = Counter()
    for record in records(sample / "reviews/train.jsonl"):
        assert record.keys() == {"text", "cats"}
        assert record["cats"].keys() == {"positive", "negative", "neutral"}
        assert sorted(record["cats"].values()) == [0.0, 0.0, 1.0]
        counts[max(record["cats"], key=record["cats"].__getitem__)] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_entities_are_trimmed_words_of_the_text(sample: Path) -> None:
    labels: Counter[str] = Counter()
    empty = 0
    for record in records(sample / "news/train.jsonl"):
        assert record.keys() == {"text", "entities"}
        empty += not record["entities"]
        end = 0
        for start, stop, label in record["entities"]:
            assert end <= start < stop <= len(record["text"])
            name, end = record["text"][start:stop], stop
            assert name == name.strip(" .,;")
            assert not re.match(r"\w", record["text"][stop : stop + 1])
            labels[label] += 1
    assert labels.keys() == {"PERSON", "ORG", "PLACE", "DATE", "MONEY"}
    assert min(labels.values()) > 100
    assert empty > 20


def test_a_name_may_be_a_person_a_place_or_part_of_an_organisation(sample: Path) -> None:
    words: dict[str, set[str]] = {}
    for record in records(sample / "news/train.jsonl"):
        for start, stop, label in record["entities"]:
            for word in record["text"][start:stop].split():
                words.setdefault(word, set()).add(label)
    assert sum({"PERSON", "PLACE", "ORG"} <= labels for labels in words.values()) > 20


def test_mails_are_valid_conllu_and_tokenised_as_spacy_does(sample: Path) -> None:
    nlp = spacy.blank("en")
    for split in ("train", "dev"):
        blocks = (sample / f"mails/{split}.conllu").read_text("utf8").strip().split("\n\n")
        for block in blocks:
            rows = [line.split("\t") for line in block.splitlines() if line[0] != "#"]
            text = re.findall("# text = (.*)", block)[0]
            assert {len(row) for row in rows} == {10}
            words = [row for row in rows if "-" not in row[0]]
            assert [row[0] for row in words] == [str(i + 1) for i in range(len(words))]
            assert all(row[3] != "_" != row[4] for row in words)
            assert [token.text for token in nlp.make_doc(text)] == [row[1] for row in words]
        sentences = convert.read_conllu(sample / f"mails/{split}.conllu")
        for sentence, block in zip(sentences, blocks, strict=True):
            text = "".join(word.form + " " * word.space for word in sentence.words)
            assert f"# text = {text.rstrip()}\n" in block


# ------------------------------------------------------------------- missing annotation stays missing


def test_reviews_have_categories_and_nothing_else(sample: Path, tmp_path: Path) -> None:
    source = sample / "reviews/dev.jsonl"
    docs = converted("jsonl", source, tmp_path / "reviews.spacy")
    assert [doc.text for doc in docs] == texts(source)
    assert [doc.cats for doc in docs] == [record["cats"] for record in records(source)]
    assert layers(docs) == set()
    assert all(token.ent_iob == 0 for doc in docs for token in doc)


def test_news_have_entities_and_nothing_else(sample: Path, tmp_path: Path) -> None:
    source = sample / "news/dev.jsonl"
    docs = converted("jsonl", source, tmp_path / "news.spacy")
    found = [[[e.start_char, e.end_char, e.label_] for e in doc.ents] for doc in docs]
    assert found == [record["entities"] for record in records(source)]
    assert layers(docs) == {"ENT_IOB"}
    assert not any(doc.cats for doc in docs)
    without = [doc for doc in docs if not doc.ents]
    assert without
    assert all(token.ent_iob == 2 for doc in without for token in doc)


def test_mails_have_tags_and_nothing_else(sample: Path, tmp_path: Path) -> None:
    docs = converted("conllu", sample / "mails/dev.conllu", tmp_path / "m.spacy", "--n-sents", "30")
    assert layers(docs) == {"TAG", "POS"}
    assert not any(doc.cats for doc in docs)
    assert [doc.text.strip() for doc in docs] == texts(sample / "mails/dev.conllu")
    assert all(token.tag for doc in docs for token in doc)


def test_an_entity_inside_a_token_makes_it_missing_and_is_counted(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    record = {"text": "Unlucky Ann met Bob.", "entities": [[2, 7, "X"], [16, 19, "PERSON"]]}
    source.write_text(json.dumps(record), "utf8")
    result = run("jsonl", source, tmp_path / "out.spacy")
    assert "1 entities do not fit the tokens" in result.output
    (doc,) = DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab)
    assert [(token.text, token.ent_iob) for token in doc] == [
        *(("Unlucky", 0), ("Ann", 2), ("met", 2), ("Bob", 3), (".", 2)),
    ]


TREE = """\
# newdoc id = GUM_news_one
# global.Entity = GRP-etype-minspan-link-identity
1	Ann	Ann	PROPN	NNP	Number=Sing	2	nsubj	_	Entity=(1-person-1-coref-Ann)
2-3	didn't	_	_	_	_	_	_	_	SpaceAfter=No
2	did	do	AUX	VBD	_	0	root	_	_
3	n't	not	PART	RB	_	2	advmod	_	_
4	.	.	PUNCT	.	_	2	punct	_	_

1	She	she	PRON	PRP	_	2	nsubj	_	Entity=(1-person-1-ana-Ann)
2	knew	know	VERB	VBD	_	0	root	_	_
2.1	that	that	PRON	DT	_	_	_	2:obj	_
3	the	the	DET	DT	_	4	det	_	Entity=(2-place-3,5-coref-New_York
4	old	old	ADJ	JJ	_	5	amod	_	_
5	New	New	PROPN	NNP	_	2	obj	_	_
6	of	of	ADP	IN	_	7	case	_	_
7	York	York	PROPN	NNP	_	5	nmod	_	Entity=2)|SpaceAfter=No
8	?	?	PUNCT	.	_	2	punct	_	_

# newdoc id = GUM_fiction_two
1	Yes	yes	INTJ	UH	_	0	root	_	_
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree.conllu"
    path.write_text(TREE, "utf8")
    return path


def test_conllu_becomes_heads_morphology_entities_and_genres(tree: Path, tmp_path: Path) -> None:
    first, second = converted("conllu", tree, tmp_path / "out.spacy", "--cats", "genre")
    assert first.text.strip() == "Ann didn't. She knew the old New of York?"
    assert [token.head.i for token in first] == [1, 1, 1, 1, 5, 5, 7, 8, 5, 10, 8, 5]
    assert [token.i for token in first if token.is_sent_start] == [0, 4]
    assert first[1].dep_ == "ROOT"
    assert (str(first[0].morph), str(first[1].morph)) == ("Number=Sing", "")
    assert [(ent.text, ent.label_) for ent in first.ents] == [
        *(("Ann", "PERSON"), ("New of York", "PLACE")),
    ]
    assert first.cats == {"fiction": 0.0, "news": 1.0}
    assert second.cats == {"fiction": 1.0, "news": 0.0}
    assert layers([second]) == set(LAYERS) - {"ENT_IOB"}  # no `global.Entity`: nobody looked


def test_every_linked_mention_is_an_entity_on_request(tree: Path, tmp_path: Path) -> None:
    docs = converted("conllu", tree, tmp_path / "out.spacy", "--ner", "full")
    assert [ent.text for ent in docs[0].ents] == ["Ann", "She", "the old New of York"]


def test_what_is_dropped_is_missing(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.spacy"
    assert "ENT_IOB" not in layers(converted("conllu", tree, output, "--ner", "none"))
    docs = converted("conllu", tree, output, "--drop", "tag,pos,morph,lemma,dep")
    assert layers(docs) == {"SENT_START", "ENT_IOB"}
    docs = converted("conllu", tree, output, "--drop", "dep,sents,ents", "--cats", "genre")
    assert layers(docs[:1]) == {"TAG", "POS", "MORPH", "LEMMA"}  # one token is always a sentence
    assert docs[0].cats
    docs = converted("conllu", tree, output, "--drop", "cats", "--cats", "genre")
    assert not docs[0].cats


def test_a_document_without_all_heads_has_no_syntax(tree: Path, tmp_path: Path) -> None:
    tree.write_text(TREE.replace("NNP\t_\t2\tobj", "NNP\t_\t_\t_"), "utf8")
    first, second = converted("conllu", tree, tmp_path / "out.spacy")
    assert not {"DEP", "SENT_START"} & layers([first])
    assert "DEP" in layers([second])


def test_documents_hold_consecutive_sentences_of_one_source(tree: Path, tmp_path: Path) -> None:
    docs = converted("conllu", tree, tmp_path / "out.spacy", "--n-sents", "1")
    assert [len(doc) for doc in docs] == [4, 8, 1]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Documents of 1, 2, ... 7 sentences; the words say which."""
    lines = []
    for i in range(1, 8):
        lines.append(f"# newdoc id = {i}")
        for j in range(i):
            lines += [f"1\t{i}-{j}\t_\tNUM\tCD\t_\t0\troot\t_\t_", ""]
    path = tmp_path / "many.conllu"
    path.write_text("\n".join(lines) + "\n", "utf8")
    return path


def take(path: Path, *, limit: int, seed: int = 0, n_sents: int = 10) -> list[list[str]]:
    """The words, which are sentences here, of each document that is taken."""
    groups = list(convert.group_sentences(convert.read_conllu(path), n_sents))
    taken = convert.take_sentences(groups, limit, seed)
    return [[sentence.words[0].form for sentence in group] for group in taken]


@pytest.mark.parametrize("n_sents", [1, 3, 10])
def test_a_limit_of_sentences_is_met_exactly(many: Path, n_sents: int) -> None:
    everything = [f"{i}-{j}" for i in range(1, 8) for j in range(i)]
    for limit in range(1, 29):
        documents = take(many, limit=limit, seed=limit, n_sents=n_sents)
        words = [word for document in documents for word in document]
        assert len(words) == limit
        assert [word for word in everything if word in words] == words  # in the file's order
        assert max(map(len, documents)) <= n_sents
        assert all(len({word.split("-")[0] for word in document}) == 1 for document in documents)
    assert words == everything


def test_documents_are_taken_whole_while_one_fits(many: Path) -> None:
    for seed in range(20):
        documents = take(many, limit=20, seed=seed)
        assert sum(len(words) != int(words[0].split("-")[0]) for words in documents) <= 1


def test_a_limit_takes_other_documents_with_another_seed(many: Path) -> None:
    assert take(many, limit=9, seed=3) == take(many, limit=9, seed=3)
    assert len({str(take(many, limit=9, seed=seed)) for seed in range(10)}) > 2


def test_the_command_takes_a_limit_of_sentences(many: Path, tmp_path: Path) -> None:
    options = ("--limit-sentences", 9, "--seed", 3)
    docs = converted("conllu", many, tmp_path / "out.spacy", *options)
    assert [[token.text for token in doc] for doc in docs] == take(many, limit=9, seed=3)


def test_a_limit_above_the_number_of_sentences_is_named(many: Path, tmp_path: Path) -> None:
    result = run("conllu", many, tmp_path / "out.spacy", "--limit-sentences", 29)
    assert result.exit_code == 1
    assert f"{many}, line 62: expected at least 29 sentences to take, got 28" in result.output
    assert not (tmp_path / "out.spacy").exists()


# -------------------------------------------------------------------------------------------- SST-2

TEXTS = ["it does n't , -lrb- er -rrb- , work .", "in its 2\xa01\\/2 - hour length", "1 caf\xe9"]
RELEASED = "".join(f"{i % 2} {text}\n" for i, text in enumerate(TEXTS))
TABBED = "".join(f"{t}\t{('negative', 'positive')[i % 2]}\n" for i, t in enumerate(TEXTS))


@pytest.mark.parametrize("content", [RELEASED, TABBED, TABBED.replace("\n", "\r\n\r\n")])
def test_both_forms_of_sst2_become_the_same_documents(tmp_path: Path, content: str) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(content.encode("utf8"))
    docs = converted("sst2", source, tmp_path / "out.spacy")
    assert [doc.text for doc in docs] == TEXTS
    assert [[token.text for token in doc] for doc in docs] == [text.split(" ") for text in TEXTS]
    assert [doc.cats for doc in docs] == [
        {"positive": 0.0, "negative": 1.0},
        {"positive": 1.0, "negative": 0.0},
        {"positive": 0.0, "negative": 1.0},
    ]
    assert layers(docs) == set()
    assert not any(token.ent_iob for doc in docs for token in doc)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("good\tpositive\nbad\tneutral\n", 2, "`positive` or `negative`, got `bad\tneutral`"),
        ("good\tpositive\n1 bad\n", 2, "a tab and `positive` or `negative`, got `1 bad`"),
        ("good\tpositive\n\tnegative\n", 2, "a tab and `positive` or `negative`, got `\tneg"),
        ("sentence\tlabel\ngood\t1\n", 1, "`positive` or `negative`, got `sentence\tlabel`"),
        ("1 good\n2 bad\n", 2, "`0` or `1`, a space and a text, or a text, a tab and `positive`"),
        ("good positive\n", 1, "a tab and `positive`, got `good positive`"),
        ("1 good\n0\n", 2, "a space and a text, or a text, a tab and `positive`, got `0`"),
        ("1 good\nbad\tnegative\n", 2, "expected `0` or `1`, a space and a text"),
        ("", 1, "expected lines with a text and a sentiment, got none"),
        ("\n \n", 1, "expected lines with a text and a sentiment, got none"),
    ],
)
def test_a_line_that_is_not_sst2_is_named(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    source = tmp_path / "bad.txt"
    source.write_text(content, "utf8")
    result = run("sst2", source, tmp_path / "out.spacy")
    assert result.exit_code == 1
    assert f"{source}, line {line}: expected " in result.output
    assert message in result.output
    assert not (tmp_path / "out.spacy").exists()


@pytest.mark.parametrize("command", ["sst2", "jsonl", "conllu"])
def test_a_line_that_is_not_utf8_is_named(tmp_path: Path, command: str) -> None:
    good = {"sst2": "1 good\n", "jsonl": '{"text": "a", "cats": {"x": 1}}\n', "conllu": "# a\n"}
    source = tmp_path / "latin.txt"
    source.write_bytes(good[command].encode() + "1 caf\xe9 bar\n".encode("latin1"))
    result = run(command, source, tmp_path / "out.spacy")
    assert result.exit_code == 1
    message = f"{source}, line 2: expected UTF-8 text, got invalid continuation byte at byte 6"
    assert message in result.output


# --------------------------------------------------------------------------------- malformed input


@pytest.mark.parametrize(
    ("command", "line", "bad", "message"),
    [
        ("jsonl", 2, "not json", 'line 2: expected a JSON object with "text"'),
        ("jsonl", 1, '["text"]', 'line 1: expected a JSON object with "text"'),
        ("jsonl", 2, '{"text": "a"}', 'with "cats" or "entities", got keys [\'text\']'),
        ("jsonl", 1, '{"text": "a", "cats": {"x": 2}}', "line 1: expected a score from 0 to 1"),
        ("jsonl", 1, '{"text": "a", "cats": []}', "expected a mapping from label to score"),
        ("jsonl", 3, '{"text": "a", "entities": [[0, 9, "X"]]}', "inside the text, got [0, 9"),
        ("jsonl", 1, '{"text": "a", "entities": {}}', "to be a list of [start, end, label]"),
        (*("jsonl", 1), '{"text": "abc", "entities": [[0, 2, "X"], [1, 3, "X"]]}', "overlap"),
        ("conllu", 4, "2\tdid", "line 4: expected 10 tab-separated columns, got 2"),
        ("conllu", 5, TREE.splitlines()[5], "line 5: expected ID 2, got `3`"),
        ("conllu", 5, "2\tdid\t_\tX Y" + "\t_" * 6, "expected a form and a UPOS tag, got `did`"),
        (
            "conllu",
            5,
            "2\tdid" + "\t_" * 4 + "\t9\tdep\t_\t_",
            "a HEAD from 0 to 4 or `_`, got `9`",
        ),
        (
            "conllu",
            6,
            "3\tnot" + "\t_" * 8,
            "expected the multiword token `didn't` to be its parts",
        ),
        ("conllu", 3, "1\tAnn" + "\t_" * 7 + "\tEntity=(1-person)", "expected Entity fields GRP-"),
        ("conllu", 3, "1\tAnn" + "\t_" * 7 + "\tEntity=7)", "line 3: Entity `7)` closes nothing"),
        ("conllu", 3, "1\tA" + "\t_" * 7 + "\tEntity=(1-a-1-b-c", "not closed within its sentence"),
    ],
)
def test_a_malformed_line_is_named(
    tmp_path: Path, command: str, line: int, bad: str, message: str
) -> None:
    good = TREE if command == "conllu" else '{"text": "a", "cats": {"x": 1}}\n' * 3
    lines = good.splitlines()
    lines[line - 1] = bad
    source = tmp_path / "bad.txt"
    source.write_text("\n".join(lines) + "\n", "utf8")
    result = run(command, source, tmp_path / "out.spacy")
    assert result.exit_code == 1
    assert f"{source}, line {line}: " in result.output
    assert message in result.output
    assert not (tmp_path / "out.spacy").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jsonl", "absent.jsonl", "out.spacy"], "absent.jsonl: expected a readable file"),
        (["conllu", "absent.conllu", "out.spacy"], "absent.conllu: expected a readable file"),
        (["conllu", "x", "out.spacy", "--drop", "tags"], "expected --drop names out of tag, pos"),
        (["conllu", "x", "out.spacy", "--drop", "sents"], "expected `dep` beside `sents`"),
        (["jsonl", "x", "out.spacy", "--lang", "q9"], "a language code that spaCy knows"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_genre_outside_of_the_labels_is_named(tree: Path, tmp_path: Path) -> None:
    options = ("--cats", "genre", "--labels", "fiction,essay")
    result = run("conllu", tree, tmp_path / "out.spacy", *options)
    assert result.exit_code == 1
    assert "expected a genre out of ['essay', 'fiction'], got `news`" in result.output


# ---------------------------------------------------------------------------------------------- GUM

# label -> entities in train and dev, as the data set's own table has them
NAMED = {
    "PERSON": (1437, 176), "PLACE": (1472, 199), "ORGANIZATION": (869, 132), "TIME": (24, 7),
    "EVENT": (97, 38), "OBJECT": (69, 1), "SUBSTANCE": (21, 2), "ANIMAL": (17, 6),
    "PLANT": (19, 0), "ABSTRACT": (572, 81),
}  # fmt: skip


@needs("gum")
@pytest.mark.parametrize(
    ("split", "total", "linked"),
    [pytest.param("train", 4597, 7291, marks=pytest.mark.slow), ("dev", 642, 1153)],
)
def test_gum_has_the_published_number_of_entities(split: str, total: int, linked: int) -> None:
    path, nlp = DATA / "gum" / f"{split}.conllu", spacy.blank("en")
    drop = ("tag", "pos", "morph", "lemma", "dep", "sents")
    cats = convert.Cats.genre
    docs = convert.conllu_docs(path, nlp, drop=drop, cats=cats)
    counts = Counter(ent.label_ for doc in docs for ent in doc.ents)
    column = 0 if split == "train" else 1
    assert counts == {label: row[column] for label, row in NAMED.items() if row[column]}
    assert counts.total() == total
    assert {len(doc.cats) for doc in docs} == {15}
    full = convert.conllu_docs(path, nlp, drop=drop, ner=convert.Ner.full)
    assert sum(len(doc.ents) for doc in full) == linked


@needs("gum")
def test_gum_keeps_its_sentences_and_trees() -> None:
    path = DATA / "gum" / "dev.conllu"
    docs = convert.conllu_docs(path, spacy.blank("en"))
    assert sum(len(list(doc.sents)) for doc in docs) == 1575
    assert sum(map(len, docs)) == 28119
    assert layers(docs) == set(LAYERS)
