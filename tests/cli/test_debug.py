"""`python -m spacy mtl debug` says what the corpora hold and what will go wrong, before any training."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import Doc, DocBin
from spacy.util import registry
from typer.testing import CliRunner

from spacy_mtl.annotation import keep_layers

from ..pipeline.conftest import encoder_path
from ..pipeline.sentences import SENTENCES, make_doc

__all__ = ["encoder_path"]

registry.cli.get_all()  # what spaCy's command line does first

CONFIG = """
[nlp]
lang = "en"
pipeline = ["shared_transformer","tagger","ner","textcat"]

[components]

[components.shared_transformer]
factory = "shared_transformer"

[components.shared_transformer.model]
@architectures = "spacy_mtl.TransformerEncoder.v1"
name = "{encoder}"
{optimizer}

[components.tagger]
factory = "tagger"
{tagger}

[components.ner]
factory = "{ner}"

[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 8
maxout_pieces = 2

[components.ner.model.tok2vec]
@architectures = "spacy_mtl.SharedTransformerListener.v1"

[components.textcat]
factory = "{textcat}"

[components.textcat.model]
@architectures = "spacy.TextCatReduce.v1"
exclusive_classes = true
use_reduce_first = false
use_reduce_last = false
use_reduce_max = false
use_reduce_mean = true

[components.textcat.model.tok2vec]
@architectures = "spacy_mtl.SharedTransformerListener.v1"

[corpora]

[corpora.train]
@readers = "spacy_mtl.MultiCorpus.v1"
sampling = "{sampling}"

[corpora.train.sources]
{train}

[corpora.dev]
@readers = "spacy_mtl.MultiCorpus.v1"

[corpora.dev.sources]
{dev}

[training]
max_steps = {max_steps}
eval_frequency = {eval_frequency}

[training.batcher]
@batchers = "spacy_mtl.BatchByWordpieces.v1"
size = 30

[initialize]

[initialize.components]
{labels}
"""
OPTIMIZER = """
[components.shared_transformer.optimizer]
@optimizers = "spacy_mtl.AdamW.v1"
learn_rate = 0.0002
"""
TAGGER = """
[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
"""
ENCODER = "spacy_mtl.TransformerEncoder.v1"
ALL = {"tags": (["tag"], ["tagger"]), "names": (["ents"], ["ner"]), "cats": (["cats"], ["textcat"])}


class Setting:
    """A folder with sources, and the config that names them."""

    def __init__(self, folder: Path, encoder: Path) -> None:
        self.folder = folder
        self.values: dict[str, Any] = {
            "encoder": encoder,
            "textcat": "masked_textcat",
            "sampling": "proportional",
            "max_steps": 20,
            "eval_frequency": 10,
            "optimizer": OPTIMIZER,
            "tagger": f'{TAGGER}@architectures = "spacy_mtl.SharedTransformerListener.v1"',
            "ner": "masked_ner",
            "labels": "",
        }
        self.blocks: dict[str, list[str]] = {"train": [], "dev": []}
        self.vocab = spacy.blank("en").vocab

    def add(
        self, part: str, name: str, docs: list[Doc], tasks: list[str] | None, more: str = ""
    ) -> None:
        path = self.folder / f"{part}-{name}.spacy"
        DocBin(docs=docs).to_disk(path)
        stated = "" if tasks is None else f"tasks = {json.dumps(tasks)}"
        block = f'[corpora.{part}.sources.{name}]\npath = "{path}"\n{stated}\n{more}\n'
        self.blocks[part].append(block)

    def docs(self, layers: list[str], *, repeat: int = 1, mark: str = "") -> list[Doc]:
        """All sentences with some of their annotation; `mark` makes their texts different."""
        sentences = [s._replace(words=s.words.replace(".", f".{mark}")) for s in SENTENCES]
        return [keep_layers(make_doc(self.vocab, s), layers) for s in sentences * repeat]

    def add_all(self, *, leave_out: str = "") -> None:
        for part in ("train", "dev"):
            for name, (layers, tasks) in ALL.items():
                if f"{part}-{name}" != leave_out:
                    docs = self.docs(layers, mark="!" if part == "dev" else "")
                    self.add(
                        part, name, [d for d in docs if part == "train" or "!" in d.text], tasks
                    )

    def run(self, *overrides: str) -> tuple[int, str, dict[str, Any]]:
        config = self.folder / "config.cfg"
        blocks = {part: "\n".join(found) for part, found in self.blocks.items()}
        config.write_text(CONFIG.format(**self.values, **blocks))
        report = self.folder / "out" / "report.json"
        args = ["mtl", "debug", str(config), "--output", str(report), *overrides]
        result = CliRunner().invoke(app, args)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        found = json.loads(report.read_text()) if report.exists() else {}
        return result.exit_code, " ".join(result.output.split()), found


@pytest.fixture
def setting(tmp_path: Path, encoder_path: Path) -> Setting:
    return Setting(tmp_path, encoder_path)


def as_arguments(overrides: dict[str, str]) -> list[str]:
    return [part for key, value in overrides.items() for part in (f"--{key}", value)]


def findings(report: dict[str, Any]) -> str:
    return " ".join(f"{f['level']}: {f['text']}" for f in report["findings"])


def test_a_sound_setting_shows_what_each_source_annotates(setting: Setting) -> None:
    setting.add_all()
    code, said, report = setting.run()
    assert code == 0
    assert "Nothing to be seen that will go wrong" in said
    n_words = sum(len(s.words.split()) for s in SENTENCES)
    for name, (_, (task,)) in ALL.items():
        source = report["train"][name]
        assert (source["documents"], source["words"]) == (4, n_words)
        units = {t: values["units"] for t, values in source["tasks"].items()}
        expected = 4 if task == "textcat" else n_words
        assert units == {"tagger": 0, "ner": 0, "textcat": 0, task: expected}
        assert source["share"] == pytest.approx(1 / 3)
        assert source["epochs"] == pytest.approx(20 / report["batches_per_epoch"])
    assert report["train"]["names"]["tasks"]["ner"]["labels"] == {"PERSON": 2, "GPE": 2}
    assert f"names 4 {n_words} - {n_words} tokens - 33.3%" in said
    assert "ner in names: 2 labels: `PERSON`, `GPE`" in said


def test_sampling_changes_how_often_a_source_is_seen(setting: Setting) -> None:
    setting.add_all()
    setting.add("train", "more", setting.docs(["tag"], repeat=5), ["tagger"])
    _, _, even = setting.run()
    setting.values["sampling"] = "uniform"
    _, _, uniform = setting.run()
    assert even["train"]["more"]["share"] == pytest.approx(5 / 8)
    assert uniform["train"]["more"]["share"] == pytest.approx(1 / 4)
    assert uniform["train"]["names"]["epochs"] == pytest.approx(
        2 * even["train"]["names"]["epochs"]
    )


@pytest.mark.parametrize(
    ("lacking", "code", "said"),
    [
        ("train-names", 1, "error: No source annotates `ner`."),
        ("dev-cats", 0, "warning: The dev set has no gold for `textcat`"),
    ],
)
def test_a_head_without_annotation_is_found(
    setting: Setting, lacking: str, code: int, said: str
) -> None:
    setting.add_all(leave_out=lacking)
    found_code, _, report = setting.run()
    assert found_code == code
    assert said in findings(report)


def test_a_head_that_is_not_trained_needs_no_annotation(setting: Setting) -> None:
    setting.add_all(leave_out="train-names")
    code, _, _ = setting.run("--training.frozen_components", '["ner"]')
    assert code == 0


def test_a_head_that_trains_on_absence_is_found(setting: Setting) -> None:
    setting.add_all()
    setting.values["textcat"] = "textcat"
    _, _, report = setting.run()
    assert "`textcat` will be trained on 8 documents without annotation" in findings(report)
    assert 'factory = "masked_textcat"' in findings(report)


def test_a_transition_based_head_beside_unannotated_documents_is_found(setting: Setting) -> None:
    setting.add_all()
    _, _, report = setting.run("--components.ner.factory", "ner")
    assert "8 documents without annotation will change what `ner` learns" in findings(report)
    assert 'factory = "masked_ner"' in findings(report)


@pytest.mark.parametrize(
    ("factory", "clashes"), [("textcat_multilabel", False), ("masked_textcat", True)]
)
def test_labels_clash_only_where_the_other_source_says_no(
    setting: Setting, factory: str, clashes: bool
) -> None:
    setting.values["textcat"] = factory
    setting.add_all()
    docs = setting.docs(["cats"], repeat=10)
    for doc in docs:
        doc.cats = {"SPORT": 1.0, "LAW": 0.0}
    setting.add("train", "other", docs, ["textcat"])
    setting.add("train", "third", setting.docs(["cats"], repeat=10), ["textcat"])
    _, _, report = setting.run()
    assert (
        "The labels of `textcat` clash: only `other` has `SPORT`" in findings(report)
    ) == clashes
    assert ("clash" in findings(report)) == clashes


def test_a_head_that_is_rare_at_the_beginning_of_a_stream_is_found(setting: Setting) -> None:
    setting.add_all()
    setting.add("train", "large", setting.docs(["tag"], repeat=100), ["tagger"])
    stream = ("--corpora.train.stream", "true", "--training.max_epochs", "-1")
    _, _, report = setting.run(*stream)
    said = "`ner` learns its labels from the first 100 examples of the stream, of which about 1.0"
    assert said in findings(report)
    setting.values["labels"] = '[initialize.components.ner]\nlabels = ["PERSON", "GPE"]\n'
    _, _, report = setting.run(*stream)
    assert said not in findings(report)


def test_endless_epochs_without_a_stream_are_refused(setting: Setting) -> None:
    setting.add_all()
    code, said, _ = setting.run("--training.max_epochs", "-1")
    assert code == 1
    assert "Set `stream = true` in `[corpora.train]`" in said


def test_clashing_label_schemes_are_found(setting: Setting) -> None:
    setting.add_all()
    docs = setting.docs(["ents"], repeat=10)
    setting.add("train", "same", docs, ["ner"])
    _, _, report = setting.run()
    assert "clash" not in findings(report)
    for doc in docs:
        doc.ents = [
            spacy.tokens.Span(doc, e.start, e.end, e.label_.replace("GPE", "PLACE"))
            for e in doc.ents
        ]
    setting.add("train", "other", docs, ["ner"])
    _, _, report = setting.run()
    assert "The labels of `ner` clash: only `same` has `GPE`, only `other` has `PLACE`" in findings(
        report
    )


def test_a_source_that_never_has_an_entity_is_found(setting: Setting) -> None:
    setting.add_all()
    docs = [Doc(setting.vocab, ["It", "rained"], ents=["O", "O"]) for _ in range(12)]
    setting.add("train", "empty", docs, None)
    _, _, report = setting.run()
    assert "All 12 documents of source `empty` tell `ner`" in findings(report)
    assert "List what it does annotate in `sources.empty.tasks`" in findings(report)


def test_sources_that_are_seen_too_often_and_too_seldom_are_found(setting: Setting) -> None:
    setting.add_all()
    setting.add("train", "large", setting.docs(["tag"], repeat=100), ["tagger"], "weight = 0.02")
    setting.values["max_steps"] = 412
    _, _, report = setting.run()
    assert "times and `large` 0.8 times" in findings(report)


def test_labels_that_only_the_dev_set_has_are_found(setting: Setting) -> None:
    setting.add_all()
    doc = Doc(setting.vocab, ["Riga"], ents=["B-CITY"])
    setting.add("dev", "cities", [doc], ["ner"])
    _, _, report = setting.run()
    assert "labels of `ner` that no source has: `CITY`" in findings(report)


def test_texts_of_the_dev_set_in_a_source_are_found(setting: Setting) -> None:
    setting.add_all()
    setting.add("dev", "again", setting.docs(["tag"]), ["tagger"])
    _, _, report = setting.run()
    assert "4 of the 4 different texts of source `tags` are in the dev set too" in findings(report)


def test_a_label_that_is_not_among_the_given_ones_is_found(setting: Setting) -> None:
    setting.add_all()
    setting.values["labels"] = '[initialize.components.ner]\nlabels = ["PERSON"]\n'
    code, _, report = setting.run()
    assert code == 1
    assert "Source `names` has labels that `ner` does not know: `GPE`" in findings(report)


@pytest.mark.parametrize(
    ("max_steps", "every", "said"),
    [
        (8, 10, "is evaluated in every 10th, so only in step 0, and `model-best`"),
        (25, 10, "is evaluated in every 10th, last in step 20. Set `[training] eval_frequency`"),
        (20, 10, None),
        (0, 10, None),
    ],
)
def test_updates_that_no_evaluation_sees_are_found(
    setting: Setting, max_steps: int, every: int, said: str | None
) -> None:
    setting.add_all()
    setting.values |= {"max_steps": max_steps, "eval_frequency": every}
    code, _, report = setting.run()
    assert code == 0
    found = findings(report)
    assert said in found if said else "is evaluated in" not in found


def test_an_encoder_that_is_stepped_as_fast_as_the_heads_is_found(setting: Setting) -> None:
    setting.add_all()
    setting.values["optimizer"] = ""
    _, _, report = setting.run()
    said = "`[training.optimizer]` steps the encoder of `shared_transformer` too, at up to 0.001"
    assert said in findings(report)
    slow = '@optimizers = "Adam.v1"\nlearn_rate = 0.0001'
    setting.values["labels"] = f"\n[training.optimizer]\n{slow}"
    _, _, report = setting.run()
    assert "steps the encoder" not in findings(report)


def test_the_highest_rate_of_a_schedule_counts(setting: Setting) -> None:
    setting.add_all()
    setting.values["optimizer"] = ""
    setting.values["labels"] = """
[training.optimizer]
@optimizers = "Adam.v1"

[training.optimizer.learn_rate]
@schedules = "cyclic_triangular.v1"
min_lr = 0.00001
max_lr = 0.01
period = 20
"""
    _, _, report = setting.run()
    assert "steps the encoder of `shared_transformer` too, at up to 0.01," in findings(report)


def test_a_training_that_ends_by_its_epochs_is_known_to(setting: Setting) -> None:
    """Its last step has the number of updates less one."""
    setting.add_all()
    limits = ("--training.max_epochs", "2", "--training.max_steps", "20000")
    setting.values["eval_frequency"] = 10_000
    _, _, report = setting.run(*limits)
    last = 2 * report["batches_per_epoch"] - 1
    assert f"The training ends with step {last}, counted from 0" in findings(report)
    setting.values["eval_frequency"] = last
    _, _, report = setting.run(*limits)
    assert "The training ends" not in findings(report)


def test_a_listener_that_names_nobody_is_refused(setting: Setting) -> None:
    setting.add_all()
    setting.values["tagger"] += '\nupstream = "transformer"'
    code, said, _ = setting.run()
    assert code == 1
    assert '`components.tagger`: its listener\'s `upstream = "transformer"`' in said
    assert "The pipeline has `shared_transformer`" in said


SCORES = "training.score_weights."


@pytest.mark.parametrize(
    ("overrides", "level", "said"),
    [
        ({"training.frozen_components": '["tager"]'}, "error", "`tager` in `training.frozen_"),
        ({"training.annotating_components": '["nr"]'}, "error", "`nr` in `training.annotating_"),
        ({"training.dropout": "1.5"}, "error", "`training.dropout = 1.5` cannot be used"),
        ({"training.accumulate_gradient": "0"}, "error", "`training.accumulate_gradient = 0`"),
        ({"training.patience": "-1"}, "error", "it must be at least 0"),
        ({"training.max_epochs": "-2"}, "error", "it must be at least -1"),
        ({f"{SCORES}tagg_acc": "0.5"}, "warning", "Alike are `tag_acc`."),
        ({f"{SCORES}tag_acc@tags": "0.5"}, None, "is no score"),
        ({f"{SCORES}speed": "0.0"}, None, "is no score"),
        ({f"{SCORES}worst_task": "1.0"}, "warning", "so their sum means nothing"),
        (
            {f"{SCORES}worst_task": "1.0"}
            | {f"{SCORES}{key}": "null" for key in ("tag_acc", "ents_f", "cats_score")},
            None,
            "[training.score_weights]",
        ),
        (
            {f"{SCORES}{key}": "null" for key in ("tag_acc", "ents_f", "cats_score")},
            "warning",
            "No score has a weight",
        ),
        ({"components.shared_transformer.optimizer.learn_rate": "2.0"}, "warning", "at up to 2,"),
        ({"components.shared_transformer.optimizer.learn_rate": "0.0"}, "warning", "a rate of 0"),
        (
            {
                "components.shared_transformer.optimizer.learn_rate": "0.0",
                "components.shared_transformer.model.freeze_layers": "all",
            },
            None,
            "a rate of 0",
        ),
    ],
)
def test_a_setting_that_would_be_passed_over_is_found(
    setting: Setting, overrides: dict[str, str], level: str | None, said: str
) -> None:
    setting.add_all()
    weights = {k.removeprefix(SCORES): v for k, v in overrides.items() if k.startswith(SCORES)}
    lines = "\n".join(f"{key} = {value}" for key, value in weights.items())
    setting.values["labels"] = f"\n[training.score_weights]\n{lines}"
    given = {key: value for key, value in overrides.items() if not key.startswith(SCORES)}
    code, _, report = setting.run(*as_arguments(given))
    found = [f for f in report["findings"] if said in f["text"]]
    assert [f["level"] for f in found] == ([level] if level else [])
    assert code == (1 if level == "error" else 0)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (
            '[training.balancer]\n@balancers = "spacy_mtl.PCGrad.v1"',
            "`training.balancer` is no setting, and does nothing. It belongs into the component",
        ),
        ("[training.sampling]\nalpha = 1", "`training.sampling` is no setting"),
        ("[initialize.component]\nx = 1", "Did you mean `components`?"),
    ],
)
def test_a_block_that_spacy_passes_over_is_found(setting: Setting, block: str, said: str) -> None:
    setting.add_all()
    setting.values["labels"] = f"\n{block}"
    _, _, report = setting.run()
    assert said in findings(report)


def test_a_score_by_another_key_of_spans_is_found(setting: Setting) -> None:
    """spaCy's default weights name the score of the group `sc`, whatever the group is called."""
    setting.add_all()
    setting.run()
    config = setting.folder / "spans.cfg"
    text = (setting.folder / "config.cfg").read_text()
    spans = '[components.spancat]\nfactory = "masked_spancat"\nspans_key = "events"\n\n[corpora]\n'
    text = text.replace('"textcat"]', '"textcat","spancat"]', 1).replace("[corpora]\n", spans, 1)
    config.write_text(text)
    report = setting.folder / "report.json"
    CliRunner().invoke(app, ["mtl", "debug", str(config), "--output", str(report)])
    found = findings(json.loads(report.read_text()))
    assert "`spans_sc_f` in `[training.score_weights]` is no score" in found
    assert "Alike are `spans_events_f`" in found


def source_the_encoder(setting: Setting) -> Path:
    """A config that takes it from a saved pipeline and freezes it."""
    setting.add_all()
    setting.run()
    text = (setting.folder / "config.cfg").read_text()
    nlp = spacy.blank("en")
    block = {"model": {"@architectures": ENCODER, "name": str(setting.values["encoder"])}}
    nlp.add_pipe("shared_transformer", config=block)
    nlp.initialize()
    nlp.to_disk(setting.folder / "saved")
    start, stop = text.index("[components.shared_transformer]"), text.index("[components.tagger]")
    block = f'[components.shared_transformer]\nsource = "{setting.folder / "saved"}"\n\n'
    config = setting.folder / "sourced.cfg"
    config.write_text(text[:start] + block + text[stop:])
    return config


@pytest.mark.parametrize(
    ("annotating", "logger", "said"),
    [
        ([], "spacy.ConsoleLogger.v1", "`textcat` will be trained on documents that"),
        (["shared_transformer"], "spacy.ConsoleLogger.v1", None),
        (["shared_transformer"], "spacy_mtl.TaskLogger.v1", "has none that takes part"),
    ],
)
def test_a_frozen_encoder_has_to_annotate(
    setting: Setting, annotating: list[str], logger: str, said: str | None
) -> None:
    config, report = source_the_encoder(setting), setting.folder / "report.json"
    config.write_text(f'{config.read_text()}\n[training.logger]\n@loggers = "{logger}"\n')
    overrides = {
        "training.frozen_components": '["shared_transformer"]',
        "training.annotating_components": json.dumps(annotating),
    }
    args = as_arguments(overrides)
    result = CliRunner().invoke(app, ["mtl", "debug", str(config), "-o", str(report), *args])
    found = findings(json.loads(report.read_text()))
    assert said in found if said else "error" not in found
    assert result.exit_code == (1 if said else 0)


def test_an_encoder_that_nobody_loads_is_refused(setting: Setting) -> None:
    setting.add_all()
    code, said, _ = setting.run("--training.frozen_components", '["shared_transformer"]')
    assert code == 1
    assert "`shared_transformer` has no weights" in said


def test_an_encoder_without_heads_is_found(setting: Setting) -> None:
    setting.add_all()
    setting.run()
    text = (setting.folder / "config.cfg").read_text()
    start, stop = text.index("[components.shared_transformer]"), text.index("[components.tagger]")
    block = text[start:stop]
    text = text[:start] + block.replace(".shared_transformer", ".second") + text[start:]
    text = text.replace('["shared_transformer",', '["shared_transformer","second",', 1)
    config, report = setting.folder / "two.cfg", setting.folder / "report.json"
    config.write_text(text)
    CliRunner().invoke(app, ["mtl", "debug", str(config), "--output", str(report)])
    found = findings(json.loads(report.read_text()))
    assert "No head listens to `shared_transformer`" in found
    assert "No head listens to `second`" not in found


@pytest.mark.parametrize("name", ["corpora.trian", "corpra.train", "corpora.train.sources.x.y"])
def test_a_corpus_that_is_not_there_is_named(setting: Setting, name: str) -> None:
    setting.add_all()
    code, said, _ = setting.run("--training.train_corpus", name)
    assert code == 1
    assert f"✘ `training.train_corpus = '{name}'` cannot be used" in said


@pytest.mark.parametrize("part", ["train", "dev"])
def test_the_corpus_of_a_wrong_source_is_named(setting: Setting, part: str) -> None:
    setting.add_all()
    code, said, _ = setting.run(f"--corpora.{part}.sources.names.tasks", '["nerr"]')
    assert code == 1
    assert f"In `[corpora.{part}]`: `nerr` in `sources.names.tasks` is not a component" in said


def test_a_language_that_does_not_exist_is_said_without_a_traceback(setting: Setting) -> None:
    setting.add_all()
    code, said, _ = setting.run("--nlp.lang", "english")
    assert code == 1
    assert "Can't import language english" in said


def test_evaluations_that_never_come_are_refused(setting: Setting) -> None:
    setting.add_all()
    setting.values["eval_frequency"] = 0
    code, _, report = setting.run()
    assert code == 1
    assert "error: `training.eval_frequency = 0` cannot be used" in findings(report)


def test_a_head_that_shares_nothing_is_found(setting: Setting) -> None:
    setting.add_all()
    embed = "\n".join(
        f"{key} = {value}"
        for key, value in {
            "@architectures": '"spacy.HashEmbedCNN.v2"',
            "pretrained_vectors": "null",
            "width": 32,
            "depth": 1,
            "embed_size": 100,
            "window_size": 1,
            "maxout_pieces": 2,
            "subword_features": "true",
        }.items()
    )
    setting.values["tagger"] = TAGGER + embed
    _, _, report = setting.run()
    assert "`tagger` does not listen to a shared_transformer" in findings(report)
    assert "`ner` does not listen" not in findings(report)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"tagger": f'{TAGGER}@architectures = "spacy.Tok2VecListener.v1"\nwidth = 96'},
            "`[components.tagger.model.tok2vec] width = 96` does not fit",
        ),
        ({"ner": "biluo_ner"}, "biluo_ner"),
        ({"textcat": "textcats"}, "textcats"),
    ],
)
def test_what_ends_the_training_at_once_is_said_without_a_traceback(
    setting: Setting, values: dict[str, Any], said: str
) -> None:
    setting.add_all()
    setting.values |= values
    code, output, _ = setting.run()
    assert code == 1
    assert said in output


def test_a_corpus_of_spacys_own_counts_as_one_source(setting: Setting) -> None:
    setting.add_all()
    setting.add("train", "whole", setting.docs(["tag", "ents", "cats"]), None)
    plain = {
        "@readers": "spacy.Corpus.v1",
        "path": str(setting.folder / "train-whole.spacy"),
        "gold_preproc": False,
        "max_length": 0,
        "limit": 0,
        "augmenter": None,
    }
    config = setting.folder / "plain.cfg"
    setting.run()
    text = (setting.folder / "config.cfg").read_text()
    start, stop = text.index("[corpora.train]"), text.index("[corpora.dev]")
    block = "\n".join(f"{key} = {json.dumps(value)}" for key, value in plain.items())
    config.write_text(f"{text[:start]}[corpora.train]\n{block}\n\n{text[stop:]}")
    result = CliRunner().invoke(app, ["mtl", "debug", str(config)])
    assert result.exit_code == 0
    assert "corpus" in result.output


def test_what_cannot_be_read_is_said_in_one_sentence(setting: Setting) -> None:
    setting.add_all()
    (setting.folder / "train-names.spacy").write_bytes(b"hello")
    code, said, report = setting.run()
    assert code == 1
    assert report == {}
    assert "Source `names` cannot be read at" in said
    assert "Traceback" not in said


def test_the_command_is_part_of_spacys_command_line() -> None:
    args = [sys.executable, "-m", "spacy", "mtl", "debug", "--help"]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "what will go wrong" in " ".join(done.stdout.split())


def test_the_command_line_does_not_load_the_encoder_code() -> None:
    code = "import sys, spacy_mtl.cli; assert not any('mtl.pipeline' in m for m in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
