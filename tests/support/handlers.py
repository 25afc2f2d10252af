"""An App for the tests of execution: the same deeds in the loop, in a thread and in a process.

A deed that has to be waited for calls the test through a Gate (tests/support/gate.py).
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from queuey.protocol import traceparent
from queuey.protocol.models import Backoff
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context, Dead, Retry

PATH = f"{__name__}:app"

app = App()


class Deed(msgspec.Struct):
    """`name` is a key of DEEDS or the path of a gate's socket, depending on the job's type."""

    name: str
    value: Any = None


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = lambda: None


def _raise(error: BaseException) -> None:
    raise error


def is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def _recurse(_: object) -> None:
    _recurse(_)


def _circular(_: object) -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


def _context(ctx: Context) -> dict[str, object]:
    return {
        "job_id": ctx.job_id,
        "type": ctx.type,
        "queue": ctx.queue,
        "attempt": ctx.attempt,
        "max_attempts": ctx.max_attempts,
        "token": ctx.token,
        "claims": ctx.claims,
        "cancelled": ctx.cancelled,
        "state": ctx.state,
        "tags": list(ctx.tags),
        "metadata": ctx.metadata,
    }


DEEDS: dict[str, Callable[[Any], Any]] = {
    "echo": lambda value: value,
    "ended_by": lambda signal: subprocess.run(["sh", "-c", f"kill -{signal} $$; exit 0"], check=False).returncode,
    "fail": lambda value: _raise(ValueError(value)),
    "retry": lambda after: _raise(Retry("not yet", after=after)),
    "retry_class": lambda _: _raise(Retry()),
    "dead": lambda reason: _raise(Dead(reason)),
    "exit": lambda code: _raise(SystemExit(code)),
    "interrupt": lambda _: _raise(KeyboardInterrupt()),
    "cancelled": lambda _: _raise(asyncio.CancelledError()),
    "stop_iteration": lambda _: _raise(StopIteration(7)),
    "recurse": _recurse,
    "unprintable": lambda _: _raise(Unprintable()),
    "unpicklable": lambda _: _raise(Unpicklable()),
    "surrogate": lambda _: _raise(ValueError("\ud800")),
    "group": lambda _: _raise(ExceptionGroup("a", [ExceptionGroup("b", [KeyError(1)]), ValueError()])),
    "call": lambda _: act(Deed("call")),  # type: ignore[call-arg]
    "nan": lambda _: {"ratio": math.nan},
    "infinity": lambda _: [math.inf],
    "object": lambda _: object(),
    "circular": _circular,
    "bad_raw": lambda _: [msgspec.Raw(b"{not json")],
    "lines": lambda _: msgspec.Raw(b'{\n "a": [1,\n 2]\n}'),
    "nulls": lambda _: {"a": None, "b": [None, {"c": "null"}]},
    "raw_nulls": lambda _: [msgspec.Raw(b'{"a":null}'), {"b": msgspec.Raw(b'"null island"')}, msgspec.Raw(b"null")],
    "raw_and_nan": lambda _: [msgspec.Raw(b"null"), math.nan],
    "raw_nan": lambda _: msgspec.Raw(b"[null, NaN]"),
    "struct": lambda _: Deed("struct", 1),
    "inherited": lambda _: [fd for fd in range(3, 256) if is_inheritable(fd)],
    "nested": lambda depth: msgspec.Raw(b"[" * depth + b"]" * depth),
    "text": lambda size: "x" * size,
    "span": lambda _: traceparent.current(),
}


def act(deed: Deed, ctx: Context) -> Any:
    if deed.name == "progress":
        for report in deed.value:
            ctx.progress(*report)
        return None
    if deed.name == "log":
        for text in deed.value:
            ctx.log.info(text, page=3)
        return None
    if deed.name == "half_a_note":
        return ctx.progress(1, 10, "caf\udce9")
    return _context(ctx) if deed.name == "context" else DEEDS[deed.name](deed.value)


@app.job("loop")
async def in_loop(deed: Deed, ctx: Context) -> Any:
    return act(deed, ctx)


@app.job("thread")
def in_thread(deed: Deed, ctx: Context) -> Any:
    return act(deed, ctx)


@app.job("process", run_in="process")
def in_process(deed: Deed, ctx: Context) -> Any:
    return act(deed, ctx)


@app.job("patient", timeout=77, backoff=Backoff(base=10, factor=1, cap=10))
async def patient(payload: Any) -> None:
    raise ValueError


def wait_at(path: str) -> str:
    """Tell the gate this process's id, and return the line that it answers; "" when it hangs up."""
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(path)
        gate.sendall(f"{os.getpid()}\n".encode())
        with gate.makefile("r") as answers:
            return answers.readline().strip()


@app.job("gate", run_in="process")
def gate(deed: Deed) -> str:
    answer = wait_at(deed.name)
    if answer.startswith("exit"):
        os._exit(int(answer.removeprefix("exit")))
    return answer


@app.job("slow", run_in="process")
def slow(deed: Deed, ctx: Context) -> None:
    """Tells its progress a thousand times, and then waits."""
    for number in range(1000):
        ctx.progress(number, 1000)
    wait_at(deed.name)


@app.job("family", run_in="process")
def family(deed: Deed) -> None:
    """Starts a process of its own, and waits for it."""
    code = f"from tests.support.handlers import wait_at; wait_at({deed.name!r})"
    subprocess.run([sys.executable, "-c", code], check=True)


@app.job("orphan", run_in="process")
def orphan(deed: Deed) -> None:
    """Forks, and dies while the copy of it waits; the copy leaves the process group when `value` is true."""
    if os.fork() == 0:
        if deed.value:
            os.setsid()
        wait_at(deed.name)
        os._exit(0)
    wait_at(deed.name)
    os._exit(5)


@app.job("log", run_in="process")
def log(payload: Any, ctx: Context) -> None:
    ctx.log.warning("seen_in_child", answer=42)
