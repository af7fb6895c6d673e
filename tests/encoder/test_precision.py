"""What the device can compute in, what was asked for, and fp16's loss scale."""

import pytest
import torch

from spacy_mtl.encoder.precision import (
    LossScale,
    autocast,
    cpu_is_amd,
    cpu_is_wide_amd,
    resolve_precision,
)
from spacy_mtl.errors import ConfigError

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
@pytest.mark.parametrize("device", [CPU, CUDA], ids=["cpu", "cuda"])
def test_a_named_precision_is_taken_at_its_word(
    asked: str, dtype: torch.dtype, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert resolve_precision(asked, device) is dtype


@pytest.mark.parametrize("asked", ["fp64", "", "float32", "BF16", "mixed"])
def test_an_unknown_precision_is_refused_with_the_choices(asked: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_precision(asked, CPU)
    message = str(caught.value)
    assert f"`model.precision = {asked!r}`" in message
    for choice in ("fp32", "bf16", "fp16", "int8", "auto"):
        assert f"`{choice}`" in message


def test_bf16_on_a_gpu_without_it_is_refused_with_the_gpus_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **kw: True)  # by emulation
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(ConfigError, match=r"`model.precision = 'bf16'`.*`Old GPU`.*`auto`, `fp16`"):
        resolve_precision("bf16", CUDA)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((6, 1), torch.float32),
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ],
)
def test_auto_takes_what_the_gpu_computes_natively(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", CUDA) is dtype
    assert (
        resolve_precision("int8", CUDA) is dtype
    )  # only a processor's predictions are in integers


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"amx_bf16", "avx512_bf16"}, torch.bfloat16),  # Intel, since Sapphire Rapids
        ({"avx512_bf16", "avx512_f", "sse4a"}, torch.bfloat16),  # AMD, since Zen 4
        ({"avx512_bf16"}, torch.float32),  # Intel's Cooper Lake, or a machine that hides AMX
        ({"avx512_f", "sse4a"}, torch.float32),  # AMD with AVX512 and no bf16: none was sold
        ({"avx2", "sse4a"}, torch.float32),  # AMD before Zen 4
        ({"avx2"}, torch.float32),
        ({"neon", "bf16"}, torch.float32),  # never measured
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else None,
)
def test_auto_takes_bf16_on_a_cpu_only_where_it_is_faster(
    features: set[str], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"avx512_bf16": False, **dict.fromkeys(features, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert resolve_precision("auto", CPU) is dtype
    assert cpu_is_amd() is ("sse4a" in features)
    assert cpu_is_wide_amd() is ({"sse4a", "avx512_f"} <= features)


@pytest.mark.parametrize(("amx", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_an_older_torch_knows_of_amx(
    amx: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert resolve_precision("auto", CPU) is dtype


def test_a_torch_without_any_cpu_probe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in ("get_capabilities", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert resolve_precision("auto", CPU) is torch.float32


def test_auto_on_another_device_is_fp32() -> None:
    assert resolve_precision("auto", torch.device("mps")) is torch.float32


def test_autocast_does_nothing_in_fp32() -> None:
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with autocast(CPU, torch.float32):
        assert not torch.is_autocast_enabled("cpu")
        inside = a @ a
    assert inside.dtype is torch.float32
    assert torch.equal(inside, a @ a)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_multiplies_in_the_lower_precision_and_keeps_weights(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, dtype):
        assert layer(torch.ones(2, 4)).dtype is dtype
    assert layer.weight.dtype is torch.float32
    assert not torch.is_autocast_enabled("cpu")


def gradients(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([value, 1.0]) for value in values]


def test_the_loss_scale_is_divided_out_of_the_gradients() -> None:
    scale = LossScale(value=8.0)
    grads = gradients(16.0, -4.0)
    assert scale.unscale(grads)
    assert [grad.tolist() for grad in grads] == [[2.0, 0.125], [-0.5, 0.125]]
    assert scale.value == 8.0
    assert scale.good_steps == 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_an_overflow_skips_the_step_and_halves_the_scale(value: float) -> None:
    scale = LossScale(value=8.0)
    scale.unscale(gradients(1.0))
    assert not scale.unscale(gradients(1.0, value, 2.0))
    assert scale.value == 4.0
    assert scale.good_steps == 0


def test_the_scale_never_falls_below_one() -> None:
    scale = LossScale(value=2.0)
    for _ in range(5):
        assert not scale.unscale(gradients(float("inf")))
    assert scale.value == 1.0


def test_the_scale_doubles_after_enough_good_steps_in_a_row() -> None:
    scale = LossScale(value=4.0, patience=3)
    values = []
    for step in range(9):
        scale.unscale(gradients(float("inf") if step == 2 else 1.0))
        values.append(scale.value)
    assert values == [4.0, 4.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 8.0]


def test_gradients_as_small_as_fp16_needs_survive_the_scale() -> None:
    scale = LossScale()
    grads = [torch.tensor([1e-6 * scale.value])]
    assert scale.unscale(grads)
    torch.testing.assert_close(grads[0], torch.tensor([1e-6]))
