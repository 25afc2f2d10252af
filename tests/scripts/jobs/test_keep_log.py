"""keep_log: the lines that attempts log, kept beside the state for as long as the job."""

from __future__ import annotations

import pytest

from queuey.errors import Full
from queuey.protocol.records import parse_fields
from queuey.protocol.stored.job_log import MAX_BYTES, MAX_LINES
from queuey.store.broker.calls import LOG_TTL_MS
from queuey.store.replies import Caps
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


def lines(claim: int, *texts: str) -> str:
    return "".join(f'{claim}.{claim} {NOW} info "{text}"\n' for text in texts)


async def keep(rig: Rig, *items: tuple[str, str, str]) -> list[str]:
    return await rig.broker.jobs.keep_log(rig.shard, items)


async def log_of(rig: Rig, job_id: str) -> str:
    return await rig.broker.jobs.get_log(rig.shard, job_id)


async def fails(rig: Rig, job_id: str, token: str, *, dead: bool = False) -> None:
    await rig.broker.leases.fail(rig.shard, [(job_id, token, "{}", 0, dead)], now=NOW)


async def claimed_again(rig: Rig, job_id: str) -> str:
    (job,) = (await rig.claim(now=NOW)).jobs
    assert job.id == job_id
    return job.token


async def check_bytes(rig: Rig, job_id: str) -> None:
    """The bytes of the job are those of its keys, and the queue counts them if the job has ended."""
    state = parse_fields((await rig.stored(job_id)).state)
    sizes = [await rig.client.strlen(key(job_id)) for key in (rig.keys.job, rig.keys.log, rig.keys.state)]
    assert int(state["j"]) == sizes[0] + sizes[1]
    field = {"d": "dead_bytes", "s": "done_bytes", "c": "done_bytes"}.get(state["s"])
    if field is not None:
        assert int(await rig.client.hget(rig.keys.queue("default"), field)) == sum(sizes)


async def test_an_attempt_replaces_its_own_lines_and_keeps_those_of_earlier_ones(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    assert await keep(rig, (job_id, token, lines(1, "a"))) == ["ok"]
    assert await keep(rig, (job_id, token, lines(1, "a", "b"))) == ["ok"]
    await fails(rig, job_id, token)
    again = await claimed_again(rig, job_id)
    assert await keep(rig, (job_id, again, lines(2, "c"))) == ["ok"]
    assert await log_of(rig, job_id) == lines(1, "a", "b") + lines(2, "c")
    await check_bytes(rig, job_id)


async def test_the_last_lines_of_an_attempt_may_come_after_its_end(rig: Rig) -> None:
    """They take the place before those of the next attempt."""
    ((job_id, token),) = await rig.held()
    await fails(rig, job_id, token)
    again = await claimed_again(rig, job_id)
    await keep(rig, (job_id, again, lines(2, "c")))
    assert await keep(rig, (job_id, token, lines(1, "a", "b"))) == ["ok"]
    assert await log_of(rig, job_id) == lines(1, "a", "b") + lines(2, "c")


@pytest.mark.parametrize("sent", [("a",), ("a", "b"), ("b",)])
async def test_a_copy_that_arrives_late_changes_nothing(rig: Rig, sent: tuple[str, ...]) -> None:
    """Neither while the attempt runs, nor after its end, nor among the lines of others."""
    ((job_id, token),) = await rig.held()
    await keep(rig, (job_id, token, lines(1, "a", "b", "c")))
    async with rig.unchanged():
        assert await keep(rig, (job_id, token, lines(1, *sent))) == ["ok"]
    await fails(rig, job_id, token)
    again = await claimed_again(rig, job_id)
    await keep(rig, (job_id, again, lines(2, "b")))
    async with rig.unchanged():
        assert await keep(rig, (job_id, token, lines(1, *sent))) == ["ok"]
    assert await log_of(rig, job_id) == lines(1, "a", "b", "c") + lines(2, "b")


async def test_lines_that_follow_those_that_are_kept_replace_them(rig: Rig) -> None:
    """Also when so many were logged that the last one that was kept is not among them, and when some are alike."""
    ((job_id, token),) = await rig.held()
    for texts in (("a",), ("a", "a"), ("a", "a", "b", "a"), ("c", "d"), ()):
        assert await keep(rig, (job_id, token, lines(1, *texts))) == ["ok"]
        assert await log_of(rig, job_id) == lines(1, *texts)
        await check_bytes(rig, job_id)


@pytest.mark.parametrize("end", ["complete", "dead", "release", "cancel"])
async def test_the_bytes_are_counted_however_it_ends(rig: Rig, end: str) -> None:
    ((job_id, token),) = await rig.held()
    await keep(rig, (job_id, token, lines(1, "a")))
    await check_bytes(rig, job_id)
    if end == "complete":
        await rig.broker.leases.complete(rig.shard, [(job_id, token, '{"n":1}')], now=NOW)
    elif end == "dead":
        await fails(rig, job_id, token, dead=True)
    elif end == "cancel":
        await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW)
        await fails(rig, job_id, token)
    else:
        await rig.broker.leases.release(rig.shard, [(job_id, token)], now=NOW)
    await check_bytes(rig, job_id)
    assert await keep(rig, (job_id, token, lines(1, "a", "b"))) == ["ok"]
    assert await keep(rig, (job_id, token, lines(1, "a", "b"))) == ["ok"]
    assert await log_of(rig, job_id) == lines(1, "a", "b")
    await check_bytes(rig, job_id)


async def test_an_edited_payload_and_a_replay_keep_the_bytes_right(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await keep(rig, (job_id, token, lines(1, "a")))
    await fails(rig, job_id, token, dead=True)
    await rig.broker.jobs.set_payload(rig.shard, job_id, '{"type":"t","payload":"' + "x" * 100 + '"}')
    await check_bytes(rig, job_id)
    assert await rig.broker.dlq.replay(rig.shard, "r", [job_id], now=NOW) == ["ok"]
    assert int(await rig.client.hget(rig.keys.queue("default"), "dead_bytes")) == 0
    assert await log_of(rig, job_id) == lines(1, "a")
    await rig.broker.leases.complete(rig.shard, [(job_id, await claimed_again(rig, job_id), "")], now=NOW)
    await check_bytes(rig, job_id)


async def edited_by_an_older_version(rig: Rig, job_id: str) -> None:
    """Replace the payload of a dead job as a version that knows no logs does: then `j` leaves them out."""
    definition, state = [await rig.client.get(key(job_id)) for key in (rig.keys.job, rig.keys.state)]
    edited = definition.partition(b"\n")[0] + b'\n{"type":"t"}'
    bytes_before = int(parse_fields(state.decode())["j"])
    after = state.replace(b"j=%d" % bytes_before, b"j=%d" % len(edited), 1)
    await rig.client.mset({rig.keys.job(job_id): edited, rig.keys.state(job_id): after})
    change = len(edited) + len(after) - bytes_before - len(state)
    await rig.client.hincrby(rig.keys.queue("default"), "dead_bytes", change)


@pytest.mark.parametrize("then", ["fewer lines", "more lines", "edit", "delete"])
async def test_an_older_version_that_has_edited_it_leaves_no_wrong_bytes(rig: Rig, then: str) -> None:
    ((job_id, token),) = await rig.held()
    await keep(rig, (job_id, token, lines(1, "x" * 900, "y" * 900)))
    await fails(rig, job_id, token, dead=True)
    await edited_by_an_older_version(rig, job_id)
    if then == "delete":
        assert await rig.broker.jobs.delete(rig.shard, [job_id], now=NOW) == ["ok"]
        assert int(await rig.client.hget(rig.keys.queue("default"), "dead_bytes")) == 0
        return
    if then == "edit":
        await rig.broker.jobs.set_payload(rig.shard, job_id, '{"type":"t","payload":1}')
    else:
        text = lines(1, "z") if then == "fewer lines" else lines(1, "x" * 900, "y" * 900, "z")
        assert await keep(rig, (job_id, token, text)) == ["ok"]
    await check_bytes(rig, job_id)


async def test_the_last_lines_of_all_attempts_are_kept(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await keep(rig, (job_id, token, lines(1, *map(str, range(90)))))
    await fails(rig, job_id, token)
    again = await claimed_again(rig, job_id)
    await keep(rig, (job_id, again, lines(2, *map(str, range(20)))))
    kept = (await log_of(rig, job_id)).splitlines()
    assert len(kept) == MAX_LINES
    assert kept[0] == lines(1, "10").strip()
    await keep(rig, (job_id, again, lines(2, *("x" * 998 for _ in range(4)))))
    kept = (await log_of(rig, job_id)).splitlines()
    assert len(kept) == 4 + (MAX_BYTES - 4_000) // len('"00"')
    await keep(rig, (job_id, again, lines(2, "x" * MAX_BYTES)))
    assert await log_of(rig, job_id) == ""
    await check_bytes(rig, job_id)


async def test_who_has_lost_the_lease_changes_nothing(rig: Rig) -> None:
    held = await rig.held(2)
    (waiting,) = await rig.add()
    await rig.broker.maintenance.reap(rig.shard, 10, [HOUR], now=NOW + LEASE)
    strangers = [
        (*held[0], lines(1, "late")),
        (held[1][0], "1.x", lines(1, "x")),
        (waiting, "1.c", lines(1, "x")),
        ("no", "", ""),
    ]
    async with rig.unchanged():
        assert await keep(rig, *strangers) == ["lost"] * 4
        assert await keep(rig) == []


async def test_the_lines_go_with_the_job(rig: Rig) -> None:
    held = await rig.held(4)
    for job in held[:3]:
        await keep(rig, (*job, lines(1, "a")))
    assert LOG_TTL_MS - 60 * SECOND < await rig.client.pttl(rig.keys.log(held[0][0])) <= LOG_TTL_MS
    await rig.broker.leases.complete(rig.shard, [(*held[0], ""), (*held[3], "")], now=NOW)
    await fails(rig, *held[1], dead=True)
    await fails(rig, *held[2], dead=True)
    assert await rig.broker.jobs.delete(rig.shard, [held[1][0]], now=NOW) == ["ok"]
    await rig.broker.maintenance.trim(rig.shard, 10, Caps(dead_age_ms=HOUR), now=NOW + 2 * HOUR)
    assert not [key async for key in rig.client.scan_iter(rig.keys.log("*"))]
    assert await keep(rig, (*held[0], lines(1, "a"))) == ["lost"]
    assert not [key async for key in rig.client.scan_iter(f"*{held[0][0]}*")]


async def test_a_job_that_has_logged_completes_in_the_plain_way_too(rig: Rig) -> None:
    """Both ways leave the same: the other tests run with the plain ways and without."""
    held = await rig.held(3)
    await keep(rig, (*held[1], lines(1, "a")))
    assert await rig.broker.leases.complete(rig.shard, [(*one, "") for one in held], now=NOW) == ["ok"] * 3
    state = (await rig.stored(held[1][0])).state
    assert state.startswith("s=s n=1 p=")
    assert parse_fields(state)["L"] == str(len(lines(1, "a")))


async def test_a_full_store_keeps_no_lines(rig: Rig) -> None:
    ((job_id, token),) = await rig.held()
    await rig.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Full):
            await keep(rig, (job_id, token, lines(1, "a")))
    finally:
        await rig.client.config_set("maxmemory", 0)
    assert await log_of(rig, job_id) == ""


async def test_a_log_that_an_older_version_has_left_is_not_that_of_the_next_job(rig: Rig) -> None:
    """It deletes a job without its log, and then the id is used again."""
    ((job_id, token),) = await rig.held()
    await rig.client.set(rig.keys.log(job_id), lines(2, "of another job"))
    assert await log_of(rig, job_id) == ""
    assert await keep(rig, (job_id, token, lines(1, "a"))) == ["ok"]
    assert await log_of(rig, job_id) == lines(1, "a")
    await check_bytes(rig, job_id)
