"""What passes between the parent of several replicas and one of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from queuey.protocol.credentials import new_key, parse_grant
from queuey.server.processes.replica import DRAIN, LEAVE, Init, Orders, main, pack, unpack_init
from queuey.settings.settings import SETTINGS, Settings, load

PATIENCE = 10
NO_DESCRIPTOR = -1
NEVER = 1e6
"""Seconds until a replica without a parent is ended: beyond every test."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The parent's end and the replica's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_every_setting_arrives_as_it_was() -> None:
    entry = new_key("ci", [parse_grant("submit"), parse_grant("read@emails")])[1]
    environ = {"QUEUEY_API_KEY": 's3cret-{}"', "QUEUEY_API_KEYS": entry}
    flags = {
        "data_dir": "/data/here",
        "redis": "redis://ann:pass@db:6379/0",
        "anonymous": "read@status",
        "queues": "emails,images",
        "maxmemory": "32MB",
        "roles": "worker",
        "lease": "1.5",
        "app": "shop.jobs:app",
        "processes": "3",
    }
    settings = load(flags, environ)
    for sent in (settings, Settings(data_dir=Path("/other"))):
        init = unpack_init(pack(Init(sent, ["/a b", "é"], 7, 3)))
        for name in SETTINGS:
            assert getattr(init.settings, name) == getattr(sent, name), name
        assert (init.settings, init.path, init.listening, init.number) == (sent, ["/a b", "é"], 7, 3)
        assert isinstance(init.settings.data_dir, Path)


async def test_an_order_to_drain_is_no_order_to_leave(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    orders = Orders(theirs, b"", NEVER)
    orders.install()
    ours.sendall(DRAIN)
    await asyncio.wait_for(orders.first.wait(), PATIENCE)
    assert not orders.second.is_set()
    assert not orders.port_first
    ours.sendall(LEAVE)
    await asyncio.wait_for(orders.second.wait(), PATIENCE)


async def test_orders_that_came_early_are_followed(ends: tuple[socket.socket, socket.socket]) -> None:
    orders = Orders(ends[1], DRAIN + LEAVE, NEVER)
    orders.install()
    assert orders.first.is_set()
    assert orders.second.is_set()


async def test_a_parent_that_is_gone_means_drain_and_free_the_port(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    orders = Orders(theirs, b"", NEVER)
    orders.install()
    ours.close()
    await asyncio.wait_for(orders.first.wait(), PATIENCE)
    assert orders.port_first
    assert not orders.second.is_set()


async def test_signals_drain_at_most(ends: tuple[socket.socket, socket.socket]) -> None:
    orders = Orders(ends[1], b"", NEVER)
    orders.install()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(orders.first.wait(), PATIENCE)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
    assert not orders.second.is_set()


async def test_sigint_is_not_heeded(ends: tuple[socket.socket, socket.socket]) -> None:
    orders = Orders(ends[1], b"", NEVER)
    orders.install()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.01)
    assert not orders.first.is_set()


async def test_a_process_that_does_not_end_after_its_parent_is_ended() -> None:
    """Also when its loop is blocked."""
    ours, theirs = socket.socketpair()
    program = (
        "import asyncio, socket, sys, threading\n"
        "from queuey.server.processes.replica import Orders\n"
        "async def run():\n"
        f"    Orders(socket.socket(fileno={theirs.fileno()}), b'', 0.0).install()\n"
        "    threading.Event().wait()\n"
        "asyncio.run(run())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.close()
    try:
        assert await asyncio.wait_for(process.wait(), PATIENCE * 2) == 1
    finally:
        if process.returncode is None:
            process.kill()


def test_a_parent_that_is_gone_at_once_leaves_nothing_to_do() -> None:
    before = signal.getsignal(signal.SIGINT)
    ours, theirs = socket.socketpair()
    ours.sendall(b'{"settings"')
    ours.close()
    try:
        assert main(theirs.detach(), NO_DESCRIPTOR) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_message_is_one_line() -> None:
    line = pack(Init(Settings(data_dir=Path("/a\nb")), ["c\nd"], None, 1))
    assert line.count(b"\n") == 1
    assert msgspec.json.decode(line)["listening"] is None


ENDS_AT_ONCE: Final = """
import os, signal, sys
import queuey.server.server as server
server.serve = lambda settings, context: 0
from queuey.server.processes.replica import main
assert main(*map(int, sys.argv[1:])) == 0
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), number)
"""


def test_signals_while_a_replica_only_exits_change_nothing(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    our_end, their_end = socket.socketpair()
    with ours, theirs, our_end, their_end:
        ours.sendall(pack(Init(Settings(data_dir=tmp_path), sys.path, None, 1)))
        descriptors = (theirs.fileno(), their_end.fileno())
        command = [sys.executable, "-c", ENDS_AT_ONCE, *map(str, descriptors)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[3], pass_fds=descriptors, timeout=PATIENCE, check=False
        )
    assert done.returncode == 0
