"""The clock of a test: what becomes due when it moves, in which order, and what ticks of schedules do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from queuey import App, Backoff, Context, Dead, Retry, Schedule, Snooze, SyncTesting, Testing
from queuey.protocol.models import JobRequest
from queuey.services.schedules.specs import SCHEDULE, TICK
from queuey.worker.testing import MOST, Ran

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2027, 3, 27, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Reversed:
    """A codec, and what it has encoded."""

    name = "reversed"

    def __init__(self) -> None:
        self.encoded: list[bytes] = []

    def encode(self, data: bytes) -> bytes:
        self.encoded.append(data)
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def app_of(handler: Any, **schedule: Any) -> App:
    app = App()
    app.job("report", **schedule)(handler)
    return app


async def nothing(job: None) -> None: ...


def times(ran: list[Ran], zone: Any = UTC) -> list[str]:
    return [f"{one.at.astimezone(zone):%m-%d %H:%M:%S}" for one in ran if one.at is not None]


def seconds(ran: list[Ran]) -> list[float]:
    return [(one.at - START).total_seconds() for one in ran if one.at is not None]


class TestSchedules:
    async def test_a_nightly_report_comes_at_three_where_it_is_made_also_after_the_clock_was_put_forward(self) -> None:
        app = app_of(nothing, cron="0 3 * * *", timezone="Europe/Berlin")
        async with Testing(app, now=START) as testing:
            ran = await testing.advance(3 * DAY)
            assert testing.now == START + 3 * DAY
        assert times(ran, BERLIN) == ["03-28 03:00:00", "03-29 03:00:00", "03-30 03:00:00"]
        assert times(ran) == ["03-28 01:00:00", "03-29 01:00:00", "03-30 01:00:00"]
        assert {(one.type, one.status, one.schedule) for one in ran} == {("report", "succeeded", "report")}

    async def test_an_interval_counts_from_the_beginning_of_the_test(self) -> None:
        async with Testing(app_of(nothing, every=900), now=START) as testing:
            assert seconds(await testing.advance(899)) == []
            assert seconds(await testing.advance(1)) == [900]
            assert seconds(await testing.advance_to(START + timedelta(hours=1))) == [1800, 2700, 3600]

    async def test_exclusions_and_jitter_are_those_of_a_server(self) -> None:
        one = Schedule(cron="0 12 * * *", exclude=["2027-03-29"], jitter=60)
        async with Testing(app_of(nothing, schedules=[one]), now=START) as testing:
            ran = await testing.advance(4 * DAY)
        late = [at % DAY.total_seconds() for at in seconds(ran)]
        assert [at // DAY.total_seconds() for at in seconds(ran)] == [1, 3]
        assert all(0 <= each <= 60 for each in late)
        assert len(set(late)) == 2

    async def test_several_schedules_keep_their_order_and_their_payloads(self) -> None:
        async def echo(job: str) -> str:
            return job

        both = [Schedule(name="slow", every=180, payload="s"), Schedule(name="fast", every=60, payload="f")]
        async with Testing(app_of(echo, schedules=both), now=START) as testing:
            ran = await testing.advance(200)
        assert [(at, one.schedule, one.value()) for at, one in zip(seconds(ran), ran, strict=True)] == [
            (60, "fast", "f"),
            (120, "fast", "f"),
            (180, "slow", "s"),
            (180, "fast", "f"),
        ]

    async def test_a_codec_seals_the_payload_as_on_the_way_to_the_store(self) -> None:
        codec = Reversed()
        app = App(codec=codec)

        @app.job("report", schedules=[Schedule(every=60, payload="abc")])
        async def report(job: str) -> str:
            assert job == "abc"
            await other.enqueue("x")
            return job

        @app.job("other")
        async def other(job: str) -> None: ...

        async with Testing(app, now=START) as testing:
            ran = await testing.advance(60)
        assert [one.status for one in ran] == ["succeeded", "succeeded"]
        assert ran[0].value() == "abc"
        assert codec.encoded[:2] == [b'"abc"', b'"x"']

    @pytest.mark.parametrize(
        ("overlap", "expected"),
        [
            # Each job fails at once, and has its second attempt 150 seconds later. Ticks come each minute.
            ("skip", [(60, 1), (210, 2), (240, 1), (390, 2)]),
            ("queue_one", [(60, 1), (210, 2), (210, 1), (360, 2), (360, 1)]),
            (
                "allow",
                [(60, 1), (120, 1), (180, 1), (210, 2), (240, 1), (270, 2), (300, 1), (330, 2), (360, 1), (390, 2)],
            ),
            ("cancel_previous", [(60, 1), (120, 1), (180, 1), (240, 1), (300, 1), (360, 1)]),
        ],
    )
    async def test_an_unfinished_job_meets_the_next_tick(self, overlap: Any, expected: list[tuple[int, int]]) -> None:
        async def fails_once(job: None, ctx: Context) -> None:
            if ctx.attempt == 1:
                raise Retry("later", after=150)

        app = app_of(fails_once, schedules=[Schedule(every=60, overlap=overlap)])
        async with Testing(app, now=START) as testing:
            ran = await testing.advance(390)
        assert [(at, one.attempt) for at, one in zip(seconds(ran), ran, strict=True)] == expected

    async def test_a_job_knows_its_schedule_and_its_tick_also_one_that_waited(self) -> None:
        async def tick(job: None, ctx: Context) -> dict[str, str]:
            if ctx.attempt == 1 and ctx.metadata[TICK].endswith("12:01:00Z"):
                raise Retry("later", after=150)
            return dict(ctx.metadata)

        one = Schedule(name="each.minute", every=60, overlap="queue_one", metadata={"tenant": "eu"})
        async with Testing(app_of(tick, schedules=[one]), now=START) as testing:
            ran = await testing.advance(239)
        own = {"tenant": "eu", SCHEDULE: "each.minute"}
        assert seconds(ran) == [60, 210, 210]
        assert [one.value() for one in ran[1:]] == [
            own | {TICK: "2027-03-27T12:01:00Z"},
            own | {TICK: "2027-03-27T12:02:00Z"},
        ]


class TestJobs:
    async def test_a_delayed_job_runs_when_it_is_due(self) -> None:
        app = App()

        @app.job("order")
        async def order(job: None) -> None:
            await mail.enqueue("late", delay=60)
            await mail.enqueue("at", run_at=START + timedelta(seconds=30))
            await mail.enqueue("now")

        @app.job("mail")
        async def mail(job: str) -> str:
            return job

        async with Testing(app, now=START) as testing:
            await testing.run(order)
            ran = await testing.advance(59)
            assert [one.value() for one in ran] == ["now", "at"]
            assert seconds(ran) == [0, 30]
            assert [job.delay for job in testing.enqueued] == [60]
            [late] = await testing.advance(1)
            assert (late.value(), late.at) == ("late", START + MINUTE)
            assert not testing.enqueued

    async def test_jobs_that_jobs_enqueue_are_counted_from_their_own_time(self) -> None:
        app = App()

        @app.job("step")
        async def step(job: int) -> int:
            if job:
                await step.enqueue(job - 1, delay=60)
            return job

        async with Testing(app, now=START) as testing:
            await step.enqueue(3, delay=10)
            ran = await testing.advance(3600)
        assert [(at, one.value()) for at, one in zip(seconds(ran), ran, strict=True)] == [
            (10, 3),
            (70, 2),
            (130, 1),
            (190, 0),
        ]

    async def test_attempts_come_after_their_backoff_until_the_job_is_dead(self) -> None:
        app = App()

        @app.job("charge", max_attempts=3, backoff=Backoff(base=100, factor=2, cap=1000))
        async def charge(job: None, ctx: Context) -> None:
            await ctx.checkpoint([*(ctx.last_checkpoint or []), ctx.attempt])
            raise ConnectionError("busy")

        async with Testing(app, now=START) as testing:
            first = await testing.run(charge)
            ran = await testing.advance(3600)
            assert await testing.advance(3600) == []
        assert [(one.attempt, one.status) for one in (first, *ran)] == [(1, "retry"), (2, "retry"), (3, "dead_letter")]
        assert first.retry_after is not None
        assert 50 <= first.retry_after <= 100
        assert ran[0].at == START + timedelta(seconds=first.retry_after)
        assert ran[1].checkpoint == [1, 2, 3]

    async def test_a_snooze_spends_no_attempt(self) -> None:
        app = App()
        ready: list[bool] = []

        @app.job("fetch")
        async def fetch(job: None) -> str:
            if not ready:
                raise Snooze(60)
            return "done"

        async with Testing(app, now=START) as testing:
            await fetch.enqueue(None)
            ran = await testing.advance(90)
            ready.append(True)
            ran += await testing.advance(30)
        assert [(at, one.attempt, one.status) for at, one in zip(seconds(ran), ran, strict=True)] == [
            (0, 1, "snoozed"),
            (60, 1, "snoozed"),
            (120, 1, "succeeded"),
        ]

    async def test_what_fails_in_run_all_comes_again(self) -> None:
        app = App()

        @app.job("mail")
        async def mail(job: str, ctx: Context) -> str:
            if ctx.attempt == 1:
                raise Retry("busy", after=5)
            if job == "dead":
                raise Dead("no such address")
            return job

        async with Testing(app, now=START) as testing:
            await mail.enqueue("a", delay=60)
            await mail.enqueue("dead")
            assert [one.status for one in await testing.run_all()] == ["retry", "retry"]
            assert testing.now == START
            ran = await testing.advance(120)
        assert [(one.status, at) for at, one in zip(seconds(ran), ran, strict=True)] == [
            ("succeeded", 5),
            ("dead_letter", 5),
        ]

    async def test_the_test_may_take_jobs_away_and_add_some(self) -> None:
        app = App()

        @app.job("mail")
        async def mail(job: str) -> str:
            return job

        async with Testing(app, now=START) as testing:
            for text in ("a", "b", "c"):
                await mail.enqueue(text)
            del testing.enqueued[1]
            testing.enqueued.append(mail.request("d", delay=1))
            assert [one.value() for one in await testing.advance(1)] == ["a", "c", "d"]
            await mail.enqueue("e")
            testing.enqueued.clear()
            assert await testing.advance(1) == []


class TestTheClock:
    async def test_it_begins_now_and_stands_still(self) -> None:
        before = datetime.now(UTC)
        async with Testing(app_of(nothing)) as testing:
            began = testing.now
            assert before - MINUTE < began <= datetime.now(UTC)
            assert (await testing.run("report")).at == began == testing.now

    async def test_it_does_not_move_back(self) -> None:
        async with Testing(app_of(nothing), now=START) as testing:
            await testing.advance(timedelta(seconds=1.5))
            assert testing.now == START + timedelta(seconds=1.5)
            for back in (testing.advance(-1), testing.advance_to(START)):
                with pytest.raises(ValueError, match=r"only moves forward, and it is 2027-03-27T12:00:01.5"):
                    await back

    async def test_a_time_needs_a_zone(self) -> None:
        naive = datetime(2027, 3, 27)  # noqa: DTZ001 - the fault
        with pytest.raises(ValueError, match="has no time zone"):
            Testing(app_of(nothing), now=naive)
        async with Testing(app_of(nothing), now=START) as testing:
            with pytest.raises(ValueError, match="has no time zone"):
                await testing.advance_to(naive)

    async def test_a_step_has_an_end(self) -> None:
        async def never(job: None) -> None:
            raise Retry(after=10**6)

        async with Testing(app_of(never, every=1), now=START) as testing:
            assert len(await testing.advance(MOST - 1)) == 1, "the other ticks were skipped"
            with pytest.raises(AssertionError, match=f"{MOST:,} jobs and ticks were run"):
                await testing.advance(MOST + 1)

    async def test_outside_of_its_block_it_says_so(self) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            await Testing(app_of(nothing)).advance(1)

    def test_without_asyncio(self) -> None:
        with SyncTesting(app_of(nothing, every=60), now=START) as testing:
            assert seconds(testing.advance(60)) == [60]
            assert testing.now == START + MINUTE
            assert seconds(testing.advance_to(START + 2 * MINUTE)) == [120]


def test_a_request_by_hand_needs_no_id() -> None:
    with SyncTesting(app_of(nothing), now=START) as testing:
        testing.enqueued.append(JobRequest("report"))
        assert seconds(testing.advance(0)) == [0]
