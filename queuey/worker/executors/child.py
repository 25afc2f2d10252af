"""The child process of executors/processes.py. It runs one handler at a time: a plain one, or if isolating any.

A message over the socket is a length and a number (4 bytes each, big-endian), and a MessagePack body. The parent sends
an Init first, as number 0. The child answers None when the App is loaded, or else a reason and a traceback. Then the
parent sends Orders and counts them. The child answers each with an Outcome, and may send any number of
ProgressMessages, LogMessages and CheckpointMessages before it, all with the number of the Order. The parent answers
each CheckpointMessage with a text. It kills a child that sends another number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread, Timer
from typing import Final, NamedTuple

import msgspec

from queuey import forks, log
from queuey.errors import StartupError
from queuey.lifecycle import freeze
from queuey.protocol.models import Backoff, ProgressReport
from queuey.streams import outlive_terminal
from queuey.worker.executors.calling import call, call_async
from queuey.worker.executors.lifespan import LifespanRunner, ProcessLifespan
from queuey.worker.handlers.app import App, load_app
from queuey.worker.handlers.attempt import (
    LOST,
    CheckpointMessage,
    Failed,
    Keeping,
    LogMessage,
    Outcome,
    ProgressMessage,
    Work,
)
from queuey.worker.handlers.error_text import describe, traceback_of
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.job_lines import JobLines
from queuey.worker.handlers.tracing import enter, send_spans
from queuey.worker.providers import running as providers
from queuey.worker.providers.kept import Kept

HEADER_BYTES: Final = 8
LENGTH_BYTES: Final = 4
REPORT_SECONDS: Final = 0.5
"""The time between two messages about a handler's progress."""
LEFT_TO_PARENT: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a service manager or a terminal sends to every process. Only the parent decides when this one ends."""
EXIT_SECONDS: Final = 1.0
"""The time for which a child may still run after its parent has ended."""

_Numbered = tuple[int, bytes]


class Init(msgspec.Struct, array_like=True):
    """The App that a child process loads, and its settings.

    `app` is "module:attribute", `path` is the parent's sys.path, and `result_limit` is in bytes. ExecutionSettings
    explains `sends_spans`, and log.configure explains the rest. An `isolating` child also runs the handlers that
    otherwise run in the worker, with a lifespan of their own.
    """

    app: str
    path: list[str]
    result_limit: int
    log_level: str
    log_format: str
    sends_spans: bool
    isolating: bool = False


class Order(msgspec.Struct, array_like=True):
    """The fields of a Work that its handler and middleware can see, by the same names."""

    id: str
    type: str
    queue: str
    payload: bytes
    token: str
    attempt: int
    max_attempts: int
    backoff: Backoff | None
    span: str | None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    checkpoint: str = ""
    traceparent: str | None = None
    batch_key: str | None = None

    @classmethod
    def of(cls, work: Work) -> Order:
        """Return the order for a Work. MessagePack needs the payload as bytes."""
        payload = work.payload.encode() if isinstance(work.payload, str) else bytes(work.payload)
        fields = {name: getattr(work, name) for name in cls.__struct_fields__}
        return cls(**(fields | {"payload": payload}))


def pack(message: object, number: int) -> bytes:
    """Return a message with the number of the order that it is, or that it answers."""
    body = msgspec.msgpack.encode(message)
    return b"".join((len(body).to_bytes(LENGTH_BYTES), number.to_bytes(HEADER_BYTES - LENGTH_BYTES), body))


def unpack_header(header: bytes) -> tuple[int, int]:
    """Return the length of the body and the number of the order."""
    return int.from_bytes(header[:LENGTH_BYTES]), int.from_bytes(header[LENGTH_BYTES:])


def main(descriptor: int) -> None:
    """Serve the parent at the other end of the socket until it closes the connection."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _serve(descriptor)


def _serve(descriptor: int) -> None:
    _leave_signals_to_parent()
    outlive_terminal()
    parent = socket.socket(fileno=descriptor)
    parent.set_inheritable(False)
    forks.keep(parent)
    received: SimpleQueue[_Numbered | None] = SimpleQueue()
    keeping: SimpleQueue[Keeping] = SimpleQueue()
    Thread(target=_receive, args=(parent, received, keeping), daemon=True, name="queuey-parent").start()
    first = received.get()
    if first is None:
        return
    init = msgspec.msgpack.decode(first[1], type=Init)
    sys.path[:] = init.path
    log.configure(init.log_level, init.log_format)
    try:
        loaded = _load(init)
    except BaseException as error:
        trace = error.trace if isinstance(error, StartupError) else traceback_of(error)
        parent.sendall(pack((describe(error), trace), 0))
        return
    if init.sends_spans:
        send_spans()  # not before the App, which may set up an SDK
    loaded.app.hooks.hold(loaded.app)
    freeze()
    parent.sendall(pack(None, 0))
    orders = msgspec.msgpack.Decoder(Order)
    try:
        while (order := received.get()) is not None:
            number, body = order
            reporter = _Reporter(parent, number, keeping)
            outcome = _run(loaded, orders.decode(body), init, reporter)
            reporter.end()
            parent.sendall(pack(outcome, number))
    finally:
        loaded.kept.close_plain()
        loaded.lifespan.leave()


class _Loaded(NamedTuple):
    """The App in this process, with what lasts longer than one run."""

    app: App
    handlers: Mapping[str, Handler]
    kept: Kept
    lifespan: ProcessLifespan


def _load(init: Init) -> _Loaded:
    """Import the App. Enter its lifespan, unless only an order shows whether it is needed."""
    app = load_app(init.app)
    kept = Kept(_warn)
    handlers = app.hooks.prepared(providers.prepared(app.handlers, kept))
    lifespan = ProcessLifespan(app, _warn)
    if not init.isolating:
        lifespan.enter()
    return _Loaded(app, handlers, kept, lifespan)


def _leave_signals_to_parent() -> None:
    """Drop the signals, also those that came while this process started, when the parent had blocked them.

    They are not ignored, because a program that a handler starts would inherit that, and could not be terminated.
    """
    for number in LEFT_TO_PARENT:
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)
        os.register_at_fork(after_in_child=partial(signal.signal, number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT)


class _Reporter:
    """Reports one handler's progress and lines to the parent: at once, and then at most twice a second.

    The last report within this time is sent, and the last lines before the outcome. After `end` nothing is sent, and no
    checkpoint: a thread that the handler left behind may still report.
    """

    def __init__(self, parent: socket.socket, number: int, keeping: SimpleQueue[Keeping]) -> None:
        self._parent = parent
        self._number = number
        self._keeping = keeping
        """The checkpoints that the parent has not answered. It answers them in their order."""
        self._lock = Lock()
        self._latest: ProgressReport | None = None
        self._lines: JobLines | None = None
        self._timer: Timer | None = None
        self._ended = False

    def report(self, work: Work, report: ProgressReport | JobLines) -> None:
        with self._lock:
            if isinstance(report, JobLines):
                self._lines = report
            else:
                self._latest = report
            if self._timer is None:
                self._send()

    def keep(self, work: Work, value: str) -> Keeping:
        """Pass a checkpoint on to the parent."""
        keeping = Keeping(work, value)
        with self._lock:
            if self._ended:
                keeping.settle(LOST)
            else:
                self._keeping.put(keeping)
                self._parent.sendall(pack(CheckpointMessage(value), self._number))
        return keeping

    def _send(self) -> None:
        report, lines = self._latest, self._lines
        if self._ended or (report is None and lines is None):
            return
        self._latest = self._lines = None
        if report is not None:
            self._parent.sendall(pack(ProgressMessage(report), self._number))
        if lines is not None:
            self._parent.sendall(pack(LogMessage(lines.text()), self._number))
        self._timer = Timer(REPORT_SECONDS, self._later)
        self._timer.daemon = True
        self._timer.start()

    def _later(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # the parent has ended, and this process ends soon
            self._timer = None
            self._send()

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            if self._lines is not None:
                self._parent.sendall(pack(LogMessage(self._lines.text()), self._number))


def _run(loaded: _Loaded, order: Order, init: Init, reporter: _Reporter) -> Outcome:
    handler = loaded.handlers.get(order.type)
    if handler is None:
        return Failed("unknown_type", f"the App has no handler for {order.type!r} when a child process loads it")
    work = Work(**msgspec.structs.asdict(order), report=reporter.report, keep=reporter.keep)
    context = copy_context()
    if work.span is not None:
        context.run(enter, work.span)
    if init.isolating and handler.mode != "process":
        return context.run(asyncio.run, _in_lifespan(loaded, handler, work, init.result_limit))
    try:
        state = loaded.lifespan.enter()
    except StartupError as error:
        return Failed("error", error.message, error.trace)
    return context.run(call, handler, work, state, init.result_limit)


async def _in_lifespan(loaded: _Loaded, handler: Handler, work: Work, result_limit: int) -> Outcome:
    """Run a handler of the worker's loop or threads, which may need what the App's lifespan yields."""
    lifespan = LifespanRunner(loaded.app, _warn)
    try:
        state = await lifespan.enter()
    except StartupError as error:
        return Failed("error", error.message)
    try:
        if handler.mode == "thread":
            return await asyncio.to_thread(call, handler, work, state, result_limit)
        return await call_async(handler, work, state, result_limit)
    finally:
        await loaded.kept.close(EXIT_SECONDS)
        await lifespan.leave(EXIT_SECONDS)


def _warn(event: str, /, **fields: object) -> None:
    log.get(__name__).warning(event, **fields)


def _receive(parent: socket.socket, received: SimpleQueue[_Numbered | None], keeping: SimpleQueue[Keeping]) -> None:
    """Put each message into the queue, and settle checkpoints: the first message with a number is the order, and the
    others answer its checkpoints. When the parent has ended, kill this process and those that it has started."""
    last = None
    with contextlib.suppress(OSError), parent.makefile("rb") as stream:
        while len(header := stream.read(HEADER_BYTES)) == HEADER_BYTES:
            length, number = unpack_header(header)
            body = stream.read(length)
            if number == last:
                keeping.get().settle(msgspec.msgpack.decode(body, type=str))
            else:
                received.put((number, body))
            last = number
    received.put(None)
    time.sleep(EXIT_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)
