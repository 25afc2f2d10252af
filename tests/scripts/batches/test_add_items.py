"""add_items: items become the payload of one job, which is scheduled until it is full or has waited."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.errors import Full
from queuey.protocol.stored.items import NewItem
from queuey.store.broker.jobs import Added
from tests.support.scripts.batches import WAIT, Items
from tests.support.scripts.contents import contents
from tests.support.store import HOUR, NOW, SECOND, Rig

END = NOW + WAIT


@pytest.fixture
def items(rig: Rig) -> Items:
    return Items(rig)


# --- one batch ---------------------------------------------------------------------------------------------------


async def test_the_first_item_makes_a_job_that_is_due_after_the_wait(rig: Rig, items: Items) -> None:
    item = items.item({"a": [1]}, queue="mail", priority="high", max_attempts=3)
    (added,) = await rig.broker.batches.add_items(rig.shard, [item], now=NOW)
    assert added == Added("opened", item.job.id, 1)
    assert await rig.scores(rig.keys.scheduled("mail", "high")) == {added.job_id: END}
    assert await rig.marked("mail"), "an idle replica has to learn when it is due"
    stored = await rig.stored(added.job_id)
    assert (stored.state, stored.due_ms) == ("", END)
    head, _, body = stored.definition.partition("\n")
    assert head == f"r={END} c={NOW} q=mail l=high m=3"
    assert body == '{"type":"t","batch_key":"k","payload":[{"a":[1]}]}'
    assert await rig.counters() == {"enqueued": 1}


async def test_it_leaves_the_job_that_enqueue_leaves(rig: Rig, items: Items) -> None:
    item = items.item(7, queue="mail", max_attempts=3)
    await items.send(item)
    ours = ("batch:", "dedupe:")

    def of_jobs(found: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in found.items() if not name.removeprefix(rig.keys.base).startswith(ours)}

    batched = of_jobs(await contents(rig.client))
    await rig.client.flushall()
    body = item.job.body + "7]}"
    job = rig.job(id=item.job.id, queue="mail", max_attempts=3, body=body, delay_ms=WAIT)
    await rig.broker.jobs.enqueue(rig.shard, [job], now=NOW)
    assert batched == of_jobs(await contents(rig.client))


async def test_further_items_come_to_the_same_job_in_their_order(rig: Rig, items: Items) -> None:
    first = await items.add(1, 2, max_items=9)
    added = await items.send(items.item("3", max_items=9), items.item(None, max_items=9), now=END - 1)
    assert added == [Added("added", first, 3), Added("added", first, 4)]
    assert await items.payload(first) == [1, 2, "3", None]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {first: END}, "the wait is that of the first"
    assert (await rig.counters())["enqueued"] == 1


async def test_a_full_batch_is_due_at_once(rig: Rig, items: Items) -> None:
    job_id = await items.add(1, 2)
    await rig.marked()
    (added,) = await items.send(items.item(3), now=NOW + SECOND)
    assert added == Added("added", job_id, 3)
    assert (await rig.waiting(), await rig.scores(rig.keys.scheduled("default", "default"))) == ([job_id], {})
    assert await rig.marked()
    assert await items.open_batches() == {}
    (job,) = (await rig.claim(now=NOW + SECOND)).jobs
    assert job.definition.startswith(f"r={NOW + SECOND} c={NOW}\n"), "it was ready when it was full"
    assert await items.payload(job_id) == [1, 2, 3]


async def test_one_call_fills_several_batches(rig: Rig, items: Items) -> None:
    added = await items.send(*(items.item(number, max_items=2) for number in range(5)))
    assert [each.answer for each in added] == ["opened", "added", "opened", "added", "opened"]
    assert [each.items for each in added] == [1, 2, 1, 2, 1]
    jobs = list(dict.fromkeys(each.job_id for each in added))
    assert await rig.waiting() == jobs[:2]
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {jobs[2]: END}
    assert [await items.payload(job_id) for job_id in jobs] == [[0, 1], [2, 3], [4]]
    assert (await rig.counters())["enqueued"] == 3


async def test_a_batch_of_one_is_due_at_once(rig: Rig, items: Items) -> None:
    job_id = await items.add(1, max_items=1)
    assert await rig.waiting() == [job_id]
    assert (await rig.stored(job_id)).definition.startswith(f"r={NOW}\n")
    assert await items.open_batches() == {}


async def test_an_item_that_is_too_large_for_a_batch_closes_it_and_opens_the_next(rig: Rig, items: Items) -> None:
    small, big = items.item("x" * 10), items.item("y" * 40)
    limit = len(f"{small.job.head}{small.job.body}") + 50
    first, second = await items.send(small, big, now=NOW, max_bytes=limit)
    assert (first.answer, second.answer) == ("opened", "opened")
    assert await rig.waiting() == [first.job_id]
    assert await items.payload(first.job_id) == ["x" * 10]
    (third,) = await items.send(items.item("z" * 40), now=NOW + SECOND, max_bytes=limit)
    assert third.answer == "opened"
    assert await rig.waiting() == [first.job_id, second.job_id]
    assert (await rig.stored(second.job_id)).definition.startswith(f"r={NOW + SECOND} c={NOW}\n")
    assert await items.payload(second.job_id) == ["y" * 40]


async def test_after_its_wait_a_batch_takes_no_more(rig: Rig, items: Items) -> None:
    first = await items.add(1)
    second = await items.add(2, now=END)
    assert first != second
    (job,) = (await rig.claim(5, now=END)).jobs
    assert (job.id, await items.payload(job.id)) == (first, [1])


@pytest.mark.parametrize(
    "other", [{"key": "l"}, {"type": "u"}, {"queue": "mail"}, {"priority": "low"}], ids=lambda other: next(iter(other))
)
async def test_another_key_type_queue_or_priority_has_a_batch_of_its_own(items: Items, other: dict[str, Any]) -> None:
    first, second = await items.add(1), await items.add(2, **other)
    assert first != second
    assert (await items.payload(first), await items.payload(second)) == ([1], [2])


async def test_the_limits_of_the_first_item_count(rig: Rig, items: Items) -> None:
    job_id = await items.add(1, max_items=2, wait_ms=WAIT, max_attempts=2)
    assert await items.add(2, max_items=100, wait_ms=HOUR, max_attempts=9) == job_id
    assert await rig.waiting() == [job_id]
    assert "m=2" in (await rig.stored(job_id)).definition


# --- once --------------------------------------------------------------------------------------------------------


async def test_an_item_that_is_sent_again_is_not_added_again(rig: Rig, items: Items) -> None:
    item, other = items.item(1), items.item(2)
    job_id = (await items.send(item, other, item))[2].job_id
    async with rig.unchanged():
        assert await items.send(item, other) == [Added("there", job_id, 0)] * 2
    assert await items.payload(job_id) == [1, 2]


async def test_it_is_remembered_after_its_batch_was_closed_ended_and_deleted(rig: Rig, items: Items) -> None:
    item = items.item(1, max_items=1)
    ((_, job_id, _),) = [(each.answer, each.job_id, each.items) for each in await items.send(item)]
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job.id, job.token, "")], now=NOW)
    assert await rig.broker.jobs.delete(rig.shard, [job_id]) == ["ok"]
    async with rig.unchanged():
        assert await items.send(item, now=END) == [Added("there", job_id, 0)]


async def test_what_remembers_an_item_and_an_open_batch_ends_by_itself(rig: Rig, items: Items) -> None:
    item = items.item(1)
    await items.send(item)
    assert 0 < await rig.client.pttl(rig.keys.dedupe(f"i:{item.id}")) <= item.remember_ms
    assert 0 < await rig.client.pttl(rig.keys.batch(item.name)) <= WAIT


# --- what closes a batch -----------------------------------------------------------------------------------------


async def run_now(rig: Rig, job_id: str) -> None:
    assert await rig.broker.jobs.run_now(rig.shard, "r1", [job_id], now=NOW) == ["ok"]


async def run_now_and_claim(rig: Rig, job_id: str) -> None:
    await run_now(rig, job_id)
    assert [job.id for job in (await rig.claim()).jobs] == [job_id]


async def cancel(rig: Rig, job_id: str) -> None:
    assert await rig.broker.jobs.cancel(rig.shard, [job_id], now=NOW) == ["cancelled"]


async def purge(rig: Rig, job_id: str) -> None:
    assert (await rig.broker.queues.purge(rig.shard, "default", queued=True, scheduled=True, now=NOW)).cancelled == 1


async def cancel_and_delete(rig: Rig, job_id: str) -> None:
    await cancel(rig, job_id)
    assert await rig.broker.jobs.delete(rig.shard, [job_id]) == ["ok"]


async def retry_at_the_end_of_the_wait(rig: Rig, job_id: str) -> None:
    await run_now(rig, job_id)
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.fail(rig.shard, [(job_id, job.token, "{}", WAIT, False)], now=NOW)
    assert await rig.scores(rig.keys.scheduled("default", "default")) == {job_id: END}


async def replay_to_the_end_of_the_wait(rig: Rig, job_id: str) -> None:
    await run_now(rig, job_id)
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.fail(rig.shard, [(job_id, job.token, "{}", 0, True)], now=NOW)
    assert await rig.broker.dlq.replay(rig.shard, "p", [job_id], [WAIT], now=NOW) == ["ok"]


ENDS = [
    *(run_now, run_now_and_claim, cancel, purge, cancel_and_delete),
    *(retry_at_the_end_of_the_wait, replay_to_the_end_of_the_wait),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_an_item_that_comes_later_opens_a_new_batch(rig: Rig, items: Items, end: Any) -> None:
    first = await items.add(1)
    await end(rig, first)
    before = await rig.stored(first)
    (added,) = await items.send(items.item(2))
    assert added.answer == "opened"
    assert await rig.stored(first) == before
    assert await items.payload(added.job_id) == [2]


async def test_a_job_that_a_client_waits_for_takes_further_items(rig: Rig, items: Items) -> None:
    job_id = await items.add(1)
    assert await rig.broker.jobs.watch_end(rig.shard, [job_id]) == ["waiting"]
    assert await items.add(22, 333, now=NOW) == job_id
    stored = await rig.stored(job_id)
    assert (await rig.state(job_id))["j"] == str(len(stored.definition))
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.complete(rig.shard, [(job_id, job.token, "1")], now=NOW)
    after = await rig.stored(job_id)
    assert (await rig.row())["finished_bytes"] == len(after.definition) + len(after.state)
    assert await items.payload(job_id) == [1, 22, 333]


async def test_a_watched_job_counts_its_bytes_while_it_is_open_too(rig: Rig, items: Items) -> None:
    job_id = await items.add(1)
    await rig.broker.jobs.watch_end(rig.shard, [job_id])
    await items.add("a longer one")
    await cancel(rig, job_id)
    stored = await rig.stored(job_id)
    assert (await rig.row())["finished_bytes"] == len(stored.definition) + len(stored.state)


# --- the job is a job --------------------------------------------------------------------------------------------


async def test_it_fails_and_is_run_again_with_all_its_items(rig: Rig, items: Items) -> None:
    job_id = await items.add(1, 2, 3)
    (job,) = (await rig.claim()).jobs
    await rig.broker.leases.fail(rig.shard, [(job_id, job.token, "{}", 0, False)], now=NOW)
    (again,) = (await rig.claim(now=NOW + 1)).jobs
    assert (again.id, again.attempt, again.definition) == (job_id, 2, job.definition)


async def test_a_claim_stops_after_a_large_batch(rig: Rig, items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.store.broker.leases.CLAIM_BYTES", 400)
    first = await items.add("x" * 500, max_items=1)
    await items.add("y", max_items=1)
    claimed = await rig.claim(2)
    assert [job.id for job in claimed.jobs] == [first]
    assert claimed.more


async def test_it_reports_the_moves(rig: Rig) -> None:
    moves = rig.listen()
    items = Items(rig)
    job_id = await items.add(1, 2)
    assert moves == [(job_id, "scheduled")]
    await items.add(3)
    assert moves == [(job_id, "scheduled"), (job_id, "queued")]


# --- refusals ----------------------------------------------------------------------------------------------------


async def test_a_full_store_takes_no_item_but_answers_for_one_that_it_has(rig: Rig, items: Items) -> None:
    item = items.item(1)
    (added,) = await items.send(item)
    async with rig.unchanged():
        again, other = await items.send(item, items.item(2), full=True)
    assert (again, other) == (Added("there", added.job_id, 0), Added("full", "", 0))


async def test_there_is_no_room_for_another_queue(rig: Rig, items: Items) -> None:
    await rig.client.sadd(rig.keys.queues, *(f"q{number}" for number in range(256)))
    async with rig.unchanged():
        assert await items.send(items.item(1)) == [Added("too_many_queues", "", 0)]
    (added,) = await items.send(items.item(1, queue="q7"))
    assert added.answer == "opened"


async def test_over_its_memory_the_store_writes_nothing(rig: Rig, items: Items) -> None:
    await items.add(1)
    await rig.client.config_set("maxmemory", 1)
    try:
        async with rig.unchanged():
            with pytest.raises(Full):
                await items.send(items.item(2))
    finally:
        await rig.client.config_set("maxmemory", 0)


async def test_a_repeat_writes_something_for_which_wait_can_wait(rig: Rig, items: Items) -> None:
    item = items.item(1)
    await items.send(item)
    call = [0, False, True, 4_000_000, [item]]
    await rig.scripts.call(rig.client, "add_items", rig.keys.anchors, _packed(call))
    assert await rig.client.exists(rig.keys.copied)


def _packed(arguments: list[Any]) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(arguments)


def test_an_item_knows_its_size() -> None:
    item = NewItem("q:default:t:a2V5", "I" * 28, "ü" * 10, 1, 1, 1, Rig.job(None, id="x", body="b" * 50))  # type: ignore[arg-type]
    assert item.size > 70
