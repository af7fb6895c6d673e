"""From the environment that torchrun sets to a group of processes."""

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from thinc.api import require_gpu

from .. import errors
from .group import Group
from .watch import JOIN_SECONDS, Watch

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
COLLECTIVE = timedelta(
    minutes=30
)  # until the slowest rank has made its part of a step; evaluations do not count


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def set_device(*, gpu: bool) -> None:
    """One GPU for each process of a machine. Raises DistributedError if there are too few."""
    if gpu:
        if local_rank() >= torch.cuda.device_count():
            raise errors.no_such_gpu(local_rank(), n_gpus=torch.cuda.device_count())
        torch.cuda.set_device(local_rank())
        require_gpu(local_rank())


def run_name(store: dist.Store) -> str:
    """Names what one torchrun does, however often it starts the processes again; "" without torchrun.

    `TORCHELASTIC_RUN_ID` is the same in many runs. torchrun's own store is there for as long as torchrun is; where it
    is not shared, the process that started this one stands for it.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        while isinstance(store, dist.PrefixStore):
            store = store.underlying_store
        found: bytes = store.compare_set("spacy_mtl/run", "", secrets.token_hex(16))
        return found.decode()
    return f"{socket.gethostname()}/{os.getppid()}/{_started(os.getppid())}"


def _started(pid: int) -> str:
    """When a process was started, in the system's own count; "" where that cannot be read."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


@contextmanager
def joined(*, gpu: bool = False) -> Iterator[Group]:
    """The group that this process belongs to, for as long as the context lasts.

    gpu: use the GPU with this process's number on its machine. Gradients are exchanged by gloo, on a GPU by nccl.

    Raises DistributedError without the environment that torchrun sets, and in place of whatever went wrong because
    another rank was lost.
    """
    missing = [name for name in ENVIRONMENT if not os.environ.get(name)]
    if missing:
        raise errors.not_launched(missing)
    deadline = time.monotonic() + JOIN_SECONDS
    join = timedelta(seconds=JOIN_SECONDS)
    store, rank, size = next(iter(dist.rendezvous("env://", timeout=join)))
    # torchrun keeps the store when it starts killed processes again: what the watch has found is this run's
    first = dist.PrefixStore("spacy_mtl", store)

    def left() -> float:
        return max(deadline - time.monotonic(), 1.0)

    def read(key: str) -> bytes:
        first.wait([key], timedelta(seconds=left()))
        found: bytes = first.get(key)
        return found

    watch = Watch(
        rank,
        size,
        host=os.environ["MASTER_ADDR"],
        publish=first.set,
        read=read,
        seconds=left(),
    )
    own = dist.PrefixStore(f"spacy_mtl/{watch.token}", store)
    try:
        with _ended_in_order(watch):
            set_device(gpu=gpu)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpu else "gloo",
                store=dist.PrefixStore("collectives", own),
                rank=rank,
                world_size=size,
                timeout=COLLECTIVE,
                device_id=torch.device("cuda", local_rank()) if gpu else None,
            )
            run = run_name(store) if rank == 0 else ""
            yield Group(rank, size, store=own, watch=watch, run=run)
            watch.close()
    except BaseException as error:
        watch.acknowledge()
        if watch.lost is not None and not isinstance(error, errors.DistributedError):
            raise errors.DistributedError(watch.lost) from error
        if watch.lost is None:
            reason = f"{type(error).__name__}: {error}".rstrip(".") + "."
            watch.say_failed(errors.rank_failed(**vars(watch.me), reason=reason))
        raise
    finally:
        with suppress(Exception):  # of a group that has lost a rank
            dist.destroy_process_group()


@contextmanager
def _ended_in_order(watch: Watch) -> Iterator[None]:
    """A signal raises DistributedError if a rank is lost.

    When one process dies torchrun terminates the others at once, before they can say which it was; and the watch
    interrupts whatever the main thread is in.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(signum: int, frame: FrameType | None) -> None:
        watch.wait_for_news()
        watch.check()
        raise SystemExit(128 + signum)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        watch.check()
        handler = before[signal.SIGINT]
        if callable(handler):
            handler(signum, frame)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if before[signal.SIGTERM] is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    if before[signal.SIGINT] not in (None, signal.SIG_DFL):
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
