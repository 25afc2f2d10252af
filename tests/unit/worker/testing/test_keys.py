"""Who holds a key in a test, and until when: the table of docs/unique.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from queuey import App, Context, Dead, Retry, Testing, Throttle, Unique
from queuey.errors import Invalid
from queuey.protocol.models import EnqueueReply

START = datetime(2027, 3, 27, 12, tzinfo=UTC)

app = App()


@app.job("sync")
async def sync(job: str, ctx: Context) -> Any:
    """Return the payload and the last checkpoint. `retry`, `dead`, `next`: what the first attempt does."""
    if ctx.attempt == 1:
        await ctx.checkpoint(job)
    match job:
        case "retry" if ctx.attempt == 1:
            raise Retry("once more", after=5)
        case "dead":
            raise Dead("no")
        case "next":
            for payload in ("one", "two"):
                reply = await sync.enqueue(payload, unique=Unique("k", on_conflict="replace"))
                assert reply.replaced == "follows"
    return [job, ctx.last_checkpoint]


def kit() -> Testing:
    return Testing(app, now=START)


def found(first: EnqueueReply) -> EnqueueReply:
    return EnqueueReply(first.job_id, deduplicated=True)


@pytest.mark.parametrize(
    "terms",
    [
        {"throttle": Throttle("k", per=60)},
        {"unique": Unique("k", until="ttl", ttl=60)},
        {"dedupe_key": "k", "dedupe_ttl": 60},
    ],
    ids=["throttle", "ttl", "dedupe_key"],
)
async def test_a_key_for_a_time_is_held_after_the_job_until_it_is_over(terms: dict[str, Any]) -> None:
    async with kit() as testing:
        first = await sync.enqueue("a", **terms)
        assert [ran.status for ran in await testing.advance(59)] == ["succeeded"]
        assert await sync.enqueue("b", **terms) == found(first)
        assert await testing.advance(1) == []
        assert (await sync.enqueue("c", **terms)).deduplicated is False


@pytest.mark.parametrize(
    "terms", [{"throttle": Throttle("k", per=60)}, {"unique": Unique("k")}], ids=["throttle", "finished"]
)
async def test_a_dead_job_frees_its_key(terms: dict[str, Any]) -> None:
    async with kit() as testing:
        await sync.enqueue("dead", **terms)
        assert [ran.status for ran in await testing.run_all()] == ["dead_letter"]
        assert (await sync.enqueue("b", **terms)).deduplicated is False


async def test_a_job_that_waits_for_another_attempt_holds_its_key_until_it_has_finished() -> None:
    async with kit() as testing:
        first = await sync.enqueue("retry", unique=Unique("k"))
        assert [ran.status for ran in await testing.run_all()] == ["retry"]
        assert await sync.enqueue("b", unique=Unique("k")) == found(first)
        assert [ran.status for ran in await testing.advance(5)] == ["succeeded"]
        assert (await sync.enqueue("c", unique=Unique("k"))).deduplicated is False


async def test_the_payload_that_replaces_one_between_two_attempts_has_no_checkpoint() -> None:
    async with kit() as testing:
        await sync.enqueue("retry", unique=Unique("k"))
        await testing.run_all()
        assert (await sync.enqueue("b", unique=Unique("k", on_conflict="replace"))).replaced == "payload"
        [ran] = await testing.advance(5)
        assert ran.value() == ["b", None]


async def test_a_key_until_started_is_free_from_the_first_attempt_on() -> None:
    async with kit() as testing:
        first = await sync.enqueue("retry", unique=Unique("k", until="started"))
        assert await sync.enqueue("retry", unique=Unique("k", until="started")) == found(first)
        await testing.run_all()
        assert (await sync.enqueue("b", unique=Unique("k", until="started"))).deduplicated is False


async def test_the_last_request_that_would_replace_a_running_job_follows_it() -> None:
    async with kit() as testing:
        await sync.enqueue("next", unique=Unique("k"))
        ran = await testing.run_all()
        assert [one.value() for one in ran] == [["next", "next"], ["two", "two"]]
        assert (await sync.enqueue("b", unique=Unique("k"))).deduplicated is False


async def test_what_a_test_takes_out_of_the_list_holds_no_key() -> None:
    async with kit() as testing:
        await sync.enqueue("a", unique=Unique("k"))
        testing.enqueued.clear()
        assert (await sync.enqueue("b", unique=Unique("k"))).deduplicated is False


async def test_terms_that_a_server_refuses_are_refused() -> None:
    async with kit():
        with pytest.raises(Invalid, match="longer than the time until the job is due"):
            await sync.enqueue("a", unique=Unique("k", ttl=5), delay=5)
