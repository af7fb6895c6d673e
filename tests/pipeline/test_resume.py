"""Training that was saved and loaded goes on as if it had not been."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from thinc.api import SGD, Optimizer

import spacy_mtl
from spacy_mtl.pipeline.listener import GradFactor

from .helpers import LISTENER, NAME, head, make_nlp, shared, train, weights
from .sentences import make_examples

STATE = Path(NAME) / "model" / "optimizer.safetensors"
SCHEDULE = {
    "@schedules": "warmup_linear.v1",
    "initial_rate": 0.01,
    "warmup_steps": 3,
    "total_steps": 12,
}
HALF = 4


def adamw(**settings: Any) -> dict[str, Any]:
    return {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.003, **settings}


def make(path: Path, **settings: Any) -> Language:
    """ner is left out: it cuts its batches at random."""
    return make_nlp(path, ["tagger", "textcat"], **settings)


def plain_sgd() -> Optimizer:
    """For the heads; it has no state that would be lost."""
    return SGD(0.1, L2=0.0, grad_clip=1.0, use_averages=False)


def same(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "optimizer",
    [adamw(), adamw(learn_rate=SCHEDULE), adamw(layer_decay=0.8, weight_decay=0.1)],
    ids=["a fixed rate", "a schedule", "layer-wise rates"],
)
def test_a_loaded_pipeline_trains_on_exactly(
    optimizer: dict[str, Any], encoder_path: Path, tmp_path: Path
) -> None:
    straight = make(encoder_path, optimizer=optimizer)
    straight.to_disk(tmp_path / "start")
    train(straight, 2 * HALF, plain_sgd())
    first = spacy.load(tmp_path / "start")
    train(first, HALF, plain_sgd())
    first.to_disk(tmp_path / "half")
    second = spacy.load(tmp_path / "half")
    assert same(weights(first), weights(second))
    train(second, HALF, plain_sgd())
    assert not same(weights(first), weights(second))
    assert same(weights(straight), weights(second))
    assert shared(second).cfg["steps"] == 2 * HALF


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("way", ["disk", "bytes"])
def test_a_pipeline_that_goes_back_trains_as_a_new_one_that_loads_the_same(
    encoder_path: Path, tmp_path: Path, save: bool, way: str
) -> None:
    settings = {
        "optimizer": adamw(learn_rate=SCHEDULE),
        "save_optimizer": save,
        "balancer": {"@balancers": "spacy_mtl.NormEqual.v1"},
    }
    nlp = make(encoder_path, **settings)
    train(nlp, HALF, plain_sgd())
    nlp.to_disk(tmp_path)
    saved = nlp.to_bytes()
    train(nlp, 3, plain_sgd())
    new = make(encoder_path, **settings)
    for pipeline in (nlp, new):
        pipeline.from_disk(tmp_path) if way == "disk" else pipeline.from_bytes(saved)
        train(pipeline, 3, plain_sgd())
    assert same(weights(nlp), weights(new))
    balances = [shared(pipeline).balance for pipeline in (nlp, new)]
    assert balances[0] is not None
    assert balances[1] is not None
    assert balances[0].to_bytes() == balances[1].to_bytes()


def test_a_folder_without_a_balancer_starts_it_anew(encoder_path: Path, tmp_path: Path) -> None:
    make(encoder_path, balancer=None).to_disk(tmp_path)
    nlp = make(encoder_path, balancer={"@balancers": "spacy_mtl.NormEqual.v1"})
    balance = shared(nlp).balance
    assert balance is not None
    before = balance.to_bytes()
    train(nlp, 3, plain_sgd())
    assert balance.to_bytes() != before
    nlp.from_disk(tmp_path)
    assert balance.to_bytes() == before


def test_a_factor_s_schedule_goes_back() -> None:
    factor = GradFactor([1.0, 0.5, 0.25])
    assert [factor(step) for step in (0, 2, 3, 1, 0, 7)] == [1.0, 0.25, 0.25, 0.5, 1.0, 0.25]


def test_loading_into_a_pipeline_in_training_forgets_what_it_owed(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, optimizer=adamw())
    train(nlp, HALF, plain_sgd())
    nlp.to_disk(tmp_path)
    saved = weights(nlp)
    train(nlp, HALF, plain_sgd())  # its last step is still to be made
    nlp.from_disk(tmp_path)
    assert same(saved, weights(nlp))
    own = shared(nlp).optimizer
    assert own is not None
    assert shared(nlp).cfg["steps"] == own.step_count == HALF
    other = spacy.load(tmp_path)
    for pipeline in (nlp, other):
        train(pipeline, 2, plain_sgd())
    assert same(weights(nlp), weights(other))


def test_a_grad_factor_s_schedule_goes_on_where_it_was(encoder_path: Path, tmp_path: Path) -> None:
    """By then it is 0: the encoder of a resumed training does not move."""
    factors = {
        "@schedules": "warmup_linear.v1",
        "initial_rate": 1.0,
        "warmup_steps": 0,
        "total_steps": 4,
    }
    heads = {"tagger": head("tagger", {**LISTENER, "grad_factor": factors})}
    nlp = make_nlp(encoder_path, heads, optimizer=adamw(weight_decay=0.0, beta1=0.0))
    train(nlp, 6, plain_sgd())
    nlp.to_disk(tmp_path)
    resumed = spacy.load(tmp_path)
    before = weights(resumed)
    train(resumed, 3, plain_sgd())
    assert same(before, weights(resumed))


def test_a_head_s_optimizer_state_is_not_needed_for_the_encoder_s(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, optimizer=adamw())
    train(nlp, HALF, plain_sgd())
    nlp.to_disk(tmp_path)
    assert (tmp_path / STATE).is_file()
    (tmp_path / STATE).unlink()
    fresh = spacy.load(tmp_path)
    assert same(weights(nlp), weights(fresh))
    own = shared(fresh).optimizer
    assert own is not None
    assert own.step_count == 0
    losses = train(fresh, 20, plain_sgd())
    assert losses[-1]["tagger"] < losses[0]["tagger"]


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": adamw(), "save_optimizer": False}, {"optimizer": None}],
    ids=["switched off", "no optimizer of its own"],
)
def test_no_state_is_written_where_none_is_asked_for(
    settings: dict[str, Any], encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, **settings)
    train(nlp, 2)
    nlp.to_disk(tmp_path)
    assert not (tmp_path / STATE).exists()
    assert same(weights(nlp), weights(spacy.load(tmp_path)))


def test_state_that_was_loaded_and_not_used_is_saved_again(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, optimizer=adamw())
    train(nlp, HALF, plain_sgd())
    nlp.to_disk(tmp_path / "one")
    spacy.load(tmp_path / "one").to_disk(tmp_path / "two")
    assert (tmp_path / "one" / STATE).read_bytes() == (tmp_path / "two" / STATE).read_bytes()


def test_a_pipeline_that_lost_its_optimizer_ignores_the_saved_state(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, optimizer=adamw())
    train(nlp, 2, plain_sgd())
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, config={f"components.{NAME}.optimizer": None})
    assert shared(loaded).optimizer is None
    assert same(weights(nlp), weights(loaded))
    train(loaded, 2)
    assert not same(weights(nlp), weights(loaded))


def ended(path: Path, folder: Path) -> Path:
    """A pipeline whose encoder's schedule has come to its end, saved."""
    nlp = make(path, optimizer=adamw(learn_rate={**SCHEDULE, "total_steps": HALF}))
    train(nlp, HALF + 1, plain_sgd())
    nlp.to_disk(folder)
    return folder


def test_an_encoder_from_another_pipeline_begins_a_training_of_its_own(
    encoder_path: Path, tmp_path: Path
) -> None:
    source = spacy.load(ended(encoder_path, tmp_path / "model"))
    assert shared(source).cfg["steps"] == HALF + 1
    nlp = spacy.blank("en")
    for name in source.pipe_names:
        nlp.add_pipe(name, source=source)
    optimizer = shared(nlp).optimizer
    assert optimizer is not None
    assert (shared(nlp).cfg["steps"], optimizer.step_count) == (0, 0)
    assert nlp.meta["requirements"] == [f"spacy-mtl>={spacy_mtl.__version__}"]  # no upper limit
    before = weights(nlp)
    train(nlp, 3, plain_sgd())
    assert not same(before, weights(nlp))
    assert (shared(nlp).cfg["steps"], optimizer.step_count) == (3, 3)


def balanced(path: Path) -> Language:
    balancer = {"@balancers": "spacy_mtl.EqualProjection.v1"}
    return make(path, optimizer=adamw(learn_rate=SCHEDULE), balancer=balancer)


def past(nlp: Language) -> tuple[int, ...]:
    """What an encoder remembers of its training: steps, its optimizer's steps, its balancer's batches."""
    component = shared(nlp)
    assert component.optimizer is not None
    return component.cfg["steps"], component.optimizer.step_count, component.meter.n_batches


def test_a_pipeline_that_is_initialized_again_begins_a_training(encoder_path: Path) -> None:
    """Also where a step is owed, and a schedule has ended; the encoder's weights stay, the heads' do not."""
    nlp = balanced(encoder_path)
    train(nlp, 13, plain_sgd())  # one more than the schedule has, of which the last is owed
    assert past(nlp) == (12, 12, 12)
    learnt = weights(nlp)
    assert past(nlp) == (13, 13, 13)
    train(nlp, 1, plain_sgd())
    nlp.initialize(lambda: make_examples(nlp.vocab))
    assert past(nlp) == (0, 0, 0)
    assert same(learnt, weights(nlp))
    train(nlp, 3, plain_sgd())
    assert not same(learnt, weights(nlp))
    assert past(nlp) == (3, 3, 3)


def test_taking_an_encoder_from_a_pipeline_in_training_is_said_to_end_that(
    encoder_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In memory both have the same component, as with all of spaCy's."""
    nlp = balanced(encoder_path)
    said = f"`{NAME}` is taken from a pipeline that has trained it"
    with caplog.at_level("WARNING"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("spacy"), "propagate", True)
        spacy.blank("en").add_pipe(NAME, source=nlp)
        assert said not in caplog.text  # it has not been trained
        nlp.add_pipe("sentencizer")
        train(nlp, 2, plain_sgd())
        nlp.to_disk(tmp_path)
        spacy.blank("en").add_pipe(NAME, source=spacy.load(tmp_path))
        assert said not in caplog.text
        other = spacy.blank("en")
        other.add_pipe(NAME, source=nlp)
    assert said in caplog.text
    assert past(other) == (0, 0, 0)


def test_a_pipeline_that_changes_in_training_goes_on(encoder_path: Path) -> None:
    nlp = make(encoder_path, optimizer=adamw(learn_rate=SCHEDULE))
    train(nlp, HALF, plain_sgd())
    nlp.add_pipe("sentencizer")
    nlp.rename_pipe("textcat", "mood")
    with nlp.select_pipes(disable=["tagger"]):
        train(nlp, 1, plain_sgd())
    assert weights(nlp)  # the last step has been made
    optimizer = shared(nlp).optimizer
    assert optimizer is not None
    assert shared(nlp).cfg["steps"] == optimizer.step_count == HALF + 1


def test_a_schedule_that_had_ended_is_said_to_have_once(encoder_path: Path, tmp_path: Path) -> None:
    nlp = spacy.load(ended(encoder_path, tmp_path / "model"))
    before = weights(nlp)
    with pytest.warns(UserWarning, match=rf"does not learn: .* at step {HALF + 2} is 0") as seen:
        train(nlp, 3, plain_sgd())
    assert len(seen) == 1
    assert same(before, weights(nlp))
    optimizer = shared(nlp).optimizer
    assert optimizer is not None
    optimizer.start_anew()
    train(nlp, 3, plain_sgd())
    assert not same(before, weights(nlp))
    key = "components.shared_transformer.optimizer.learn_rate.total_steps"
    longer = spacy.load(tmp_path / "model", config={key: 20})
    train(longer, 1, plain_sgd())
    assert not same(before, weights(longer))


@pytest.mark.parametrize("own", [False, True])
def test_a_pipeline_trains_inside_and_after_the_callers_inference_mode(
    encoder_path: Path, tmp_path: Path, own: bool
) -> None:
    settings = {"optimizer": {"@optimizers": "spacy_mtl.AdamW.v1"}} if own else {}
    plain = make_nlp(encoder_path, ["tagger"], **settings)
    plain.to_disk(tmp_path)
    with torch.inference_mode():
        nlp = spacy.load(tmp_path)
        train(nlp, 2)
    train(nlp, 2)
    other = spacy.load(tmp_path)
    train(other, 2)
    with torch.inference_mode():
        train(other, 2)
    expected = spacy.load(tmp_path)
    train(expected, 2)
    train(expected, 2)
    for key, value in weights(expected).items():
        np.testing.assert_array_equal(weights(nlp)[key], value)
        np.testing.assert_array_equal(weights(other)[key], value)
