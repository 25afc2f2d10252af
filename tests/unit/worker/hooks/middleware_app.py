"""An App with two middlewares, whose handlers return what these have done: in the loop, in a thread, in a process."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

import msgspec

from queuey import App, Context, HandlerOutcome, Middleware, Retry

PATH = f"{__name__}:app"
app = App()
trail: ContextVar[list[str]] = ContextVar("trail")


class Seen(msgspec.Struct):
    """`fork`: the handler forks, and its copy comes back."""

    fork: bool = False
    fail: bool = False


@app.middleware
def outer(ctx: Context) -> Middleware:
    steps = [f"outer {ctx.type} {ctx.attempt}"]
    trail.set(steps)
    outcome = yield
    if outcome.exception is not None:
        raise Retry(f"{' < '.join(steps)}: {describe(outcome)}", after=7)
    outcome.result.append("outer left")


@app.middleware
def inner(ctx: Context) -> Middleware:
    trail.get().append("inner")
    outcome = yield
    trail.get().append(f"inner {describe(outcome)}")
    if os.environ.get("IN_COPY"):
        os._exit(3)  # the test expects the exit code of a copy that came back


def describe(outcome: HandlerOutcome) -> str:
    return f"{outcome.status} {outcome.exception!r}"


def deed(seen: Seen) -> list[str]:
    steps = trail.get()
    if seen.fork:
        if not (copy := os.fork()):
            os.environ["IN_COPY"] = "yes"
            return steps
        steps.append(str(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])))
    if seen.fail:
        raise ValueError("no")
    return steps


@app.job("loop")
async def in_loop(payload: Seen) -> Any:
    return deed(payload)


@app.job("thread")
def in_thread(payload: Seen, ctx: Context) -> Any:
    return deed(payload)


@app.job("process", run_in="process")
def in_process(payload: Seen) -> Any:
    return deed(payload)
