"""Jobs of types that no live worker of their queue knows: what is shown of them, and when they are buried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from queuey.services.maintenance.unknown_types import UnknownTypes
from queuey.services.workers import Description, WorkerReport
from queuey.store.asides import ANY, SUSPECTS, Room
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import FEATURES
from queuey.store.replies import Asides
from tests.support.http import ApiRig, api_over
from tests.support.scripts.asides import add_types, aside, set_aside
from tests.support.store import Rig
from tests.support.stores import one_of
from tests.support.working import FaultyScripts

shards = one_of(1)
TTL = 600.0
HALF = round(TTL * 500)


@pytest.fixture
async def api(rig: Rig) -> AsyncIterator[ApiRig]:
    async with api_over(rig.broker, unknown_type_ttl=TTL) as api:
        yield api


async def serve(rig: Rig, name: str, *types: str, kind: str = "process", **fields: Any) -> None:
    """A heartbeat of a replica with one worker of the queue `default`."""
    report = WorkerReport(name, kind, 4, 0, [], ["default"], list(types), **fields)
    text = msgspec.json.encode(Description("1", 1, ["worker"], [report], features=list(FEATURES))).decode()
    await rig.broker.replicas.heartbeat(0, name, text)


async def leave(rig: Rig, name: str) -> None:
    await rig.broker.replicas.heartbeat(0, name, "")


async def pass_time(rig: Rig, ms: int, *fields: str) -> None:
    """Let the store believe that this much more time has passed since it noted these, and since its jobs were ready."""
    key = rig.keys.queue("default")
    noted = {name.decode(): value.decode() for name, value in (await rig.client.hgetall(key)).items()}
    if "unknown" in noted:
        pairs = [pair.rsplit(":", 1) for pair in noted["unknown"].split()]
        await rig.client.hset(key, "unknown", " ".join(f"{name}:{int(at) - ms}" for name, at in pairs))
    if "asked" in noted:
        await rig.client.hset(key, "asked", int(noted["asked"]) - ms)
    for name in await rig.client.keys(rig.keys.job("*")):
        head, _, body = (await rig.client.get(name)).decode().partition("\n")
        ready, _, others = head.removeprefix("r=").partition(" ")
        await rig.client.set(name, f"r={int(ready) - ms} {others}".strip() + "\n" + body)


async def look(rig: Rig, ttl: float = TTL) -> UnknownTypes:
    chore = UnknownTypes(rig.broker, ttl)
    await chore.run_once()
    return chore


async def status(rig: Rig, job_id: str) -> str:
    return (await rig.state(job_id)).get("s", "w")


async def shown(api: ApiRig) -> dict[str, int]:
    return dict((await api.http.get("/v1/queues/default")).json()["waiting_for_handler"])


async def metric(api: ApiRig) -> float:
    text = (await api.http.get("/metrics")).text
    (line,) = [each for each in text.splitlines() if each.startswith("queuey_queue_waiting_for_handler_jobs{")]
    assert line.startswith('queuey_queue_waiting_for_handler_jobs{queue="default"} ')
    return float(line.rsplit(" ", 1)[1])


# --- what is shown -----------------------------------------------------------------------------------------------


async def test_only_types_that_nobody_knows_wait_for_a_handler(rig: Rig, api: ApiRig) -> None:
    x1, y1, _ = await set_aside(rig, "xyx", now=0)
    await serve(rig, "r1", "y", "z")
    assert await shown(api) == {"x": 2}
    assert await metric(api) == 2
    told = (await api.http.get(f"/v1/jobs/{x1}/explain")).json()
    assert (told["reason"], told["workers"]) == ("no_worker", [])
    assert told["detail"] == "No worker that serves the queue default knows the type x (2 wait)."
    told = (await api.http.get(f"/v1/jobs/{y1}/explain")).json()
    assert (told["reason"], told["workers"]) == ("waiting", ["r1"])
    assert told["detail"].startswith("It is set aside until a worker with room for y asks (1 wait).")


async def test_a_quiet_worker_does_not_count_here(rig: Rig, api: ApiRig) -> None:
    await set_aside(rig, "x", now=0)
    await serve(rig, "r1", "y")
    await serve(rig, "r2", "x", quiet=True)
    assert await shown(api) == {"x": 1}


async def test_without_any_worker_the_type_is_not_to_blame(rig: Rig, api: ApiRig) -> None:
    await set_aside(rig, "x", now=0)
    assert await shown(api) == {}
    assert await metric(api) == 0


async def test_with_a_worker_that_takes_every_type_none_is_unknown(rig: Rig, api: ApiRig) -> None:
    (x1,) = await set_aside(rig, "x", now=0)
    await serve(rig, "r1", "y")
    await serve(rig, "p1", kind="pull")
    assert await shown(api) == {}
    await look(rig)
    await leave(rig, "p1")
    assert await shown(api) == {}, "it asked within the TTL, as the store knows"
    told = (await api.http.get(f"/v1/jobs/{x1}/explain")).json()
    assert told["detail"].endswith("A pull worker that takes every type asked for the queue recently.")
    await pass_time(rig, 2 * HALF)
    assert await shown(api) == {"x": 1}


async def test_sixty_five_unknown_types(rig: Rig, api: ApiRig) -> None:
    await rig.open_gate()
    for number in range(65):
        await rig.add(body=f'{{"type":"x{number:02}"}}', now=0)
    await rig.claim_typed(room=[Room(1, ["none"])], others=False, now=0)
    await serve(rig, "r1", "y")
    found = await shown(api)
    assert len(found) == 33, "32 of them have names"
    assert found[ANY] == 33
    assert sum(found.values()) == 65 == await metric(api)


# --- burial ------------------------------------------------------------------------------------------------------


async def test_a_job_is_buried_once_nobody_has_known_its_type_for_the_ttl(rig: Rig, api: ApiRig) -> None:
    x1, y1 = await set_aside(rig, "xy", now=0)
    await serve(rig, "r1", "y")
    await look(rig)
    await pass_time(rig, HALF)
    await look(rig)
    assert await status(rig, x1) == "w"
    await pass_time(rig, HALF + 1)
    await look(rig)
    assert (await status(rig, x1), await status(rig, y1)) == ("d", "w")
    told = await api.job(x1)
    assert (told["status"], told["attempts"], told["attempts_log"]) == ("dead_letter", 0, [])
    assert [error["kind"] for error in told["errors"]] == ["unknown_type"]
    replayed = await api.http.post(f"/v1/jobs/{x1}/retry", headers={"x-api-key": "dev"})
    assert replayed.status_code == 200, replayed.text
    assert (await api.job(x1))["status"] == "queued"


async def test_a_suspect_is_buried_once_nobody_has_known_its_type_for_the_ttl(rig: Rig, api: ApiRig) -> None:
    """As after a deploy without a type whose jobs had crashed twice. It is not shown by type, and explain says why."""
    await serve(rig, "r1", "k")
    gone, known = await add_types(rig, "gk", now=0)
    await rig.set_aside([gone, known], SUSPECTS)
    await look(rig)
    assert (await api.http.get(f"/v1/jobs/{gone}/explain")).json()["reason"] == "no_worker"
    await pass_time(rig, HALF)
    await look(rig)
    assert await status(rig, gone) == "w"
    await pass_time(rig, 2 * HALF)
    await look(rig)
    assert [await status(rig, job_id) for job_id in (gone, known)] == ["d", "w"]
    assert await aside(rig, SUSPECTS) == [known]


async def test_an_old_job_is_not_buried_when_its_type_was_known_until_now(rig: Rig) -> None:
    """A deploy after a weekend may begin with the replica that lacks the type."""
    (x1,) = await set_aside(rig, "x", now=0)
    await pass_time(rig, 10 * HALF)
    await serve(rig, "r1", "y")
    await look(rig)
    await look(rig)
    assert await status(rig, x1) == "w"


@pytest.mark.parametrize(
    ("types", "fields"),
    [
        (("x",), {}),
        (("x",), {"quiet": True}),
        (("x",), {"kind": "pull"}),
        ((), {"kind": "pull"}),
    ],
    ids=["process", "quiet", "pull", "every type"],
)
async def test_nothing_is_buried_while_somebody_knows_it(rig: Rig, types: tuple[str, ...], fields: Any) -> None:
    (x1,) = await set_aside(rig, "x", now=0)
    await serve(rig, "r1", "y")
    await serve(rig, "r2", *types, **fields)
    for _ in range(4):
        await look(rig)
        await pass_time(rig, 2 * HALF)
    await serve(rig, "r2", *types, **fields)
    await look(rig)
    assert await status(rig, x1) == "w"


async def test_nothing_is_buried_without_a_worker_or_with_ttl_0(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x", now=0)
    for _ in range(3):
        await look(rig)
        await pass_time(rig, 2 * HALF)
    await serve(rig, "r1", "y")
    for _ in range(3):
        await look(rig, ttl=0)
        await pass_time(rig, 2 * HALF)
    assert await status(rig, x1) == "w"


async def test_the_last_ask_for_every_type_counts_after_all_replicas_have_restarted(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x", now=0)
    await serve(rig, "r1", "y")
    await serve(rig, "p1", kind="pull")
    await look(rig)
    await leave(rig, "p1")
    await look(rig)
    await pass_time(rig, 2 * HALF - 10_000)
    await look(rig)
    assert await status(rig, x1) == "w"
    await pass_time(rig, 2 * HALF)
    await look(rig)
    assert await status(rig, x1) == "d"


async def test_an_ask_that_another_replica_has_noted_counts(rig: Rig) -> None:
    (x1,) = await set_aside(rig, "x", now=0)
    await serve(rig, "r1", "y")
    await look(rig)
    await pass_time(rig, 2 * HALF + 1)
    await rig.broker.maintenance.note_types(rig.shard, [("default", True, ["x"])])
    await look(rig)
    assert await status(rig, x1) == "w"
    await pass_time(rig, 2 * HALF + 1)
    await look(rig)
    assert await status(rig, x1) == "d"


async def test_the_note_of_an_ask_is_written_once_a_minute(rig: Rig) -> None:
    await rig.add(now=0)
    await serve(rig, "p1", kind="pull")
    scripts = FaultyScripts()
    chore = UnknownTypes(Broker(rig.broker.shards, scripts), TTL)
    for _ in range(5):
        await chore.run_once()
    assert [name for name, _ in scripts.calls].count("note_types") == 1


async def test_a_fuzzer_sends_10_000_types(rig: Rig, api: ApiRig) -> None:
    """Names are bounded, calls are counted, and each job can be found, claimed and buried."""
    await rig.open_gate()
    jobs = [rig.job(body=f'{{"type":"fuzz{number}"}}') for number in range(10_000)]
    for first in range(0, len(jobs), 500):
        await rig.broker.jobs.enqueue(rig.shard, jobs[first : first + 500])
    (good,) = await add_types(rig, "g", now=0)
    claims = 0
    while await rig.waiting():
        await rig.claim_typed(room=[Room(1, ["none"])], others=False, now=0)
        claims += 1
        assert claims <= 102, "each call sets aside 100"
    names = (await rig.client.hget(rig.keys.queue("default"), "aside")).decode().split()
    assert len(names) == 33
    rest = await aside(rig, ANY)
    assert len(rest) == 10_001 - 32
    assert good in rest
    await serve(rig, "r1", "g")
    found = await shown(api)
    assert (len(found), found[ANY]) == (33, len(rest))
    (asides,) = await rig.broker.queues.list_asides(rig.shard, ["default"])
    assert isinstance(asides, Asides)
    await look(rig)
    await pass_time(rig, 2 * HALF + 1)
    scripts = FaultyScripts()
    await UnknownTypes(Broker(rig.broker.shards, scripts), TTL).run_once()
    assert len(scripts.calls) <= 30, "500 jobs a call"
    assert await aside(rig, ANY) == [good]
    assert (await rig.row())["dead"] == 10_000
    taken = await rig.claim_typed(room=[Room(1, ["g"])], others=False, take={"default": [("default", ANY)]}, now=0)
    assert [job.id for job in taken.jobs] == [good]
