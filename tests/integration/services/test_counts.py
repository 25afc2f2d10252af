"""What jobs cost, in counts that no machine changes: a guard against what would make Queuey slow or fat.

Each limit is what is needed today and a little more. Lower it when less will do; raise it only for a reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer
from queuey.store.broker.broker import Broker
from queuey.store.shards import Shards
from queuey.worker.handlers.app import App
from tests.support.store import NOW, Rig, Server
from tests.support.working import HELD, PATIENCE, FaultyScripts, Stage, eventually, working

pytestmark = pytest.mark.serial

JOBS: Final = 1_000
BATCH: Final = 100
"""Jobs in one call of a script, and jobs that a worker runs at a time."""
KEPT_JOBS: Final = 20_000
KEPT_BATCH: Final = 500
BODY: Final = '{"type":"noop","payload":"' + "p" * 98 + '"}'
RESULT: Final = '"' + "r" * 98 + '"'
"""Payload and result are 100 bytes of JSON each."""

# For JOBS jobs from enqueue to success, in batches of BATCH.
COMMANDS: Final = 530
"""That the store runs, those within the scripts included."""
WIRE_BYTES: Final = 550_000
"""To and from the store. 300 a job are its payload, twice, and its result."""

# For JOBS waiting jobs that a worker with BATCH slots runs.
CLAIMS: Final = 24
COMPLETES: Final = 22
TASKS: Final = 100
"""That asyncio makes in the worker's process."""

# For one job, from its enqueue until its handler runs, in an idle process.
PICK_UP: Final = 15
"""Commands that the store runs, those within the scripts included."""

# For one job.
WAITING_BYTES: Final = 290
FINISHED_BYTES: Final = 620


async def live(rig: Rig, jobs: int, batch: int) -> None:
    """So many jobs from enqueue to success. The record of a claim goes with its lease, so leases are short."""
    for _ in range(jobs // batch):
        await rig.add(batch, body=BODY)
        held = (await rig.claim(batch, lease_ms=1)).jobs
        done = [(job.id, job.token, RESULT) for job in held]
        assert await rig.broker.leases.complete(rig.shard, done, now=NOW) == ["ok"] * batch


async def test_commands_and_bytes_on_the_wire(rig: Rig) -> None:
    await live(rig, BATCH, BATCH)  # loads the scripts
    await rig.client.config_resetstat()
    await live(rig, JOBS, BATCH)
    wire = await rig.client.info("stats")
    commands = await rig.client.info("commandstats")
    calls = {name: figures["calls"] for name, figures in commands.items() if "|" not in name and "info" not in name}
    assert calls["cmdstat_evalsha"] == 3 * JOBS // BATCH
    assert sum(calls.values()) <= COMMANDS, calls
    assert wire["total_net_input_bytes"] + wire["total_net_output_bytes"] <= WIRE_BYTES


async def test_bytes_in_the_store(rig: Rig) -> None:
    await live(rig, KEPT_BATCH, KEPT_BATCH)  # loads the scripts, and grows what stays
    empty = await used_memory(rig)
    await live(rig, KEPT_JOBS, KEPT_BATCH)
    await eventually(lambda: no_claims(rig))
    finished = await used_memory(rig)
    for _ in range(KEPT_JOBS // KEPT_BATCH):
        await rig.add(KEPT_BATCH, body=BODY)
    waiting = await used_memory(rig)
    assert (finished - empty) / KEPT_JOBS <= FINISHED_BYTES
    assert (waiting - finished) / KEPT_JOBS <= WAITING_BYTES


async def used_memory(rig: Rig) -> int:
    """Without the buffers of connections, which come and go."""
    info = await rig.client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])


async def no_claims(rig: Rig) -> bool:
    return not await rig.client.keys(rig.keys.claim("*"))


async def test_calls_and_tasks_of_a_worker(rig: Rig, server: Server) -> None:
    for _ in range(JOBS // BATCH):
        await rig.add(BATCH, now=0, body=BODY)
    app, scripts = App(), FaultyScripts()

    @app.job("noop")
    async def noop(payload: str) -> str:
        return payload

    tasks = count_tasks()
    async with working(server.url, app, scripts=scripts, concurrency=BATCH):
        await eventually(lambda: all_finished(rig))
    calls = Counter(name for name, _ in scripts.calls)
    assert calls["claim"] <= CLAIMS
    assert calls["complete"] <= COMPLETES
    assert set(calls) == {"claim", "complete"}
    assert sum(tasks.values()) <= TASKS, tasks


async def test_a_job_that_an_idle_worker_of_the_same_process_gets(rig: Rig, server: Server) -> None:
    """One script call enqueues and claims it. There is no marker, which would wake a process in vain."""
    await rig.add()
    await rig.claim()
    assert await rig.marked()
    stage, scripts = Stage(), FaultyScripts()
    async with working(server.url, stage.app, scripts=scripts, waker=False) as worker:
        await worker.may_wait.wait()
        broker = Broker(Shards(rig.client, rig.broker.shards.count), scripts)
        producer = Producer(broker, metrics=Metrics(), resend_for=PATIENCE, claimers=[worker])
        scripts.calls.clear()
        await rig.client.config_resetstat()
        job = rig.job(body=HELD)
        await producer.enqueue(job)
        assert await stage.next() == job.id
        commands = await rig.client.info("commandstats")
        assert [name for name, _ in scripts.calls] == ["enqueue"]
        calls = {name: figures["calls"] for name, figures in commands.items() if "|" not in name and "info" not in name}
        assert calls["cmdstat_evalsha"] == 1
        assert sum(calls.values()) <= PICK_UP, calls
        assert not await rig.marked()
        stage.finish(job.id)


async def all_finished(rig: Rig) -> bool:
    return (await rig.row())["finished"] == JOBS


def count_tasks() -> Counter[str]:
    """Counts every task that the running loop makes from now on, by the name of its coroutine."""
    tasks: Counter[str] = Counter()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        tasks[getattr(coroutine, "__qualname__", "?")] += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)  # type: ignore[arg-type]  # typeshed wants any awaitable
    return tasks
