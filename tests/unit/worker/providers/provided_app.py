"""An App whose handlers have providers: in the loop, in a thread, in a process. They return what these have done."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import msgspec

from queuey import App, Context, Depends, Retry

PATH = f"{__name__}:app"
app = App()


class Order(msgspec.Struct):
    """`fork`: the handler forks, and its copy comes back."""

    number: int = 0
    fork: bool = False
    fail: bool = False


def trail(ctx: Context) -> Iterator[list[str]]:
    steps = [f"trail {ctx.type} {ctx.attempt}"]
    try:
        yield steps
    except ValueError as error:
        raise Retry(" < ".join([*steps, str(error)]), after=7) from error
    steps.append("trail left")
    if os.environ.get("IN_COPY"):
        os._exit(3)  # the test expects the exit code of a copy that came back


Steps = Annotated[list[str], Depends(trail)]


def session(steps: Steps, retries: int = 3) -> Iterator[str]:
    steps.append("session")
    try:
        yield f"a session of {retries}"
    except ValueError:
        steps.append("session rolled back")
        raise
    steps.append("session left")


def numbers() -> dict[str, int]:
    return {"made": len(made_in_process)}


made_in_process: list[int] = []


def pool() -> Iterator[list[int]]:
    made_in_process.append(os.getpid())
    yield made_in_process
    assert 0 in made_in_process or "ASYNC" not in os.environ, "the other one is left before"
    if file := os.environ.get("LEFT"):
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")


Pool = Annotated[list[int], Depends(pool, per="process")]


async def async_pool(kept: Pool) -> AsyncIterator[list[int]]:
    yield kept
    kept.append(0)


def work(order: Order, steps: list[str], db: str) -> list[str]:
    steps.append(f"handler {order.number} {db}")
    if order.fork:
        if not (copy := os.fork()):
            os.environ["IN_COPY"] = "yes"
            return steps
        steps.append(str(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])))
    if order.fail:
        raise ValueError("no")
    return steps


@app.job("loop")
async def in_loop(order: Order, steps: Steps, db: Annotated[str, Depends(session)]) -> list[str]:
    return work(order, steps, db)


@app.job("thread")
def in_thread(steps: Steps, db: Annotated[str, Depends(session)], order: Order) -> list[str]:
    return work(order, steps, db)


@app.job("process", run_in="process")
def in_process(order: Order, ctx: Context, db: Annotated[str, Depends(session)], steps: Steps) -> list[str]:
    assert ctx.type == "process"
    return work(order, steps, db)


@app.job("parts")
def parts(path: str, db: Annotated[str, Depends(session)], width: int = 200) -> str:
    return f"{path} {width} {db}"


@app.job("pool.loop")
async def pool_in_loop(job: None, kept: Pool) -> list[int]:
    return kept


@app.job("pool.async")
async def pool_in_async(job: None, kept: Annotated[list[int], Depends(async_pool, per="process")]) -> list[int]:
    return kept


@app.job("pool.thread")
def pool_in_thread(job: None, kept: Pool) -> list[int]:
    return kept


@app.job("pool.process", run_in="process")
def pool_in_process(job: None, kept: Pool, again: Annotated[dict[str, int], Depends(numbers)]) -> list[int]:
    assert again == {"made": len(kept)}
    return kept


async def connect() -> list[str]:
    return ["connected"]


async def channel(link: Annotated[list[str], Depends(connect)]) -> AsyncIterator[list[str]]:
    yield link
    link.append("channel left")


@app.job("async")
async def in_async(job: None, link: Annotated[list[str], Depends(channel)], steps: Steps) -> list[list[str]]:
    return [link, steps]
