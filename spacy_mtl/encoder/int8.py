"""Linear layers in 8-bit integers, for prediction on processors that are not fast in bf16.

Each row of the input has a step `a` and a lowest number `l` of its own, found while predicting (dynamic quantisation by
token: Yao et al. 2022, arXiv 2206.01861), so that no other text in its batch makes a text's steps coarser. Each output
of the weights has a step `b`, once for all. With `x = a q + l` and `w = b r`, `q` and `r` integers, the product is
`a b sum(q r) + l b sum(r)`, whose first sum is exact (Jacob et al. 2018, arXiv 1712.05877, section 2.2). Still, fp32's
rounding in attention, which depends on the lengths in a batch, may take a number to the next step, and many more in the
layers above: of one text in ten the vectors then differ, by 3% of their length, as they do from fp32's.

oneDNN multiplies inputs in 0 to 255 by weights in -128 to 127. Where a processor has no instructions for that (VNNI),
sums of two neighbouring products are cut off at 32,767: `255 (r[2i] + r[2i + 1])` must not go beyond. So the step of an
output is such that neighbours of the same sign add up to 127 at most before they are rounded. With normally distributed
weights that is 0.66 of the step with which no single one is above 63, as is usual there. It is the same on every
processor, and so are the results but for rounding in fp32.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .products import Activation, probing

_MOST = 127  # of two weights
_LEAST_STEP = 1e-30  # of an output without weights


def _number(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """torch takes longer to make a tensor of a number than to compute with it."""
    return torch.tensor(value, dtype=dtype, device="cpu")


_STEPS = _number(255)  # from the lowest number of a row to its highest
_MIDDLE = _number(128 / 255)
_HALF = _number(128, torch.uint8)
_LEAST = _number(1e-30)  # span of a row that is all the same


class Int8Copy:
    """Products with a copy of the weights of layers with the same input, all of which have a bias."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.sizes = [part.out_features for part in parts]
        rounded, steps = quantise_weights(
            torch.cat([part.weight.detach() for part in parts]).float()
        )
        self.zeros = torch.zeros(len(rounded), dtype=torch.long, device=rounded.device)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        self.bias = torch.cat([part.bias.detach() for part in parts]).float()
        self.sums = rounded.sum(1).mul_(steps)
        self.steps = steps.div(_STEPS)

    def __call__(
        self, X: Tensor, activation: Activation | None = None, plus: Tensor | None = None
    ) -> Sequence[Tensor]:
        rounded, spans, lowest = quantise_rows(X.float(), spent=plus is not None)
        found: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            rounded,
            *(1.0, 0),  # step and zero of the input
            *(self.weight, self.steps, self.zeros),
            None,  # bias
            *(1.0, 0, torch.float32),  # of the output
            *("none", [], ""),  # activation
        )
        found = found.mul_(spans).addcmul_(lowest, self.sums).add_(self.bias)
        if plus is not None:
            return [found.add_(plus)]
        if activation is not None:
            found = activation(found)
        return [found] if len(self.sizes) == 1 else found.split_with_sizes(self.sizes, dim=1)


def quantise_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[out, in] in fp32 to whole numbers in fp32, [out, in], and their steps, [out]."""
    pairs = pad(weight, (0, weight.shape[1] % 2)).view(len(weight), -1, 2)
    above, below = (x.clamp(min=0).sum(2).amax(1) for x in (pairs, -pairs))
    steps = torch.maximum(above, below).div_(_MOST).clamp_(min=_LEAST_STEP)
    return weight.div(steps[:, None]).round_(), steps


def quantise_rows(X: Tensor, *, spent: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """[rows, in] in fp32 to uint8, and the spans and lowest numbers of the rows, [rows, 1].

    A number is off by half a step, or by 3e-5 of its size if that is more: 255 steps of less are lost in fp32's own
    rounding. spent: whether X may be written to.
    """
    lowest = X.amin(1, keepdim=True)
    spans = torch.maximum(X.amax(1, keepdim=True).sub_(lowest), _LEAST)
    middle = torch.addcmul(lowest, spans, _MIDDLE)
    moved = X.sub_(middle) if spent else X.sub(middle)
    # torch casts to int8 five times as fast as to uint8
    rounded = moved.mul_(_STEPS / spans).round_().to(torch.int8).view(torch.uint8)
    return rounded.bitwise_xor_(_HALF), spans, lowest


@cache
def is_there() -> bool:
    """Whether torch has the operators, which it keeps for its own compiler, and they compute what they should here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with probing():
        generator = torch.Generator().manual_seed(0)
        layer = nn.Linear(66, 34, dtype=torch.float32)
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        rounded, steps = quantise_weights(layer.weight)
        X = torch.cat([rounded > 0, rounded < 0]).float() * _STEPS  # gives the largest sums
        try:
            (found,) = Int8Copy([layer])(X)
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            return False
        return torch.allclose(found, X @ rounded.T * steps + layer.bias, rtol=1e-4, atol=1e-3)
