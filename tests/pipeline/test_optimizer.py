"""The encoder's own AdamW, against torch's; and thinc's optimizers on the encoder."""

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from thinc.api import Adam, Optimizer

from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.layers import depths
from spacy_mtl.errors import ConfigError
from spacy_mtl.pipeline.optimizer import AdamW, make_adamw

from .helpers import NAME, give_fixed_weights, make_nlp, shared, train, weights
from .sentences import TEXTS

Gradients = dict[str, torch.nn.Parameter]


@pytest.fixture
def model(encoder_path: Path) -> torch.nn.Module:
    return load_pretrained(
        str(encoder_path), transformer_config={}, tokenizer_config={}
    ).model.train()


def fill_gradients(model: torch.nn.Module, seed: int) -> Gradients:
    """Random gradients, of norm about 1 each."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.grad = noise / noise.norm()
    return dict(model.named_parameters())


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def step(optimizer: AdamW, model: torch.nn.Module, steps: int = 1, first_seed: int = 0) -> None:
    for seed in range(first_seed, first_seed + steps):
        optimizer.step(model, fill_gradients(model, seed))


def moved(before: dict[str, torch.Tensor], model: torch.nn.Module) -> dict[str, float]:
    """How far each parameter has moved, as the root of the mean square."""
    after = values(model)
    return {name: float((after[name] - before[name]).square().mean().sqrt()) for name in before}


def test_a_step_is_that_of_torch_s_adamw(model: torch.nn.Module) -> None:
    twin = copy.deepcopy(model)
    matrices = [p for p in twin.parameters() if p.ndim > 1]
    vectors = [p for p in twin.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    expected = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6)
    ours = make_adamw(0.01, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.1, grad_clip=None)
    for seed in range(3):
        ours.step(model, fill_gradients(model, seed))
        fill_gradients(twin, seed)
        expected.step()
    for name, value in values(model).items():
        torch.testing.assert_close(value, values(twin)[name], rtol=1e-5, atol=1e-7)


def test_all_parameters_step_in_one_kernel(model: torch.nn.Module) -> None:
    ours = make_adamw(0.01)
    ours.step(model, fill_gradients(model, 0))
    assert ours._torch is not None
    assert all(group["fused"] for group in ours._torch.param_groups)


def test_biases_and_norms_do_not_decay(model: torch.nn.Module) -> None:
    before = values(model)
    optimizer = make_adamw(0.1, weight_decay=0.5, eps=1.0, grad_clip=None)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(model, dict(model.named_parameters()))
    for name, value in values(model).items():
        factor = 1.0 - 0.1 * 0.5 if value.ndim > 1 else 1.0
        torch.testing.assert_close(value, before[name] * factor, msg=name)


def test_the_whole_gradient_is_clipped_at_once(model: torch.nn.Module) -> None:
    gradients = fill_gradients(model, 0)
    before = {name: p.grad.clone() for name, p in gradients.items() if p.grad is not None}
    norm = torch.stack([g.norm() for g in before.values()]).norm()
    make_adamw(grad_clip=0.5).step(model, gradients)
    for name, parameter in gradients.items():
        torch.testing.assert_close(parameter.grad, before[name] * 0.5 / norm, rtol=1e-4, atol=1e-8)


def test_each_step_is_clipped_by_its_own_gradient(model: torch.nn.Module) -> None:
    """And none once there is no limit any more."""
    twin = copy.deepcopy(model)
    ours = make_adamw(0.01, weight_decay=0.0, grad_clip=0.5)
    expected = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.0)
    for seed, size in enumerate((1.0, 1e-5, 100.0, 3.0, 2.0)):
        for one in (model, twin):
            for parameter in fill_gradients(one, seed).values():
                assert parameter.grad is not None
                parameter.grad *= size
        ours.grad_clip = 0.5 if seed < 4 else None
        ours.step(model, dict(model.named_parameters()))
        if seed < 4:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        expected.step()
        for name, value in values(model).items():
            torch.testing.assert_close(value, values(twin)[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_encoders_in_another_precision_are_clipped_too(
    dtype: torch.dtype, model: torch.nn.Module
) -> None:
    gradients = fill_gradients(model, 0)
    model.to(dtype)
    make_adamw(grad_clip=0.5).step(model, gradients)
    norm = torch.nn.utils.get_total_norm([p.grad.float() for p in gradients.values()])  # type: ignore[union-attr]
    assert float(norm) == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("grad_clip", [None, 0.0, 1e9])
def test_a_gradient_below_the_limit_is_left_alone(
    grad_clip: float | None, model: torch.nn.Module
) -> None:
    gradients = fill_gradients(model, 0)
    before = {name: p.grad.clone() for name, p in gradients.items() if p.grad is not None}
    make_adamw(grad_clip=grad_clip).step(model, gradients)
    assert all(torch.equal(p.grad, before[name]) for name, p in gradients.items())  # type: ignore[arg-type]


def test_layer_decay_slows_each_layer_further_down(model: torch.nn.Module) -> None:
    before = values(model)
    step(make_adamw(0.01, layer_decay=0.5, weight_decay=0.0, grad_clip=None), model)
    depth, top = depths(model), max(depths(model).values())
    for name, far in moved(before, model).items():  # Adam's first step is as long as its rate
        assert far == pytest.approx(0.01 * 0.5 ** (top - depth[name]), rel=0.05), name
    assert set(depth.values()) == set(range(top + 1))


def test_a_schedule_gives_the_rate_of_each_step_and_its_last_one_stays(
    model: torch.nn.Module,
) -> None:
    def rates() -> Iterator[float]:
        yield from (0.1, 0.01, 0.0)

    optimizer = make_adamw(rates(), weight_decay=0.0)
    seen = []
    for seed in range(4):
        before = values(model)
        step(optimizer, model, first_seed=seed)
        seen.append(optimizer.learn_rate)
        assert any(moved(before, model).values()) == (optimizer.learn_rate > 0)
    assert seen == [0.1, 0.01, 0.0, 0.0]


def test_a_parameter_without_a_gradient_is_left_alone(model: torch.nn.Module) -> None:
    before = values(model)
    gradients = fill_gradients(model, 0)
    idle = [name for name in gradients if "layer.0." in name]
    for name in idle:
        gradients.pop(name).grad = None
    make_adamw(0.1, weight_decay=0.5).step(model, gradients)
    far = moved(before, model)
    assert {name for name in far if far[name] == 0.0} == set(idle)


def resized_in_place(model: torch.nn.Module) -> torch.Tensor:
    """As `resize_token_embeddings` does in transformers 4: the parameter stays, what it holds does not."""
    table = model.embeddings.word_embeddings.weight
    table.data = torch.cat([table.data, table.data[:7]])
    return table


def replaced(rows: int) -> Callable[[torch.nn.Module], torch.Tensor]:
    def replace(model: torch.nn.Module) -> torch.Tensor:
        width = model.embeddings.word_embeddings.embedding_dim
        model.embeddings.word_embeddings = torch.nn.Embedding(rows, width)
        return model.embeddings.word_embeddings.weight

    return replace


@pytest.mark.parametrize(
    "resize", [resized_in_place, replaced(4000), replaced(7)], ids=["grown", "larger", "smaller"]
)
def test_a_table_that_is_resized_in_training_gets_moments_of_its_size(
    model: torch.nn.Module, resize: Callable[[torch.nn.Module], torch.Tensor]
) -> None:
    optimizer = make_adamw(1e-3)
    step(optimizer, model, 3)
    table = resize(model)
    other = model.embeddings.LayerNorm.weight
    with pytest.warns(UserWarning, match=r"`embeddings.word_embeddings.weight` has another shape"):
        step(optimizer, model, 1, first_seed=3)
    step(optimizer, model, 1, first_seed=4)  # without a warning
    assert optimizer._torch is not None
    state = optimizer._torch.state
    assert state[table]["exp_avg"].shape == state[table]["exp_avg_sq"].shape == table.shape
    assert state[table]["step"] == 2
    assert state[other]["step"] == 5


def through_bytes(optimizer: AdamW) -> AdamW:
    state = optimizer.to_bytes()
    assert state is not None
    other = make_adamw(0.01)
    other.load(state)
    return other


COPIES: list[Callable[[AdamW], AdamW]] = [
    through_bytes,
    copy.deepcopy,
    lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
]


@pytest.mark.parametrize("copied", COPIES, ids=["bytes", "deepcopy", "pickle"])
def test_a_copy_steps_on_exactly_as_its_original_would(
    copied: Callable[[AdamW], AdamW], model: torch.nn.Module
) -> None:
    optimizer = make_adamw(0.01)
    step(optimizer, model, 3)
    other, twin = copied(optimizer), copy.deepcopy(model)
    step(optimizer, model, 2, first_seed=3)
    step(copied(other), twin, 2, first_seed=3)  # a copy of a copy that has not stepped yet
    assert all(torch.equal(value, values(twin)[name]) for name, value in values(model).items())
    assert other.step_count == 3


def test_an_optimizer_that_never_stepped_has_no_state() -> None:
    assert make_adamw(0.01).to_bytes() is None


# ---- in a pipeline


def test_the_encoder_and_the_heads_learn_at_rates_of_their_own(encoder_path: Path) -> None:
    still = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.0}
    nlp = make_nlp(encoder_path, ["tagger"], optimizer=still)
    before = weights(nlp)
    losses = train(nlp, 30)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert all(np.array_equal(before[name], value) for name, value in weights(nlp).items())


def test_the_heads_stand_still_while_the_encoder_learns(encoder_path: Path) -> None:
    fast = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": 0.01}
    nlp = make_nlp(encoder_path, ["tagger"], optimizer=fast)
    train(nlp, 5)  # so that the head's last layer is not zero, and has a gradient
    head = nlp.get_pipe("tagger").model.to_bytes()  # type: ignore[attr-defined]
    before = weights(nlp)
    train(nlp, 3, Adam(0.0, use_averages=False))
    assert nlp.get_pipe("tagger").model.to_bytes() == head  # type: ignore[attr-defined]
    assert not any(
        np.array_equal(before[name], value)
        for name, value in weights(nlp).items()
        if "dense.weight" in name
    )


def test_a_schedule_in_the_config_reaches_the_encoder(encoder_path: Path) -> None:
    schedule = {
        "@schedules": "warmup_linear.v1",
        "initial_rate": 0.01,
        "warmup_steps": 2,
        "total_steps": 4,
    }
    optimizer = {"@optimizers": "spacy_mtl.AdamW.v1", "learn_rate": schedule}
    nlp = make_nlp(encoder_path, ["tagger"], optimizer=optimizer)
    seen = []
    for _ in range(5):
        train(nlp, 1)
        weights(nlp)  # the step is made by whoever looks next
        own = shared(nlp).optimizer
        assert own is not None
        seen.append(own.learn_rate)
    assert seen == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0])


def test_averages_take_the_encoder_s_place_inside_use_params_only(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ["tagger"])
    optimizer: Optimizer = Adam(0.01, L2=0.0, grad_clip=1.0, use_averages=True)
    train(nlp, 10, optimizer)
    now, vectors = weights(nlp), nlp(TEXTS[0]).tensor.copy()
    ident = shared(nlp).shim.id
    with nlp.use_params(optimizer.averages):
        for name, value in weights(nlp).items():
            np.testing.assert_array_equal(value, optimizer.averages[(ident, name)])
        assert not np.allclose(nlp(TEXTS[0]).tensor, vectors)
    assert all(np.array_equal(now[name], value) for name, value in weights(nlp).items())
    np.testing.assert_array_equal(nlp(TEXTS[0]).tensor, vectors)
    assert len([key for key in optimizer.averages if key[0] == ident]) == len(now)


def test_weights_changed_by_averages_do_not_leak_into_the_averages(encoder_path: Path) -> None:
    nlp = make_nlp(encoder_path, ["tagger"])
    optimizer: Optimizer = Adam(0.01, L2=0.0, grad_clip=1.0, use_averages=True)
    train(nlp, 3, optimizer)
    weights(nlp)
    key = (shared(nlp).shim.id, "encoder.layer.0.output.dense.weight")
    average = optimizer.averages[key].copy()
    with nlp.use_params(optimizer.averages):
        parameter = dict(shared(nlp).shim.require().model.named_parameters())[key[1]]
        with torch.no_grad():
            parameter.add_(1.0)
    np.testing.assert_array_equal(optimizer.averages[key], average)
    assert NAME in nlp.pipe_names


def test_steps_of_thinc_s_optimizer_leave_weights_in_their_memory(encoder_path: Path) -> None:
    """A new tensor around the same memory in each step would hold on to all those before it."""
    nlp = make_nlp(encoder_path, ["tagger"])
    parameters = dict(shared(nlp).shim.require().model.named_parameters())
    places = {name: p.data.untyped_storage()._cdata for name, p in parameters.items()}
    before = values(shared(nlp).shim.require().model)
    give_fixed_weights(nlp, "tagger")
    train(nlp, 3)
    shared(nlp).finish_batch()
    assert {n: p.data.untyped_storage()._cdata for n, p in parameters.items()} == places
    assert any(not torch.equal(p, before[name]) for name, p in parameters.items())


def test_an_optimizer_that_returns_new_weights_is_obeyed(encoder_path: Path) -> None:
    class Halving(Optimizer):
        def __call__(self, key: Any, weights: Any, gradient: Any, **kwargs: Any) -> Any:
            return weights / 2, gradient

    nlp = make_nlp(encoder_path, ["tagger"])
    shim = shared(nlp).shim
    gradients = fill_gradients(shim.require().model, 0)
    before = {name: gradients[name].detach().clone() for name in gradients}
    shim.finish_update(Halving(0.1))
    for name, parameter in shim.require().model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] / 2)


@pytest.mark.parametrize(
    ("rate", "highest"),
    [(0.2, 0.2), ([0.0, 0.3, 0.1, 0.9], 0.3), (0.0, 0.0)],
)
def test_the_highest_rate_of_the_first_steps(rate: Any, highest: float) -> None:
    """Looking ahead changes nothing."""
    optimizer = make_adamw(rate)
    before = optimizer.learn_rate
    assert optimizer.highest_rate(3) == highest
    assert optimizer.learn_rate == before


@pytest.mark.parametrize("key", ["learn_rate", "weight_decay", "grad_clip"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_no_number_below_zero_and_no_nan(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"`optimizer.{key} = {value}`"):
        make_adamw(**{"learn_rate": 0.1, key: value})
