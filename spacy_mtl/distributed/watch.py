"""Tells every process at once when one of them dies or fails, and which.

Every rank holds a connection to rank 0. The kernel closes it when a process dies, however busy the others are, and
TCP's keepalive notices a machine that is gone. Rank 0 passes the news on.
"""

import json
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from .. import errors

JOIN_SECONDS = 600.0  # for all processes to find each other and rank 0
ANSWER_SECONDS = 60.0  # for rank 0 to answer
GRACE_SECONDS = 15.0  # for the main thread to end in order once a rank is lost
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


@dataclass(frozen=True)
class Member:
    """A process of the run, as an error names it."""

    rank: int
    host: str
    pid: int

    @classmethod
    def this(cls, rank: int) -> "Member":
        return cls(rank, socket.gethostname(), os.getpid())


class Line:
    """A connection over which JSON goes line by line."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self.connection = connection
        self.is_done = False  # the other side has said that it ends in order
        self._buffer = b""

    def send(self, **message: Any) -> None:
        """Nothing happens if the other side is gone: whoever reads will notice."""
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come in; waits for something. None if the other side is gone."""
        try:
            data = self.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            return [dict(json.loads(line)) for line in lines]
        except (ValueError, TypeError):  # not one of us
            return None

    def close(self) -> None:
        self.connection.close()


class Watch:
    """Knows whether all ranks are well.

    publish, read: write a value for all ranks, and wait for it. What an earlier run has left there may be read: whoever
        finds nobody, or somebody else, where it says, reads again. host: where rank 0 can be reached. seconds: for all
        to find rank 0.
    token: the same on all ranks, and only in this run.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        host: str,
        publish: Callable[[str, str], None],
        read: Callable[[str], bytes],
        seconds: float | None = None,
    ) -> None:
        self.me = Member.this(rank)
        self.token = secrets.token_hex(16)
        self.lost: str | None = None  # why the run cannot go on
        self._seconds = JOIN_SECONDS if seconds is None else seconds
        # the main thread is in `waiting`, which ends by itself if a rank is lost, or still joins
        self._waits = True
        self._lock = threading.Lock()
        self._noticed = threading.Event()
        self._acknowledged = threading.Event()
        self._stop = threading.Event()
        self._lines: dict[int, tuple[Line, Member]] = {}
        if size > 1:
            try:
                if rank == 0:
                    self._wait_for_others(size, publish)
                else:
                    self._join(host, read)
            except BaseException:
                self._hang_up()
                raise
            finally:
                self._waits = False
            threading.Thread(target=self._follow, name="watch", daemon=True).start()

    def check(self) -> None:
        """Raises DistributedError if a rank is lost."""
        if self.lost is not None:
            self.acknowledge()
            raise errors.DistributedError(self.lost)

    def acknowledge(self) -> None:
        """The main thread knows, and ends in order: however long it saves, the process is not ended under it."""
        self._acknowledged.set()

    def wait_for_news(self, seconds: float = 5.0) -> None:
        """Until a rank is lost, but no longer than this."""
        self._noticed.wait(seconds)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around whatever waits for other ranks. Raises DistributedError if one of them is lost."""
        with self._lock:
            self.check()
            self._waits = True
        try:
            yield
        except RuntimeError as error:  # of a collective, or of the store
            raise self._explain(error) from error
        finally:
            with self._lock:
                self._waits = False
        self.check()

    def _explain(self, error: RuntimeError) -> errors.DistributedError:
        """The connection of a collective may be closed before the news comes which rank is lost."""
        self.wait_for_news(10.0)
        self.acknowledge()
        return (
            errors.collective_failed(error)
            if self.lost is None
            else errors.DistributedError(self.lost)
        )

    def say_failed(self, why: str) -> None:
        """Tell the others that this rank cannot go on."""
        for line, _ in self._lines.values():
            line.send(lost=self.me.rank, why=why)

    def close(self) -> None:
        """End in order. Rank 0 waits until all others have."""
        for line, _ in self._lines.values():
            line.send(done=True)
        while self.me.rank == 0 and self.lost is None:
            if all(line.is_done for line, _ in self._lines.values()):
                break
            time.sleep(0.02)
        self.acknowledge()
        self._stop.set()

    # ---- joining

    def _wait_for_others(self, size: int, publish: Callable[[str, str], None]) -> None:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", 0), family=family, backlog=size, dualstack_ipv6=both)
        publish("watch", json.dumps({"port": server.getsockname()[1], "token": self.token}))
        deadline = time.monotonic() + self._seconds
        with server, selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            while len(self._lines) < size - 1:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._end_without(sorted(set(range(1, size)) - set(self._lines)))
                for key, _ in selector.select(left):
                    if key.data is None:
                        self._welcome(server, selector)
                    else:
                        self._read_from(key.data)
                self.check()  # one that had joined may be lost while others are still to come

    def _welcome(self, server: socket.socket, selector: selectors.BaseSelector) -> None:
        """Let somebody in who knows the token; nobody else counts as a rank."""
        connection, _ = server.accept()
        connection.settimeout(10.0)
        line = Line(connection)
        hello = next(iter(line.receive() or []), {})
        if hello.get("token") != self.token:
            line.close()
            return
        member = Member(hello["rank"], hello["host"], hello["pid"])
        self._lines[member.rank] = line, member
        connection.settimeout(None)
        selector.register(connection, selectors.EVENT_READ, member.rank)
        line.send(joined=True, **vars(self.me))

    def _end_without(self, missing: list[int]) -> NoReturn:
        error = errors.ranks_missing(missing, seconds=self._seconds)
        self.say_failed(str(error))
        raise error

    def _join(self, host: str, read: Callable[[str], bytes]) -> None:
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            found = json.loads(read("watch"))
            with suppress(OSError):  # a run that has ended
                if self._find(host, **found):
                    return
            time.sleep(0.2)
        raise errors.ranks_missing([0], seconds=self._seconds)

    def _find(self, host: str, *, port: int, token: str) -> bool:
        """Connect to rank 0. Returns whether it was there."""
        line = Line(socket.create_connection((host, port), timeout=ANSWER_SECONDS))
        line.send(token=token, **vars(self.me))
        for hello in (line.receive() or [])[:1]:
            if hello.get("joined"):
                self._lines[0] = line, Member(0, hello["host"], hello["pid"])
                self.token = token
                line.connection.settimeout(None)
                return True
        line.close()
        return False

    # ---- following

    def _follow(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, (line, _) in self._lines.items():
                selector.register(line.connection, selectors.EVENT_READ, rank)
            while not self._stop.is_set() and selector.get_map():
                for key, _ in selector.select(timeout=0.2):
                    if not self._read_from(key.data):
                        selector.unregister(key.fileobj)
        self._hang_up()

    def _hang_up(self) -> None:
        for line, _ in self._lines.values():
            line.close()

    def _read_from(self, rank: int) -> bool:
        """Read what one connection has. Returns whether it will have more."""
        line, member = self._lines[rank]
        messages = line.receive()
        for message in messages or []:
            line.is_done |= "done" in message
            if "lost" in message:
                self._lose(message["lost"], str(message["why"]))
        if messages is None and not line.is_done:
            self._lose(rank, errors.rank_died(rank, host=member.host, pid=member.pid))
        return messages is not None

    def _lose(self, rank: int, why: str) -> None:
        """Say which rank is lost, here and to the others, and end the main thread's work."""
        if self.lost is not None or self._stop.is_set():
            return
        print(f"Rank {self.me.rank}: {why}", file=sys.stderr, flush=True)
        for other, (line, _) in self._lines.items():
            if other != rank:
                line.send(lost=rank, why=why)
        with self._lock:
            self.lost = why
            is_told = self._waits or self._acknowledged.is_set()
            if not is_told and callable(signal.getsignal(signal.SIGINT)):
                # a true signal, which ends a call that blocks too
                signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGINT)
        self._noticed.set()
        threading.Thread(target=self._give_up, name="watch-exit", daemon=True).start()

    def _give_up(self) -> None:
        """A collective on a GPU may never return."""
        if not self._acknowledged.wait(GRACE_SECONDS):
            os._exit(1)
