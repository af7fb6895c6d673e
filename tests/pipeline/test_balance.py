"""How a balancer's weights reach the encoder's gradient."""

import copy
import json
import logging
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from numpy.typing import NDArray
from spacy.lang.en import English
from spacy.language import Language
from spacy.training import Example
from thinc.api import SGD, Optimizer

from spacy_mtl.annotation import keep_layers
from spacy_mtl.balancing import BALANCERS, Balancer, TaskSignals
from spacy_mtl.errors import CheckpointError, ConfigError, GradientError
from spacy_mtl.pipeline.balance import GradientBalance, GradientMeter, Pull
from spacy_mtl.pipeline.batch import SharedBatch
from spacy_mtl.pipeline.diagnostics import GradientLog
from spacy_mtl.pipeline.gradient_buffer import GradientBuffer
from spacy_mtl.pipeline.statistics import TaskCount, TaskStatistics
from spacy_mtl.registry import balancers

from .helpers import (
    LISTENER,
    NAME,
    give_fixed_weights,
    head,
    make_config,
    make_nlp,
    shared,
    tagger_model,
    train,
    weights,
)
from .sentences import make_examples

HEADS = ("tagger", "trainable_lemmatizer", "textcat")  # ner cuts its batches at random
LAYERS = {"tagger": "tag", "trainable_lemmatizer": "lemma", "textcat": "cats"}
Slots = dict[str, NDArray[np.float32]]
Spy = list[tuple[Slots, dict[str, float] | None]]


def named(method: str, **settings: Any) -> dict[str, Any]:
    return {"@balancers": f"spacy_mtl.{method}.v1", **settings}


def make(
    path: Path, balancer: dict[str, Any] | None, heads: Any = HEADS, **settings: Any
) -> Language:
    return make_nlp(path, heads, balancer=balancer, **settings)


def plain_sgd() -> Optimizer:
    return SGD(0.05, L2=0.0, grad_clip=0.0, use_averages=False)


def same(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def only(examples: list[Example], *tasks: str) -> list[Example]:
    """The examples with the annotation of these heads alone."""
    layers = [LAYERS[task] for task in tasks]
    return [Example(eg.predicted.copy(), keep_layers(eg.reference, layers)) for eg in examples]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """What the heads handed back for each batch, and the factors that it was closed with."""
    seen: Spy = []
    close = SharedBatch.close

    def watched(self: SharedBatch, factors: dict[str, float] | None = None) -> Any:
        if self.buffer:
            seen.append(({t: g.copy() for t, g in self.buffer.slots.items()}, factors))
        return close(self, factors)

    monkeypatch.setattr(SharedBatch, "close", watched)
    return seen


def settle(nlp: Language) -> None:
    shared(nlp).model  # noqa: B018


def factors_of(nlp: Language) -> dict[str, float]:
    """Of the last batch."""
    settle(nlp)
    balance = shared(nlp).balance
    assert balance is not None
    return balance.factors


def test_static_weights_of_one_change_nothing(encoder_path: Path) -> None:
    plain, static = make(encoder_path, None), make(encoder_path, named("Static"))
    for nlp in (plain, static):
        train(nlp, 3, plain_sgd())
    assert same(weights(plain), weights(static))


def test_a_static_weight_is_a_grad_factor(encoder_path: Path) -> None:
    factor = {**LISTENER, "grad_factor": 0.25}
    heads = {"tagger": head("tagger", factor), "textcat": head("textcat")}
    by_listener = make(encoder_path, None, heads)
    by_balancer = make(
        encoder_path, named("Static", weights={"tagger": 0.25}), ["tagger", "textcat"]
    )
    for nlp in (by_listener, by_balancer):
        train(nlp, 3, plain_sgd())
    assert same(weights(by_listener), weights(by_balancer))


@pytest.mark.parametrize("method", BALANCERS)
def test_every_balancer_trains_with_one_backward_pass_a_batch(
    method: str, encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    passes = []
    backward, grad = torch.autograd.backward, torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "backward", lambda *a, **k: [passes.append(1), backward(*a, **k)]
    )
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: [passes.append(1), grad(*a, **k)][1]
    )
    heads = ("tagger", "ner", "textcat", "trainable_lemmatizer")
    nlp = make(encoder_path, named(method), heads, calibrate_every=0)
    before = weights(nlp)
    history = train(nlp, 12)
    after = weights(nlp)
    assert len(passes) == 12
    assert all(np.isfinite(w).all() for w in after.values())
    assert not same(before, after)
    assert history[-1]["tagger"] < history[0]["tagger"]


@pytest.mark.parametrize(("every", "expected"), [(0, 0), (200, 6 * 3), (1, 9 * 3)])
@pytest.mark.parametrize("method", ["NormEqual", "PCGrad", "Uncertainty", "Static"])
def test_passes_beside_the_one_are_those_of_calibration(
    method: str, every: int, expected: int, encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    passes = []
    grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: [passes.append(1), grad(*a, **k)][1]
    )
    nlp = make(encoder_path, named(method), calibrate_every=every)
    train(nlp, 9)
    settle(nlp)
    # batches 1 to 4, 6 and 8 of each task; or all
    looks = "gramian" in BALANCERS[method].needs
    assert len(passes) == (expected if looks else 0)


def test_unless_told_otherwise_projections_are_equal(encoder_path: Path) -> None:
    config = make_config(encoder_path, HEADS)
    del config["components"]["shared_transformer"]["balancer"]
    nlp = English.from_config(config)
    balance = shared(nlp).balance
    assert balance is not None
    assert isinstance(balance.balancer, BALANCERS["EqualProjection"])
    other = config | {"components": {**config["components"]}}
    block = {**config["components"]["shared_transformer"], "balancer": named("FAMO")}
    other["components"]["shared_transformer"] = block
    assert isinstance(shared(English.from_config(other)).balance.balancer, BALANCERS["FAMO"])  # type: ignore[union-attr]


def test_with_one_head_there_is_nothing_to_measure(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a backward pass beside the one")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    one, other = (
        make(encoder_path, balancer, ("tagger",)) for balancer in (named("NormEqual"), None)
    )
    for nlp in (one, other):
        train(nlp, 5)
    assert same(weights(one), weights(other))
    assert shared(one).balance.n_batches == 0  # type: ignore[union-attr]


def test_a_state_that_cannot_be_saved_is_named_when_it_is(encoder_path: Path) -> None:
    nlp = make(encoder_path, named("DWA"))
    train(nlp, 2)
    settle(nlp)  # what closes the last batch sets the state anew
    balance = shared(nlp).balance
    assert balance is not None
    (name, *_) = balance.balancer.stateful
    for value in ({"tagger": np.float32(1.0)}, {"tagger": float("nan")}):
        setattr(balance.balancer, name, value)
        with pytest.raises(ConfigError, match=rf"{name}.*made of numbers"):
            nlp.to_bytes()


def below(nlp: Language, slots: Slots) -> dict[str, float]:
    """How long gradients of the batch that is not closed yet are at the sampled parameters."""
    found = shared(nlp).shim.sampled_gradients([slots[task] for task in sorted(slots)])
    return dict(zip(sorted(slots), np.linalg.norm(found, axis=1).tolist(), strict=True))


def above(_: Language, slots: Slots) -> dict[str, float]:
    """How long they are at the token vectors."""
    return {task: float(np.linalg.norm(gradient)) for task, gradient in slots.items()}


def spread(values: dict[str, float]) -> float:
    return max(values.values()) / min(values.values())


@pytest.mark.parametrize(
    ("every", "equal", "other"), [(100, below, above), (1, below, above), (0, above, below)]
)
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_equal_norms_as_long_as_the_plain_sum(
    every: int, equal: Any, other: Any, weight: float, encoder_path: Path
) -> None:
    """At the encoder's parameters, or at the token vectors if nothing is calibrated."""
    balancer = named("NormEqual", weights={"tagger": weight})
    nlp = make(encoder_path, balancer, calibrate_every=every)
    give_fixed_weights(nlp, *HEADS)
    nlp.update(make_examples(nlp.vocab), sgd=False)
    batch = shared(nlp)._batch
    assert batch is not None
    slots = {task: gradient.copy() for task, gradient in batch.buffer.slots.items()}
    lengths, others = equal(nlp, slots), other(nlp, slots)
    factors = factors_of(nlp)
    assert spread(lengths) > 1.5
    weighted = {task: factors[task] * norm for task, norm in lengths.items()}
    weighted["tagger"] /= weight
    assert spread(weighted) < 1.001
    others = {task: factors[task] * norm for task, norm in others.items()}
    others["tagger"] /= weight
    assert spread(others) > 1.2


@pytest.mark.parametrize("every", [0, 100])
def test_the_whole_keeps_its_length(every: int, encoder_path: Path) -> None:
    nlp = make(encoder_path, named("NormEqual"), calibrate_every=every)
    give_fixed_weights(nlp, *HEADS)
    pulls = []
    weigh = GradientBalance.weigh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            GradientBalance, "weigh", lambda self, *a: [pulls.append(a[-1]), weigh(self, *a)][1]
        )
        train(nlp, 1, plain_sgd())
        factors = factors_of(nlp)
    (pull,) = pulls
    token = pull.read().token
    w = np.array([factors[task] for task in sorted(HEADS)])
    assert spread(factors) > 1.2
    np.testing.assert_allclose(w @ token @ w, token.sum(), rtol=1e-4)


def test_a_batch_with_fewer_units_than_usual_counts_for_less(encoder_path: Path, spy: Spy) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    give_fixed_weights(nlp, *HEADS)
    examples = make_examples(nlp.vocab)
    for _ in range(30):
        nlp.update(examples, sgd=False)
    few = [*only(examples, "trainable_lemmatizer", "textcat"), *only(examples[2:3], "tagger")]
    nlp.update(few, sgd=False)
    settle(nlp)
    (before, after) = (factors for _, factors in spy[-2:])
    assert before is not None
    assert after is not None
    assert after["tagger"] < 2 * before["tagger"]  # and not seven times


@pytest.mark.parametrize("method", ["NormEqual", "UPGrad", "FAMO", "PCGrad"])
def test_the_order_of_the_heads_changes_nothing(method: str, encoder_path: Path) -> None:
    factors = []
    for heads in (HEADS, HEADS[::-1]):
        config = {name: head(name) for name in heads}
        nlp = make(encoder_path, named(method), config)
        give_fixed_weights(nlp, *HEADS)
        train(nlp, 1, plain_sgd())
        factors.append(factors_of(nlp))
    assert factors[0] == pytest.approx(factors[1])


@pytest.mark.parametrize("method", ["NormEqual", "UPGrad", "DWA", "GradNorm"])
def test_documents_that_no_task_is_annotated_for_change_no_factor(
    method: str, encoder_path: Path
) -> None:
    heads = {name: {**head(name), "factory": f"masked_{name}"} for name in HEADS}
    factors = []
    for n_others in (0, 3):
        nlp = make(encoder_path, named(method), heads)
        examples = make_examples(nlp.vocab)
        batch = [*only(examples, "tagger"), *only(examples, *HEADS[1:])]
        others = [Example(nlp.make_doc("Who is it ?"), nlp.make_doc("Who is it ?"))] * n_others
        for _ in range(3):
            nlp.update([*batch, *copy.deepcopy(others)], sgd=plain_sgd())
        factors.append(factors_of(nlp))
    assert factors[0] == pytest.approx(factors[1], rel=1e-3)


def test_only_tasks_with_gold_in_the_batch_are_weighed(encoder_path: Path) -> None:
    seen: list[TaskSignals] = []

    @balancers("test.Recorder.v1")
    class Recorder(Balancer):
        """Remembers what it was asked."""

        needs = frozenset({"gramian", "losses"})

        def weights(self, signals: TaskSignals) -> Any:
            seen.append(signals)
            return [1.0] * len(signals.tasks)

    nlp = make(encoder_path, {"@balancers": "test.Recorder.v1"})
    examples = make_examples(nlp.vocab)
    optimizer = plain_sgd()
    losses: dict[str, float] = {}
    nlp.update(only(examples, "tagger"), sgd=optimizer, losses=losses)
    nlp.update(only(examples, "tagger", "trainable_lemmatizer"), sgd=optimizer)
    nlp.update([nlp_example(nlp)], sgd=optimizer)
    settle(nlp)
    assert [s.tasks for s in seen] == [("tagger",), ("tagger", "trainable_lemmatizer")]
    n_tokens = sum(len(eg.reference) for eg in examples)
    assert seen[0].units.tolist() == [n_tokens]
    assert seen[0].need("losses").tolist() == pytest.approx([losses["tagger"] / n_tokens])
    assert [s.step for s in seen] == [0, 1]


def nlp_example(nlp: Language) -> Example:
    """Without annotation."""
    return Example(nlp.make_doc("Who is it ?"), nlp.make_doc("Who is it ?"))


def test_a_balancer_that_does_not_look_is_shown_nothing(
    encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make(encoder_path, named("Static", weights={"tagger": 2.0}))
    monkeypatch.setattr(GradientMeter, "measure", None)
    train(nlp, 2)
    settle(nlp)
    assert shared(nlp).statistics is None


@pytest.mark.parametrize("method", sorted(BALANCERS))
def test_training_goes_on_exactly(method: str, encoder_path: Path, tmp_path: Path) -> None:
    settings = {"steps_per_epoch": 2} if method == "DWA" else {}
    heads = {"tagger": head("tagger"), "textcat": head("textcat")}
    straight = make(encoder_path, named(method, **settings), heads)
    straight.to_disk(tmp_path / "start")
    train(straight, 8, plain_sgd())
    first = spacy.load(tmp_path / "start")
    train(first, 4, plain_sgd())
    first.to_disk(tmp_path / "half")
    from_bytes = spacy.load(tmp_path / "start").from_bytes(first.to_bytes())
    for second in (spacy.load(tmp_path / "half"), from_bytes):
        train(second, 4, plain_sgd())
        assert same(weights(straight), weights(second))
        assert shared(straight).balance.to_bytes() == shared(second).balance.to_bytes()  # type: ignore[union-attr]


def test_another_method_starts_anew_and_another_state_is_refused(
    encoder_path: Path, tmp_path: Path
) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    train(nlp, 2)
    nlp.to_disk(tmp_path)
    other = {f"components.{NAME}.balancer": named("FAMO")}
    assert shared(spacy.load(tmp_path, config=other)).balance.factors == {}  # type: ignore[union-attr]
    assert (
        shared(spacy.load(tmp_path, config={f"components.{NAME}.balancer": None})).balance is None
    )
    file = tmp_path / NAME / "balancer.json"
    state = json.loads(file.read_text())
    state["balancer"]["more"] = 1
    file.write_text(json.dumps(state))
    with pytest.raises(ConfigError, match="cannot go on from the saved state"):
        spacy.load(tmp_path)
    file.unlink()
    train(spacy.load(tmp_path), 1)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda nlp: pickle.loads(pickle.dumps(nlp))])
def test_a_copy_goes_on_balancing(way: Callable[[Language], Language], encoder_path: Path) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    train(nlp, 2)
    copied = way(nlp)
    factors = []
    for pipeline in (nlp, copied):
        train(pipeline, 3, plain_sgd())
        factors.append(factors_of(pipeline))
    assert factors[0] == pytest.approx(factors[1])
    assert shared(copied)._heads["tagger"] is copied.get_pipe("tagger")


def test_a_frozen_head_does_not_empty_the_log(encoder_path: Path) -> None:
    """spaCy makes the logger while frozen components are disabled."""
    nlp = make(encoder_path, named("NormEqual"))
    with nlp.select_pipes(disable=["textcat"]):
        shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
    statistics.gradients = GradientLog()
    nlp.update(make_examples(nlp.vocab), sgd=plain_sgd(), exclude=["textcat"])
    settle(nlp)
    assert shared(nlp).statistics is statistics
    assert statistics.take()["tagger"].units
    (record,) = statistics.gradients.take()
    assert "tagger" in record.tasks


@pytest.mark.parametrize("method", [None, "Static", "NormEqual", "Uncertainty", "DWA", "FAMO"])
def test_looking_for_a_log_changes_nothing(method: str | None, encoder_path: Path) -> None:
    found = []
    for looks in (False, True):
        nlp = make(encoder_path, named(method) if method else None)
        give_fixed_weights(nlp, *HEADS)
        if looks:
            shared(nlp).statistics = statistics = TaskStatistics.of(nlp)
            statistics.gradients = GradientLog()
        train(nlp, 6, plain_sgd())
        found.append(weights(nlp))
    for name, plain in found[0].items():
        np.testing.assert_array_equal(found[1][name], plain)


def test_a_caller_that_empties_its_dict_of_losses_is_warned_once(
    encoder_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    nlp = make(encoder_path, named("DWA"))
    losses: dict[str, float] = {}
    for emptied in (False, False, True, True):
        if emptied:
            losses.clear()
        nlp.update(make_examples(nlp.vocab), sgd=plain_sgd(), losses=losses)
        assert len(caplog.records) == int(emptied)
    assert "Pass a new dict" in caplog.text


def test_a_loss_that_is_not_finite_is_named() -> None:
    meter = GradientMeter()
    gradient = np.ones((2, 3), dtype="f")
    counts = {"a": TaskCount(units=1, loss=1.0), "b": TaskCount(units=1, loss=math.inf)}
    pull = meter.measure({"a": gradient, "b": gradient}, counts)
    with pytest.raises(GradientError, match=r"The loss of `b` is not finite.*Lower the learning"):
        GradientBalance(BALANCERS["DWA"](), meter).weigh(("a", "b"), counts, pull)
    GradientBalance(BALANCERS["NormEqual"](), meter).weigh(("a", "b"), counts, pull)


@pytest.mark.parametrize("balancer", [None, "Static", "NormEqual"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_changes_nothing(
    encoder_path: Path, balancer: str | None, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make(encoder_path, None if balancer is None else named(balancer))
    add = GradientBuffer.add

    def add_bad(self: GradientBuffer, task: str, gradients: Any, docs: Any, factor: float) -> None:
        add(self, task, gradients, docs, factor)
        if task == "tagger":
            self.slots[task][0, 0] = value

    train(nlp, 2, plain_sgd())
    before = weights(nlp)
    monkeypatch.setattr(GradientBuffer, "add", add_bad)
    with pytest.raises(GradientError, match=r"The gradient that `tagger` sent .* not finite"):
        train(nlp, 2, plain_sgd())
    for name, value_before in before.items():
        np.testing.assert_array_equal(weights(nlp)[name], value_before)


def test_a_damaged_state_is_named(encoder_path: Path, tmp_path: Path) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    nlp.to_disk(tmp_path)
    file = tmp_path / NAME / "balancer.json"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CheckpointError, match=r"balancer\.json` is damaged"):
        spacy.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("method"), "there is no 'method'"),
        (lambda state: state.pop("balancer"), "there is no 'balancer'"),
        (lambda state: state["meter"].pop("reach"), "there is no 'reach'"),
        (lambda state: state.update(meter=[1]), "indices must be"),
        (lambda state: state.update(lengths=None), "not iterable"),
        (lambda state: state.update(lengths=[float("nan"), 1.0]), "`NaN` is not a finite number"),
        (lambda state: state.update(lengths=[1.0]), "`lengths` has 1 numbers"),
    ],
)
def test_a_state_with_other_values_is_named(
    encoder_path: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    train(nlp, 1)
    nlp.to_disk(tmp_path)
    file = tmp_path / NAME / "balancer.json"
    state = json.loads(file.read_text("utf8"))
    change(state)
    file.write_text(json.dumps(state), "utf8")
    with pytest.raises(CheckpointError, match=rf"balancer\.json` is damaged \(.*{said}"):
        spacy.load(tmp_path)


class Stateful(Balancer):
    """One that a user has written."""

    def __init__(self, averages: Any = None) -> None:
        if averages is not None:
            self.averages = averages

    def weights(self, signals: TaskSignals) -> Any:
        return np.ones(len(signals.tasks))


@pytest.mark.parametrize(
    ("attributes", "averages", "said"),
    [
        ({"stateful": ("averages",)}, None, r"`Odd.stateful = \('averages',\)`.*`__init__` sets"),
        ({"stateful": ("averages",)}, np.zeros(2), r"`Odd.averages = array.*made of numbers"),
        ({"stateful": ("averages",)}, {1: 2.0}, r"`Odd.averages = {1: 2.0}`.*strings for keys"),
        ({"level": "pool"}, None, r"`Odd.level = 'pool'`.*of `token`, `pooled`"),
        ({"needs": frozenset({"norms"})}, None, r"`Odd.needs = .*of `gramian`, `losses`"),
    ],
)
def test_a_user_s_balancer_is_checked_before_training(
    attributes: dict[str, Any], averages: Any, said: str, encoder_path: Path
) -> None:
    odd = type("Odd", (Stateful,), attributes)
    balancers("test.Odd.v1", func=lambda: odd(averages))
    with pytest.raises(ConfigError, match=said):
        make_nlp(encoder_path, HEADS, initialize=False, balancer={"@balancers": "test.Odd.v1"})


def test_a_task_of_the_settings_must_exist(encoder_path: Path) -> None:
    balancer = named("Static", weights={"tager": 2.0})
    with pytest.raises(ConfigError, match=r"weight for `tager`.*`tagger`, `trainable_lemmatizer`"):
        make(encoder_path, balancer)


@pytest.mark.parametrize("returned", [[1.0], [1.0, np.nan, 1.0], "much"])
def test_bad_weights_of_a_user_s_balancer_are_named(returned: Any, encoder_path: Path) -> None:
    class Broken(Balancer):
        """Returns nonsense."""

        def weights(self, signals: TaskSignals) -> Any:
            return returned

    name = f"test.Broken{len(returned)}.v1"
    balancers(name, func=Broken)
    nlp = make(encoder_path, {"@balancers": name})
    with pytest.raises(ValueError, match="Broken"):
        train(nlp, 2)


def test_a_gradient_that_is_not_finite_is_named(encoder_path: Path) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    train(nlp, 1)
    textcat: Any = nlp.get_pipe("textcat")
    for node in textcat.model.walk():
        if node.has_param("W"):
            node.set_param("W", node.get_param("W") * np.nan)
    with pytest.raises(GradientError, match=r"that `textcat` sent"):
        train(nlp, 2)


# ---- on different documents


def pair(path: Path, tags: tuple[str, str]) -> tuple[float, float]:
    """Token-level and pooled cosine of two taggers with the same weights, each annotated for documents of its own, all
    of whose tokens have the one tag in the first head's documents, and the other in the second's."""
    heads = {n: {"factory": "masked_tagger", "model": tagger_model()} for n in ("one", "two")}
    nlp = make_nlp(path, heads, initialize=False, balancer=named("UPGrad"))
    docs = [(n, t) for n in heads for t in ("It is so .", "Who knows ?")]

    def examples() -> list[Example]:
        made = []
        for name, text in docs:
            doc = nlp.make_doc(text)
            eg = Example.from_dict(doc, {"tags": [tags[name == "two"]] * len(doc)})
            eg.reference.user_data["spacy_mtl.tasks"] = frozenset([name])
            made.append(eg)
        return made

    def both() -> list[Example]:
        return [Example.from_dict(nlp.make_doc("a b"), {"tags": ["N", "V"]})]

    nlp.initialize(both)
    one, two = (nlp.get_pipe(name) for name in heads)
    rng = np.random.default_rng(0)
    for nodes in zip(one.model.walk(), two.model.walk(), strict=True):  # type: ignore[attr-defined]
        for name in nodes[0].param_names:
            value = rng.normal(size=nodes[0].get_param(name).shape).astype("f")
            for node in nodes:
                node.set_param(name, value.copy())
    measured = []
    measure = GradientMeter.measure

    def watched(self: GradientMeter, *args: Any) -> Any:
        measured.append(measure(self, *args))
        return measured[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GradientMeter, "measure", watched)
        nlp.update(examples(), sgd=False)
        settle(nlp)
    (pull,) = measured
    assert pull.tasks == ("one", "two")
    token, pooled = (angles(gramian) for gramian in pull.read()[:2])
    return float(token[0, 1]), float(pooled[0, 1])


def test_pooled_gradients_tell_agreement_on_different_documents(encoder_path: Path) -> None:
    token, pooled = pair(encoder_path, ("N", "N"))
    assert token == 0.0
    assert pooled > 0.9


def test_pooled_gradients_tell_conflict_on_different_documents(encoder_path: Path) -> None:
    token, pooled = pair(encoder_path, ("N", "V"))
    assert token == 0.0
    assert pooled < -0.9


# ---- the meter alone


def measure(
    meter: GradientMeter, units: int = 1, **slots: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    pull = meter.measure(slots, {task: TaskCount(units=units) for task in slots})
    assert pull is not None
    return pull.read()._asdict()


def angles(gramian: NDArray[Any]) -> NDArray[Any]:
    norms = np.sqrt(np.diagonal(gramian))
    found: NDArray[Any] = gramian / np.outer(norms, norms)
    return found


def test_the_gramians_are_inner_products() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(7, 5)).astype("f") for _ in range(2))
    found = measure(GradientMeter(), b=b, a=a)
    expected = [[(a * a).sum(), (a * b).sum()], [(a * b).sum(), (b * b).sum()]]
    np.testing.assert_allclose(found["token"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["pooled"], expected, rtol=1e-4)
    a[4:], b[:4] = 0.0, 0.0
    found = measure(GradientMeter(), b=b, a=a)
    assert found["token"][0, 1] == 0.0
    sums = np.stack([a.sum(axis=0), b.sum(axis=0)])
    np.testing.assert_allclose(angles(found["pooled"]), angles(sums @ sums.T), rtol=1e-5)
    np.testing.assert_allclose(np.diag(found["pooled"]), np.diag(found["token"]), rtol=1e-5)


def two_gradients(
    cosine: float, *, share: bool, sign: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """Gradients of two tasks: in one token, with this cosine; or in a token each, sums with the cosine 0.5 * sign."""
    a, b = np.zeros((2, 4), dtype="f"), np.zeros((2, 4), dtype="f")
    a[0, 0] = 1.0
    if share:
        b[0, :2] = cosine, math.sqrt(1 - cosine**2)
    else:
        b[1, :2] = 0.5 * sign, math.sqrt(0.75)
    return {"a": a, "b": b}


def test_tasks_in_the_same_documents_have_the_angle_at_the_tokens() -> None:
    meter = GradientMeter()
    for _ in range(30):
        found = measure(meter, **two_gradients(0.0, share=False, sign=-1.0))
    assert angles(found["pooled"])[0, 1] == pytest.approx(-0.5, abs=1e-5)
    found = measure(meter, **two_gradients(0.8, share=True))
    assert angles(found["pooled"])[0, 1] == pytest.approx(0.8, abs=1e-5)
    found = measure(meter, **two_gradients(0.4, share=True))
    assert angles(found["pooled"])[0, 1] == pytest.approx((0.9 * 0.8 + 0.4) / 1.9, abs=1e-5)
    for n in range(65):  # batches in which they are apart, or only one of them is
        found = measure(meter, **two_gradients(0.0, share=False, sign=-1.0))
        if n == 20:
            measure(meter, a=two_gradients(0.0, share=True)["a"])
            assert angles(found["pooled"])[0, 1] == pytest.approx((0.9 * 0.8 + 0.4) / 1.9, abs=1e-5)
    assert angles(found["pooled"])[0, 1] == pytest.approx(-0.5, abs=1e-3)


def test_a_task_that_comes_later_has_its_own_angles() -> None:
    meter = GradientMeter()
    measure(meter, **two_gradients(0.6, share=True))
    b = two_gradients(0.6, share=True)["b"]
    pull = meter.measure({"b": b, "aa": -b}, {task: TaskCount(units=1) for task in ("aa", "b")})
    assert pull is not None
    assert pull.known == ("a", "aa", "b")
    cosines = pull.read_cosines()
    np.testing.assert_allclose(np.diag(cosines), 1.0, rtol=1e-5)
    assert cosines[0, 2] == pytest.approx(0.6, abs=1e-5)
    assert cosines[1, 2] == pytest.approx(-1.0, abs=1e-5)


def test_angles_measured_in_two_ways_are_made_possible() -> None:
    """a and b agree, b and c agree, and a and c clash: no three gradients do."""
    impossible = np.diag([4.0, 9.0, 1.0])
    impossible[0, 1] = impossible[1, 0] = 0.9 * 6
    impossible[1, 2] = impossible[2, 1] = 0.9 * 3
    impossible[0, 2] = impossible[2, 0] = -0.9 * 2
    found = Pull(("a", "b", "c"), np.stack([impossible] * 3), (), impossible).read().pooled
    np.testing.assert_allclose(np.diag(found), [4.0, 9.0, 1.0])
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert angles(found)[0, 1] > 0.4
    assert angles(found)[1, 2] > 0.4
    assert angles(found)[0, 2] < -0.4


def test_pooled_gradients_are_averaged_over_batches_and_age() -> None:
    meter = GradientMeter()
    one, other = np.eye(4, dtype="f")[:1], np.eye(4, dtype="f")[1:2]
    measure(meter, a=one)
    found = measure(meter, a=3 * other, b=one)["pooled"]
    directions = np.array([[0.9, 0.3], [1.0, 0.0]])
    np.testing.assert_allclose(angles(found), angles(directions @ directions.T), rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(found)), [0.9 + 0.3, 1.0], rtol=1e-5)
    for _ in range(50):
        measure(meter, b=one)
    found = measure(meter, a=one, b=one)["pooled"]
    np.testing.assert_allclose(found, [[1.0, 1.0], [1.0, 1.0]], rtol=1e-5)


def test_a_gradient_that_is_not_finite_leaves_no_trace() -> None:
    meter, sound = GradientMeter(), GradientMeter()
    one, other = np.eye(4, dtype="f")[:1], np.eye(4, dtype="f")[1:2]
    for each in (meter, sound):
        measure(each, a=one, b=other)
    with pytest.raises(GradientError, match=r"that `a` sent"):
        measure(meter, a=one * np.nan, b=other)
    for _ in range(2):
        found = measure(meter, a=other, b=one)["pooled"]
        expected = measure(sound, a=other, b=one)["pooled"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.diag(found)[0], np.diag(expected)[0], rtol=1e-5)


class Spiked(Balancer):
    """Equal weights, but in one batch."""

    needs = frozenset({"gramian"})

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.step = 0

    def weights(self, signals: TaskSignals) -> Any:
        self.step += 1
        return np.array([self.weight if self.step == 100 else 1.0, 1.0])


@pytest.mark.parametrize(("weight", "times"), [(1e5, 1.0), (1.0, 1e4)])
def test_one_odd_batch_does_not_rule_those_after_it(weight: float, times: float) -> None:
    """Odd by its weights, or by its gradients."""
    rng = np.random.default_rng(0)
    meter = GradientMeter()
    balance = GradientBalance(Spiked(weight), meter)
    counts = {task: TaskCount(units=1, loss=1.0) for task in "ab"}
    quotients = []
    for step in range(130):
        slots = {task: rng.normal(size=(7, 5)).astype("f") for task in "ab"}
        if step == 99:
            slots["a"] *= times
        factors = balance.weigh(("a", "b"), counts, meter.measure(slots, counts))
        weighted = sum(factors[task] * slots[task] for task in "ab")
        quotients.append(np.linalg.norm(weighted) / np.linalg.norm(sum(slots.values())))
    assert all(0.5 < quotient < 2.0 for quotient in quotients[100:])


def test_tasks_that_never_meet_have_a_cosine_too() -> None:
    meter, log = GradientMeter(), GradientLog()
    one, counts = np.eye(4, dtype="f")[:1], {"a": TaskCount(units=1), "b": TaskCount(units=1)}
    for slots in ({"a": one}, {"b": -one}, {"a": one}):
        log.add(meter.measure(slots, counts), None, counts)
    first, second, third = log.take()
    assert first.cosines == {}
    assert second.cosines == third.cosines == {("a", "b"): pytest.approx(-1.0)}
    assert third.as_json()["known"] == ["a", "b"]
    for _ in range(51):
        log.add(meter.measure({"a": one}, counts), None, counts)
    assert log.take()[-1].cosines == {}  # too long ago


def test_a_task_whose_gradients_cancel_has_no_direction() -> None:
    found = measure(GradientMeter(), a=np.array([[1.0], [-1.0]], dtype="f"))
    np.testing.assert_allclose(found["token"], [[2.0]], rtol=1e-5)
    np.testing.assert_array_equal(found["pooled"], [[0.0]])


# ---- calibration


class Below:
    """Where gradients are `times` as long as at the token vectors, task by task."""

    def __init__(self, **times: float) -> None:
        self.times = times
        self.asked: list[tuple[int, str]] = []  # number of the batch, task

    def in_batch(self, meter: GradientMeter, **slots: NDArray[np.float32]) -> NDArray[Any]:
        """The norms that are measured in a batch."""

        def go_down(gradients: Any, tasks: Any) -> Any:
            self.asked += [(meter.n_batches, task) for task in tasks]
            lengths = [float(np.linalg.norm(gradient)) for gradient in gradients]
            return np.array([[n * self.times[t]] for n, t in zip(lengths, tasks, strict=True)], "f")

        pull = meter.measure(slots, {task: TaskCount(units=1) for task in slots}, go_down)
        assert pull is not None
        found: NDArray[Any] = np.sqrt(np.diagonal(pull.read().token))
        return found


ONE = np.eye(4, dtype="f")[:1]


def test_a_task_is_calibrated_often_at_first_and_then_every_so_many_of_its_batches() -> None:
    meter, below = GradientMeter(10), Below(a=2.0, b=3.0)
    for _ in range(30):
        below.in_batch(meter, a=ONE, b=ONE)
    for task in "ab":
        assert [n for n, t in below.asked if t == task] == [1, 2, 3, 4, 6, 8, 11, 15, 21, 30]
    below.asked.clear()
    for n in range(1, 31):
        below.in_batch(meter, a=ONE, **({"c": ONE} if n % 3 == 0 else {}))
        below.times["c"] = 1.0
    assert [n - 30 for n, t in below.asked if t == "c"] == [3, 6, 9, 12, 18, 24]
    below.asked.clear()
    for _ in range(30):
        below.in_batch(meter, a=ONE)
    assert [n - 60 for n, _ in below.asked] == [10, 20, 30]


def test_lengths_follow_a_task_that_changes_fast_at_first() -> None:
    """As those of genre and parses on GUM did: of the one three times, of the other half as long within 100 batches."""
    meter, below = GradientMeter(200), Below(genre=1.0, parses=1.0)
    for n in range(1, 401):
        done = min(n, 100) / 100
        below.times = {"genre": 40.0 * 3**done, "parses": 24.0 * 0.5**done}
        genre, parses = below.in_batch(meter, genre=ONE, parses=ONE)
        true = below.times["genre"] / below.times["parses"]
        assert true / 2 < genre / parses < true * 1.01
        if n > 250:
            assert genre / parses > true / 1.2


def test_zero_calibrates_never() -> None:
    meter, below = GradientMeter(0), Below(a=2.0)
    for _ in range(20):
        np.testing.assert_allclose(below.in_batch(meter, a=ONE), [1.0])
    assert not below.asked


def test_lengths_are_those_at_the_parameters() -> None:
    meter, below = GradientMeter(10), Below(a=2.0, b=30.0)
    np.testing.assert_allclose(below.in_batch(meter, a=ONE, b=ONE), [2.0, 30.0], rtol=1e-5)
    np.testing.assert_allclose(below.in_batch(meter, a=ONE, b=5 * ONE), [2.0, 150.0], rtol=1e-5)
    np.testing.assert_allclose(below.in_batch(meter, b=ONE), [30.0], rtol=1e-5)
    below.times["b"] = 90.0
    np.testing.assert_allclose(below.in_batch(meter, a=ONE, b=ONE)[0], 2.0, rtol=1e-5)
    for _ in range(200):
        found = below.in_batch(meter, b=ONE)
    np.testing.assert_allclose(found, [90.0], rtol=1e-3)


def test_one_odd_batch_does_not_decide() -> None:
    meter, below = GradientMeter(1), Below(a=2.0)
    for _ in range(20):
        below.in_batch(meter, a=ONE)
    below.times["a"] = 200.0
    assert below.in_batch(meter, a=ONE)[0] == pytest.approx(2.0 * 100**0.5, rel=1e-3)


@pytest.mark.parametrize("times", [0.0, np.inf, np.nan])
def test_what_cannot_be_used_is_left_out(times: float) -> None:
    meter, below = GradientMeter(1), Below(a=2.0, b=4.0)
    below.in_batch(meter, a=ONE, b=ONE)
    below.times["a"] = times
    np.testing.assert_allclose(below.in_batch(meter, a=ONE, b=ONE), [2.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(below.in_batch(meter, a=0 * ONE, b=ONE), [0.0, 4.0], rtol=1e-5)


def test_a_task_that_had_no_gradient_yet_is_like_the_others() -> None:
    meter, below = GradientMeter(100), Below(a=2.0, b=8.0, c=1.0)
    np.testing.assert_allclose(
        below.in_batch(meter, a=ONE, b=ONE, c=0 * ONE), [2.0, 8.0, 0.0], rtol=1e-5
    )
    below.times["c"] = 0.0
    found = below.in_batch(meter, a=ONE, b=ONE, c=ONE)
    np.testing.assert_allclose(found, [2.0, 8.0, 4.0], rtol=1e-5)  # the geometric mean
    assert "c" not in meter.state_dict()["reach"]


def test_a_frozen_encoder_is_not_calibrated(encoder_path: Path) -> None:
    nlp = make(encoder_path, named("NormEqual"))
    for parameter in shared(nlp).shim.require().model.parameters():
        parameter.requires_grad_(False)
    train(nlp, 3)
    settle(nlp)
    assert not shared(nlp).meter.reach


def test_the_sample_is_the_gradient_of_biases_and_norms(encoder_path: Path) -> None:
    import torch

    nlp = make(encoder_path, named("NormEqual"), calibrate_every=0)
    give_fixed_weights(nlp, *HEADS)
    nlp.update(make_examples(nlp.vocab), sgd=False)
    batch = shared(nlp)._batch
    assert batch is not None
    shim = shared(nlp).shim
    total = sum(batch.buffer.slots.values())
    sampled = shim.sampled_gradients([total, 2.0 * total])
    close = batch.close
    batch.close = lambda factors=None: close(None)  # type: ignore[method-assign]
    settle(nlp)
    parameters = [p for p in shim.require().model.parameters() if p.ndim == 1]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    expected = torch.cat(grads).numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(sampled[0], expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(sampled[1], 2.0 * expected, atol=1e-5, rtol=1e-4)


def test_the_state_survives_json() -> None:
    rng = np.random.default_rng(0)
    make_slots: Callable[[], Slots] = lambda: {  # noqa: E731
        t: rng.normal(size=(3, 4)).astype("f") for t in "ab"
    }
    straight, resumed = GradientMeter(), GradientMeter()
    for _ in range(3):
        measure(straight, **make_slots())
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    slots = make_slots()
    a, b = measure(straight, units=9, **slots), measure(resumed, units=9, **slots)
    assert all(np.array_equal(a[level], b[level]) for level in a)
    assert straight.units == resumed.units


def test_calibration_survives_json() -> None:
    straight, resumed, below = GradientMeter(10), GradientMeter(10), Below(a=2.0, b=30.0)
    for _ in range(15):
        below.in_batch(straight, a=ONE, b=ONE)
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    below.times = {"a": 3.0, "b": 5.0}
    for _ in range(7):
        a, b = (below.in_batch(meter, a=ONE, b=ONE) for meter in (straight, resumed))
        assert np.array_equal(a, b)
    assert resumed.state_dict() == straight.state_dict()


def test_a_head_that_takes_another_s_name_is_measured_as_itself(encoder_path: Path) -> None:
    """The one before it would not know its labels, so its batches would count as unannotated."""
    nlp = make(encoder_path, named("NormEqual"), calibrate_every=50)
    train(nlp, 6, plain_sgd())
    meter = shared(nlp).meter
    weights(nlp)  # the last batch is measured
    assert meter.counts["textcat"] > 4
    labels = {"GOOD": 1.0, "BAD": 0.0}
    examples = make_examples(nlp.vocab)
    for example in examples:
        example.reference.cats = dict(labels)
    nlp.replace_pipe("textcat", "masked_textcat", config={"model": head("textcat")["model"]})
    new: Any = nlp.get_pipe("textcat")
    new.initialize(lambda: examples, nlp=nlp, labels=list(labels))
    train(nlp, 3, plain_sgd(), examples=examples)
    weights(nlp)
    assert meter.counts["textcat"] == 3
    assert meter.counts["tagger"] > 6
    statistics = shared(nlp).statistics
    assert statistics is not None
    assert statistics.heads["textcat"] is new
    assert statistics.total["textcat"].units == 3 * len(examples)


def test_a_weight_for_a_head_with_another_name_is_told_of(
    encoder_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nlp = make(encoder_path, named("Static", weights={"textcat": 0.0}))
    with caplog.at_level("WARNING"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("spacy"), "propagate", True)
        with nlp.select_pipes(disable=["textcat"]):
            train(nlp, 1, plain_sgd())
        assert "has a weight" not in caplog.text  # it is there
        nlp.rename_pipe("textcat", "mood")
        train(nlp, 2, plain_sgd())
    assert caplog.text.count("has a weight for `textcat`, but the components that listen") == 1
