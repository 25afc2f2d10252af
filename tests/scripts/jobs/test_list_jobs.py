"""list_jobs: jobs place by place, from where the page before ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queuey.protocol.records import encode_key
from queuey.store.broker.jobs import Filters
from queuey.store.replies import Page, Place
from tests.support.scripts.plain_ways import commands_of
from tests.support.store import HOUR, LEASE, NOW, SECOND, SIXTY_FOUR, STARS, Rig

START = (0, 0, "")


def place(kind: Place, queue: str = "default", lane: str = "") -> tuple[Place, str, str]:
    return kind, queue, lane


READY = place("ready", lane="default")
SCHEDULED = place("scheduled", lane="default")


async def page(rig: Rig, *places: tuple[Place, str, str], **options: Any) -> Page:
    async with rig.unchanged():
        return await rig.broker.jobs.list_jobs(rig.shard, places, **filtered(options))


def filtered(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `list_jobs`, where those of its filters are in `filters`."""
    filters = {name: options.pop(name) for name in Filters.__struct_fields__ if name in options}
    return {**options, "filters": Filters(**filters)}


def ids_of(page: Page) -> list[str]:
    return [job.id for job in page.jobs]


async def bury(rig: Rig, held: tuple[str, str], now: int) -> None:
    assert await rig.broker.leases.fail(rig.shard, [(*held, "{}", 0, True)], now=now) == ["dead"]


async def test_every_place_in_its_order(rig: Rig) -> None:
    done, running, first_dead, then_dead = await rig.held(4)
    waiting = await rig.add(3)
    later, sooner = [(await rig.add(delay_ms=delay))[0] for delay in (2 * HOUR, HOUR)]
    await rig.broker.leases.complete(rig.shard, [(*done, "1")], now=NOW)
    await bury(rig, first_dead, NOW + 1)
    await bury(rig, then_dead, NOW + 2)
    seen = await page(rig, SCHEDULED, READY, place("running"), place("dead"), place("finished"))
    expected = [sooner, later, *waiting, running[0], then_dead[0], first_dead[0], done[0]]
    assert ids_of(seen) == expected
    assert [job.place for job in seen.jobs] == [1, 1, 2, 2, 2, 3, 4, 4, 5]
    assert [job.offset for job in seen.jobs] == [0, 1, 0, 1, 2, 0, 0, 1, 0]
    assert (seen.jobs[0].score, seen.jobs[5].score, seen.jobs[6].score) == (NOW + HOUR, NOW + LEASE, NOW + 2)
    stored = await rig.stored(done[0])
    assert seen.jobs[-1].bytes == len(stored.definition) + len(stored.state)
    assert (seen.looked, seen.ended) == (len(expected) + 5, True)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_pages_join_without_a_gap_in_every_place(rig: Rig) -> None:
    held = await rig.held(5)
    for number, one in enumerate(held):
        await bury(rig, one, NOW + number // 2)  # some at the same time
    held_done = await rig.held(5)
    await rig.broker.leases.complete(rig.shard, [(*one, "") for one in held_done], now=NOW)
    running = await rig.held(5)
    waiting = await rig.add(5)
    scheduled = await rig.add(5, delay_ms=HOUR)
    places = [SCHEDULED, READY, place("running"), place("dead"), place("finished")]
    seen: list[str] = []
    first, after = 0, START
    for _ in range(100):
        got = await page(rig, *places[first:], after=after, count=2)
        seen += ids_of(got)
        if got.ended:
            break
        first, after = first + got.last[0] - 1, (got.last[1], got.last[2], got.last[3])
    everything = [held, held_done, running]
    assert sorted(seen) == sorted([*waiting, *scheduled, *(job_id for some in everything for job_id, _ in some)])


async def test_only_those_of_a_type_or_status(rig: Rig) -> None:
    (wanted,) = await rig.add(body='{"type":"mail","payload":"x"}', max_attempts=3)
    for body in ('{"type":"mailer"}', '{"type":"t","payload":[\n{"type":"mail"}]}'):
        await rig.add(body=body)
    assert ids_of(await page(rig, READY, type="mail")) == [wanted]
    done, cancelled = await rig.held(queue="q"), await rig.add(queue="q")
    await rig.broker.leases.complete(rig.shard, [(*done[0], "")], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, cancelled, now=NOW)
    assert ids_of(await page(rig, place("finished", "q"), status="s")) == [done[0][0]]
    assert ids_of(await page(rig, place("finished", "q"), status="c")) == cancelled


async def test_only_those_with_a_tag(rig: Rig) -> None:
    """The tag of a payload, a part of a tag and a tag of another case are other tags."""
    long = ["a" * 64, *(f"{number}" * 64 for number in range(1, 7)), "mail/eu"]
    bodies = [
        '{"type":"t","tags":["mail/eu"],"payload":1}',
        f'{{"type":"{"t" * 64}","tags":{json.dumps(long, separators=(",", ":"))}}}',
        '{"type":"t","tags":["mail/euro","eu","mail","MAIL/EU"]}',
        '{"type":"t","payload":{"type":"t","tags":["mail/eu"]}}',
        '{"type":"t"}',
    ]
    wanted = [
        (await rig.add(body=body, key=key, extra=f"Z={key}"))[0]
        for body, key in zip(bodies, ("", "k" * 256, "", "", ""), strict=True)
    ]
    assert ids_of(await page(rig, READY, tag="mail/eu")) == wanted[:2]
    assert ids_of(await page(rig, READY, tag="mail/eu", type="t")) == wanted[:1]
    assert ids_of(await page(rig, READY, tag="mail")) == wanted[2:3]
    assert ids_of(await page(rig, READY, tag="a")) == []
    assert ids_of(await page(rig, READY, tag="[")) == []
    assert ids_of(await page(rig, READY)) == wanted


async def test_tombstones_are_left_out(rig: Rig) -> None:
    gone, moved, here = await rig.add(3)
    await rig.broker.jobs.cancel(rig.shard, [gone, moved], now=NOW)
    await rig.client.delete(rig.keys.job(moved), rig.keys.state(moved))
    await rig.add(id=moved, queue="elsewhere")
    assert ids_of(await page(rig, READY)) == [here]
    assert ids_of(await page(rig, place("ready", "elsewhere", "default"))) == [moved]


async def test_no_more_is_looked_at_than_asked_for(rig: Rig) -> None:
    await rig.add(30)
    seen = await page(rig, READY, SCHEDULED, type="other", look=11)
    assert (seen.jobs, seen.looked, seen.ended) == ([], 11, False)
    assert seen.last[:2] == (1, 9)
    rest = await page(rig, READY, SCHEDULED, type="other", look=1000, after=(seen.last[1], seen.last[2], seen.last[3]))
    assert (rest.looked, rest.ended) == (22, True)


async def test_what_was_claimed_meanwhile_hides_nothing(rig: Rig) -> None:
    waiting = await rig.add(6)
    seen = await page(rig, READY, count=3)
    after = (seen.last[1], seen.last[2], seen.last[3])
    await rig.claim(2)
    assert ids_of(await page(rig, READY, after=after)) == waiting[3:], "the entry stands further ahead now"
    await rig.claim(2)
    assert ids_of(await page(rig, READY, after=after)) == waiting[4:], "the entry has gone"


async def test_what_was_released_meanwhile_brings_nothing_twice(rig: Rig) -> None:
    waiting = await rig.add(6)
    claimed = (await rig.claim(2)).jobs
    seen = await page(rig, READY, count=2)
    await rig.broker.leases.release(rig.shard, [(job.id, job.token) for job in claimed], now=NOW)
    assert ids_of(await page(rig, READY, after=(seen.last[1], seen.last[2], seen.last[3]))) == waiting[4:]


async def test_an_id_that_stands_twice_in_a_lane_ends_the_list(rig: Rig) -> None:
    (twice,) = await rig.add()
    await rig.broker.jobs.cancel(rig.shard, [twice], now=NOW)
    await rig.client.delete(rig.keys.job(twice), rig.keys.state(twice))
    await rig.add(2)
    await rig.add(id=twice)
    seen = await page(rig, READY, count=4)
    assert len(seen.jobs) == 4
    assert ids_of(await page(rig, READY, after=(seen.last[1], seen.last[2], seen.last[3]))) == []


async def test_what_left_a_set_meanwhile_hides_nothing(rig: Rig) -> None:
    scheduled = [(await rig.add(delay_ms=number * SECOND))[0] for number in range(1, 7)]
    seen = await page(rig, SCHEDULED, count=3)
    await rig.broker.maintenance.promote(rig.shard, 10, now=NOW + 3 * SECOND)
    assert ids_of(await page(rig, SCHEDULED, after=(seen.last[1], seen.last[2], seen.last[3]))) == scheduled[3:]
    dead = await rig.held(4, queue="q")
    for number, one in enumerate(dead):
        await bury(rig, one, NOW + number)
    seen = await page(rig, place("dead", "q"), count=2)
    await rig.broker.dlq.replay(rig.shard, "r", [dead[2][0]], now=NOW)
    rest = await page(rig, place("dead", "q"), after=(seen.last[1], seen.last[2], seen.last[3]))
    assert ids_of(rest) == [dead[1][0], dead[0][0]]


async def test_renewed_leases_still_come_to_an_end(rig: Rig) -> None:
    held = await rig.held(4)
    seen = await page(rig, place("running"), count=2)
    await rig.broker.leases.extend(rig.shard, LEASE, held, now=NOW + SECOND)
    rest = await page(rig, place("running"), after=(seen.last[1], seen.last[2], seen.last[3]))
    assert sorted(ids_of(seen) + ids_of(rest)) == sorted(job_id for job_id, _ in held)


async def test_no_places_no_jobs(rig: Rig) -> None:
    assert await page(rig) == Page([], 0, (1, 0, 0, ""), True)


# --- lists set aside ---------------------------------------------------------------------------------------------


async def pages(rig: Rig, *places: tuple[Place, str, str], **options: Any) -> list[list[str]]:
    """All pages, by the ids on each."""
    found: list[list[str]] = []
    first, after = 0, START
    for _ in range(1000):
        got = await page(rig, *places[first:], after=after, **options)
        found.append(ids_of(got))
        if got.ended:
            return found
        first, after = first + got.last[0] - 1, (got.last[1], got.last[2], got.last[3])
    raise AssertionError("the pages do not come to an end")


async def three_lists(rig: Rig) -> list[list[str]]:
    """A lane of 3 with 3 lists of 3 jobs each, the list `*` first among these, and the name of an empty one."""
    lists = [await rig.add(3) for _ in range(4)]
    for ids, type in zip(lists[1:], ("*", "mail", "report"), strict=True):
        await rig.set_aside(ids, type)
    await rig.name_asides(("default", "empty"), ("low", "mail"))
    return lists


async def test_what_was_set_aside_comes_behind_its_lane(rig: Rig) -> None:
    in_lane, *aside = await three_lists(rig)
    low = await rig.add(2, priority="low")
    await rig.set_aside(low[:1], "mail", lane="low")
    seen = await page(rig, READY, place("ready", lane="low"))
    assert ids_of(seen)[:6] == [*in_lane, *aside[0]]
    assert ids_of(seen)[6:12] in ([*aside[1], *aside[2]], [*aside[2], *aside[1]])
    assert ids_of(seen)[12:] == [low[1], low[0]]
    assert [job.place for job in seen.jobs] == [1] * 12 + [2] * 2
    assert (seen.looked, seen.ended) == (14 + 2 + 5, True)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 50])
async def test_pages_join_without_a_gap_through_the_lists(rig: Rig, count: int) -> None:
    lists = await three_lists(rig)
    await rig.add(2, queue="other")
    everything = ids_of(await page(rig, READY))
    seen = await pages(rig, READY, place("ready", "other", "default"), count=count)
    assert [job_id for ids in seen for job_id in ids][:12] == everything
    assert sorted(everything) == sorted(job_id for ids in lists for job_id in ids)
    assert max(map(len, seen)) <= count
    assert len([job_id for ids in seen for job_id in ids]) == 14


@pytest.mark.parametrize("look", [2, 3, 4, 7])
async def test_pages_come_to_an_end_however_little_each_looks_at(rig: Rig, look: int) -> None:
    lists = await three_lists(rig)
    seen = await pages(rig, READY, SCHEDULED, look=look)
    assert sorted(job_id for ids in seen for job_id in ids) == sorted(job_id for ids in lists for job_id in ids)


@pytest.mark.parametrize("count", [1, 7])
async def test_lists_have_the_same_order_in_whichever_order_they_are_named(rig: Rig, count: int) -> None:
    types = [f"type{number}" for number in range(8)]
    for type in types:
        await rig.set_aside(await rig.add(2), type)
    seen = [job_id for ids in await pages(rig, READY, count=count) for job_id in ids]
    assert len(seen) == len(set(seen)) == 16
    await rig.client.hset(rig.keys.queue("default"), "aside", "".join(f" d:{type}" for type in reversed(types)))
    assert [job_id for ids in await pages(rig, READY, count=count) for job_id in ids] == seen


async def test_only_the_list_of_the_last_entry_is_searched_for_it(rig: Rig) -> None:
    await three_lists(rig)
    first = await page(rig, READY, count=2)
    call = rig.broker.jobs.list_jobs(rig.shard, [READY], after=(first.last[1], first.last[2], first.last[3]), count=1)
    assert (await commands_of(rig.client, call))["lindex"] == 1
    rest = rig.broker.jobs.list_jobs(rig.shard, [READY], after=(first.last[1], first.last[2], first.last[3]))
    await rig.client.lpop(rig.keys.ready("default", "default"))
    counted = await commands_of(rig.client, rest)
    assert (counted["lindex"], counted.get("lpos", 0)) == (1, 0), "it has moved a little"
    await rig.client.lrem(rig.keys.ready("default", "default"), 1, first.last[3])
    counted = await commands_of(rig.client, rig.broker.jobs.list_jobs(rig.shard, [READY], after=(9, 0, first.last[3])))
    assert (counted["lindex"], counted["lpos"]) == (1, 1), "it has gone"


async def test_names_that_come_and_go_hide_nothing(rig: Rig) -> None:
    lists = await three_lists(rig)
    rest = [job_id for ids in lists for job_id in ids]
    first = await page(rig, READY, count=7)
    after = (first.last[1], first.last[2], first.last[3])
    gone = "mail" if first.jobs[-1].id in lists[2] else "report"
    await rig.client.delete(rig.keys.aside("default", "default", gone))
    await rig.client.hdel(rig.keys.queue("default"), "aside")
    new = await rig.add(3)
    kept = "report" if gone == "mail" else "mail"
    for type in ("zebra", kept, "ant"):
        await rig.name_asides(("default", type))
    await rig.set_aside(new[:1], "zebra")
    await rig.set_aside(new[1:2], "ant")
    seen = ids_of(first) + ids_of(await page(rig, READY, after=after))
    of_gone = set(lists[2] if gone == "mail" else lists[3])
    assert {job_id for job_id in rest if job_id not in of_gone} <= set(seen), "the list behind the one that has gone"
    assert len(seen) == len(set(seen))


async def test_what_was_claimed_from_a_list_meanwhile_hides_nothing(rig: Rig) -> None:
    jobs = await rig.add(6)
    await rig.set_aside(jobs, "mail")
    first = await page(rig, READY, count=3)
    after = (first.last[1], first.last[2], first.last[3])
    await rig.client.lpop(rig.keys.aside("default", "default", "mail"), 2)
    assert ids_of(await page(rig, READY, after=after)) == jobs[3:]
    await rig.client.lpop(rig.keys.aside("default", "default", "mail"), 2)
    assert ids_of(await page(rig, READY, after=after)) == jobs[4:]


async def test_tombstones_and_other_types_of_a_list_are_left_out(rig: Rig) -> None:
    (mail,) = await rig.add(body='{"type":"mail"}')
    gone, other = await rig.add(2)
    await rig.set_aside([gone, other, mail], "*")
    await rig.broker.jobs.cancel(rig.shard, [gone], now=NOW)
    assert ids_of(await page(rig, READY)) == [other, mail]
    assert ids_of(await page(rig, READY, type="mail")) == [mail]


async def test_each_name_is_looked_at_once_a_lane_and_none_costs_one_command(rig: Rig) -> None:
    lanes = [place("ready", lane=lane) for lane in ("high", "default", "low")]
    await page(rig, *lanes)
    call = rig.broker.jobs.list_jobs
    assert await commands_of(rig.client, call(rig.shard, lanes)) == {"hget": 1, "lrange": 3}
    assert await commands_of(rig.client, call(rig.shard, [SCHEDULED])) == {"zrange": 1}
    await rig.name_asides(*SIXTY_FOUR, *STARS)
    assert await commands_of(rig.client, call(rig.shard, lanes)) == {"hget": 1, "lrange": 3 + 64 + 3}
    assert (await page(rig, *lanes)).looked == 3 + 64 + 3
    assert await commands_of(rig.client, call(rig.shard, lanes, look=20)) == {"hget": 1, "lrange": 19}


async def test_only_those_with_a_dedupe_key(rig: Rig) -> None:
    """In every place. A part of a key is another key, and so is the payload of a job."""
    keys = ("orders:1", "orders:11", "orders:", "", "k" * 256)
    ids = [(await rig.add(key=key, body=f'{{"type":"t","payload":" k={encode_key(keys[0])} "}}'))[0] for key in keys]
    for key, job_id in zip(keys, ids, strict=True):
        if key:
            assert ids_of(await page(rig, READY, key=encode_key(key))) == [job_id]
    assert ids_of(await page(rig, READY, key=encode_key("other"))) == []
    assert ids_of(await page(rig, READY, key=encode_key(keys[0]), type="other")) == []
    assert await rig.claim() is not None
    assert ids_of(await page(rig, READY, place("running"), key=encode_key(keys[0]))) == ids[:1]


async def test_only_those_of_an_age(rig: Rig) -> None:
    """A job with a delay is as old as its enqueue. Both bounds are part of the range."""
    (old,) = await rig.add(now=NOW - HOUR, delay_ms=2 * HOUR)
    (middle,) = await rig.add(now=NOW - SECOND)
    (new,) = await rig.add(now=NOW)

    async def of_age(least: int, most: int) -> list[str]:
        return ids_of(await page(rig, SCHEDULED, READY, ages=(least, most), now=NOW))

    assert await of_age(-1, -1) == [old, middle, new]
    assert await of_age(0, -1) == [old, middle, new]
    assert await of_age(SECOND, -1) == [old, middle]
    assert await of_age(SECOND + 1, -1) == [old]
    assert await of_age(-1, SECOND) == [middle, new]
    assert await of_age(-1, 0) == [new]
    assert await of_age(1, HOUR - 1) == [middle]
    assert await of_age(SECOND, 1) == []
    assert ids_of(await page(rig, SCHEDULED, READY, ages=(-1, HOUR))) == [], "by the store's clock, NOW is long ago"
