"""The log shows for each head what it has seen and its loss per annotated unit."""

import io
import json
import logging
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from spacy_loggers.chain import chain_logger_v1
from spacy_loggers.clearml import clearml_logger_v2
from spacy_loggers.util import dict_to_dot
from spacy_loggers.wandb import wandb_logger_v5

from spacy_mtl.annotation import keep_layers
from spacy_mtl.errors import ConfigError
from spacy_mtl.logger import make_mlflow_logger, make_task_logger, make_tensorboard_logger
from spacy_mtl.pipeline.diagnostics import GradientLog
from spacy_mtl.pipeline.shared_transformer import shared_transformers
from spacy_mtl.pipeline.statistics import TaskStatistics

from .pipeline.conftest import encoder_path
from .pipeline.helpers import give_fixed_weights, head, make_nlp, make_optimizer, shared
from .pipeline.sentences import SENTENCES, make_doc

__all__ = ["encoder_path"]

HEADS = ("tagger", "ner", "textcat", "spancat")


@pytest.fixture
def nlp(encoder_path: Path) -> Language:
    heads: dict[str, Any] = {
        "tagger": None,
        "ner": None,
        "textcat": None,
        "masked_textcat": "textcat",
    }
    made = {name: {**head(base or name), "factory": name} for name, base in heads.items()}
    nlp = make_nlp(encoder_path, made)
    nlp.config["training"]["score_weights"] = {"tag_acc": 0.5, "ents_f": 0.5, "pos_acc": None}
    return nlp


def batch(nlp: Language, *layers: str, n: int = len(SENTENCES)) -> list[Example]:
    gold = [make_doc(nlp.vocab, s) for s in SENTENCES[:n]]
    return [Example(nlp.make_doc(g.text), keep_layers(g, layers)) for g in gold]


def update(nlp: Language, examples: list[Example]) -> dict[str, float]:
    losses: dict[str, float] = {}
    nlp.update(examples, sgd=False, losses=losses, drop=0.0)
    shared(nlp).finish_update(make_optimizer(0.0))
    return losses


def info(**values: Any) -> dict[str, Any]:
    return {
        "epoch": 0,
        "step": 10,
        "score": 0.5,
        "seconds": 3,
        "words": 100,
        "losses": {"tagger": 1.0},
        "other_scores": {"tag_acc": 0.9, "ents_per_type": {}},
        **values,
    }


def test_units_documents_and_words_are_counted_for_each_head(nlp: Language) -> None:
    shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
    update(nlp, batch(nlp, "tag", n=2) + batch(nlp, "cats"))
    update(nlp, batch(nlp, "ents", n=1))
    taken = statistics.take()
    n_tokens = [len(make_doc(nlp.vocab, s)) for s in SENTENCES]
    assert [taken["tagger"].units, taken["tagger"].documents] == [sum(n_tokens[:2]), 2]
    assert [taken["ner"].units, taken["ner"].documents] == [n_tokens[0], 1]
    assert [taken["textcat"].units, taken["textcat"].words] == [4, sum(n_tokens)]
    assert "shared_transformer" not in taken
    assert statistics.take()["tagger"].units == 0
    assert statistics.total["tagger"].words == sum(n_tokens[:2])


def test_losses_per_unit_do_not_depend_on_how_a_head_sums_them(nlp: Language) -> None:
    shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
    losses = update(nlp, batch(nlp, "tag", "ents", "cats"))
    taken = statistics.take()
    n_tokens = sum(len(make_doc(nlp.vocab, s)) for s in SENTENCES)
    assert taken["tagger"].loss_per_unit == pytest.approx(losses["tagger"] / n_tokens)
    assert taken["ner"].loss_per_unit == pytest.approx(losses["ner"] / n_tokens)
    for name in ("textcat", "masked_textcat"):  # means over documents already
        assert taken[name].loss_per_unit == pytest.approx(losses[name])


def test_unannotated_documents_do_not_change_a_loss_per_unit(nlp: Language) -> None:
    shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
    update(nlp, batch(nlp, "tag", "cats", n=2))
    alone = statistics.take()
    update(nlp, batch(nlp, "tag", "cats", n=2) + batch(nlp, "ents"))
    mixed = statistics.take()
    for name in ("tagger", "masked_textcat"):
        assert mixed[name].loss_per_unit == pytest.approx(alone[name].loss_per_unit, rel=1e-5)


def test_a_frozen_head_has_no_columns_and_seems_to_learn_nothing(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(nlp.config["training"], "frozen_components", ["tagger"])
    out, path = io.StringIO(), tmp_path / "log.jsonl"
    log_step, finalize = make_task_logger(output_file=path)(nlp, out, out)
    nlp.update(batch(nlp, "tag", "ents"), exclude=["tagger"])
    log_step(info())
    finalize()
    header, _, row = out.getvalue().splitlines()
    assert "TAGGER/TOKEN" not in header
    assert "TAG_ACC" in header  # it is still scored
    assert len(row.split()) == len(header.split())
    assert "tagger" not in json.loads(path.read_text())["tasks"]


def test_a_row_shows_losses_words_and_scores(nlp: Language, tmp_path: Path) -> None:
    out, path = io.StringIO(), tmp_path / "deep" / "log.jsonl"
    log_step, finalize = make_task_logger(output_file=path, gradients=False)(nlp, out, out)
    update(nlp, batch(nlp, "tag"))
    log_step(None)
    log_step(info())
    log_step(info(step=20))
    finalize()
    header, line, first, second = out.getvalue().splitlines()
    columns = header.split()
    assert columns[:6] == ["E", "#", "TAGGER/TOKEN", "WORDS", "NER/TOKEN", "WORDS"]
    assert columns[6:8] == ["TEXTCAT/DOCUMENT", "WORDS"]
    assert columns[-1] == "SCORE"
    assert {"TAG_ACC", "ENTS_F"} < set(columns)
    assert "POS_ACC" not in columns
    assert set(line) == {"-", " "}
    n_words = str(sum(len(make_doc(nlp.vocab, s)) for s in SENTENCES))
    cells = first.split()
    assert cells[:2] == ["0", "10"]
    assert float(cells[2]) > 0
    assert cells[3:6] == [n_words, "-", "0"]
    values = dict(zip(columns[10:], cells[10:], strict=True))
    assert (values["TAG_ACC"], values["ENTS_F"], values["SCORE"]) == ("90.00", "-", "0.50")
    assert second.split()[2:4] == ["-", n_words]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["step"] for record in records] == [10, 20]
    assert records[0]["tasks"]["tagger"]["unit"] == "tokens"
    assert records[0]["tasks"]["ner"]["loss_per_unit"] is None
    assert records[0]["scores"] == {"tag_acc": 0.9}
    assert shared(nlp).statistics is None


def with_fixed_weights(nlp: Language) -> Language:
    """spaCy's output layers begin with zeros, which hand back no gradient."""
    give_fixed_weights(nlp, "tagger", "masked_textcat")
    return nlp


def test_a_row_shows_how_the_heads_pull(nlp: Language, tmp_path: Path) -> None:
    out, rows, steps = io.StringIO(), tmp_path / "rows.jsonl", tmp_path / "steps.jsonl"
    seen: list[Any] = []

    def second(*_: Any) -> tuple[Any, Any]:
        return lambda info: seen.append(dict_to_dot((info or {}).get("other_scores", {}))), str

    first = make_task_logger(output_file=rows, steps_file=steps, audit_every=2)
    log_step, finalize = chain_logger_v1(first, second)(with_fixed_weights(nlp), out, out)
    log_step(info())
    for layers in (["tag", "cats"], ["tag"], []):
        update(nlp, batch(nlp, *layers))
        log_step(None)
    log_step(info(step=20))
    log_step(info(step=30))
    finalize()
    header, _, empty, row, after = out.getvalue().splitlines()
    columns = header.split()
    assert columns[:6] == ["E", "#", "TAGGER/TOKEN", "WORDS", "PULL", "NER/TOKEN"]
    assert columns.count("PULL") == 4
    assert columns[14] == "CLASH"
    assert empty.split()[4] == after.split()[4] == "-"
    assert empty.split()[14] == after.split()[14] == "-"
    assert 0 < int(row.split()[4]) < 100
    assert row.split()[14] in ("0", "100")

    records = [json.loads(line) for line in steps.read_text().splitlines()]
    assert [record["batch"] for record in records] == [0, 1]
    assert set(records[0]["tasks"]) == {"tagger", "textcat", "masked_textcat"}
    assert sum(task["share"] for task in records[0]["tasks"].values()) == pytest.approx(1.0)
    assert records[1]["tasks"]["tagger"]["share"] == 1.0
    assert all("tagger" in pair.split("/") for pair in records[1]["cosines"])
    assert records[1]["cosines"]  # with what the batch before has left
    cosine = records[0]["cosines"]["masked_textcat/tagger"]
    assert -1 <= cosine <= 1
    audited = records[0]["audit"]["masked_textcat/tagger"]

    written = [json.loads(line)["gradients"] for line in rows.read_text().splitlines()][1]
    assert written["pairs"]["masked_textcat/tagger"]["conflict"] == float(cosine < 0)
    right = float(np.sign(cosine) == np.sign(audited["parameters"]))
    assert written["audit"]["pairs"] == 1
    assert written["audit"]["pooled_sign_right"] == right
    mean = np.mean([record["tasks"]["tagger"]["share"] for record in records])
    assert written["tasks"]["tagger"]["share"] == pytest.approx(mean)
    assert seen[-2]["spacy_mtl.tagger.share"] == pytest.approx(mean)
    assert seen[-2]["spacy_mtl.masked_textcat/tagger.cosine"] == pytest.approx(cosine)


def test_tensorboard_gets_scores_losses_and_gradients(nlp: Language, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = io.StringIO()
    ours = make_task_logger(console_output=False)
    logger = chain_logger_v1(ours, make_tensorboard_logger(tmp_path))
    log_step, finalize = logger(with_fixed_weights(nlp), out, out)
    update(nlp, batch(nlp, "tag", "cats"))
    log_step(None)
    log_step(info(step=20))
    log_step(info(step=30, score=0.6))
    finalize()
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert {"score", "words", "losses/tagger", "scores/tag_acc"} < set(found.Tags()["scalars"])
    assert [(e.step, round(e.value, 3)) for e in found.Scalars("score")] == [(20, 0.5), (30, 0.6)]
    (share,) = found.Scalars("scores/spacy_mtl/tagger/share")
    assert 0 < share.value < 1


def test_mlflow_gets_names_that_it_takes(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    with_fixed_weights(nlp)
    metrics: dict[str, float] = {}
    names = ("start_run", "log_metric", "log_artifact", "end_run", "log_params")
    mlflow = ModuleType("mlflow")
    for name in names:
        setattr(mlflow, name, lambda *args, **kwargs: None)
    mlflow.log_metrics = metrics.update  # type: ignore[attr-defined]
    mlflow.log_metric = lambda key, value: metrics.update({key: value})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    out = io.StringIO()
    chained = chain_logger_v1(
        make_task_logger(console_output=False, audit_every=1), make_mlflow_logger()
    )
    log_step, finalize = chained(nlp, out, out)
    update(nlp, batch(nlp, "tag", "cats"))
    scores = {"ents_f@gum": 0.5, "cats_score/a b": 0.25, "ents_per_type": {"A@B": {"f": 1.0}}}
    log_step(info(other_scores=scores))
    finalize()
    assert metrics["ents_f/gum"] == 0.5
    assert metrics["ents_per_type.A/B.f"] == 1.0
    assert 0 <= metrics["spacy_mtl.conflict"] <= 1
    assert 0 <= metrics["spacy_mtl.audit.pooled_sign_right"] <= 1
    assert metrics["spacy_mtl.tagger.loss_per_unit"] > 0
    # what MLflow's own check allows
    assert all(re.fullmatch(r"[/\w.\- :]*", name) for name in metrics)
    assert "ents_f@gum" in scores  # spaCy chooses the best checkpoint by these names


@pytest.mark.parametrize("service", ["wandb", "clearml"])
def test_services_that_spacy_logs_to_get_the_numbers(
    service: str, nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through spacy-loggers' own code; of the service there is a module that records."""
    with_fixed_weights(nlp)
    recorder = MagicMock()
    monkeypatch.setitem(sys.modules, service, recorder)
    theirs = wandb_logger_v5("p") if service == "wandb" else clearml_logger_v2("p", "t")
    out = io.StringIO()
    chained = chain_logger_v1(make_task_logger(console_output=False, audit_every=1), theirs)
    log_step, finalize = chained(nlp, out, out)
    update(nlp, batch(nlp, "tag", "cats"))
    log_step(info())
    finalize()
    found: dict[str, Any] = {}
    if service == "wandb":
        for call in recorder.log.call_args_list:
            found |= dict_to_dot(call.args[0])
    else:
        report = recorder.Task.init.return_value.get_logger.return_value.report_scalar
        for call in report.call_args_list:
            found[f"{call.kwargs.get('title')}.{call.kwargs.get('series')}"] = call.kwargs["value"]
    assert 0 < found["spacy_mtl.tagger.share"] < 1
    assert found["spacy_mtl.tagger.loss_per_unit"] > 0
    assert 0 <= found["spacy_mtl.conflict"] <= 1
    assert 0 <= found["spacy_mtl.audit.pooled_sign_right"] <= 1
    assert -1 <= found["spacy_mtl.masked_textcat/tagger.cosine"] <= 1


def test_an_audit_has_a_column(nlp: Language) -> None:
    with_fixed_weights(nlp)
    out = io.StringIO()
    log_step, finalize = make_task_logger(audit_every=1)(nlp, out, out)
    update(nlp, batch(nlp, "tag", "cats"))
    log_step(info())
    finalize()
    header, _, row = out.getvalue().splitlines()
    shown = dict(zip(header.split(), row.split(), strict=True))
    assert 0 <= int(shown["SIGN"]) <= 100


def test_the_worst_task_is_shown_as_a_part(nlp: Language, tmp_path: Path) -> None:
    nlp.config["training"]["score_weights"]["worst_task"] = 1.0
    out, path = io.StringIO(), tmp_path / "log.jsonl"
    log_step, finalize = make_task_logger(output_file=path, gradients=False)(nlp, out)
    log_step(info(other_scores={"worst_task": 3.25}))
    finalize()
    header, _, row = out.getvalue().splitlines()
    assert dict(zip(header.split(), row.split(), strict=True))["WORST_TASK"] == "25.00"
    assert json.loads(path.read_text())["scores"]["worst_task"] == 3.25


def warnings_at_setup(
    nlp: Language, caplog: pytest.LogCaptureFixture, **settings: Any
) -> tuple[str, Any]:
    """What is said when a logger is set up, and the component that measures."""
    caplog.clear()
    with caplog.at_level("WARNING"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("spacy"), "propagate", True)
        make_task_logger(**settings)(nlp, io.StringIO(), io.StringIO())
    measured = [pipe for pipe in shared_transformers(nlp) if pipe.statistics is not None]
    return caplog.text, measured[0]


def test_one_encoder_s_heads_have_a_pull_and_that_is_said(
    encoder_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nlp = make_nlp(encoder_path, ("tagger",))
    block = nlp.config["components"]["shared_transformer"]["model"]
    nlp.add_pipe("shared_transformer", name="second", config={"model": block})
    said, measured = warnings_at_setup(nlp, caplog)
    assert measured.name == "shared_transformer"
    assert "No head listens to `second`, so it costs time" in said
    assert "measures how" not in said  # there is nothing to measure
    nlp.add_pipe("textcat", config={"model": head("textcat")["model"]})
    said, measured = warnings_at_setup(nlp, caplog)
    assert "the heads of `shared_transformer` pull, not those of `second`" in said
    assert "No head listens" not in said
    assert "measures how" not in warnings_at_setup(nlp, caplog, gradients=False)[0]


def test_the_encoder_that_has_heads_is_the_one_that_is_measured(
    encoder_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nlp = make_nlp(encoder_path, ("tagger",))
    block = nlp.config["components"]["shared_transformer"]["model"]
    nlp.add_pipe("shared_transformer", name="idle", config={"model": block}, first=True)
    said, measured = warnings_at_setup(nlp, caplog)
    assert measured.name == "shared_transformer"
    assert "No head listens to `idle`" in said


@pytest.mark.parametrize(
    ("weights", "others"),
    [
        ({"worst_task": 1.0, "tag_acc": None, "ents_f": None, "cats_score": None}, None),
        ({"worst_task": 1.0, "tag_acc": 0.0, "ents_f": None, "cats_score": None}, None),
        ({"worst_task": None, "tag_acc": 1.0}, None),
        ({"worst_task": 1.0, "ents_f": None}, "`tag_acc = null`, `cats_score = null`"),
    ],
)
def test_the_worst_task_stands_alone(
    nlp: Language, caplog: pytest.LogCaptureFixture, weights: dict[str, Any], others: str | None
) -> None:
    nlp.config["training"]["score_weights"] = weights
    said, _ = warnings_at_setup(nlp, caplog)
    assert (f"those that spaCy fills in by itself: {others}." in said) == bool(others)
    assert ("beside" in said) == bool(others)


def test_a_loss_that_is_no_number_is_written_as_null(nlp: Language, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log_step, finalize = make_task_logger(output_file=path, gradients=False)(
        nlp, io.StringIO(), io.StringIO()
    )
    log_step(info(losses={"tagger": float("nan")}))
    finalize()
    assert json.loads(path.read_text())["losses"] == {"tagger": None}


def test_tensorboard_is_asked_for(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        make_tensorboard_logger("x")(nlp, io.StringIO(), io.StringIO())


def test_an_audit_finds_the_gradients_of_the_parameters(nlp: Language) -> None:
    with_fixed_weights(nlp)
    statistics = TaskStatistics.of(nlp)
    statistics.gradients = GradientLog(audit_every=1)
    shared(nlp).statistics = statistics
    gradients = []
    for layers in (["tag"], ["cats"], ["tag", "cats"]):
        nlp.update(batch(nlp, *layers), sgd=False)
        shared(nlp).model  # noqa: B018
        found = shared(nlp).shim.take_gradients().values()
        gradients.append(np.concatenate([p.grad.numpy().ravel() for p in found]))  # type: ignore[union-attr]
        shared(nlp).shim.drop_gradients()
        for name in nlp.pipe_names[1:]:
            nlp.get_pipe(name).model.finish_update(make_optimizer(0.0))  # type: ignore[attr-defined]
    both = statistics.gradients.take()[-1]
    tags, cats, _ = gradients
    # spaCy's own textcat has a gradient as well, for the zeros that it starts with
    norms = np.linalg.norm(tags) * np.linalg.norm(cats)
    true, _ = both.audit[("masked_textcat", "tagger")]
    assert true == pytest.approx(tags @ cats / norms, rel=1e-3)


def test_what_is_not_measured_cannot_be_written() -> None:
    with pytest.raises(ConfigError, match=r"`training\.logger\.audit_every = 5`.*gradients = true"):
        make_task_logger(gradients=False, audit_every=5)
    with pytest.raises(ConfigError, match=r"audit_every = -1"):
        make_task_logger(audit_every=-1)


def test_the_table_can_be_left_out(nlp: Language) -> None:
    out = io.StringIO()
    log_step, finalize = make_task_logger(console_output=False, progress_bar="eval")(nlp, out, out)
    log_step(info())
    log_step(None)
    finalize()
    assert out.getvalue() == ""


def test_an_unknown_progress_bar_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`training\.logger\.progress_bar = 'all'`"):
        make_task_logger(progress_bar="all")


def test_a_pipeline_without_a_shared_transformer_is_refused() -> None:
    with pytest.raises(ConfigError, match="has none that takes part"):
        make_task_logger()(spacy.blank("en"))


@pytest.mark.parametrize(("max_steps", "warns"), [(40, True), (200, False), (0, False)])
def test_a_training_that_is_hardly_evaluated_is_warned_of(
    nlp: Language, caplog: pytest.LogCaptureFixture, max_steps: int, warns: bool
) -> None:
    nlp.config["training"] |= {"max_steps": max_steps, "eval_frequency": 200}
    with caplog.at_level("WARNING"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("spacy"), "propagate", True)
        make_task_logger()(nlp, io.StringIO(), io.StringIO())
    assert ("before its second evaluation" in caplog.text) == warns


@pytest.mark.parametrize("place", ["training", "components.shared_transformer"])
@pytest.mark.parametrize(("total_steps", "warns"), [(40, True), (200, False), (300, False)])
def test_a_rate_that_ends_before_the_training_is_warned_of(
    nlp: Language, caplog: pytest.LogCaptureFixture, place: str, total_steps: int, warns: bool
) -> None:
    nlp.config["training"] |= {"max_steps": 200, "eval_frequency": 10}
    own = nlp._pipe_configs["shared_transformer"]  # of which `nlp.config` makes its components
    block = nlp.config["training"] if place == "training" else own
    rate = {"@schedules": "warmup_linear.v1", "initial_rate": 0.01, "warmup_steps": 5}
    block["optimizer"] = {**(block["optimizer"] or {}), "learn_rate": rate}
    rate["total_steps"] = total_steps
    with caplog.at_level("WARNING"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("spacy"), "propagate", True)
        make_task_logger()(nlp, io.StringIO(), io.StringIO())
    key = f"{place}.optimizer.learn_rate.total_steps"
    said = f"`{key} = {total_steps}` ends before `training.max_steps = 200`"
    assert (said in caplog.text) == (f"`--{key} 200`" in caplog.text) == warns


@pytest.mark.parametrize("key", ["output_file", "steps_file"])
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path, key: str) -> None:
    settings: dict[str, Any] = {key: tmp_path}
    with pytest.raises(ConfigError, match=f"`training.logger.{key} = .* a file, not a folder"):
        make_task_logger(**settings)
