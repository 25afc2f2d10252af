"""Which brokers are measured, how each is started, and what its acknowledgement of a job means."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from bench import cores
from bench.peers.brokers.sessions import Beanstalkd, Bunqueue, BunqueueDurable, Queuey, Session
from bench.peers.environments import CannotInstall, bunqueue_command, npm_version
from bench.peers.stores import free_port
from bench.servers import PLAN, ended, server, wait_for
from queuey import __version__

_NO_RATE_LIMIT: Final = "RATE_LIMIT_MAX_REQUESTS=1000000000"


@dataclass(frozen=True)
class Broker:
    """One row of the tables.

    started   starts it in an empty folder, and gives its port. Raises CannotInstall
    answer    what its acknowledgement of a job means; `kept`: where the job is then, as bench/pictures.py has it
    jobs      how many make a measurement last some seconds
    """

    name: str
    session: type[Session]
    started: Callable[[Path], AbstractContextManager[int]]
    version: Callable[[], str]
    settings: str
    answer: str
    kept: Literal["disk", "buffers", "memory"]
    jobs: int = 60_000


@contextmanager
def _queuey(folder: Path, *, fsync: str) -> Iterator[int]:
    with server(folder / "data", "--roles", "api", "--fsync", fsync) as served:
        yield served.port


@contextmanager
def _bunqueue(folder: Path, *, on_disk: bool) -> Iterator[int]:
    port = free_port()
    options = ["--host", "127.0.0.1", "--http-port", str(port), "--tcp-port", str(free_port())]
    if on_disk:
        options += ["--data-path", str(folder / "bunqueue.db")]
    with _listening(["env", _NO_RATE_LIMIT, *bunqueue_command(), "start", *options], folder, port):
        yield port


@contextmanager
def _beanstalkd(folder: Path, *, on_disk: bool) -> Iterator[int]:
    port = free_port()
    options = ["-l", "127.0.0.1", "-p", str(port)]
    if on_disk:
        (folder / "binlog").mkdir()
        options += ["-b", str(folder / "binlog"), "-f0"]
    with _listening([_beanstalkd_program(), *options], folder, port):
        yield port


def _beanstalkd_program() -> str:
    program = shutil.which("beanstalkd")
    if program is None:
        raise CannotInstall("beanstalkd is missing. Install it, for example by apt install beanstalkd.")
    return program


def _beanstalkd_version() -> str:
    try:
        said = subprocess.run([_beanstalkd_program(), "-v"], capture_output=True, text=True, check=False).stdout
    except CannotInstall:
        return "not installed"
    return said.split()[-1] if said.split() else "unknown"


@contextmanager
def _listening(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """A server on the server's core, once it accepts connections."""
    log = folder / "broker.log"
    with ended(command, log, cwd=folder) as process:
        wait_for(process, log, partial(_accepts, port))
        cores.pin(process.pid, PLAN.server)
        yield


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


BROKERS: Final = (
    Broker(
        "Queuey server, fsync always",
        Queuey,
        partial(_queuey, fsync="always"),
        lambda: __version__,
        "`queuey serve`, its own store, all defaults; over HTTP",
        "the job is on disk: its store has called fdatasync",
        "disk",
    ),
    Broker(
        "Queuey server, fsync no",
        Queuey,
        partial(_queuey, fsync="no"),
        lambda: __version__,
        "the same with --fsync no",
        "the job is in the kernel's buffers: it survives a killed process, not a power cut",
        "buffers",
    ),
    Broker(
        "bunqueue in memory",
        Bunqueue,
        partial(_bunqueue, on_disk=False),
        lambda: npm_version("bunqueue"),
        "`bunqueue start`, its limit of 10,000 requests a minute lifted, else all defaults; over HTTP; jobs are pulled "
        "with a lease",
        "the job is in memory: a killed process loses it",
        "memory",
    ),
    Broker(
        "bunqueue on SQLite, durable jobs",
        BunqueueDurable,
        partial(_bunqueue, on_disk=True),
        lambda: npm_version("bunqueue"),
        'the same with --data-path, and "durable" in each job',
        "the job is in the kernel's buffers (WAL, synchronous NORMAL): it survives a killed process, not a power cut",
        "buffers",
        jobs=30_000,
    ),
    Broker(
        "bunqueue on SQLite",
        Bunqueue,
        partial(_bunqueue, on_disk=True),
        lambda: npm_version("bunqueue"),
        "the same without it",
        "the job is in memory, and written to the file some ms later: a killed process loses the last ones",
        "memory",
    ),
    Broker(
        "beanstalkd in memory",
        Beanstalkd,
        partial(_beanstalkd, on_disk=False),
        _beanstalkd_version,
        "its own protocol; a batch is 1,000 puts in one write, a claim 500 reserves",
        "the job is in memory: a killed process loses it",
        "memory",
    ),
    Broker(
        "beanstalkd, fsync always",
        Beanstalkd,
        partial(_beanstalkd, on_disk=True),
        _beanstalkd_version,
        "the same with -b and -f0",
        "the job is on disk: fsync was called for each command",
        "disk",
        jobs=10_000,
    ),
)
