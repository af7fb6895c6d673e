"""Products in 8-bit integers: sums are exact, steps are as fine as can be, and rows do not know each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spacy_mtl.encoder import direct, int8, packed
from spacy_mtl.encoder.attention import encode_flat
from spacy_mtl.encoder.direct import DirectEncoder, DirectReader
from spacy_mtl.encoder.int8 import Int8Copy, quantise_rows, quantise_weights

from ..families import make_encoder
from .test_attention import CPU, FLAT, batch, load
from .test_direct import WRITES, adapt, put_inference_tensor

needs_operators = pytest.mark.skipif(
    not int8.is_there(), reason="this torch does not multiply 8-bit integers on this processor"
)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def copies_are_there() -> bool:
    """The same question about ordered weights in fp32."""
    return packed._is_there.__wrapped__(torch.float32)


def linear(n_in: int = 12, n_out: int = 20, *, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_in, n_out)


def inputs(rows: int, n_in: int = 12, *, seed: int = 0) -> torch.Tensor:
    """Rows of unequal lengths that are not around zero."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(rows, n_in, generator=generator)
    return X * torch.logspace(-3, 3, rows)[:, None] + torch.randn(rows, 1, generator=generator)


def reference(layers: list[nn.Linear], X: torch.Tensor) -> torch.Tensor:
    """By the formula of the module, in double precision."""
    rounded, spans, lowest = quantise_rows(X.clone())
    weight, steps = quantise_weights(torch.cat([layer.weight.detach() for layer in layers]))
    found = rounded.double() * (spans.double() / 255) + lowest.double()
    bias = torch.cat([layer.bias.detach() for layer in layers]).double()
    return found @ (weight * steps[:, None]).double().T + bias


def product(
    layers: list[nn.Linear], X: torch.Tensor, *given: Any, **more: Any
) -> list[torch.Tensor]:
    with torch.inference_mode():
        found = Int8Copy(layers)(X.clone(), *given, **more)
    return [part.clone() for part in found]


@needs_operators
@pytest.mark.parametrize("rows", [0, 1, 3, 64, 300])
@pytest.mark.parametrize("n_in", [12, 13, 64])
def test_a_product_is_what_its_integers_say(rows: int, n_in: int) -> None:
    layer, X = linear(n_in), inputs(rows, n_in)
    (found,) = product([layer], X)
    size = X.abs().amax(1, keepdim=True) if rows else X[:, :1]
    assert ((found - reference([layer], X)).abs() <= 1e-5 * (1 + size)).all()


@needs_operators
def test_layers_with_one_input_are_computed_together() -> None:
    layers = [linear(seed=1), linear(n_out=8, seed=2), linear(seed=3)]
    found = product(layers, inputs(5))
    assert [part.shape[1] for part in found] == [20, 8, 20]
    for one, layer in zip(found, layers, strict=True):
        torch.testing.assert_close(one, product([layer], inputs(5))[0])


@needs_operators
def test_what_a_row_gets_does_not_depend_on_the_others() -> None:
    layer, X = linear(), inputs(40)
    (whole,) = product([layer], X)
    for some in (slice(0, 1), slice(3, 11), slice(39, 40)):
        assert torch.equal(product([layer], X[some])[0], whole[some])


@needs_operators
def test_the_largest_sums_are_not_cut_off() -> None:
    """Processors without VNNI add two products in 16 bits."""
    layer = linear(128, 96)
    for sign in (1, -1):
        X = ((sign * layer.weight.detach()) > 0).float() * 255.0
        (found,) = product([layer], X)
        torch.testing.assert_close(found.double(), reference([layer], X), rtol=1e-5, atol=1e-3)


@needs_operators
@pytest.mark.parametrize("activation", [packed.GELU, torch.relu_], ids=["gelu", "relu"])
def test_an_activation_comes_after_the_product(activation: Any) -> None:
    layer, X = linear(), inputs(7)
    (found,) = product([layer], X, activation)
    torch.testing.assert_close(found, activation(product([layer], X)[0]))


@needs_operators
def test_a_sum_comes_after_the_product_and_leaves_its_addend_alone() -> None:
    layer, X, plus = linear(), inputs(7), torch.randn(7, 20)
    before = plus.clone()
    (found,) = product([layer], X, plus=plus)
    torch.testing.assert_close(found, product([layer], X)[0] + plus)
    assert torch.equal(plus, before)


@needs_operators
def test_an_input_is_written_to_only_when_a_sum_says_so() -> None:
    layer, X = linear(), inputs(7)
    before = X.clone()
    with torch.inference_mode():
        Int8Copy([layer])(X, packed.GELU)
    assert torch.equal(X, before)


@needs_operators
def test_other_precisions_of_the_input_are_taken() -> None:
    """Attention is in bf16 where the processor is fast in it."""
    layer, X = linear(), inputs(7).bfloat16()
    (found,) = product([layer], X)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, product([layer], X.float())[0])


@pytest.mark.parametrize("offset", [1.0, -1.0, 1e3, 1e-20])
@pytest.mark.parametrize("ulps", [1, 3, 100, 300, 5_000])
def test_rows_that_are_nearly_all_the_same_are_hardly_off(offset: float, ulps: int) -> None:
    X = torch.tensor(offset) * (1 + torch.rand(20, 16) * ulps * 2.0**-23)
    rounded, spans, lowest = quantise_rows(X.clone())
    off = (rounded * (spans / 255) + lowest - X).abs()
    assert (off <= 3.1e-5 * abs(offset) + 0.5 * spans / 255).all()


@pytest.mark.parametrize("value", [0.0, 3.5, -1e-20])
def test_a_row_that_is_all_the_same_is_exact(value: float) -> None:
    rounded, spans, lowest = quantise_rows(torch.full((2, 6), value))
    torch.testing.assert_close(rounded * (spans / 255) + lowest, torch.full((2, 6), value))


@needs_operators
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_and_in_its_row(value: float) -> None:
    layer, X = linear(), inputs(3)
    X[1, 4] = value
    (found,) = product([layer], X)
    assert not found[1].isfinite().any()
    assert found[[0, 2]].isfinite().all()


def test_inputs_are_off_by_half_a_step_at_most() -> None:
    X = inputs(50, 33)
    rounded, spans, lowest = quantise_rows(X.clone())
    off = (rounded * (spans / 255) + lowest - X).abs()
    size = X.abs().amax(1, keepdim=True)
    assert (off <= 0.5 * spans / 255 + 1e-6 * size).all()
    assert rounded.amin() == 0
    assert rounded.amax() == 255


@pytest.mark.parametrize("n_in", [2, 5, 384])
def test_weights_are_off_by_half_a_step_at_most_and_pairs_do_not_overflow(n_in: int) -> None:
    weight = torch.randn(30, n_in, generator=torch.Generator().manual_seed(0))
    rounded, steps = quantise_weights(weight)
    assert ((rounded * steps[:, None] - weight).abs() <= 0.5001 * steps[:, None]).all()
    pairs = nn.functional.pad(rounded, (0, n_in % 2)).view(30, -1, 2)
    for part in (pairs.clamp(min=0), -pairs.clamp(max=0)):
        assert 255 * part.sum(2).max() <= 32_767
    finer = weight.abs().amax(1) / 127
    assert (steps >= finer * 0.9999).all()
    assert (steps <= 2 * finer * 1.0001).all()


@needs_operators
def test_an_output_without_weights_is_its_bias() -> None:
    layer = linear()
    with torch.no_grad():
        layer.weight[3] = 0.0
    (found,) = product([layer], inputs(4))
    torch.testing.assert_close(found[:, 3], layer.bias[3].detach().expand(4))


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, NotImplementedError, TypeError])
def test_a_torch_without_the_operators_is_no_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(int8, "Int8Copy", missing)
    assert not int8.is_there.__wrapped__()


def test_a_processor_that_cuts_sums_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Saturating(Int8Copy):
        def __call__(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
            return [x.clamp(max=100.0) for x in super().__call__(*args, **kwargs)]

    monkeypatch.setattr(int8, "Int8Copy", Saturating)
    assert not int8.is_there.__wrapped__()


@needs_operators
@pytest.mark.parametrize(
    "surroundings",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.inference_mode(),
        lambda: torch.device("meta"),
        lambda: default_dtype(torch.float64),
    ],
    ids=["autocast", "inference", "device", "dtype"],
)
@pytest.mark.parametrize("probe", [int8.is_there.__wrapped__, copies_are_there])
def test_operators_are_found_whatever_is_going_on(
    surroundings: Callable[[], Any], probe: Callable[[], bool]
) -> None:
    state = torch.get_rng_state()
    with surroundings():
        assert probe()
    assert torch.equal(torch.get_rng_state(), state)


def test_without_onednn_there_are_no_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not int8.is_there.__wrapped__()


# ---- an encoder's products


@needs_operators
@pytest.mark.parametrize("write", WRITES)
def test_a_copy_is_made_anew_when_the_weights_change(write: Callable[[nn.Linear], None]) -> None:
    layer, X = linear(), torch.randn(5, 12)
    every = packed.Products([[layer]], int8=True)

    def found() -> torch.Tensor:
        with torch.inference_mode():
            return every(5)[0](X)[0]

    before = found()
    assert every(5)[0] is every(900)[0]  # whatever the number of rows
    write(layer)
    assert not torch.equal(found(), before)
    torch.testing.assert_close(found(), product([layer], X)[0])


@needs_operators
def test_what_cannot_be_copied_is_computed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear()
    every = packed.Products([[layer]], int8=True)
    assert every.are_int8
    monkeypatch.setattr(packed, "MOST_BYTES", 12 * 20 - 1)
    assert not every.are_int8
    monkeypatch.undo()
    assert not packed.Products([[layer]]).are_int8
    assert not packed.Products([[nn.Linear(12, 20, bias=False)]], int8=True).are_int8
    assert not packed.Products([[linear().double()]], int8=True).are_int8
    monkeypatch.setattr(int8, "is_there", lambda: False)
    assert not every.are_int8
    monkeypatch.undo()
    put_inference_tensor(layer)
    assert not every.are_int8
    with torch.inference_mode():
        assert not isinstance(every(5)[0], Int8Copy)


@needs_operators
@pytest.mark.parametrize("family", sorted(FLAT))
@pytest.mark.parametrize("lengths", [[(7,)], [(7, 7), (3, 3)], [(60, 60, 60, 60), (50, 41, 2)]])
@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_an_encoder_is_close_to_itself(
    family: str, lengths: list[Any], low: bool, tmp_path: Path
) -> None:
    """With weights that matter: without a product, or with its layers in another order, vectors are off by a third."""
    model: Any = load(make_encoder(family, tmp_path / family, initializer_range=0.1))
    batches = [batch(*group) for group in lengths]
    with torch.inference_mode():
        right = encode_flat(model, batches, CPU, every=False)[0]
        encoder = DirectEncoder.of(model, int8=True)
        assert encoder is not None
        assert encoder.products.are_int8
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            (found,) = encoder(model, batches, CPU, every=False)
    off = (found - right).norm(dim=1) / right.norm(dim=1)
    assert 0 < off.max() < 0.05
    assert off.mean() < 0.02


@needs_operators
def test_few_numbers_of_rows_are_compiled() -> None:
    with torch.inference_mode():
        found = [packed.compiled_rows(n, CPU, compiles=True) for n in range(1, 4097)]
    assert len(set(found)) < 150
    assert all(n <= rows < max(n + 4, n * 17 / 16) for n, rows in enumerate(found, 1))


@needs_operators
def test_a_reader_says_whether_it_reads_in_integers_and_why_not(
    family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = load(family_dir("bert"))
    reader = DirectReader(int8=True)
    assert not reader.is_int8
    assert not DirectReader().is_int8
    with torch.inference_mode():
        reader.of(model)
        assert reader.is_int8
        monkeypatch.setattr(packed, "MOST_BYTES", 10)
        assert not reader.is_int8
        assert "their copy needs more than" in reader.why_not_int8(model)
        monkeypatch.undo()
        adapt(model)
        reader.of(model)
        assert not reader.is_int8
        assert "adapters, hooks" in reader.why_not_int8(model)
    model.config.is_decoder = True
    assert "no decoder" in reader.why_not_int8(model)
    model.config._attn_implementation = "eager"
    assert "`sdpa`, and this encoder has `eager`" in reader.why_not_int8(model)
    assert "distilbert, electra" in reader.why_not_int8(load(family_dir("t5")))
    assert "not for `t5`" in reader.why_not_int8(load(family_dir("t5")))
    monkeypatch.setattr(direct, "is_there", lambda: False)
    assert "oneDNN" in reader.why_not_int8(model)
