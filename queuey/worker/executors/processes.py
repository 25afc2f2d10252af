"""The executor of plain handlers in child processes, which can be killed one by one.

Each child has its own socket to this process, so a child that dies does not affect another.
docs/adr/0005-process-children.md says why this is not a pool from a library.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Final, SupportsIndex

import msgspec

import queuey.version
from queuey import forks
from queuey.lifecycle import TimeLimit
from queuey.protocol.models import ProgressReport
from queuey.worker.executors.child import (
    EXIT_SECONDS,
    HEADER_BYTES,
    LEFT_TO_PARENT,
    Init,
    Order,
    pack,
    unpack_header,
)
from queuey.worker.executors.stopping import OnEvent, Stopper
from queuey.worker.handlers.attempt import (
    CheckpointFailed,
    CheckpointMessage,
    Failed,
    LogMessage,
    Outcome,
    ProgressMessage,
    Work,
)
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.job_lines import JobLines

START_SECONDS: Final = 60.0
"""The time that a child may take to import the App."""
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
MAX_NUMBER: Final = 2**32 - 1
OTHER_ANSWER: Final = (
    "the child process sent an answer that belongs to another job. Look for a handler that forks, or that writes to "
    "descriptors that are not its own"
)
IMPORT_FROM: Final = str(Path(queuey.version.__file__).parent.parent)

_Message = Outcome | ProgressMessage | LogMessage | CheckpointMessage
_decode_message: Callable[[bytes], _Message] = msgspec.msgpack.Decoder(_Message).decode
_decode_start: Callable[[bytes], tuple[str, str | None] | None] = msgspec.msgpack.Decoder(
    tuple[str, str | None] | None
).decode


class ChildDied(Exception):
    """Raised when a child process ended or could not start. The text has the reason, `trace` its error's traceback."""

    trace: str | None = None


class _Reader(asyncio.StreamReader):
    """A stream that counts the bytes that nobody has read."""

    unread = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        fed = bytes(data)
        self.unread += len(fed)
        super().feed_data(fed)

    async def readexactly(self, n: int) -> bytes:
        data = await super().readexactly(n)
        self.unread -= n
        return data


class Child:
    """A child process, which leads its own process group, and the socket to it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        """The exit code, which is negative for a signal."""
        self._process = process
        self._number = 0
        """The number of the last order; the Init has 0."""
        self._reader: _Reader | None = None
        self._writer: asyncio.StreamWriter | None = None
        Thread(target=self._wait, args=(loop,), daemon=True, name="queuey-child").start()

    @classmethod
    async def start(cls, init: Init) -> Child:
        """Start a child and wait until it has loaded the App. Raises ChildDied."""
        ours, theirs = socket.socketpair()
        try:
            child = cls(_spawn(theirs.fileno()))
        except (OSError, RuntimeError) as error:
            ours.close()
            raise ChildDied(f"the child process could not be started: {error}") from error
        finally:
            theirs.close()
        try:
            await child._connect(ours)
            async with TimeLimit(asyncio.get_running_loop().time() + START_SECONDS):
                refusal = _decode_start(await child.ask(init))
        except TimeoutError as error:
            child.kill()
            raise ChildDied(f"the child process could not load the App in {START_SECONDS:.0f} s") from error
        except BaseException:
            child.kill()
            raise
        if refusal is not None:
            child.kill()
            reason, trace = refusal
            died = ChildDied(f"the child process could not load the App: {reason}")
            died.trace = trace
            raise died
        return child

    async def _connect(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        forks.keep(ours)
        self._reader = reader = _Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_unix_connection(lambda: protocol, sock=ours)
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    @property
    def has_unread(self) -> bool:
        """Whether it has sent more than was asked for, so that its next answer cannot be trusted."""
        return self._reader is not None and self._reader.unread > 0

    async def order(self, order: Order) -> bytes:
        """Send an order and wait for the body of the first reply. Raises ChildDied."""
        self._number = self._number % MAX_NUMBER + 1
        return await self.ask(order)

    async def ask(self, message: object) -> bytes:
        """Send a message and wait for the body of the reply. Raises ChildDied."""
        assert self._writer is not None
        try:
            self._writer.write(pack(message, self._number))
            await self._writer.drain()
        except OSError as error:
            raise ChildDied(await self._cause_of_death()) from error
        return await self.receive()

    async def receive(self) -> bytes:
        """Wait for the body of the next message. Raises ChildDied."""
        assert self._reader is not None
        try:
            size, number = unpack_header(await self._reader.readexactly(HEADER_BYTES))
            if number != self._number:
                raise ChildDied(OTHER_ANSWER)
            if size > MAX_REPLY_BYTES:
                raise ChildDied("the child process sent a message that is not a reply")
            return await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ChildDied(await self._cause_of_death()) from error

    async def _cause_of_death(self) -> str:
        await asyncio.wait({self.exited}, timeout=EXIT_SECONDS)
        if not self.exited.done():
            return "the child process closed its connection"
        code = self.exited.result()
        if code >= 0:
            return f"the child process ended with exit code {code}"
        return f"the child process was killed by signal {_signal_name(-code)}"

    def hang_up(self) -> None:
        """Close the socket: the child ends at once when it is idle, otherwise within a second."""
        if self._writer is not None:
            self._writer.close()

    def kill(self) -> None:
        """Kill the child, and then every process that it has started."""
        self.hang_up()
        self._process.kill()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(os, "waitid"):  # macOS has it since Python 3.13.
            # The child is not reaped yet, so its id and the id of its group cannot belong to others.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        # This ends the processes that it has left behind, which may hold copies of its end of the socket.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # The loop is closed, so nothing waits for it.
            loop.call_soon_threadsafe(self._has_exited, code)

    def _has_exited(self, code: int) -> None:
        self.exited.set_result(code)
        if self._writer is not None:
            asyncio.get_running_loop().call_later(EXIT_SECONDS, self._writer.transport.abort)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    path = f"import sys; sys.path.insert(0, {IMPORT_FROM!r})"
    code = f"{path}; from queuey.worker.executors.child import main; main({descriptor})"
    # It inherits the blocked signals, and unblocks them once it drops them: none can end it while it starts.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(descriptor,), process_group=0
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


async def _refusal(work: Work, value: str) -> str:
    """Keep a checkpoint of a child. Return the reason why it was not kept, '' if it was."""
    if work.keep is None:
        return ""
    try:
        await asyncio.wrap_future(work.keep(work, value))
    except CheckpointFailed as error:
        return error.reason
    return ""


def _pass_on(message: ProgressMessage | LogMessage, work: Work) -> None:
    """Pass on what a child has sent before the outcome."""
    report: ProgressReport | JobLines
    if isinstance(message, LogMessage):
        report = work.lines = JobLines.of(message.text)
    else:
        report = message.report
    if work.report is not None:
        work.report(work, report)


class ProcessExecutor:
    """Runs handlers in at most `slots` children, which are started when a job needs one and kept for the next.

    When a child dies, the attempt that it ran has failed; the next job gets a new child. If the children are
    `init.isolating`, each runs one job only, and a job whose handler was running when its child died is dead.
    """

    def __init__(self, slots: int, stopper: Stopper, init: Init, on_event: OnEvent) -> None:
        self._free = asyncio.Semaphore(slots)
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._init = init
        self._stopper = stopper
        self._on_event = on_event

    async def run(self, handler: Handler, work: Work, timeout: float) -> Outcome:
        """Run the handler in a child. Raises CancelledError, and kills the child, when the task was cancelled."""
        self._stopper.enter(work)
        async with self._free:
            try:
                child = await self._child()
                try:
                    work.started_at = monotonic()
                    self._stopper.start_timer(work, timeout)
                    message = _decode_message(await child.order(Order.of(work)))
                    while isinstance(message, (ProgressMessage, LogMessage, CheckpointMessage)):
                        if isinstance(message, CheckpointMessage):
                            body = await child.ask(await _refusal(work, message.value))
                        else:
                            _pass_on(message, work)
                            body = await child.receive()
                        message = _decode_message(body)
                except BaseException:
                    child.kill()
                    raise
            except (ChildDied, msgspec.DecodeError) as error:
                self._on_event("child_died", job_id=work.id, type=work.type, reason=str(error))
                trace = error.trace if isinstance(error, ChildDied) else None
                dead = self._init.isolating and work.started_at is not None
                return Failed("worker_died", str(error), trace, dead=dead)
            if self._init.isolating:
                child.hang_up()
            elif child in self._children:
                self._idle.append(child)
            return message

    async def _child(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if not child.has_unread:
                return child
            child.kill()
            self._on_event("child_died", reason=OTHER_ANSWER)
        child = await Child.start(self._init)
        self._children.add(child)
        child.exited.add_done_callback(lambda _: self._forget(child))
        return child

    def _forget(self, child: Child) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
            child.hang_up()

    async def close(self) -> None:
        """End all children within three seconds."""
        for child in self._children:
            child.hang_up()
        await self._wait(EXIT_SECONDS)
        for child in self._children:
            child.kill()
        await self._wait(2 * EXIT_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._children:
            await asyncio.wait({child.exited for child in self._children}, timeout=seconds)
