"""A handler gets the items of a batch as one list: in the loop of the worker, in a thread and in a process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context
from tests.support.scripts.batches import Items
from tests.support.store import Rig, Server
from tests.support.working import eventually, working

APP = App()


@APP.job("in.loop")
async def in_loop(rows: list[int], ctx: Context) -> list[Any]:
    return [rows, ctx.items, ctx.batch_key]


@APP.job("in.thread", run_in="thread")
def in_thread(rows: list[int], ctx: Context) -> list[Any]:
    return [rows, ctx.items, ctx.batch_key]


@APP.job("in.process", run_in="process")
def in_process(rows: list[int], ctx: Context) -> list[Any]:
    return [rows, ctx.items, ctx.batch_key]


@APP.job("plain")
async def plain(rows: list[int], ctx: Context) -> list[Any]:
    return [rows, ctx.items, ctx.batch_key]


async def result_of(rig: Rig, job_id: str) -> str:
    async def ended() -> bool:
        return (await rig.state(job_id)).get("s") in ("s", "d")

    await eventually(ended)
    return (await rig.stored(job_id)).state.split("\n")[1]


@pytest.mark.parametrize("kind", ["in.loop", "in.thread", "in.process"])
async def test_the_handler_gets_the_list(rig: Rig, server: Server, kind: str) -> None:
    job_id = await Items(rig).add(1, 2, 3, type=kind, key="rows", now=0)
    async with working(server.url, APP, path=f"{__name__}:APP"):
        assert await result_of(rig, job_id) == '[[1,2,3],3,"rows"]'


async def test_a_batch_that_is_not_full_runs_when_it_is_due(rig: Rig, server: Server) -> None:
    job_id = await Items(rig).add(1, type="in.loop", key="rows", wait_ms=50, now=0)
    async with working(server.url, APP, path=f"{__name__}:APP"):
        assert await result_of(rig, job_id) == '[[1],1,"rows"]'


async def test_a_job_that_is_no_batch_has_no_number_of_items(rig: Rig, server: Server) -> None:
    (job_id,) = await rig.add(body='{"type":"plain","payload":[1]}', now=0)
    async with working(server.url, APP, path=f"{__name__}:APP"):
        assert await result_of(rig, job_id) == "[[1],null,null]"


async def test_all_items_fail_and_are_run_again_together(rig: Rig, server: Server) -> None:
    app, seen = App(), asyncio.Queue[list[int]]()

    @app.job("rows")
    async def rows(rows: list[int]) -> None:
        seen.put_nowait(rows)
        if seen.qsize() == 1:
            raise ValueError("not yet")

    job_id = await Items(rig).add(1, 2, 3, type="rows", now=0)
    async with working(server.url, app, backoff_base=0.02, backoff_cap=0.02):
        await result_of(rig, job_id)
    assert [seen.get_nowait(), seen.get_nowait()] == [[1, 2, 3], [1, 2, 3]]
    assert (await rig.state(job_id))["s"] == "s"
