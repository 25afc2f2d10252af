"""The view shows all that is in a store, and what should not be there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queuey.protocol import ids
from queuey.protocol.stored.schedules import Run
from queuey.store.broker.schedules import Firing, NewSchedule, Pausing
from queuey.store.keys import poke_key
from queuey.store.scripts import Scripts
from tests.faults.store.view import GONE, StoreView, read_store, take
from tests.support.store import NOW, Rig, Server, client_for, valkey_binary

LINE = '1.1 5 info "a line"\n'


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    server = Server(valkey_binary())
    client = client_for(server.url)
    yield Rig(client, 1, Scripts())
    await client.aclose()
    server.stop()


async def test_every_key_is_read(rig: Rig) -> None:
    ((done, token),) = await rig.held(key="k", retention_ms=1000)
    await rig.broker.leases.complete(0, [(done, token, '{"token":"x"}')], now=NOW + 5)
    await rig.broker.jobs.keep_log(0, [(done, token, LINE)])
    ((dead, token),) = await rig.held(queue="other", max_attempts=1)
    await rig.broker.leases.fail(0, [(dead, token, '{"kind":"exception"}', 0, False)], now=NOW)
    (waiting,) = await rig.add(priority="low")
    (scheduled,) = await rig.add(delay_ms=500)
    (tombstone,) = await rig.add()
    await rig.broker.jobs.cancel(0, [tombstone], now=NOW)
    aside = await rig.add(2)
    await rig.set_aside(aside, "t")
    await rig.client.zadd(rig.keys.wake_type("default", "t"), {"m": 0})
    await rig.client.zadd(poke_key(rig.keys, "replica"), {"m": 0})
    await rig.client.set(rig.keys.alone("worker"), "id 5")
    view = await read_store(rig.client)
    assert {job_id: job.status for job_id, job in view.jobs.items()} == {
        done: "succeeded",
        dead: "dead_letter",
        waiting: "waiting",
        scheduled: "waiting",
        tombstone: "cancelled",
        **dict.fromkeys(aside, "waiting"),
    }
    assert [job_id for job_id, job in view.jobs.items() if job.log] == [done]
    assert view.jobs[done].log == LINE
    assert view.places == {
        (0, "done:default"): [done, tombstone],
        (0, "dead:other"): [dead],
        (0, "ready:default:low"): [waiting],
        (0, "ready:default:default"): [tombstone],
        (0, "aside:default:default:t"): aside,
        (0, "scheduled:default:default"): [scheduled],
    } or view.places[0, "done:default"] == [tombstone, done]
    assert sorted(view.unfinished()) == sorted([waiting, scheduled, *aside])
    assert {(lane, key): ids for lane, key, ids in view.lists()} == {
        ((0, "default", "low"), "ready:default:low"): [waiting],
        ((0, "default", "default"), "ready:default:default"): [tombstone],
        ((0, "default", "default"), "aside:default:default:t"): aside,
    }
    assert view.jobs[done].result == {"token": "x"}
    assert view.jobs[dead].kinds == ["exception"]
    assert view.jobs[scheduled].ready_at == NOW + 500
    assert view.jobs[scheduled].created_at == NOW
    assert view.jobs[waiting].lane == (0, "default", "low")
    assert view.queues[0, "other"]["dead_bytes"] == str(view.jobs[dead].bytes)
    assert {name: view.counters[name] for name in ("enqueued", "succeeded", "dead", "cancelled", "claimed")} == {
        "enqueued": 7,
        "succeeded": 1,
        "dead": 1,
        "cancelled": 1,
        "claimed": 2,
    }
    assert [holder for holder, _ in view.dedupe.values()] == [done]
    assert set(view.claims) == {"claim001", "claim002"}
    assert view.strangers == []
    assert view.lone_states == set()


async def test_schedules_are_read_with_their_histories(rig: Rig) -> None:
    tick = NOW + 1000
    spec = '{"every":1,"overlap":"skip","job":{"type":"t"}}'
    await rig.client.hset(rig.keys.meta, "features", "schedules")
    schedules = [NewSchedule(name, "u", "", NOW, tick, tick, spec) for name in ("fired", "paused")]
    await rig.broker.schedules.put_schedules(0, schedules, now=NOW)
    job = rig.job(id=ids.of_tick("fired", "u", tick))
    job.body = job.body[:-1] + ',"metadata":{"schedule.name":"fired"}}'
    firing = Firing("fired", "u.1", "tick", tick, tick, tick + 1000, tick + 1000, "skip", 0, job)
    assert (await rig.broker.schedules.fire(0, [firing], now=tick)).answers == ["fired"]
    await rig.broker.schedules.set_paused(0, [Pausing("paused", "*", "{}")], now=NOW)
    before, _ = await rig.client.time()
    view = await read_store(rig.client)
    assert {name: (each.last_tick_ms, each.pause) for name, each in view.schedules.items()} == {
        "fired": (tick, ""),
        "paused": (-1, "{}"),
    }
    assert view.runs == {"fired": [Run(tick, tick, "tick", "fired", job.id, 1)]}
    assert view.names == {"schedule_names": {"fired", "paused"}, "ticks": {"fired"}}
    assert view.jobs[job.id].metadata == {"schedule.name": "fired"}
    assert view.strangers == []
    assert before <= view.time_ms // 1000


async def test_what_should_not_be_there_is_told(rig: Rig) -> None:
    strangers = ["foreign", "queuey:{0}:", "queuey:{0}:!", "queuey:{0}:unheard:of", "queuey:{x}:job:1"]
    for key in strangers:
        await rig.client.set(key, "1")
    await rig.client.set(rig.keys.state("gone"), "s=r")
    view = await read_store(rig.client)
    assert sorted(view.strangers) == sorted(strangers)
    assert view.lone_states == {"gone"}
    assert view.jobs == {}


@pytest.mark.parametrize(("raw", "ttl", "kept"), [(b"id", 5, {"c1": 5}), (None, GONE, {}), (b"id", GONE, {})])
def test_what_lapses_while_it_is_read_is_not_there(raw: bytes | None, ttl: int, kept: dict[str, int]) -> None:
    view = StoreView()
    take(view, {}, {}, "queuey:{0}:claim:c1", "queuey", iter([raw, ttl]))
    assert view.claims == kept
