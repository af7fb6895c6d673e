"""The processes that train together: sums and broadcasts over all of them, and waiting for the first one."""

import base64
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from thinc.api import torch2xp, xp2torch

from ..types import Array
from .watch import Watch

T = TypeVar("T")
BUCKET = 16_000_000  # numbers in one message


class Group:
    """All ranks of a run. Every rank has to make the same calls in the same order.

    Each call raises DistributedError, with the name of the rank that is to blame, if a rank is lost.

    run: on rank 0, what stays the same when the launcher starts the processes again; "" if it never does.
    """

    def __init__(
        self, rank: int, size: int, *, store: dist.Store, watch: Watch, run: str = ""
    ) -> None:
        self.rank = rank
        self.size = size
        self.watch = watch
        self.run = run
        self._store = store
        self._n_waits = 0

    @property
    def is_first(self) -> bool:
        """True for rank 0, which evaluates, logs and saves."""
        return self.rank == 0

    def sum(self, array: Array) -> Array:
        """The sum of an array over all ranks, where it was: in host memory or on the GPU."""
        tensor = as_tensor(array).clone()
        with self.watch.waiting():
            dist.all_reduce(tensor)
        return torch2xp(tensor)

    def sum_numbers(self, numbers: Iterable[float]) -> list[float]:
        """Sums over all ranks, in double precision."""
        values = np.array(list(numbers), dtype="d")
        return [float(value) for value in self.sum(values)]

    def sum_in_place(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            with self.watch.waiting():
                dist.all_reduce(flat)
            _spread(flat, bucket)

    def broadcast_in_place(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            with self.watch.waiting():
                dist.broadcast(flat, src=0)
            _spread(flat, bucket)

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """Rank 0's bytes on all ranks."""
        length = self.from_first(lambda: len(data or b""))
        held = bytearray(data or b"") if self.is_first else bytearray(length)
        if length:
            tensor = torch.frombuffer(held, dtype=torch.uint8)
            with self.watch.waiting():
                dist.broadcast(tensor, src=0)
        return bytes(held)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order; small ones."""
        found: list[Any] = [None] * self.size
        with self.watch.waiting():
            dist.all_gather_object(found, value)
        return found

    def from_first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes of something. The others wait for it as long as it takes: no collective can time out."""
        self._n_waits += 1
        key = f"made/{self._n_waits}"
        if self.is_first:
            value = make()
            if self.size > 1:
                self._store.set(key, base64.b64encode(pickle.dumps(value)).decode())
            return value
        pause = 0.002
        with self.watch.waiting():
            while not self._store.check([key]):
                self.watch.check()
                time.sleep(pause)
                pause = min(pause * 1.5, 0.2)
            found: T = pickle.loads(base64.b64decode(self._store.get(key)))
        return found


def as_tensor(array: Array) -> torch.Tensor:
    """The same memory as a tensor, on the processor or the GPU: on a GPU thinc keeps some layers on the processor."""
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else xp2torch(array)


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors of one device and type, in messages of a bounded size."""
    kinds: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    for kind in sorted(kinds, key=str):
        bucket: list[torch.Tensor] = []
        size = 0
        for tensor in kinds[kind]:
            if bucket and size + tensor.numel() > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.numel()
        if bucket:
            yield bucket


def _spread(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
