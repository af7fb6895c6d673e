"""What the device can compute in, and what was asked for."""

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ConfigError, not_one_of, only_in_fp32
from ..types import PRECISIONS

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_is_amd() -> bool:
    """True for processors of AMD: no other x86 processor has SSE4a."""
    return bool(_cpu_features().get("sse4a"))


def cpu_is_wide_amd() -> bool:
    """True for AMD's processors with AVX512, since Zen 4."""
    return cpu_is_amd() and bool(_cpu_features().get("avx512_f"))


def cpu_has_amx() -> bool:
    """True for processors whose matrix unit multiplies bf16 numbers."""
    return bool(_cpu_features().get("amx_bf16"))


def cpu_has_fast_bf16() -> bool:
    """True where bf16 matrix products are faster than fp32 ones: with AMX, and with AVX512-BF16 on AMD (since Zen 4).

    AVX512-BF16 of Intel's without AMX multiplies no more numbers at a time than fp32 does, and was slower where we
    measured (`project/benchmarks/precision.py`).
    """
    return cpu_has_amx() or (bool(_cpu_features().get("avx512_bf16")) and cpu_is_amd())


def _cpu_features() -> Mapping[str, Any]:
    """What torch knows of the processor, by name. Older releases of torch know of AMX only."""
    probe = getattr(torch.cpu, "get_capabilities", None)
    if probe is not None:
        found: Mapping[str, Any] = probe()
        return found
    older = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return {"amx_bf16": older is not None and older()}


# transformers' own code overflows in any other, or mixes two
_ONLY_IN_FP32 = ("deberta", "xmod")


def resolve_precision(
    precision: str, device: torch.device, model_type: str | None = None
) -> torch.dtype:
    """The dtype of the encoder's matrix products; weights and token vectors stay in fp32.

    `auto` takes bf16 where the device computes it natively, fp16 on CUDA devices of capability 7, else fp32. So
    does `int8`, which is for prediction on a processor only (`int8.py`).

    model_type: of the encoder's config, if it is known; some compute in fp32 only.

    Raises ConfigError for an unknown name and for a precision that the device, or the encoder, does not have.
    """
    if precision not in PRECISIONS:
        raise not_one_of(precision, key="model.precision", choices=PRECISIONS)
    if model_type in _ONLY_IN_FP32:
        if precision in ("bf16", "fp16"):
            raise only_in_fp32(str(model_type), precision)
        return torch.float32
    if precision in ("auto", "int8"):
        return _best(device)
    # torch.cuda.is_bf16_supported is also true where bf16 is emulated, which is slower than fp32
    old = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8
    if precision == "bf16" and old:
        raise ConfigError(
            f"`model.precision = 'bf16'` is not supported by `{torch.cuda.get_device_name(device)}`. "
            "Set `model.precision` to `auto`, `fp16` or `fp32`."
        )
    return _DTYPES[precision]


def _best(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device)[0] >= 8:
            return torch.bfloat16
        return torch.float16 if torch.cuda.get_device_capability(device)[0] >= 7 else torch.float32
    if device.type == "cpu" and cpu_has_fast_bf16():
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which matrix products run in `dtype`; does nothing for fp32."""
    low = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(device.type, dtype=dtype if low else None, enabled=low)


class LossScale:
    """fp16's dynamic loss scale: gradients are multiplied by it before the backward pass, divided after it.

    Halved when a gradient overflows, doubled after `patience` steps without one
    (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).
    """

    def __init__(self, value: float = 2.0**16, patience: int = 2000) -> None:
        self.value = value
        self.patience = patience
        self.good_steps = 0

    def unscale(self, gradients: list[torch.Tensor]) -> bool:
        """Divide the gradients in place. Returns False, and lowers the scale, if one is not finite."""
        torch._foreach_mul_(gradients, 1.0 / self.value)
        norms = torch.stack(torch._foreach_norm(gradients))
        if not bool(torch.isfinite(norms).all()):
            self.value, self.good_steps = max(self.value / 2, 1.0), 0
            return False
        self.good_steps += 1
        if self.good_steps % self.patience == 0:
            self.value *= 2
        return True
