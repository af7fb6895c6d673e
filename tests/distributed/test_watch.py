"""How processes find rank 0, whatever an earlier run has left where they look."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from spacy_mtl.distributed import watch
from spacy_mtl.distributed.watch import Watch
from spacy_mtl.errors import DistributedError

STALE = "0" * 32


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Somebody else, who hangs up on whoever calls."""
    with socket.create_server(("localhost", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        yield server


def closed_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def join(rank: int, values: dict[str, str], *, size: int = 2) -> Watch:
    return Watch(
        rank,
        size,
        host="localhost",
        publish=values.__setitem__,
        read=lambda key: values[key].encode(),
    )


@contextmanager
def call(values: dict[str, str], **hello: object) -> Iterator[socket.socket]:
    """A connection to rank 0, once it listens, that has said `hello` with the token that rank 0 wants."""
    while "watch" not in values:
        time.sleep(0.01)
    found = json.loads(values["watch"])
    with socket.create_connection(("localhost", found["port"]), 20) as connection:
        said = {"token": found["token"], "rank": 1, "host": "here", "pid": 123, **hello}
        connection.sendall(json.dumps(said).encode() + b"\n")
        yield connection


@pytest.mark.parametrize("left", ["nobody", "somebody else"])
def test_what_an_earlier_run_has_left_is_not_believed(left: str, server: socket.socket) -> None:
    port = server.getsockname()[1] if left == "somebody else" else closed_port()
    values = {"watch": json.dumps({"port": port, "token": STALE})}
    with ThreadPoolExecutor() as pool:
        second = pool.submit(join, 1, values)
        time.sleep(0.5)
        assert not second.done()
        ranks = [join(0, values), second.result(timeout=20)]
        assert ranks[0].token == ranks[1].token != STALE
        list(pool.map(Watch.close, ranks))
    assert [rank.lost for rank in ranks] == [None, None]


def test_a_process_that_never_finds_rank_0_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "JOIN_SECONDS", 0.5)
    values = {"watch": json.dumps({"port": closed_port(), "token": STALE})}
    with pytest.raises(DistributedError, match=r"Rank `0` did not connect"):
        join(1, values)


def test_a_rank_that_dies_while_others_are_awaited_is_named() -> None:
    values: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(join, 0, values, size=3)
        with call(values) as second:
            assert b"joined" in second.recv(1000)
        with pytest.raises(DistributedError, match=r"Rank 1 \(process 123 on `here`\) has died"):
            first.result(timeout=20)


def test_those_who_came_are_told_who_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "JOIN_SECONDS", 1.0)
    values: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(join, 0, values, size=3)
        with call(values) as second:
            with pytest.raises(DistributedError, match=r"Rank `2` did not connect"):
                first.result(timeout=20)
            said = second.recv(10_000)
    assert b"Rank `2` did not connect" in said


def test_a_caller_without_the_token_is_no_rank() -> None:
    values: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(join, 0, values)
        with call(values, token=STALE) as stranger:
            assert stranger.recv(100) == b""
        assert not first.done()
        ranks = [join(1, values), first.result(timeout=20)]
        list(pool.map(Watch.close, ranks))
