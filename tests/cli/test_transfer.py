"""`python -m spacy mtl transfer`: trains, goes on after an interruption, compares and advises."""

import json
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from thinc.api import Config
from typer.testing import CliRunner
from wasabi import Printer

import spacy_mtl.transfer.training as training_module
from spacy_mtl.cli import app
from spacy_mtl.cli.transfer import print_report
from spacy_mtl.errors import ConfigError
from spacy_mtl.transfer.plan import Run, config_for, plan_runs
from spacy_mtl.transfer.training import compared_heads, with_budget, with_sources

from ..pipeline.conftest import encoder_path
from ..pipeline.helpers import encoder_model, make_config, make_nlp
from ..pipeline.sentences import SENTENCES, make_doc
from ..pipeline.test_spacy_train import filled, training

__all__ = ["encoder_path"]

HEADS = ("tagger", "ner", "textcat")


class InterruptionError(Exception):
    """The machine was switched off."""


@pytest.fixture(scope="module")
def config_path(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources, each annotated for one head."""
    folder = tmp_path_factory.mktemp("transfer")
    DocBin(docs=[make_doc(Vocab(), s) for s in SENTENCES * 3]).to_disk(folder / "all.spacy")
    sources = {
        f"for_{head}": {"path": str(folder / "all.spacy"), "tasks": [head]} for head in HEADS
    }
    reader = {"@readers": "spacy_mtl.MultiCorpus.v1", "sources": sources}
    config = make_config(
        encoder_path,
        HEADS,
        balancer={"@balancers": "spacy_mtl.NormEqual.v1", "weights": {"tagger": 2.0, "ner": 1.0}},
    ) | training(folder / "all.spacy", batcher={"@batchers": "spacy.batch_by_words.v1", "size": 40})
    config["corpora"] = {"train": reader, "dev": reader}
    config["initialize"] = {"components": {"ner": {}}}
    filled(config).to_disk(folder / "config.cfg")
    return folder / "config.cfg"


def run(config_path: Path, output: Path, *args: str) -> tuple[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["transfer", str(config_path), "-o", str(output), *args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output, json.loads((output / "transfer.json").read_text())


@pytest.mark.slow
def test_all_are_compared_and_an_interrupted_command_goes_on(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, trained = training_module.spacy_train, []

    def counted(nlp: Any, *args: Any, **kwargs: Any) -> Any:
        if len(trained) == 4:
            raise InterruptionError
        trained.append(nlp.pipe_names)
        return train(nlp, *args, **kwargs)

    monkeypatch.setattr(training_module, "spacy_train", counted)
    args = ("--steps", "3", "--seeds", "2", "--pairs")
    with pytest.raises(InterruptionError):
        run(config_path, tmp_path, *args)
    assert len(list((tmp_path / "runs").glob("*.json"))) == 4
    monkeypatch.setattr(
        training_module,
        "spacy_train",
        lambda *a, **k: [trained.append(a[0].pipe_names), train(*a, **k)][1],
    )
    output, report = run(config_path, tmp_path, *args)
    assert len(trained) == 2 * 7
    _, again = run(config_path, tmp_path, *args)
    assert len(trained) == 2 * 7
    assert again == report
    assert trained[0] == ["shared_transformer", *HEADS]
    assert trained[1] == ["shared_transformer", "tagger"]
    assert report["heads"] == list(HEADS)
    assert {r["updates"] for r in report["runs"]} == {4}  # spaCy's last has the number 3
    assert set(report["runs"][1]["scores"]) == {"tagger"}
    assert len(report["differences"]) == 3 + 2 * 3
    assert all(len(d["gains"]) == 2 for d in report["differences"])
    assert report["groups_from"] == "pairs"
    assert sorted(head for group in report["groups"] for head in group) == sorted(HEADS)
    for text in (
        "tagger alone",
        "tagger + ner",
        "what sharing gained",
        "so it is not proved, train ",
        "fewer than three",
        "transfer.json` shows it beside a training",
    ):
        assert text in " ".join(output.split())

    run(config_path, tmp_path, "--steps", "2", "--seeds", "1")
    assert len(trained) == 2 * 7 + 4  # another config: nothing that is stored fits


def failing(config_path: Path, output: Path, *args: str) -> str:
    done = CliRunner().invoke(app, ["transfer", str(config_path), "-o", str(output), *args])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    return " ".join(done.output.split())


def test_a_training_that_fails_is_named(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, trained = training_module.spacy_train, []

    def diverging(nlp: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(nlp.pipe_names)
        if len(trained) == 3:
            raise ValueError("[E940] Found NaN values in scores.")
        return train(nlp, *args, **kwargs)

    monkeypatch.setattr(training_module, "spacy_train", diverging)
    said = failing(config_path, tmp_path, "--steps", "1", "--seeds", "1")
    assert "The training `ner-0` failed: ValueError: [E940] Found NaN values in scores." in said
    assert "The 2 before it are kept" in said
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2


def test_a_file_that_is_not_there_is_named(encoder_path: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "all.spacy"
    DocBin(docs=[make_doc(Vocab(), s) for s in SENTENCES]).to_disk(corpus)
    config = make_config(encoder_path, HEADS) | training(corpus)
    filled(config).to_disk(tmp_path / "config.cfg")
    said = failing(
        tmp_path / "config.cfg",
        tmp_path,
        "--steps",
        "1",
        "--corpora.dev.path",
        str(tmp_path / "nope.spacy"),
    )
    assert "nope.spacy" in said
    assert "`[corpora]`" in said


def test_quick_trains_once_and_guesses(config_path: Path, tmp_path: Path) -> None:
    output, report = run(config_path, tmp_path, "--steps", "6", "--quick")
    assert [r["heads"] for r in report["runs"]] == [list(HEADS)]
    assert report["differences"] == []
    assert len(report["affinity"]) == 6
    assert all(-1 <= value <= 1 for value in report["affinity"].values())
    assert report["groups_from"] == "gradients"
    assert "which is a guess" in " ".join(output.split())


def test_with_equal_gold_a_task_alone_sees_what_it_sees_among_all(
    config_path: Path, tmp_path: Path
) -> None:
    _, report = run(config_path, tmp_path, "--steps", "12", "--seeds", "1", "--equal", "gold")
    together, *alone = report["runs"]
    for found in alone:
        (task,) = found["heads"]
        assert found["updates"] < together["updates"]
        assert found["words"][task] >= together["words"][task]
        assert found["words"][task] <= together["words"][task] + 80


def test_the_updates_that_are_told_are_those_that_were_made(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, made = Language.update, []
    monkeypatch.setattr(Language, "update", lambda *a, **k: [made.append(1), update(*a, **k)][1])
    _, report = run(config_path, tmp_path, "--steps", "4", "--quick")
    assert [r["updates"] for r in report["runs"]] == [len(made)]


@pytest.mark.parametrize(("second", "warned"), [(-13.7, True), (2.0, False)])
def test_a_loss_in_every_seed_of_what_is_advised_is_told_though_not_proved(
    capsys: pytest.CaptureFixture[str], second: float, warned: bool
) -> None:
    difference = {
        **{"task": "textcat", "group": ["tagger", "textcat"], "gains": [-59.8, second, -14.4]},
        **{"mean": -29.3, "spread": 26.4, "p": 1.0, "verdict": "", "feared": False},
    }
    report = {
        **{"heads": ["tagger", "textcat"], "runs": [], "seeds": 3, "agreement": None},
        **{"differences": [difference], "cosines": {}, "affinity": {}, "affinity_unknown": []},
        **{"groups": [["tagger", "textcat"]], "groups_from": "pairs", "cosines_of": ""},
    }
    print_report(report, Printer(no_print=False, pretty=False))
    said = "`textcat` lost in every seed in tagger + textcat, 29.30 points in the mean"
    assert (said in " ".join(capsys.readouterr().out.split())) == warned


def test_each_run_has_a_name_of_its_own() -> None:
    runs = plan_runs(["ner/a", "ner_a", "ner", "a", "ner+a"], 1, pairs=True)
    assert len({run.name for run in runs}) == len(runs)
    assert not any("/" in run.name for run in runs)


def test_a_run_s_config_has_nothing_of_the_other_heads(config_path: Path) -> None:
    config = Config().from_disk(config_path).interpolate()
    kept = config_for(config, Run(("tagger",), 7), HEADS)
    assert kept["nlp"]["pipeline"] == ["shared_transformer", "tagger"]
    assert set(kept["components"]) == {"shared_transformer", "tagger"}
    assert list(kept["corpora"]["train"]["sources"]) == ["for_tagger"]
    assert kept["components"]["shared_transformer"]["balancer"]["weights"] == {"tagger": 2.0}
    assert kept["initialize"]["components"] == {}
    assert set(config["components"]) == {"shared_transformer", *HEADS}


def test_two_encoders_are_not_compared(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ["tagger"], initialize=False)
    nlp.add_pipe("shared_transformer", "second", config={"model": encoder_model(encoder_path)})
    with pytest.raises(ConfigError, match="has several: `shared_transformer`, `second`"):
        compared_heads(nlp)


def test_seeds_and_schedules_follow_the_budget(config_path: Path) -> None:
    config = Config().from_disk(config_path, interpolate=False)
    config["corpora"]["train"]["seed"] = "${system.seed}"
    config["components"]["shared_transformer"]["grad"] = "${training.max_steps}"
    changed = with_budget(config, 12, 7).interpolate()
    assert changed["training"]["seed"] == changed["corpora"]["train"]["seed"] == 7
    assert changed["components"]["shared_transformer"]["grad"] == 12
    assert changed["training"]["eval_frequency"] == 12


@pytest.mark.parametrize(("total_steps", "then"), [(40, 12), (30, 30), (90, 90)])
def test_schedules_that_end_with_the_training_do_so_again(
    config_path: Path, total_steps: int, then: int
) -> None:
    config = Config().from_disk(config_path, interpolate=False)
    config["training"]["max_steps"] = 40
    rate = {"@schedules": "warmup_linear.v1", "initial_rate": 0.01, "warmup_steps": 5}
    for block in (config["training"], config["components"]["shared_transformer"]):
        block["optimizer"] = {"learn_rate": {**rate, "total_steps": total_steps}}
    changed = with_budget(config, 12, 7)
    for block in (changed["training"], changed["components"]["shared_transformer"]):
        assert block["optimizer"]["learn_rate"]["total_steps"] == then
    assert config["training"]["optimizer"]["learn_rate"]["total_steps"] == total_steps


def test_components_stay_sourced() -> None:
    given = Config({"components": {"ner": {"source": "trained"}, "tagger": {"factory": "tagger"}}})
    filled = Config({"components": {"ner": {"factory": "ner"}, "tagger": {"factory": "tagger"}}})
    assert with_sources(filled, given)["components"] == given["components"]


@pytest.mark.slow
def test_a_changed_file_is_trained_again(config_path: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "own.spacy"
    args = ["--steps", "1", "--seeds", "1", "--corpora.train.sources.for_ner.path", str(corpus)]
    docs = [make_doc(Vocab(), s) for s in SENTENCES]
    DocBin(docs=docs * 3).to_disk(corpus)
    run(config_path, tmp_path, *args)
    output, _ = run(config_path, tmp_path, *args)
    assert output.count("as stored") == 4
    DocBin(docs=docs * 4).to_disk(corpus)
    output, _ = run(config_path, tmp_path, *args)
    assert output.count("as stored") == 2  # tags alone, categories alone


def test_seeds_are_planned_one_after_the_other() -> None:
    names = [r.name for r in plan_runs("abc", 2, pairs=True)]
    assert names[:7] == ["a+b+c-0", "a-0", "b-0", "c-0", "a+b-0", "a+c-0", "b+c-0"]
    assert names[7] == "a+b+c-1"
    assert len(plan_runs("ab", 1, pairs=True)) == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nlp.pipeline", '["shared_transformer","tagger"]'], "only `tagger` listens"),
        (["--nlp.pipeline", '["tagger"]'], "has none that takes part"),
        (["--components.ner.scorer", "null"], "`ner` has no score"),
        (["--training.max_steps", "0"], "`training.max_steps = 0`"),
        (["--corpora.train.sources.for_ner.path", "no.spacy", "--steps", "1"], "no.spacy"),
    ],
)
def test_wrong_input_is_named(
    args: list[str], message: str, config_path: Path, tmp_path: Path
) -> None:
    command = ["transfer", str(config_path), "-o", str(tmp_path), *args]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
