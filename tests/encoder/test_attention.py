"""Encoders of the BERT family read windows without padding. That they equal Hugging Face is tested in `parity`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.utils.parametrize
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from spacy_mtl.encoder import attention
from spacy_mtl.encoder.attention import Group, attend, encode_flat, reads_flat, runs
from spacy_mtl.encoder.huggingface import load_pretrained
from spacy_mtl.encoder.layers import checkpoint_layers
from spacy_mtl.errors import ConfigError
from spacy_mtl.types import MicroBatch

CPU = torch.device("cpu")
FLAT = {"bert", "distilbert", "minilm", "roberta", "xlm-roberta"}  # among our tiny families


def batch(*lengths: int) -> MicroBatch:
    ids = np.random.default_rng(len(lengths)).integers(5, 60, (len(lengths), max(lengths)))
    return MicroBatch(ids, np.array(lengths))


def load(folder: Path, **settings: str) -> Any:
    encoder = load_pretrained(str(folder), transformer_config=settings, tokenizer_config={})
    return encoder.model.eval()


def test_calls_hold_micro_batches_in_order_within_the_budget() -> None:
    batches = [batch(9), batch(4, 4), batch(3, 2), batch(2, 1, 1)]
    assert list(runs(batches, 10)) == [batches[:1], batches[1:2], batches[2:]]
    assert list(runs(batches, 1000)) == [batches]
    assert list(runs(batches, 1)) == [[one] for one in batches]
    assert list(runs([], 5)) == []


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(40, 200))
def test_calls_are_few_and_none_is_small(sizes: list[int], budget: int) -> None:
    batches = [batch(n) for n in sizes]
    found = list(runs(batches, budget))
    assert [one for run in found for one in run] == batches
    held = [sum(len(one.ids[0]) for one in run) for run in found]
    assert all(n <= budget for n in held)
    assert sum(held) == sum(sizes)
    # the last one too, unless there was one of nearly the budget before it
    assert len(held) < 2 or held[-1] + held[-2] > min(budget, max(held))
    assert len(found) <= 2 * -(-sum(sizes) // budget)


def test_what_is_left_is_no_call_of_its_own() -> None:
    sizes = np.linspace(95, 1, 40).astype(int).tolist()
    held = [
        sum(int(one.lengths.sum()) for one in run) for run in runs([batch(n) for n in sizes], 1000)
    ]
    assert len(held) == 2
    assert max(held) - min(held) < 100


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "t5", "modernbert"])
def test_only_the_bert_family_is_read_flat(family: str, family_dir: Callable[[str], Path]) -> None:
    assert reads_flat(load(family_dir(family))) == (family in FLAT)


def test_other_attention_and_gradient_checkpoints_need_padding(
    family_dir: Callable[[str], Path],
) -> None:
    assert not reads_flat(load(family_dir("bert"), attn_implementation="eager"))
    model = load(family_dir("bert"))
    checkpoint_layers(model)
    assert not reads_flat(model)


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("lengths", [[(7, 7), (3, 3)], [(9, 4, 1)], [(6,), (5, 4), (2, 2, 1)]])
def test_each_window_is_as_if_it_were_read_alone(
    family: str, lengths: list[tuple[int, ...]], every: bool, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family))
    batches = [batch(*group) for group in lengths]
    with torch.inference_mode():
        found = encode_flat(model, batches, CPU, every=every)
        start = 0
        for one in batches:
            for ids, length in zip(one.ids, one.lengths, strict=True):
                output = model(torch.from_numpy(ids[None, :length]), output_hidden_states=True)
                expected = output.hidden_states if every else [output.last_hidden_state]
                for mine, theirs in zip(found, expected, strict=True):
                    part = mine[start : start + length]
                    torch.testing.assert_close(part, theirs[0], atol=1e-5, rtol=1e-4)
                start += length
    assert all(len(layer) == start for layer in found)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_more_wordpieces_than_the_encoder_has_positions_fit_into_one_call(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family))
    (found,) = encode_flat(model, [batch(*[100] * 5)], CPU, every=False)
    assert found.shape == (500, 32)  # it has 128


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_attention_is_seen_though_its_scores_are_wanted(
    family: str, family_dir: Callable[[str], Path]
) -> None:
    """transformers 4 leaves torch's function for an attention of its own then, over the whole row."""
    models = load(family_dir(family)), load(family_dir(family), output_attentions=True)
    found, expected = (
        encode_flat(model, [batch(9, 4), batch(6)], CPU, every=False)[0] for model in models
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_attention_that_is_not_seen_is_an_error(
    family: str, family_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(family_dir(family))
    monkeypatch.setattr(attention, "scaled_dot_product_attention", None)
    with pytest.raises(ConfigError, match=f'`{family}`.*attn_implementation = "eager"'):
        encode_flat(model, [batch(9, 4)], CPU, every=False)


class Shifted(torch.nn.Module):
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X + 1.0


def parametrise(model: Any) -> None:
    table = model.embeddings.position_embeddings
    torch.nn.utils.parametrize.register_parametrization(table, "weight", Shifted())


def wrap(model: Any) -> None:
    model.embeddings.position_embeddings = torch.nn.Sequential(model.embeddings.position_embeddings)


def call_otherwise(model: Any) -> None:
    table = model.embeddings.position_embeddings
    table.forward = lambda ids: torch.nn.functional.embedding(ids, table.weight.clone())


@pytest.mark.parametrize("change", [parametrise, wrap, call_otherwise])
def test_distilbert_needs_padding_if_its_positions_cannot_be_told(
    change: Callable[[Any], None], family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir("distilbert"))
    assert reads_flat(model)
    change(model)
    assert not reads_flat(model)
    assert not reads_flat(model, train=False)


def group(*lengths: int, multiple: int) -> Group:
    inside = np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]
    return Group.of(inside, CPU, multiple=multiple)


@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize("lengths", [[(7, 7)], [(8, 8, 8)], [(9, 4, 1)], [(16,), (5, 4), (1,)]])
def test_attention_is_the_same_whatever_the_number_of_keys(
    lengths: list[tuple[int, ...]], multiple: int
) -> None:
    """Values, and gradients of queries, keys and values, are those of each window by itself."""
    groups = [group(*some, multiple=multiple) for some in lengths]
    n = sum(map(sum, lengths))
    parts = [torch.randn(n, 2, 4, requires_grad=True) for _ in range(3)]
    found = attend(groups, *parts)
    ends = np.cumsum([length for some in lengths for length in some])
    alone = torch.cat(
        [
            attend([group(end - start, multiple=1)], *(x[start:end] for x in parts))
            for start, end in zip([0, *ends], ends, strict=False)
        ]
    )
    torch.testing.assert_close(found, alone)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((Y * weights).sum(), parts) for Y in (found, alone)]
    torch.testing.assert_close(*gradients)


def test_the_number_of_keys_is_a_multiple_of_what_was_asked() -> None:
    equal, unequal, whole = (
        group(9, 9, multiple=16),
        group(9, 4, multiple=16),
        group(16, 16, multiple=16),
    )
    assert [g.n_keys for g in (equal, unequal, whole)] == [16, 16, 16]
    assert equal.source is None  # the queries need no padding
    assert unequal.source is not None
    assert whole.mask is None
    assert equal.mask is not None
    assert equal.mask.shape == (2, 1, 1, 16)
    assert equal.mask.sum() == 18


def test_rows_beyond_the_windows_get_zeros_and_no_gradient() -> None:
    groups = [group(5, 5, multiple=1), group(3, 2, multiple=1)]
    parts = [torch.randn(19, 2, 4, requires_grad=True) for _ in range(3)]
    found = attend(groups, *parts)
    torch.testing.assert_close(found[:15], attend(groups, *(x[:15] for x in parts)))
    assert not found[15:].any()
    for gradient in torch.autograd.grad((found * torch.randn_like(found)).sum(), parts):
        assert gradient[:15].any(dim=(1, 2)).all()
        assert not gradient[15:].any()


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_rows_that_are_computed_for_nothing_change_neither_values_nor_gradients(
    family: str,
    every: bool,
    family_dir: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load(family_dir(family))
    batches = [batch(9, 4, 1), batch(7, 7)]
    weights = torch.randn(28, model.config.hidden_size)
    seen = []
    for over in (0, 1, 20):
        monkeypatch.setattr(attention, "compiled_rows", lambda n, *_, over=over, **__: n + over)
        layers = encode_flat(model, batches, CPU, every=every)
        assert {len(layer) for layer in layers} == {28}
        model.zero_grad()
        sum((layer * weights).sum() for layer in layers).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        seen.append([layer.detach() for layer in layers] + gradients)
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], atol=1e-5, rtol=1e-4)


class CountWaits(TorchDispatchMode):
    """Counts what would wait for a GPU: reading a number out of a tensor."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = func is torch.ops.aten._local_scalar_dense.default
        self.n += reads and args[0] is not attention._NO_PADDING
        return func(*args, **(kwargs or {}))


class NoLists(TorchFunctionMode):
    """Lists as indices are brought to the device, which waits for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list) for part in index)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("family", sorted(FLAT))
def test_nothing_waits_for_the_device(
    family: str, train: bool, family_dir: Callable[[str], Path]
) -> None:
    model = load(family_dir(family)).train(train)
    with NoLists(), CountWaits() as mode, torch.set_grad_enabled(train):
        encode_flat(model, [batch(9, 4, 4), batch(6)], CPU, every=False)
    assert mode.n == 0
    assert "warn_if_padding_and_no_attention_mask" not in vars(model)


def test_what_hooks_ask_is_answered(family_dir: Callable[[str], Path]) -> None:
    model = load(family_dir("bert"))
    found = []

    def ask(module: Any, inputs: Any, output: Any) -> None:
        found.append(
            (bool(torch.isfinite(torch.tensor([torch.nan])).all()), 7 in torch.tensor([7]))
        )

    model.embeddings.register_forward_hook(ask)
    model.encoder.layer[0].register_forward_hook(ask)
    encode_flat(model, [batch(9, 4, 4), batch(6)], CPU, every=False)
    assert found == [(False, True)] * 2


@pytest.mark.parametrize(("device", "expected"), [("cuda", [False]), ("cpu", []), ("mps", [])])
def test_a_gpu_does_not_plan_attention_anew_for_each_shape(
    device: str, expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    switched: list[bool] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", switched.append)
    attention.avoid_cudnn(torch.device(device))
    assert switched == expected
