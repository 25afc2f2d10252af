"""The App of the servers that the end-to-end tests start. `gate.*` handlers wait at a Gate (tests/support/gate.py)."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import warnings
from typing import Any

import msgspec
from opentelemetry import trace

from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context, Dead, Retry
from tests.support.handlers import wait_at

PATH = f"{__name__}:app"

app = App()


class Sum(msgspec.Struct):
    a: int
    b: int


@app.job("echo")
async def echo(payload: Any) -> Any:
    return payload


@app.job("forward")
async def forward(payload: Any) -> str:
    """Has another job echo it, and returns that one's id."""
    return (await echo.enqueue(payload)).job_id


@app.job("echo.thread")
def echo_thread(payload: Any) -> Any:
    return payload


@app.job("echo.process", run_in="process")
def echo_process(payload: Any) -> Any:
    return payload


@app.job("frozen")
async def frozen(payload: None) -> int:
    return gc.get_freeze_count()


@app.job("frozen.process", run_in="process")
def frozen_process(payload: None) -> int:
    return gc.get_freeze_count()


@app.job("span.process", run_in="process")
def span_process(name: str) -> None:
    """Makes a span of its own."""
    with trace.get_tracer("tests").start_as_current_span(name):
        pass


@app.job("sum")
async def add(payload: Sum) -> int:
    return payload.a + payload.b


@app.job("fail")
async def fail(times: int, ctx: Context) -> int:
    """Fails so many times, then tells which attempt it is."""
    if ctx.attempt <= times:
        raise ValueError(f"attempt {ctx.attempt}")
    return ctx.attempt


@app.job("sleep")
async def sleep(payload: dict[str, float]) -> str:
    await asyncio.sleep(payload["seconds"])
    return "rested"


@app.job("retry")
async def retry(after: float, ctx: Context) -> int:
    if ctx.attempt == 1:
        raise Retry("not yet", after=after)
    return ctx.attempt


@app.job("dead")
async def dead(reason: str) -> None:
    raise Dead(reason)


@app.job("text")
async def text(size: int) -> str:
    return "x" * size


@app.job("slow", timeout=0.1)
async def slow(payload: None) -> None:
    await asyncio.Event().wait()


@app.job("gate.loop")
async def gate_loop(path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(f"{os.getpid()}\n".encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


@app.job("gate.thread")
def gate_thread(path: str) -> str:
    return wait_at(path)


@app.job("gate.process", run_in="process")
def gate_process(path: str) -> str:
    return wait_at(path)


def _print_after(path: str) -> str:
    answer = wait_at(path)
    print(answer)
    print(answer, end="", file=sys.stderr)
    return answer


@app.job("print.thread")
def print_thread(path: str) -> str:
    """Prints what the gate answers."""
    return _print_after(path)


@app.job("print.process", run_in="process")
def print_process(path: str) -> str:
    return _print_after(path)


@app.job("die", run_in="process")
def die(how: str) -> None:
    """Takes its process along."""
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


@app.job("poison")
async def poison(payload: None) -> None:
    """Takes the whole server along."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.job("log")
async def log(payload: str, ctx: Context) -> str:
    ctx.log.info("said_by_handler", answer=42)
    return payload


def _shout(text: str, ctx: Context) -> None:
    logging.getLogger(text[:20]).warning(text)
    logging.getLogger("shouting").warning("%s", text, extra={"text": text})
    ctx.log.info(text, text=text, **{text: [text]})
    warnings.warn(text, UserWarning, stacklevel=1)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("shouting").exception("it failed")
        raise


@app.job("shout.loop", max_attempts=1)
async def shout_loop(text: str, ctx: Context) -> None:
    """Says the text in every way that ends in the log, and fails with it."""
    _shout(text, ctx)


@app.job("shout.thread", max_attempts=1)
def shout_thread(text: str, ctx: Context) -> None:
    _shout(text, ctx)


@app.job("shout.process", max_attempts=1, run_in="process")
def shout_process(text: str, ctx: Context) -> None:
    _shout(text, ctx)
