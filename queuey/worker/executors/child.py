"""The child process of executors/processes.py. It runs one handler at a time: a plain one, or if isolating any.

A message over the socket is a length and a number (4 bytes each, big-endian), and a MessagePack body. The parent sends
an Init first, as number 0. The child answers None when the App is loaded, or else the reason why it is not. Then the
parent sends Orders and counts them. The child answers each with an Outcome, and may send any number of
ProgressMessages before it, all with the number of the Order. The parent kills a child that sends another number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread, Timer
from typing import Final

import msgspec

from queuey import forks, log
from queuey.errors import StartupError
from queuey.lifecycle import freeze
from queuey.protocol.models import ProgressReport
from queuey.worker.executors.calling import call, call_async, describe
from queuey.worker.executors.lifespan import LifespanRunner
from queuey.worker.handlers.app import App, load_app
from queuey.worker.handlers.attempt import Failed, Outcome, ProgressMessage, Work
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.tracing import enter, send_spans

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
    """The fields of a Work that its handler can see, by the same names."""

    id: str
    type: str
    queue: str
    payload: bytes
    token: str
    attempt: int
    max_attempts: int
    span: str | None

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
    parent = socket.socket(fileno=descriptor)
    parent.set_inheritable(False)
    forks.keep(parent)
    received: SimpleQueue[_Numbered | None] = SimpleQueue()
    Thread(target=_receive, args=(parent, received), daemon=True, name="queuey-parent").start()
    first = received.get()
    if first is None:
        return
    init = msgspec.msgpack.decode(first[1], type=Init)
    sys.path[:] = init.path
    log.configure(init.log_level, init.log_format)
    try:
        app = load_app(init.app)
    except BaseException as error:
        parent.sendall(pack(describe(error), 0))
        return
    if init.sends_spans:
        send_spans()  # not before the App, which may set up an SDK
    freeze()
    parent.sendall(pack(None, 0))
    orders = msgspec.msgpack.Decoder(Order)
    while (order := received.get()) is not None:
        number, body = order
        reporter = _Reporter(parent, number)
        outcome = _run(app, orders.decode(body), init, reporter)
        reporter.end()
        parent.sendall(pack(outcome, number))


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
    """Reports one handler's progress to the parent: at once, and then at most twice a second.

    The last report within this time is sent. After `end` none is sent: a thread that the handler left behind may still
    report.
    """

    def __init__(self, parent: socket.socket, number: int) -> None:
        self._parent = parent
        self._number = number
        self._lock = Lock()
        self._latest: ProgressReport | None = None
        self._timer: Timer | None = None
        self._ended = False

    def report(self, work: Work, report: ProgressReport) -> None:
        with self._lock:
            self._latest = report
            if self._timer is None:
                self._send()

    def _send(self) -> None:
        if self._ended or self._latest is None:
            return
        report, self._latest = self._latest, None
        self._parent.sendall(pack(ProgressMessage(report), self._number))
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


def _run(app: App, order: Order, init: Init, reporter: _Reporter) -> Outcome:
    handler = app.handlers.get(order.type)
    if handler is None:
        return Failed("unknown_type", f"the App has no handler for {order.type!r} when a child process loads it")
    work = Work(**msgspec.structs.asdict(order), report=reporter.report)
    context = copy_context()
    if work.span is not None:
        context.run(enter, work.span)
    if init.isolating and handler.mode != "process":
        return context.run(asyncio.run, _in_lifespan(app, handler, work, init.result_limit))
    return context.run(call, handler, work, None, init.result_limit)


async def _in_lifespan(app: App, handler: Handler, work: Work, result_limit: int) -> Outcome:
    """Run a handler of the worker's loop or threads, which may need what the App's lifespan yields."""
    lifespan = LifespanRunner(app, _warn)
    try:
        state = await lifespan.enter()
    except StartupError as error:
        return Failed("error", error.message)
    try:
        if handler.mode == "thread":
            return await asyncio.to_thread(call, handler, work, state, result_limit)
        return await call_async(handler, work, state, result_limit)
    finally:
        await lifespan.leave(EXIT_SECONDS)


def _warn(event: str, /, **fields: object) -> None:
    log.get(__name__).warning(event, **fields)


def _receive(parent: socket.socket, received: SimpleQueue[_Numbered | None]) -> None:
    """Put each message into the queue. When the parent has ended, kill this process and those that it has started."""
    with contextlib.suppress(OSError), parent.makefile("rb") as stream:
        while len(header := stream.read(HEADER_BYTES)) == HEADER_BYTES:
            length, number = unpack_header(header)
            received.put((number, stream.read(length)))
    received.put(None)
    time.sleep(EXIT_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)
