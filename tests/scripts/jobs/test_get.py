"""get: what is known of some jobs."""

from __future__ import annotations

from queuey.protocol.records import StoredJob
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig


async def test_every_place_a_job_can_be_in(rig: Rig) -> None:
    running, retried, done, dead = await rig.held(4)
    (queued,) = await rig.add()
    (scheduled,) = await rig.add(delay_ms=HOUR, queue="mail", priority="low")
    (cancelled,) = await rig.add()
    await rig.broker.leases.fail(rig.shard, [(*retried, "{}", SECOND, False), (*dead, "{}", 0, True)], now=NOW)
    await rig.broker.leases.complete(rig.shard, [(*done, "1")], now=NOW)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW)
    ids = [running[0], retried[0], done[0], dead[0], queued, scheduled, cancelled]
    async with rig.unchanged():
        stored = await rig.broker.jobs.get(rig.shard, ids)
    assert [job.lease_expires_ms for job in stored] == [NOW + LEASE, -1, -1, -1, -1, -1, -1]
    assert [job.due_ms for job in stored] == [-1, NOW + SECOND, -1, -1, -1, NOW + HOUR, -1]
    assert [job.state[:3] for job in stored] == ["s=r", "s=w", "s=s", "s=d", "", "", "s=c"]
    assert all(job.definition.endswith('\n{"type":"t"}') for job in stored)


async def test_a_missing_job_has_no_definition(rig: Rig) -> None:
    (job_id,) = await rig.add()
    missing, found, again = await rig.broker.jobs.get(rig.shard, [rig.new_id(), job_id, job_id])
    assert missing == StoredJob("", "", -1, -1)
    assert found == again
    assert found.definition


async def test_no_ids_no_replies(rig: Rig) -> None:
    assert await rig.broker.jobs.get(rig.shard, []) == []


async def test_the_text_comes_as_it_was_given(rig: Rig) -> None:
    """Not one digit or bracket of a payload may change: cjson would round the one and turn `[]` into `{}`."""
    body = '{"type":"t","payload":{"n":12345678901234567890.123456789,"e":[],"o":{},"u":"\u00e4\u2028\\u0000 r=1 \\n"}}'
    ((job_id, token),) = await rig.held(body=body)
    assert (await rig.stored(job_id)).definition == f"r={NOW}\n{body}"
    await rig.broker.leases.complete(rig.shard, [(job_id, token, body)], now=NOW)
    assert (await rig.stored(job_id)).state.split("\n")[1] == body


async def test_a_body_that_looks_like_a_header_changes_nothing(rig: Rig) -> None:
    ((job_id, _),) = await rig.held(body='{"type":"t","payload":"s=s q=x l=high m=1 a=9"}')
    assert (await rig.state(job_id))["s"] == "r"
    assert set(await rig.state(job_id)) == set("snhwbj")
