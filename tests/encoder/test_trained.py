"""Training without the modules' own code gives what the modules give: numbers, gradients, and the same masks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spacy_mtl.encoder import transformer
from spacy_mtl.encoder.direct import DirectEncoder, DirectReader, Trainer
from spacy_mtl.encoder.layers import freeze
from spacy_mtl.encoder.spare import SpareGradients
from spacy_mtl.types import EncoderInput, MicroBatch

from .test_attention import CPU, FLAT, batch, load
from .test_direct import CHANGES, sample_dropout, train

FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
NEAR = {FP32: 1e-5, FP16: 5e-3, BF16: 2e-2}  # of the length
KEY_BIAS = {"key.bias": "query.bias", "k_lin.bias": "q_lin.bias"}
LENGTHS = {
    "one window": [(7,)],
    "equal windows": [(7, 7), (3, 3)],
    "padding": [(9, 4, 1), (6, 5)],
}


def inputs_of(batches: list[MicroBatch], budget: int = 1000) -> EncoderInput:
    """Each wordpiece a token."""
    n = sum(int(one.lengths.sum()) for one in batches)
    every = np.arange(n)
    return EncoderInput(
        micro_batches=batches,
        links=every,
        token_lengths=np.ones(n, dtype=np.int64),
        doc_tokens=np.array([n]),
        budget=budget,
        flat=True,
    )


def learn(
    model: Any,
    batches: list[MicroBatch],
    dtype: torch.dtype,
    *,
    every: bool = True,
    budget: int = 1000,
    spare: SpareGradients | None = None,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Layers, and gradients by parameter, of a loss that weighs all numbers."""
    model.zero_grad()
    torch.manual_seed(3)
    layers = transformer.encode_layers(
        model,
        inputs_of(batches, budget),
        pooling="mean",
        dtype=dtype,
        every=every,
        spare=spare,
    )
    weights = [torch.randn(layer.shape) for layer in layers]
    sum((a * b).sum() for a, b in zip(layers, weights, strict=True)).backward()  # type: ignore[union-attr]
    return layers, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def both(
    model: Any, batches: list[MicroBatch], dtype: torch.dtype, **settings: Any
) -> tuple[Any, Any]:
    """Without the modules' code, and with it."""
    assert DirectEncoder.of(model) is not None
    mine = learn(model, batches, dtype, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectEncoder, "of", lambda *args, **kwargs: None)
        theirs = learn(model, batches, dtype, **settings)
    return mine, theirs


def assert_same(mine: Any, theirs: Any, dtype: torch.dtype) -> None:
    (layers, gradients), (expected, right) = mine, theirs
    near = NEAR[dtype]
    for one, other in zip(layers, expected, strict=True):
        assert float((one - other).detach().norm()) <= near * float(other.detach().norm())
    assert gradients.keys() == right.keys()
    for name, one in gradients.items():
        off, like = one - right[name], name
        if name.endswith(tuple(KEY_BIAS)):
            # all scores of a query move together, so that it is zero but for rounding
            off = one
            for key, query in KEY_BIAS.items():
                like = like.replace(key, query)
        assert float(off.norm()) <= near * float(right[like].norm()), name


@pytest.mark.parametrize("family", sorted(FLAT))
@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_numbers_gradients_and_masks_are_those_of_the_modules(
    family: str, dtype: torch.dtype, lengths: list[Any], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family)).train()
    batches = [batch(*group) for group in lengths]
    assert_same(*both(model, batches, dtype), dtype)


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])
def test_either_rate_of_dropout_is_taken(
    rates: tuple[float, float], dtype: torch.dtype, family_dir: Callable[[str], Path]
) -> None:
    outside, within = rates
    settings = {"hidden_dropout_prob": outside, "attention_probs_dropout_prob": within}
    model = load(family_dir("bert"), **settings).train()  # type: ignore[arg-type]
    mine, theirs = both(model, [batch(9, 4), batch(6)], dtype)
    assert_same(mine, theirs, dtype)
    again = transformer.encode_layers(
        model, inputs_of([batch(9, 4), batch(6)]), pooling="mean", dtype=dtype, every=False
    )
    assert torch.equal(again[0], mine[0][-1]) == (rates == (0.0, 0.0))


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_batch_may_take_several_calls(family: str, family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir(family)).train()
    batches = [batch(9, 9), batch(6, 3), batch(5)]
    assert_same(*both(model, batches, FP32, budget=12), FP32)


def test_the_last_layer_alone_has_the_same_numbers(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert")).train()
    mine, theirs = both(model, [batch(9, 4)], FP32, every=False)
    assert len(mine[0]) == 1
    assert_same(mine, theirs, FP32)


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("layers", [1, "all"])
def test_what_is_frozen_has_no_gradient(
    layers: int | str, embeddings: bool, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("bert")).train()
    freeze(model, layers=layers, embeddings=embeddings)
    if layers == "all":
        found = transformer.encode_layers(
            model.eval(), inputs_of([batch(9, 4)]), pooling="mean", dtype=FP32, every=False
        )
        assert not found[0].requires_grad
        return
    mine, theirs = both(model, [batch(9, 4)], FP32)
    assert_same(mine, theirs, FP32)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert mine[1].keys() == trained
    assert not any("layer.0." in name for name in trained)


def test_only_part_of_a_product_may_be_trained(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert")).train()
    model.encoder.layer[1].attention.self.key.weight.requires_grad_(False)
    model.encoder.layer[0].attention.self.value.bias.requires_grad_(False)
    for dtype in (FP32, BF16):
        mine, theirs = both(model, [batch(9, 4)], dtype)
        assert_same(mine, theirs, dtype)
        assert len(mine[1]) == len(list(model.parameters())) - 2


class Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.n += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
def test_gradients_of_biases_alone_cost_no_product_of_weights(
    dtype: torch.dtype, family_dir: Callable[[str], Path]
) -> None:
    """What finds the angles between tasks asks for those only."""
    model = load(family_dir("bert")).train()
    biases = [p for p in model.parameters() if p.ndim == 1]
    counts = []
    for wanted in (biases, list(model.parameters())):
        (top,) = transformer.encode_layers(
            model, inputs_of([batch(9, 4)]), pooling="mean", dtype=dtype, every=False
        )
        with Products() as products:
            torch.autograd.grad(top.sum(), wanted)
        counts.append(products.n)
    n_products = 4 * model.config.num_hidden_layers
    assert counts == [n_products, 2 * n_products]


def test_gradients_of_gradients_are_refused(family_dir: Callable[[str], Path]) -> None:
    """Those of attention's steps, or of memory that is used again, would be wrong."""
    model = load(family_dir("bert")).train()
    (top,) = transformer.encode_layers(
        model, inputs_of([batch(9, 4)]), pooling="mean", dtype=torch.float32, every=False
    )
    query = model.encoder.layer[0].attention.self.query.weight
    (first,) = torch.autograd.grad(top.square().sum(), [query], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_gradients_in_low_precision_are_written_where_the_last_ones_were(
    family_dir: Callable[[str], Path],
) -> None:
    model, spare = load(family_dir("bert")).train(), SpareGradients()
    first, second = [batch(9, 4)], [batch(6, 6, 2)]
    expected = {n: g.clone() for n, g in learn(model, second, BF16)[1].items()}
    found = learn(model, first, BF16, spare=spare)[1]
    linear = {n for n in found if n.split(".")[-2] in ("query", "key", "value", "dense")}
    places = {n: found[n].data_ptr() for n in linear}
    del found  # of what is held autograd would make a copy
    spare.keep()
    again = learn(model, second, BF16, spare=spare)[1]
    assert {n: again[n].data_ptr() for n in linear} == places
    for name, gradient in again.items():
        assert torch.equal(gradient, expected[name]), name


def test_gradients_of_two_batches_add_up(family_dir: Callable[[str], Path]) -> None:
    model, spare = load(family_dir("bert")).train(), SpareGradients()
    for one in two():
        learn(model, [one], BF16, spare=spare)
    spare.keep()
    model.zero_grad()
    for one in two():
        torch.manual_seed(3)
        (layer,) = transformer.encode_layers(
            model, inputs_of([one]), pooling="mean", dtype=BF16, every=False, spare=spare
        )
        layer.backward(torch.ones_like(layer))
    summed = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    apart = []
    for one in two():
        model.zero_grad()
        torch.manual_seed(3)
        (layer,) = transformer.encode_layers(
            model, inputs_of([one]), pooling="mean", dtype=BF16, every=False
        )
        layer.backward(torch.ones_like(layer))
        apart.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert len(summed) == len(list(model.parameters()))
    for name, found in summed.items():
        torch.testing.assert_close(found, apart[0][name] + apart[1][name], msg=name)


def two() -> list[MicroBatch]:
    return [batch(9, 4), batch(6, 6, 2)]


def hook_backward(model: Any) -> None:
    model.encoder.layer[1].output.dense.register_full_backward_hook(lambda *_: None)


def hook_before_backward(model: Any) -> None:
    model.encoder.layer[0].attention.self.dropout.register_full_backward_pre_hook(lambda *_: None)


@pytest.mark.parametrize(
    "change",
    [
        *(c for c in CHANGES if c not in (train, sample_dropout)),
        hook_backward,
        hook_before_backward,
    ],
)
def test_what_is_not_hugging_face_s_own_is_left_to_the_modules(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model, reader = load(family_dir("bert")).train(), DirectReader()
    assert reader.of(model) is not None
    change(model)
    assert reader.of(model) is None
    assert DirectEncoder.of(model) is None


def test_hooks_of_all_modules_need_the_modules(family_dir: Callable[[str], Path]) -> None:
    model, reader = load(family_dir("bert")).train(), DirectReader()
    assert reader.of(model) is not None
    for register in (
        nn.modules.module.register_module_full_backward_hook,
        nn.modules.module.register_module_full_backward_pre_hook,
        nn.modules.module.register_module_forward_hook,
    ):
        handle = register(lambda *_: None)
        try:
            assert reader.of(model) is None
        finally:
            handle.remove()


@pytest.mark.parametrize("lack", ["bias", "fp32"])
def test_products_that_could_not_be_joined_are_left_to_the_modules(
    lack: str, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("bert")).train()
    dense = model.encoder.layer[0].output.dense
    if lack == "bias":
        dense.bias = None
    else:
        dense.double()
    assert DirectEncoder.of(model) is None


def evaluate_parts(model: Any) -> None:
    for layer in model.encoder.layer:
        layer.attention.self.eval()
        layer.output.eval()


def evaluate_all(model: Any) -> None:
    model.eval()


def evaluate_dropout(model: Any) -> None:
    for layer in model.encoder.layer:
        layer.attention.self.dropout.eval()


def train_dropout(model: Any) -> None:
    evaluate_parts(model)
    for layer in model.encoder.layer:
        layer.attention.self.dropout.train()


def drop_none(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize(
    "change", [evaluate_parts, evaluate_all, evaluate_dropout, train_dropout, drop_none]
)
def test_what_is_dropped_is_what_the_modules_drop(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("bert")).train()
    change(model)
    assert_same(*both(model, [batch(9, 4)], FP32), FP32)


@pytest.mark.parametrize("cast", ["double", "bfloat16"])
def test_another_dtype_is_seen_after_the_first_step(
    cast: str, family_dir: Callable[[str], Path]
) -> None:
    model, reader = load(family_dir("bert")).train(), DirectReader()
    assert reader.of(model) is not None
    getattr(model, cast)()
    assert reader.of(model) is None
    model.float()
    assert reader.of(model) is not None


def test_electra_may_have_narrower_embeddings() -> None:
    """transformers 4 gives it no attention that could be read flat, so the module reads a row of windows."""
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=100, embedding_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model: Any = ElectraModel(config).eval()
    rows = batch(9, 9)
    encoder = DirectEncoder.of(model)
    assert encoder is not None
    trainer = encoder.begin(model, [rows], SpareGradients())
    (mine,) = trainer(model, [rows], CPU, every=False)
    theirs = model(torch.from_numpy(rows.ids)).last_hidden_state.flatten(0, 1)
    weights = torch.randn(mine.shape)
    found = []
    for top in (mine, theirs):
        model.zero_grad()
        (top * weights).sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append(([top], gradients))
    assert_same(*found, FP32)
    assert "embeddings_project.weight" in found[0][1]


def test_scores_that_are_too_large_for_fp16_before_they_are_scaled(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert")).train()
    with torch.no_grad():
        for part in (model.encoder.layer[0].attention.self, model.encoder.layer[1].attention.self):
            part.query.weight.mul_(600)
            part.key.weight.mul_(600)
    layers, _ = learn(model, [batch(9, 4)], FP16)
    assert all(layer.isfinite().all() for layer in layers)


def test_the_gradient_of_one_part_does_not_hold_the_memory_of_three(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert")).train()
    attention = model.encoder.layer[1].attention.self
    for part in (attention.key, attention.value):
        part.weight.requires_grad_(False)
    _, gradients = learn(model, [batch(9, 4)], FP32)
    one = gradients["encoder.layer.1.attention.self.query.weight"]
    assert one.untyped_storage().nbytes() == one.numel() * 4


def test_the_reader_keeps_training_and_prediction_apart(
    family_dir: Callable[[str], Path],
) -> None:
    model, reader = load(family_dir("bert")), DirectReader()
    with torch.inference_mode():
        predicts = reader.of(model)
    model.train()
    learns = reader.of(model)
    assert learns is not None
    assert learns is not predicts
    with torch.inference_mode():
        assert reader.of(model) is None  # dropout is on
    model.eval()
    with torch.inference_mode():
        assert reader.of(model) is not learns
    model.train()
    reader.forget()
    assert reader.of(model) is learns
    reader.drop()
    assert reader.of(model) is not learns


def test_without_a_graph_nothing_begins(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert"))
    with torch.inference_mode():
        encoder = DirectEncoder.of(model)
        assert encoder is not None
        assert encoder.begin(model, [batch(3)], SpareGradients()) is encoder
    encoder = DirectEncoder.of(model)
    assert encoder is not None
    trainer = encoder.begin(model, [batch(3)], SpareGradients())
    assert isinstance(trainer, Trainer)
    (found,) = trainer(model, [batch(3)], CPU, every=False)
    assert found.requires_grad


def test_adapters_of_a_library_are_trained_by_the_modules(
    family_dir: Callable[[str], Path],
) -> None:
    """A layer that calls another within itself, as low-rank adapters do."""

    class LowRank(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base, self.more = base, nn.Linear(base.in_features, base.out_features)

        def forward(self, X: Tensor) -> Tensor:
            found: Tensor = self.base(X) + self.more(X)
            return found

    model = load(family_dir("bert")).train()
    attention = model.encoder.layer[0].attention.self
    attention.query = LowRank(attention.query)
    _, gradients = learn(model, [batch(9, 4)], FP32)
    assert "encoder.layer.0.attention.self.query.more.weight" in gradients
