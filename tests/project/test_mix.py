"""The workflows `mix` and `lowresource`: each corpus keeps its own annotation only, and the configs run."""

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc, DocBin
from spacy.training.initialize import init_nlp
from spacy.util import load_config, registry, resolve_dot_names
from weasel.cli.run import project_run
from weasel.util.config import substitute_project_variables

from spacy_mtl.annotation import count_units, is_annotated

from .scripts import DATA, PROJECT, SCRIPTS, convert, converted, needs

HEADS = {"ewt": "tagger", "gum": "ner", "sst2": "textcat"}
EWT = """\
# newdoc id = weblog-one
1	Birds	bird	NOUN	NNS	Number=Plur	2	nsubj	_	_
2	sing	sing	VERB	VBP	_	0	root	_	SpaceAfter=No
3	.	.	PUNCT	.	_	2	punct	_	_

1	Do	do	AUX	VBP	_	2	aux	_	_
2	they	they	PRON	PRP	_	0	root	_	SpaceAfter=No
3	?	?	PUNCT	.	_	2	punct	_	_

"""
GUM = """\
# newdoc id = GUM_news_one
# global.Entity = GRP-etype-minspan-link-identity
1	Ann	Ann	PROPN	NNP	_	2	nsubj	_	Entity=(1-person-1-coref-Ann)
2	sang	sing	VERB	VBD	_	0	root	_	SpaceAfter=No
3	.	.	PUNCT	.	_	2	punct	_	_

# newdoc id = GUM_news_two
# global.Entity = GRP-etype-minspan-link-identity
1	Nobody	nobody	PRON	NN	_	2	nsubj	_	_
2	sang	sing	VERB	VBD	_	0	root	_	_

"""
SST2 = "1 a stirring , funny film\n0 one long string of cliches .\n"
SOURCES = {"ewt": ("train.conllu", EWT), "gum": ("train.conllu", GUM), "sst2": ("train.txt", SST2)}


@functools.cache
def read_project() -> dict[str, Any]:
    """The project with the variables' defaults in place. spaCy's own function would make its folders."""
    config: dict[str, Any] = srsly.read_yaml(PROJECT / "project.yml")
    return substitute_project_variables(config)


def command(name: str) -> dict[str, Any]:
    return next(item for item in read_project()["commands"] if item["name"] == name)


def conversion(workflow: str, source: str) -> list[str]:
    """The arguments after the output with which a workflow converts a training corpus."""
    for line in command(f"{workflow}-convert")["script"]:
        found = re.fullmatch(
            rf"python scripts/convert.py (\w+) assets/{source}/train\S+ (\S+)(.*)", line
        )
        if found:
            assert found[2] == f"corpus/{workflow}/train/{source}.spacy"
            return [found[1], *found[3].split()]
    raise AssertionError(f"{workflow} does not convert {source}")


def as_converted(workflow: str, source: str, path: Path, output: Path, *more: str) -> list[Doc]:
    kind, *options = conversion(workflow, source)
    if "--limit-sentences" in options:
        options[options.index("--limit-sentences") + 1] = "2"
    return converted(kind, path, output, *options, *more)


@pytest.fixture(scope="module")
def heads() -> Language:
    """The heads of the config, on nothing: to ask what they learn from a document."""
    nlp = spacy.blank("en")
    for name, factory in (("tagger", "tagger"), ("ner", "ner"), ("textcat", "masked_textcat")):
        nlp.add_pipe(factory, name=name)
    return nlp


@pytest.mark.parametrize("workflow", ["mix", "lowresource"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_document_has_the_annotation_of_its_corpus_and_nothing_else(
    heads: Language, tmp_path: Path, workflow: str, source: str
) -> None:
    name, content = SOURCES[source]
    (tmp_path / name).write_text(content, "utf8")
    docs = as_converted(workflow, source, tmp_path / name, tmp_path / "out.spacy")
    assert docs
    for doc in docs:
        for head, component in heads.components:
            expected = 0
            if head == HEADS[source]:
                expected = 1 if head == "textcat" else len(doc)
            assert count_units(component, doc) == expected, (head, doc.text)
        for layer in ("POS", "MORPH", "LEMMA", "DEP", "SENT_START"):
            assert not doc.has_annotation(layer), layer


@pytest.mark.parametrize(
    ("source", "split", "documents", "units"),
    [("ewt", "dev", 396, 25147), ("gum", "dev", 171, 28119), ("sst2", "dev", 872, 872)],
)
def test_the_real_corpora_keep_every_token_and_only_their_annotation(
    heads: Language, source: str, split: str, documents: int, units: int
) -> None:
    if not (DATA / source).is_dir():
        pytest.skip(f"{source} is not in {DATA}; SPACY_MTL_DATA names another folder")
    nlp = spacy.blank("en")
    if source == "sst2":
        docs = convert.sst2_docs(DATA / source / f"{split}.tsv", nlp)
    else:
        _, *options = conversion("mix", source)
        drop = options[options.index("--drop") + 1].split(",")
        docs = convert.conllu_docs(DATA / source / f"{split}.conllu", nlp, drop=drop)
    assert len(docs) == documents
    for head, component in heads.components:
        expected = units if head == HEADS[source] else 0
        assert sum(count_units(component, doc) for doc in docs) == expected


@needs("gum")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_limit_takes_exactly_so_many_sentences_of_a_real_corpus(seed: int) -> None:
    path = DATA / "gum" / "dev.conllu"
    groups = list(convert.group_sentences(convert.read_conllu(path), 10))
    taken = convert.take_sentences(groups, 1000, seed)
    assert sum(map(len, taken)) == 1000
    assert sum(group not in groups for group in taken) <= 1


def test_lowresource_takes_as_many_sentences_as_its_variable_says() -> None:
    for source in ("ewt", "gum"):
        _, *options = conversion("lowresource", source)
        assert options[-4:] == ["--limit-sentences", "1000", "--seed", "0"]
        assert options[:-4] == conversion("mix", source)[1:]


# ---------------------------------------------------------------------------------------- the configs


def write_docbins(folder: Path, *, sample: bool) -> None:
    """A file for each source of a config, with a document or two that is annotated for its head."""
    vocab = spacy.blank("en").vocab
    tagged = Doc(vocab, words=["Birds", "sing", "."], tags=["NNS", "VBP", "."])
    named = Doc(vocab, words=["Ann", "sang", "."], ents=["B-PERSON", "O", "O"])
    good, bad = (Doc(vocab, words=["a", "film", "."]) for _ in range(2))
    good.cats = {"positive": 1.0, "negative": 0.0}
    bad.cats = {"positive": 0.0, "negative": 1.0}
    names = ("mails", "news", "reviews") if sample else ("ewt", "gum", "sst2")
    for split in ("train", "dev"):
        (folder / split).mkdir()
        for name, docs in zip(names, ([tagged], [named], [good, bad]), strict=True):
            DocBin(docs=docs).to_disk(folder / split / f"{name}.spacy")


@pytest.mark.parametrize("name", ["sample", "mix"])
@pytest.mark.parametrize("sampling", ["proportional", "temperature"])
def test_a_config_initialises_a_pipeline_and_mixes_its_sources(
    tmp_path: Path, family_dir: Any, name: str, sampling: str
) -> None:
    write_docbins(tmp_path, sample=name == "sample")
    overrides = {
        "paths.train": str(tmp_path / "train"),
        "paths.dev": str(tmp_path / "dev"),
        "paths.encoder": str(family_dir("bert")),
        "corpora.train.sampling": sampling,
    }
    nlp = init_nlp(load_config(PROJECT / "configs" / f"{name}.cfg", overrides=overrides))
    assert nlp.pipe_names == ["shared_transformer", "tagger", "ner", "textcat", "vector_cleaner"]
    assert nlp.get_pipe("tagger").labels == (".", "NNS", "VBP")
    assert nlp.get_pipe("ner").labels == ("PERSON",)
    assert set(nlp.get_pipe("textcat").labels) == {"positive", "negative"}

    config = nlp.config.interpolate()
    train, dev = resolve_dot_names(config, ["corpora.train", "corpora.dev"])
    training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    [batch] = list(training["batcher"](train(nlp)))
    assert len(batch) == 4  # as many draws as there are documents
    if sampling == "proportional":
        assert sorted(eg.source for eg in batch) == sorted(eg.source for eg in train(nlp))
    losses: dict[str, float] = {}
    nlp.update(batch, sgd=training["optimizer"], losses=losses)
    assert losses.keys() == {"shared_transformer", "tagger", "ner", "textcat"}
    examples = list(dev(nlp))
    for example in examples:
        annotated = [n for n in HEADS.values() if is_annotated(nlp.get_pipe(n), example.reference)]
        assert len(annotated) == 1
    scores = nlp.evaluate(examples)
    assert all(scores[key] is not None for key in ("tag_acc", "ents_f", "cats_score"))


def test_a_source_may_be_read_from_another_place() -> None:
    overrides = {"paths.train": "here", "paths.gum_train": "/there/own.spacy"}
    config = load_config(PROJECT / "configs" / "mix.cfg", overrides=overrides, interpolate=True)
    sources = config["corpora"]["train"]["sources"]
    assert {name: block["path"] for name, block in sources.items()} == {
        "ewt": "here/ewt.spacy",
        "gum": "/there/own.spacy",
        "sst2": "here/sst2.spacy",
    }


@pytest.mark.parametrize("name", ["sample", "gum", "mix"])
def test_no_config_of_the_project_keeps_vectors(name: str) -> None:
    config = load_config(PROJECT / "configs" / f"{name}.cfg", interpolate=True)
    last = config["nlp"]["pipeline"][-1]
    assert config["components"][last] == {"factory": "vector_cleaner"}


# ---------------------------------------------------------------------------------------- the project


@pytest.mark.parametrize("workflow", ["all", "gum", "mix", "lowresource"])
def test_every_command_of_a_workflow_finds_what_an_earlier_one_wrote(workflow: str) -> None:
    made: set[str] = set()
    for name in read_project()["workflows"][workflow]:
        item = command(name)
        for path in item.get("deps", []):
            assert path in made or (PROJECT / path).exists(), (name, path)
        for line in item["script"]:
            for script in re.findall(r"scripts/(\w+\.py)", line):
                assert (SCRIPTS / script).is_file()
            for config in re.findall(r"configs/\w+\.cfg", line):
                assert (PROJECT / config).is_file()
        made |= set(item.get("outputs", []))


@pytest.mark.parametrize("workflow", ["mix", "lowresource"])
def test_a_workflow_hands_its_variables_to_the_scripts(
    workflow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "project"  # even a dry run makes the project's folders
    copy.mkdir()
    shutil.copy(PROJECT / "project.yml", copy)
    for name in ("configs", "scripts"):
        shutil.copytree(PROJECT / name, copy / name)
    overrides = {"vars.ewt_folder": "/my data/ewt", f"vars.{workflow}_steps": 7, "vars.seed": 5}
    project_run(copy, workflow, overrides=overrides, dry=True)
    output = capsys.readouterr().out
    assert "scripts/fetch.py ewt assets/ewt --from-folder '/my data/ewt'" in output
    assert "scripts/fetch.py sst2 assets/sst2 --from-folder ''" in output
    assert "--system.seed 5 --training.max_steps 7" in output
    assert f"scripts/annotate.py en_mtl_{workflow}" in output
