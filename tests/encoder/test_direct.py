"""Prediction without the modules' own code gives what the modules give. Padding and company: test_attention, parity.
Training: test_trained."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from spacy_mtl.encoder import attention, direct, packed
from spacy_mtl.encoder.attention import encode_flat, reads_flat
from spacy_mtl.encoder.direct import DirectEncoder, DirectReader
from spacy_mtl.types import MicroBatch

from ..families import FAMILIES
from .test_attention import CPU, FLAT, batch, load


def both(model: Any, batches: list[MicroBatch], *, every: bool = True) -> tuple[Any, Any]:
    """Layers without the modules' code, and with it."""
    with torch.inference_mode():
        direct_encoder = DirectEncoder.of(model)
        assert direct_encoder is not None
        mine = direct_encoder(model, batches, CPU, every=every)
        return mine, encode_flat(model, batches, CPU, every=every)


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_list_of_families_is_whole(family_dir: Callable[[str], Path]) -> None:
    found = {name for name in FAMILIES if reads_flat(load(family_dir(name)))}
    assert found - {"electra"} == FLAT  # which has fused attention in transformers 5 only


@pytest.mark.parametrize("family", sorted(FLAT))
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("lengths", [[(7,)], [(7, 7), (3, 3)], [(60, 60, 60, 60), (50, 41, 2)]])
def test_the_numbers_are_those_of_the_modules(
    family: str, every: bool, lengths: list[Any], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family))
    assert_same(*both(model, [batch(*group) for group in lengths], every=every))


def test_electra_may_have_narrower_embeddings() -> None:
    """transformers 4 gives it no attention that could be read flat, so the module reads a row of windows."""
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=100, embedding_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model: Any = ElectraModel(config).eval()
    rows = batch(9, 9)
    with torch.inference_mode():
        direct_encoder = DirectEncoder.of(model)
        assert direct_encoder is not None
        mine = direct_encoder(model, [rows], CPU, every=True)
        theirs = model(torch.from_numpy(rows.ids), output_hidden_states=True).hidden_states
    assert_same(mine, [layer.flatten(0, 1) for layer in theirs])


@pytest.mark.parametrize("act", ["relu", "gelu_new", "silu"])
def test_other_activations(act: str) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        hidden_act=act,
    )
    assert_same(*both(BertModel(config).eval(), [batch(9, 4)]))


class Adapted(nn.Linear):
    """What a library for adapters puts in the place of a linear layer."""


def adapt(model: Any) -> None:
    model.encoder.layer[0].attention.self.query = Adapted(32, 32)


def hook(model: Any) -> None:
    model.encoder.layer[1].output.register_forward_hook(lambda *_: None)


def hook_before(model: Any) -> None:
    model.embeddings.LayerNorm.register_forward_pre_hook(lambda *_: None)


def replace_forward(model: Any) -> None:
    model.encoder.layer[0].intermediate.forward = lambda X: X


def subclass(model: Any) -> None:
    attention = model.encoder.layer[0].attention.self
    attention.__class__ = type("Mine", (type(attention),), {"__module__": "mine"})


def train(model: Any) -> None:
    model.train()


def limit_norms(model: Any) -> None:
    model.embeddings.word_embeddings.max_norm = 1.0


def hook_activation(model: Any) -> None:
    model.encoder.layer[0].intermediate.intermediate_act_fn.register_forward_hook(lambda *_: None)


def plain_activation(model: Any) -> None:
    inner = model.encoder.layer[0].intermediate
    del inner.intermediate_act_fn
    inner.intermediate_act_fn = torch.tanh


def hook_dropout(model: Any) -> None:
    model.encoder.layer[1].output.dropout.register_forward_hook(lambda *_: None)


def sample_dropout(model: Any) -> None:
    model.encoder.layer[0].attention.output.dropout.train()


def replace_dropout(model: Any) -> None:
    model.embeddings.dropout = nn.Tanh()


def weight_as_buffer(model: Any) -> None:
    query = model.encoder.layer[0].attention.self.query
    weight = query.weight.detach().clone()
    del query.weight
    query.register_buffer("weight", weight)


def weight_of_another_kind(model: Any) -> None:
    """As libraries for quantisation do."""

    class Narrow(nn.Parameter):
        """Looks like fp32."""

    dense = model.encoder.layer[0].output.dense
    dense._parameters["weight"] = Narrow(dense.weight.detach())


def compile_part(model: Any) -> None:
    model.encoder.layer[1].attention._compiled_call_impl = lambda *args: args


def scale_otherwise(model: Any) -> None:
    """transformers 5 has it there, and reads it in each pass."""
    model.encoder.layer[1].attention.self.scaling = 3.0


CHANGES = [
    scale_otherwise,
    adapt,
    hook,
    hook_before,
    replace_forward,
    subclass,
    train,
    limit_norms,
    hook_activation,
    plain_activation,
    hook_dropout,
    sample_dropout,
    replace_dropout,
    weight_as_buffer,
    weight_of_another_kind,
    compile_part,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_hugging_face_s_own_is_left_to_the_modules(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("bert"))
    change(model)
    with torch.inference_mode():
        assert DirectEncoder.of(model) is None


CLASSES = {
    "encoder.layer.0.intermediate": "their class",
    "encoder.layer.0.output.dense": "torch's class",
    "encoder.layer.0.output.dropout": "its dropout",
}


@pytest.mark.parametrize("name", CLASSES, ids=CLASSES.values())
def test_another_forward_in_a_class_is_seen(
    name: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, reader = load(family_dir("bert")), DirectReader()
    with torch.inference_mode():
        assert reader.of(model) is not None
        kind = type(model.get_submodule(name))
        monkeypatch.setattr(kind, "forward", torch.Tensor.tanh)  # of no module
        assert reader.of(model) is None
        assert DirectEncoder.of(model) is None


def test_another_attention_of_that_name_is_not_read_flat(
    family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might not call torch's, which has to be within windows there."""
    model = load(family_dir("bert"))
    assert reads_flat(model)
    monkeypatch.setitem(attention.ALL_ATTENTION_FUNCTIONS, "sdpa", lambda *args, **kwargs: None)
    assert not reads_flat(model)


def drop_layer(model: Any) -> None:
    del model.encoder.layer[-1]


def other_norm(model: Any) -> None:
    model.embeddings.LayerNorm.weight = nn.Parameter(torch.full((32,), 2.0))


def other_eps(model: Any) -> None:
    model.encoder.layer[0].output.LayerNorm.eps = 0.5


def other_activation(model: Any) -> None:
    model.encoder.layer[0].intermediate.intermediate_act_fn = nn.Tanh()


def other_act(model: Any) -> None:
    model.encoder.layer[0].intermediate.intermediate_act_fn.act = torch.tanh


def tie(model: Any) -> None:
    model.encoder.layer[1] = model.encoder.layer[0]


@pytest.mark.parametrize(
    "change", [*CHANGES, drop_layer, other_norm, other_eps, other_activation, other_act, tie]
)
def test_a_reader_sees_what_has_changed_since_the_last_time(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model, reader, rows = load(family_dir("bert")), DirectReader(), [batch(5, 3)]

    def read(found: DirectEncoder) -> torch.Tensor:
        return found(model, rows, CPU, every=False)[0]

    with torch.inference_mode():
        first = reader.of(model)
        assert first is not None
        assert reader.of(model) is first
        before = read(first)
        change(model)
        second = reader.of(model)
        if change in CHANGES:
            assert second is None
        else:
            assert second is not None
            (mine,), (theirs,) = both(model, rows, every=False)
            assert torch.equal(read(second), mine)
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
            assert not torch.equal(mine, before)


def test_a_reader_tells_encoders_apart(family_dir: Callable[[str], Path]) -> None:
    one, other, reader = load(family_dir("bert")), load(family_dir("bert")), DirectReader()
    with torch.inference_mode():
        found = [reader.of(model) for model in (one, other, one)]
    tables = [encoder and encoder.words for encoder in found]
    assert tables[0] is tables[2] is one.embeddings.word_embeddings
    assert tables[1] is other.embeddings.word_embeddings


def test_other_hooks_than_those_that_listen_are_seen_among_them(
    family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 5 leaves hooks that listen once all layers were asked for."""
    model, reader = load(family_dir("bert")), DirectReader()
    layer = model.encoder.layer[0].output
    monkeypatch.setattr(direct, "_CAPTURES", __name__)
    with torch.inference_mode():
        layer.register_forward_hook(listen)
        first = reader.of(model)
        assert first is not None
        assert reader.of(model) is first
        monkeypatch.setattr(direct, "_CAPTURES", "elsewhere")
        layer.register_forward_hook(listen)
        assert reader.of(model) is None


def listen(*_: Any) -> None:
    """A hook."""


def test_hooks_of_all_modules_need_the_modules(family_dir: Callable[[str], Path]) -> None:
    model, reader = load(family_dir("bert")), DirectReader()
    with torch.inference_mode():
        assert reader.of(model) is not None
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        try:
            assert reader.of(model) is None
        finally:
            handle.remove()


def test_an_encoder_without_layers_is_left_to_the_modules(
    family_dir: Callable[[str], Path],
) -> None:
    model = load(family_dir("bert"))
    del model.encoder.layer[:]
    with torch.inference_mode():
        assert DirectEncoder.of(model) is None


# ------------------------------------------------------------------------------------- copies of weights

ORDERED = torch.float32, True
NARROW = torch.bfloat16, False
ORDERED_NARROW = torch.bfloat16, True


def products(
    layers: Sequence[nn.Linear],
    X: torch.Tensor,
    copy: Any,
    activation: Any = None,
    plus: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    with torch.inference_mode():
        return packed._Copy(layers, *copy)(X, activation, plus)


def expected(layer: nn.Linear, X: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), torch.no_grad():
        found: torch.Tensor = layer(X)
        return found


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    low = one.dtype == torch.bfloat16
    torch.testing.assert_close(one, other, atol=1e-2 if low else 1e-6, rtol=1e-2 if low else 1e-5)


@pytest.fixture(params=[ORDERED, NARROW, ORDERED_NARROW], ids=str)
def copy(request: pytest.FixtureRequest) -> Any:
    dtype, ordered = request.param
    if ordered and not packed._is_there(dtype):
        pytest.skip(f"this processor, or this torch, has no ordered weights in {dtype}")
    return request.param


@pytest.fixture
def layer() -> nn.Linear:
    return nn.Linear(12, 20)


@pytest.mark.parametrize("rows", [0, 1, 3, 64, 300])
def test_products_with_a_copy_are_plain_ones(rows: int, layer: nn.Linear, copy: Any) -> None:
    X = torch.randn(rows, 12)
    (found,) = products([layer], X, copy)
    close(found, expected(layer, X, copy[0]))


@pytest.mark.parametrize("activation", [packed.GELU, torch.relu_], ids=["gelu", "relu"])
def test_an_activation_is_computed_with_the_product_or_after_it(
    activation: Any, layer: nn.Linear, copy: Any
) -> None:
    X = 3 * torch.randn(64, 12)
    (found,) = products([layer], X, copy, activation)
    close(found, activation(expected(layer, X, copy[0])))


@pytest.mark.parametrize("rows", [0, 1, 64, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_sum_is_computed_with_the_product_or_after_it(
    rows: int, dtype: torch.dtype, layer: nn.Linear, copy: Any
) -> None:
    """With it in low precision, which the sum has then; what autocast adds to fp32 stays so."""
    X, plus = torch.randn(rows, 12), torch.randn(rows, 20).to(dtype)
    (found,) = products([layer], X, copy, plus=plus.clone())
    fused = copy == ORDERED_NARROW
    assert found.dtype == (torch.bfloat16 if fused else torch.promote_types(copy[0], dtype))
    sums = expected(layer, X, copy[0]).float() + plus.float()
    low = torch.bfloat16 in (found.dtype, copy[0])
    torch.testing.assert_close(found.float(), sums, atol=3e-2 if low else 1e-5, rtol=1e-2)


def test_a_sum_in_fp16_stays_out_of_it(layer: nn.Linear) -> None:
    """It might be too large for fp16."""
    if not packed._is_there(torch.float16):
        pytest.skip("this processor, or this torch, has no ordered weights in fp16")
    plus = torch.full((5, 20), 1e5)
    (found,) = products([layer], torch.randn(5, 12), (torch.float16, True), plus=plus)
    assert found.isfinite().all()


def _missing(*_: Any) -> torch.Tensor:
    raise AttributeError("'_linear_pointwise' has no overload 'binary'")


def _wrong(X: torch.Tensor, plus: torch.Tensor, *_: Any) -> torch.Tensor:
    return plus + 1


@pytest.mark.parametrize("broken", [_missing, _wrong])
def test_without_its_sum_the_order_is_not_used(
    broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed._is_there(torch.float32):
        pytest.skip("this processor, or this torch, has no ordered weights")
    monkeypatch.setattr(packed, "_ordered_sum", broken)
    assert not packed._is_there.__wrapped__(torch.float32)


def test_a_sum_after_a_plain_product(layer: nn.Linear) -> None:
    X, plus = torch.randn(5, 12), torch.randn(5, 20)
    with torch.inference_mode():
        (found,) = packed._Plain([layer])(X, None, plus)
    close(found, expected(layer, X, torch.float32) + plus)


@pytest.mark.parametrize("kind", [ORDERED, ORDERED_NARROW], ids=str)
def test_only_low_precision_computes_gelu_with_the_product(
    kind: Any, layer: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN's differs by 5e-5, too much for fp32."""
    asked: list[bool] = []

    def ordered(X: torch.Tensor, *weights: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        asked.append(gelu)
        return torch.zeros(len(X), 20)

    monkeypatch.setattr(packed, "_ordered", ordered)
    copy = packed._Copy([layer], torch.float32, False)
    copy.dtype, copy.ordered = kind  # any processor may ask
    for activation in (packed.GELU, torch.relu_):
        copy(torch.randn(2, 12), activation)
    assert asked == [kind is ORDERED_NARROW, False]


def test_layers_with_one_input_are_computed_together(layer: nn.Linear, copy: Any) -> None:
    layers = [layer, nn.Linear(12, 4), nn.Linear(12, 8)]
    X = torch.randn(5, 12)
    found = products(layers, X, copy)
    for one, part in zip(found, layers, strict=True):
        close(one, expected(part, X, copy[0]))


def write_in_place(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight.mul_(2.0)


def write_bias(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.bias.add_(1.0)


def put_other_values(layer: nn.Linear) -> None:
    layer.weight.data = torch.randn(20, 12)


def write_through_data(layer: nn.Linear) -> None:
    """As libraries do that merge adapters, or average weights."""
    layer.weight.data.mul_(2.0)


def write_by_numpy(layer: nn.Linear) -> None:
    array = layer.bias.detach().numpy()
    array += 1.0


def put_inference_tensor(layer: nn.Linear) -> None:
    with torch.inference_mode():
        layer.weight.data = torch.randn(20, 12)


WRITES = [write_in_place, write_bias, put_other_values, write_through_data, write_by_numpy]


@pytest.mark.parametrize("write", WRITES)
def test_a_copy_is_made_anew_when_the_weights_change(
    write: Callable[[nn.Linear], None], layer: nn.Linear, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = packed._Copy
    monkeypatch.setattr(packed, "_Copy", lambda *_: made.append(1) or real([layer], *copy))
    X, every = torch.randn(5, 12), packed.Products([[layer]])

    def product() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            (found,) = every(5)[0](X)
        return found

    before = product()
    assert torch.equal(product(), before)
    assert len(made) == 1
    write(layer)
    found = product()
    close(found, expected(layer, X, copy[0]))
    assert not torch.equal(found, before)
    assert len(made) == 2


def test_weights_that_have_become_inference_tensors_are_not_copied(layer: nn.Linear) -> None:
    """torch does not count what is written to them."""
    every = packed.Products([[layer]])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert not isinstance(every(5)[0], packed._Plain)
        put_inference_tensor(layer)
        assert layer.weight.is_inference()
        assert isinstance(every(5)[0], packed._Plain)


def test_old_copies_are_gone_when_new_ones_are_made(
    layer: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = packed.Products([[layer]])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        old = weakref.ref(every(5)[0])
        assert old() is not None
        write_in_place(layer)
        real, alive = packed._Copy, []
        monkeypatch.setattr(packed, "_Copy", lambda *a: alive.append(old()) or real(*a))
        every(5)
    assert alive == [None]


def kind(layers: Sequence[nn.Linear], rows: int) -> Any:
    """The copy that products are made with; None: without one."""
    with patch.object(packed, "_Copy", lambda parts, dtype, ordered: (dtype, ordered)):
        (chosen,) = packed.Products([layers])(rows)
    return None if isinstance(chosen, packed._Plain) else chosen


@pytest.mark.parametrize("is_amd", [True, False])
@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_which_copy(
    is_amd: bool, has_bf16: bool, threads: int, layer: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "cpu_is_wide_amd", lambda: is_amd)
    monkeypatch.setattr(packed, "_is_there", lambda dtype: has_bf16 or dtype == torch.float32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    few = packed.FEW_ROWS_ALONE if threads == 1 else packed.FEW_ROWS
    many = few + 1
    assert kind([layer], few) == ORDERED
    assert kind([layer], many) == (ORDERED if is_amd else None)
    with torch.autocast("cpu", torch.bfloat16):
        for rows in (few, many):
            assert kind([layer], rows) == (ORDERED_NARROW if has_bf16 else NARROW)


def rows_for(n: int) -> int:
    return packed.compiled_rows(n, CPU)


def test_few_numbers_of_rows_are_compiled_and_little_is_computed_for_nothing() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = [rows_for(n) for n in range(1, 10_000)]
    assert (
        len(set(found[:4096])) < 90
    )  # of four products each; oneDNN keeps 1,024, of a megabyte each
    for n, computed in enumerate(found, 1):
        assert computed % 16 == 0
        assert 0 <= computed - n < max(16, n / 16)


@pytest.mark.parametrize("is_amd", [True, False])
def test_rows_are_as_many_as_there_are_where_nothing_is_compiled(
    is_amd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "cpu_is_wide_amd", lambda: is_amd)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert [rows_for(n) for n in (5, 100, 5000)] == [5, 100, 5000]  # training
    with torch.inference_mode():
        assert [rows_for(n) for n in (5, 100, 130)] == [8, 100, 136]
        assert rows_for(5001) == (5120 if is_amd else 5001)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed.compiled_rows(5, torch.device("cuda")) == 5


@pytest.mark.parametrize(
    ("low", "rows"),
    [(True, packed.FEW_ROWS), (True, packed.FEW_ROWS + 1), (False, packed.FEW_ROWS_ALONE)],
)
def test_what_cannot_be_copied(
    low: bool, rows: int, monkeypatch: pytest.MonkeyPatch, layer: nn.Linear
) -> None:
    if not low and not packed._is_there(torch.float32):
        pytest.skip("this torch has no oneDNN")
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        usual = kind([layer], rows)
        assert usual is not None
        assert kind([nn.Linear(3, 3, bias=False)], rows) is None
        assert kind([layer, nn.Linear(3, 3, bias=False)], rows) is None
        assert kind([nn.Linear(3, 3).double()], rows) is None
        with torch.inference_mode():
            assert kind([nn.Linear(3, 3)], rows) is None
        monkeypatch.setattr(packed, "MOST_BYTES", 20 * 12 * (2 if low else 4))
        assert kind([layer], rows) == usual
        assert kind([layer, layer], rows) is None


def test_only_calls_with_few_rows_use_ordered_weights_in_fp32_but_on_amd(
    monkeypatch: pytest.MonkeyPatch, family_dir: Callable[[str], Path]
) -> None:
    if not packed._is_there(torch.float32):
        pytest.skip("this torch has no oneDNN")
    rows: list[int] = []
    ordered = packed._ordered
    monkeypatch.setattr(packed, "cpu_is_wide_amd", lambda: False)
    monkeypatch.setattr(
        packed, "_ordered", lambda X, *a, **kw: rows.append(len(X)) or ordered(X, *a, **kw)
    )
    model = load(family_dir("bert"))
    both(model, [batch(*[100] * 3)])
    assert rows == []
    both(model, [batch(9, 4)])
    assert set(rows) == {16}
    monkeypatch.setattr(packed, "cpu_is_wide_amd", lambda: True)
    both(model, [batch(*[100] * 3)])
    assert set(rows) == {16, 304}


@pytest.mark.parametrize(("low", "expected"), [(torch.bfloat16, 16), (torch.float16, 1), (None, 1)])
def test_only_bf16_pads_keys(low: torch.dtype | None, expected: int) -> None:
    with torch.autocast("cpu", low, enabled=low is not None):
        assert direct._multiple_of_keys(CPU) == expected
        assert direct._multiple_of_keys(torch.device("cuda")) == 1


@pytest.mark.parametrize("family", sorted(FLAT))
@pytest.mark.parametrize("lengths", [(9, 4), (100, 100, 100)])
def test_copies_in_bf16_give_what_autocast_gives(
    family: str, lengths: tuple[int, ...], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family))
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = both(model, [batch(*lengths)])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=0.03, rtol=0.03)


def test_weights_are_made_narrower_once(
    monkeypatch: pytest.MonkeyPatch, family_dir: Callable[[str], Path]
) -> None:
    made: list[torch.dtype] = []
    real = packed._Copy
    monkeypatch.setattr(
        packed,
        "_Copy",
        lambda parts, dtype, ordered: made.append(dtype) or real(parts, dtype, ordered),
    )
    model, reader = load(family_dir("bert")), DirectReader()
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            direct_encoder = reader.of(model)
            assert direct_encoder is not None
            direct_encoder(model, [batch(*[100] * 3)], CPU, every=False)
    assert made == [torch.bfloat16] * 4 * model.config.num_hidden_layers
