"""Messages about cancelled jobs: heard as they come, and again after the connection was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from queuey.lifecycle import Retrying, end_tasks
from queuey.services.maintenance.loops import run_forever
from queuey.store.pubsub import Subscriber
from tests.support.store import Rig, Server, client_for
from tests.support.working import PATIENCE, eventually

CHANNEL = "queuey:cancel"


@pytest.fixture
async def heard(rig: Rig, server: Server) -> AsyncIterator[asyncio.Queue[str]]:
    """What a listener has heard, whose connection gives up on commands after 0.2 s.

    Where its pauses went on to double, the last of 16 would take a minute."""
    messages: asyncio.Queue[str] = asyncio.Queue()
    client = client_for(server.url, timeout=0.2)
    subscriber = Subscriber(client, {CHANNEL: messages.put_nowait}, retries=Retrying(0.001, 3600))
    task = asyncio.create_task(run_forever(subscriber))
    await until_subscribed(rig)
    yield messages
    assert not task.done()
    await end_tasks([task])
    await client.aclose()


async def until_subscribed(rig: Rig) -> None:
    async def subscribed() -> bool:
        return len(await subscribers(rig)) == 1

    await eventually(subscribed)


async def subscribers(rig: Rig) -> list[dict[str, str]]:
    return [client for client in await rig.client.client_list() if client["sub"] == "1"]


async def next_of(heard: asyncio.Queue[str]) -> str:
    async with asyncio.timeout(PATIENCE):
        return await heard.get()


async def test_every_cancelled_running_job_is_heard_of(rig: Rig, heard: asyncio.Queue[str]) -> None:
    (waiting,) = await rig.add()
    running = await rig.held(2, queue="other")
    await rig.broker.jobs.cancel(rig.shard, [waiting, running[0][0], running[1][0]])
    assert [await next_of(heard), await next_of(heard)] == [running[0][0], running[1][0]]
    assert heard.empty()


@pytest.mark.serial
async def test_silence_does_not_end_it(rig: Rig, heard: asyncio.Queue[str]) -> None:
    """Its connection has a timeout for commands, which must not hold for messages."""
    (before,) = await subscribers(rig)

    async def silent_for_a_second() -> bool:
        return [int(client["idle"]) for client in await subscribers(rig)] == [int(before["idle"]) + 1]

    await eventually(silent_for_a_second)
    assert [client["id"] for client in await subscribers(rig)] == [before["id"]]
    await rig.client.publish(CHANNEL, "still there")
    assert await next_of(heard) == "still there"


async def test_a_lost_connection_is_made_again_and_no_later_each_time(rig: Rig, heard: asyncio.Queue[str]) -> None:
    for attempt in range(16):
        await eventually(partial(_kill, rig))
        await eventually(partial(_hears, rig, heard, f"message {attempt}"))


async def _kill(rig: Rig) -> bool:
    return bool(await rig.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))


async def _hears(rig: Rig, heard: asyncio.Queue[str], message: str) -> bool:
    await rig.client.publish(CHANNEL, message)
    while not heard.empty():
        if heard.get_nowait() == message:
            return True
    return False


async def test_a_message_that_is_no_text_does_no_harm(rig: Rig, heard: asyncio.Queue[str]) -> None:
    await rig.client.publish(CHANNEL, b"\xff\xfe")
    await rig.client.publish(CHANNEL, "text")
    assert await next_of(heard) == "��"
    assert await next_of(heard) == "text"
