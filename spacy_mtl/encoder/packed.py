"""Linear layers in prediction, with weights that are brought once into the form that the products want.

**Order.** On a processor a product with few rows spends most of its time on ordering the weights, each time anew,
and in one thread. oneDNN takes weights that are in order already: with two threads and 20 to 130 rows it is up to twice
as fast as the plain product. With 1,000 it is still a sixth faster in bf16, and on AMD's processors with AVX512, which
the plain product (MKL's) does not use; in fp32 it is no faster on Intel's, and an eighth slower on AMD's without AVX512
(project/benchmarks/NOTES.md).

**Precision.** Autocast keeps the weights in fp32 and makes them narrower for each batch: for a short text that takes
longer than its products do. Where oneDNN can, what follows a product in low precision is computed with it: the
activation, and in bf16 the sum with the layer's input. That is rounded to bf16 then, as in a model that is so as a
whole; autocast keeps it in fp32, and takes an eighth longer.

**Integers.** Where they are asked for, see `int8.py`.

Each costs a copy of the weights, made when it is first needed, and made again when the weights have changed.

**Rows.** oneDNN compiles a product anew for each number of rows, which takes several times as long as the product
does. So numbers of rows are rounded up to a few.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from . import int8
from .precision import cpu_is_wide_amd
from .products import GELU, Activation, Product, probing

FEW_ROWS = 256  # with several threads
FEW_ROWS_ALONE = 64  # with one, measured on AMD without AVX512
MOST_BYTES = 512 * 2**20  # of a copy: a larger encoder is not copied
_ROWS = 64  # that the order is best for
_LEAST_STEP_LOW = 16  # rows of a tile of AMX's
_LEAST_STEP = 4  # in fp32, where a row costs what a row costs
_STEPS = 32  # between nothing and a power of two


class _Plain:
    """torch's products."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.parts = parts

    def __call__(
        self, X: Tensor, activation: Activation | None = None, plus: Tensor | None = None
    ) -> Sequence[Tensor]:
        found = [linear(X, part.weight, part.bias) for part in self.parts]
        if plus is not None:
            return [_add(Y, plus) for Y in found]
        return found if activation is None else [activation(Y) for Y in found]


class _Copy:
    """Products with a copy of the weights of layers with the same input. ordered: as oneDNN wants them."""

    def __init__(self, parts: Sequence[nn.Linear], dtype: torch.dtype, ordered: bool) -> None:
        self.dtype, self.ordered = dtype, ordered
        self.sizes = [part.out_features for part in parts]
        self.weight = torch.cat([part.weight.detach() for part in parts]).to(dtype)
        self.bias = torch.cat([part.bias.detach() for part in parts]).to(dtype)
        if ordered:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)

    def __call__(
        self, X: Tensor, activation: Activation | None = None, plus: Tensor | None = None
    ) -> Sequence[Tensor]:
        dtype, weight, bias = self.dtype, self.weight, self.bias
        X = X.to(dtype)
        if not self.ordered:
            found = linear(X, weight, bias)
        elif plus is not None and dtype is torch.bfloat16:  # in fp16 it might overflow
            return [_ordered_sum(X, plus.to(dtype), weight, bias)]
        elif activation is GELU and dtype is not torch.float32:  # there it differs by 5e-5
            found, activation = _ordered(X, weight, bias, gelu=True), None
        else:
            found = _ordered(X, weight, bias)
        if plus is not None:
            return [_add(found, plus)]
        if activation is not None:
            found = activation(found)
        return [found] if len(self.sizes) == 1 else found.split_with_sizes(self.sizes, dim=1)


class Products:
    """An encoder's linear layers. groups: those with the same input. Inference only.

    Which tensors are the layers' weights must not change; what they hold may. int8: to be computed in 8-bit integers,
    if they can be.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Linear]], *, int8: bool = False) -> None:
        self._int8 = int8
        parts = [part for group in groups for part in group]
        self.groups = groups
        self._plain = [_Plain(group) for group in groups]
        self._has_all = all(part.bias is not None for part in parts)
        self._weights = [x for part in parts for x in (part.weight, part.bias) if x is not None]
        self._matrices = [part.weight for part in parts]
        self._size = sum(x.numel() for x in self._matrices)
        self._copies: dict[tuple[torch.dtype, bool], _Copies] = {}

    def __call__(self, n_rows: int) -> Sequence[Product]:
        """How to compute each group for so many rows."""
        device = self._weights[0].device.type
        low = torch.is_autocast_enabled(device)
        if self.are_int8:
            key = torch.int8, True
        else:
            dtype = torch.get_autocast_dtype(device) if low else torch.float32
            key = dtype, device == "cpu" and (low or _order_pays(n_rows)) and _is_there(dtype)
            if not (low or key[1]):
                return self._plain
        known = self._copies.get(key)
        if known and known.are_up_to_date():
            return known.products
        self._copies.pop(key, None)
        if not self._are_known:
            return self._plain
        known = None  # its memory is for the new ones
        products: Sequence[Product] = self._plain
        if self._can_copy(key[0]):
            products = [self._copy(group, *key) for group in self.groups]
        self._copies[key] = _Copies(self._weights, products)
        return products

    @property
    def are_int8(self) -> bool:
        """Whether they are computed in 8-bit integers."""
        on_cpu = self._int8 and self._weights[0].device.type == "cpu"
        return on_cpu and self._are_known and int8.is_there() and self._can_copy(torch.int8)

    @property
    def _are_known(self) -> bool:
        """Whether there may be copies: of inference tensors torch does not count what is written to them."""
        return self._has_all and not any(map(torch.is_inference, self._weights))

    @staticmethod
    def _copy(group: Sequence[nn.Linear], dtype: torch.dtype, ordered: bool) -> Product:
        return int8.Int8Copy(group) if dtype is torch.int8 else _Copy(group, dtype, ordered)

    def _can_copy(self, dtype: torch.dtype) -> bool:
        fits = self._size * dtype.itemsize <= MOST_BYTES
        return fits and all(x.dtype is torch.float32 for x in self._matrices)


class _Copies:
    """Products, and the state of the weights that they were made of."""

    def __init__(self, weights: Sequence[Tensor], products: Sequence[Product]) -> None:
        self._weights, self.products = weights, products
        cpu = [x for x in weights if x.device.type == "cpu" and x.dtype == torch.float32]
        # of each the first number, where it lies
        arrays: list[Any] = [x.detach().flatten()[:1].numpy() for x in cpu if x.numel()]
        self._firsts = [memoryview(array) for array in arrays]
        self._state = self._now()

    def are_up_to_date(self) -> bool:
        """Whether weights are where they were, and hold what they held.

        What is written to them through `.data`, or by fused optimizers, torch does not count; on a processor a look at
        the first number of each tells.
        """
        return self._now() == self._state

    def _now(self) -> tuple[list[tuple[int, int]], list[float]]:
        where = [(x.data_ptr(), x._version) for x in self._weights]
        return where, [first[0] for first in self._firsts]


def compiled_rows(n_rows: int, device: torch.device, *, compiles: bool = False) -> int:
    """How many rows to compute where so many are wanted: a multiple of 16, in fp32 of 4; of 256 and more up to a
    16th above.

    oneDNN keeps what it has compiled for 1,024 shapes; one of a new number of rows costs, in bf16 with AMX, 0.4 ms for
    20 rows and 2 to 8 ms for 500 to 4,000, where the product itself takes 0.06 to 2, and 0.6 to 1.1 MB
    (project/benchmarks/NOTES.md). As many as there are on other devices, and where MKL computes fp32.
    compiles: whether oneDNN computes them in any case.
    """
    if device.type != "cpu":
        return n_rows
    low = torch.is_autocast_enabled("cpu")
    compiles |= low or (not torch.is_grad_enabled() and _order_pays(n_rows))
    if not compiles:
        return n_rows
    step = max(_LEAST_STEP_LOW if low else _LEAST_STEP, (1 << n_rows.bit_length()) // _STEPS)
    return -(-n_rows // step) * step


def compiled_shape(rows: int, longest: int, device: torch.device) -> tuple[int, int]:
    """The same for micro-batches that are read padded: more than 16 rows are multiples of 4, lengths of 8 up to 64."""
    if device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return rows, longest
    step, unit = 4 if rows > 16 else 1, 8 if longest <= 64 else 16
    return -(-rows // step) * step, -(-longest // unit) * unit


def _order_pays(n_rows: int) -> bool:
    """Of weights in fp32."""
    few = FEW_ROWS if torch.get_num_threads() > 1 else FEW_ROWS_ALONE
    return n_rows <= few or cpu_is_wide_amd()


def _ordered(X: Tensor, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> Tensor:
    name, variant = ("gelu", "none") if gelu else ("none", "")
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(X, weight, bias, name, [], variant)
    return found


def _ordered_sum(X: Tensor, plus: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(X, plus, weight, bias, "add")
    return found


def _add(new: Tensor, X: Tensor) -> Tensor:
    """The sum, in the memory of the first; not where autocast has made that one narrower."""
    return new.add_(X) if new.dtype == X.dtype else new + X


@cache
def _is_there(dtype: torch.dtype) -> bool:
    """Whether torch has the operators, which it keeps for its own compiler, and they compute what they should here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with probing():
        layer, X = nn.Linear(4, 6).to(dtype), torch.eye(4, dtype=dtype)
        try:
            copy = _Copy([layer], dtype, True)
            found = _ordered(X, copy.weight, copy.bias)
            curved = _ordered(X, copy.weight, copy.bias, gelu=True)
            summed = _ordered_sum(X, found, copy.weight, copy.bias)
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            return False
        near = 1e-2 if dtype.itemsize < 4 else 1e-5
        expected = layer(X)
        return all(
            torch.allclose(result, right, atol=atol)
            for result, right, atol in (
                (found, expected, near),
                (curved, gelu(expected), 1e-2),
                (summed, 2 * expected, 2 * near),
            )
        )
