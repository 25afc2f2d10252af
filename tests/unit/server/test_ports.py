"""The port of one server, and of several replicas."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from queuey.errors import StartupError
from queuey.server.http.ports import BALANCED, SharedPort, bind, url_of

CONNECTIONS = 64
on_linux = pytest.mark.skipif(not BALANCED, reason="elsewhere the replicas share one socket")


@pytest.fixture
def port() -> Iterator[SharedPort]:
    port = SharedPort("127.0.0.1", 0)
    yield port
    port.close()


def accepted(listening: socket.socket) -> int:
    """How many connections wait there."""
    listening.setblocking(False)
    count = 0
    try:
        while True:
            listening.accept()[0].close()
            count += 1
    except BlockingIOError:
        return count


def connect(port: SharedPort, stack: ExitStack) -> None:
    host, number = port.of(0).getsockname()
    for _ in range(CONNECTIONS):
        stack.enter_context(socket.create_connection((host, number), 5))


def test_a_url_has_the_port_and_brackets_around_ipv6() -> None:
    with bind("127.0.0.1", 0) as bound:
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        bound = bind("::1", 0)
    except StartupError:
        pytest.skip("no IPv6 here")
    with bound:
        assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"


def test_a_host_that_is_not_this_machine_is_named() -> None:
    with pytest.raises(StartupError, match=r"Cannot listen on 192\.0\.2\.1 port 0: .*Choose another --port"):
        bind("192.0.2.1", 0)


def test_a_port_in_use_cannot_be_shared(port: SharedPort) -> None:
    port.of(0).listen()
    number = port.of(0).getsockname()[1]
    port.of(1).listen()
    for taken in (bind, SharedPort):
        with pytest.raises(StartupError, match=f"port {number}: Address already in use"):
            taken("127.0.0.1", number)


@on_linux
def test_each_replica_gets_connections(port: SharedPort) -> None:
    port.of(0).listen(CONNECTIONS)
    port.of(1).listen(CONNECTIONS)
    with ExitStack() as stack:
        connect(port, stack)
        counts = accepted(port.of(0)), accepted(port.of(1))
    assert min(counts) > 0
    assert sum(counts) == CONNECTIONS


@pytest.mark.parametrize("balanced", [pytest.param(True, marks=on_linux), False])
def test_where_one_gave_up_the_other_gets_all_until_it_is_back(
    port: SharedPort, balanced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuey.server.http.ports.BALANCED", balanced)
    port.of(0).listen(CONNECTIONS)
    port.of(1).listen(CONNECTIONS)
    port.give_up(1)
    port.give_up(1)
    with ExitStack() as stack:
        connect(port, stack)
        assert accepted(port.of(0)) == CONNECTIONS
    port.of(1).listen(CONNECTIONS)
    with ExitStack() as stack:
        connect(port, stack)
        assert accepted(port.of(1)) + accepted(port.of(0)) == CONNECTIONS


def test_a_port_that_somebody_else_took_meanwhile_is_named(port: SharedPort) -> None:
    number = port.of(0).getsockname()[1]
    port.close()
    with bind("127.0.0.1", number) as taken:
        taken.listen()
        with pytest.raises(StartupError, match=f"Cannot listen on http://127.0.0.1:{number} once more: "):
            port.of(1)
