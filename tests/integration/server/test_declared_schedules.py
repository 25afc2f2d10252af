"""The schedules of an App in the store: what its start puts, leaves and deletes, and how it goes on if it cannot."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from queuey import App, Schedule
from queuey.errors import StartupError, StoreUnavailable
from queuey.lifecycle import Retrying
from queuey.protocol.models import JobRequest, ScheduleRequest
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.schedules.keeping import Put, Schedules
from queuey.services.schedules.listing import every_schedule
from queuey.services.schedules.views import Kept, Pause
from queuey.settings.settings import Settings
from queuey.store.deadline import Deadline
from queuey.worker.schedules.outcome import MAX_SHOWN, Policy, Synced, report
from queuey.worker.schedules.starting import MAX_TRIES, DeclaredSchedules
from queuey.worker.schedules.syncing import Syncing
from tests.support.store import Rig
from tests.support.stores import SHARDS, one_of

shards = one_of(*SHARDS)
BY_HAND = ScheduleRequest(every=60, job=JobRequest("report"))


@pytest.fixture
async def schedules(rig: Rig) -> Schedules:
    await rig.broker.replicas.register()
    return service(rig)


def service(rig: Rig) -> Schedules:
    return Schedules(rig.broker, Submission(SubmissionSettings.of(Settings()), lambda _: None, None, TypeQueues()))


def app_of(name: str = "shop", codec: Any = None, **schedules: str | Schedule) -> App:
    """An App with a handler for each name, and its cron expression or Schedule."""
    app = App(name=name, codec=codec)
    for type, given in schedules.items():
        one = Schedule(cron=given) if isinstance(given, str) else given
        app.job(type, schedules=[one])(handler)
    return app


async def handler(job: Any) -> None: ...


async def sync(schedules: Schedules, app: App, policy: Policy = "report") -> dict[str, Any]:
    """What a start of the App has done, without what is empty."""
    return shown(await Syncing(app, schedules, policy).run_once())


def shown(synced: Synced) -> dict[str, Any]:
    done = msgspec.structs.asdict(synced)
    return {name: sorted(value) if isinstance(value, list) else value for name, value in done.items() if value}


async def stored(schedules: Schedules) -> dict[str, Kept]:
    return {kept.stored.name: kept async for kept in every_schedule(schedules, Deadline(10))}


async def crons(schedules: Schedules) -> dict[str, tuple[str | None, str]]:
    return {name: (kept.spec.cron, kept.spec.app) for name, kept in (await stored(schedules)).items()}


class TestOneApp:
    async def test_a_start_puts_what_is_declared_and_the_next_one_changes_nothing(
        self, rig: Rig, schedules: Schedules
    ) -> None:
        app = app_of(hourly="0 * * * *", daily=Schedule(cron="0 3 * * *", timezone="Europe/Berlin", payload={"a": 1}))
        assert await sync(schedules, app) == {"new": ["daily", "hourly"]}
        daily = (await stored(schedules))["daily"]
        assert (daily.spec.app, daily.spec.timezone, daily.spec.job.type) == ("shop", "Europe/Berlin", "daily")
        assert bytes(daily.spec.job.payload) == b'{"a":1}'
        async with rig.unchanged():
            assert await sync(schedules, app) == {}

    async def test_a_changed_one_is_replaced_and_keeps_its_pause(self, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly="0 * * * *"))
        await schedules.pause("hourly", Pause("holidays", "me"), Deadline(10))
        assert await sync(schedules, app_of(hourly="5 * * * *")) == {"replaced": ["hourly"]}
        kept = (await stored(schedules))["hourly"]
        assert (kept.spec.cron, "holidays" in kept.stored.pause) == ("5 * * * *", True)

    async def test_what_is_no_longer_declared_is_named_and_stays(self, rig: Rig, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly="0 * * * *", daily="0 3 * * *"))
        async with rig.unchanged():
            assert await sync(schedules, app_of(hourly="0 * * * *")) == {"undeclared": ["daily"]}

    async def test_or_is_deleted_where_they_are_managed(self, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly="0 * * * *", daily="0 3 * * *"))
        assert await sync(schedules, app_of(weekly="0 3 * * 1"), "managed") == {
            "new": ["weekly"],
            "removed": ["daily", "hourly"],
        }
        assert list(await stored(schedules)) == ["weekly"]

    async def test_in_a_rolling_deploy_the_last_start_wins(self, schedules: Schedules) -> None:
        old, new = app_of(hourly="0 * * * *", gone="0 3 * * *"), app_of(hourly="5 * * * *", added="0 4 * * *")
        await sync(schedules, old, "managed")
        assert await sync(schedules, new, "managed") == {"new": ["added"], "replaced": ["hourly"], "removed": ["gone"]}
        back = {"new": ["gone"], "replaced": ["hourly"], "removed": ["added"]}
        assert await sync(schedules, old, "managed") == back, "an old replica starts again"
        assert await sync(schedules, old, "managed") == {}
        await sync(schedules, new, "managed")
        assert await crons(schedules) == {"hourly": ("5 * * * *", "shop"), "added": ("0 4 * * *", "shop")}

    async def test_replicas_that_start_together_agree(self, schedules: Schedules) -> None:
        app = app_of(hourly="0 * * * *", daily="0 3 * * *")
        done = await asyncio.gather(*(Syncing(app, schedules, "managed").run_once() for _ in range(5)))
        assert sorted(name for synced in done for name in synced.new) == ["daily", "hourly"]
        assert {kept.stored.version for kept in (await stored(schedules)).values()} == {1}

    async def test_what_this_server_does_not_accept_is_named_and_the_rest_is_put(self, schedules: Schedules) -> None:
        app = app_of(large=Schedule(every=60, payload="x" * 300_000), preview="0 * * * *", hourly="0 * * * *")
        done = await sync(schedules, app)
        assert done["new"] == ["hourly"]
        assert done["refused"] == {
            "large": "job/payload has 300002 bytes; send at most 256000.",
            "preview": "The name of the schedule must not be preview, which is a path of the API; use another name.",
        }


class TestOwners:
    async def test_two_apps_leave_each_other_alone(self, rig: Rig, schedules: Schedules) -> None:
        await sync(schedules, app_of("blog", posts="0 * * * *", both="0 1 * * *"))
        shop = app_of("shop", orders="0 * * * *", both="0 2 * * *")
        expected = {"foreign": {"both": "blog"}}
        assert await sync(schedules, shop, "managed") == {"new": ["orders"], **expected}
        async with rig.unchanged():
            assert await sync(schedules, shop, "managed") == expected
        assert await crons(schedules) == {
            "posts": ("0 * * * *", "blog"),
            "both": ("0 1 * * *", "blog"),
            "orders": ("0 * * * *", "shop"),
        }

    async def test_one_that_was_put_by_hand_is_left_as_it_is(self, rig: Rig, schedules: Schedules) -> None:
        await schedules.put("hourly", BY_HAND, Deadline(10))
        async with rig.unchanged():
            assert await sync(schedules, app_of(hourly="0 * * * *"), "managed") == {"foreign": {"hourly": ""}}
            assert await sync(schedules, app_of(), "managed") == {}

    async def test_so_is_one_that_is_changed_by_hand_while_a_start_puts_it(self, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly="0 * * * *", gone="0 * * * *"))
        racing = Racing(schedules)
        done = await sync(racing, app_of(hourly="5 * * * *"), "managed")
        assert done == {"foreign": {"hourly": ""}}
        assert await crons(schedules) == {"hourly": (None, ""), "gone": (None, "")}

    async def test_what_another_replica_puts_at_the_same_time_is_replaced(self, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly="0 * * * *"))
        racing = Racing(schedules, app="shop")
        assert await sync(racing, app_of(hourly="5 * * * *")) == {"replaced": ["hourly"]}
        assert await crons(schedules) == {"hourly": ("5 * * * *", "shop")}


class Racing(Schedules):
    """Schedules that another request changes just before each put and each deletion."""

    def __init__(self, schedules: Schedules, app: str = "") -> None:
        super().__init__(schedules.broker, schedules.submission)
        self._others = schedules
        self._app = app
        self._every = itertools.count(60)

    async def _change(self, name: str) -> None:
        request = ScheduleRequest(every=next(self._every), job=JobRequest("report"))
        await self._others.put(name, request, Deadline(10), app=self._app)

    async def put(self, name: str, request: ScheduleRequest, deadline: Deadline, **given: Any) -> Put:
        await self._change(name)
        return await super().put(name, request, deadline, **given)

    async def delete(self, name: str, deadline: Deadline, *given: Any, **named: Any) -> None:
        await self._change(name)
        await super().delete(name, deadline, *given, **named)


class Nonce:
    """A codec that encodes each time differently, as one that encrypts."""

    name = "nonce"

    def __init__(self) -> None:
        self._number = itertools.count()

    def encode(self, data: bytes) -> bytes:
        return b"%d:" % next(self._number) + data

    def decode(self, data: bytes) -> bytes:
        return data.partition(b":")[2]


class TestCodec:
    async def test_a_sealed_payload_that_means_the_same_changes_nothing(self, rig: Rig, schedules: Schedules) -> None:
        codec = Nonce()
        app = app_of(hourly=Schedule(every=60, payload={"a": 1}), codec=codec)
        assert await sync(schedules, app) == {"new": ["hourly"]}
        assert b"$codec" in bytes((await stored(schedules))["hourly"].spec.job.payload)
        async with rig.unchanged():
            assert await sync(schedules, app) == {}
        other = app_of(hourly=Schedule(every=60, payload={"a": 2}), codec=codec)
        assert await sync(schedules, other) == {"replaced": ["hourly"]}

    async def test_one_that_cannot_be_read_is_replaced(self, schedules: Schedules) -> None:
        await sync(schedules, app_of(hourly=Schedule(every=60, payload={"a": 1}), codec=Nonce()))
        codec = Nonce()
        codec.name = "another"
        app = app_of(hourly=Schedule(every=60, payload={"a": 1}), codec=codec)
        assert await sync(schedules, app) == {"replaced": ["hourly"]}


def part_of(app: App, schedules: Schedules, policy: Policy) -> DeclaredSchedules:
    return DeclaredSchedules(app, Syncing(app, schedules, policy).run_once, policy)


class TestStarting:
    async def test_it_is_tried_again_until_older_replicas_have_left(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits = iter([None, rig.broker.replicas.register])

        async def wait(self: Retrying) -> None:
            if (leave := next(waits)) is not None:
                await leave()

        monkeypatch.setattr(Retrying, "wait", wait)
        lines = await started(part_of(app_of(hourly="0 * * * *"), service(rig), "report"))
        assert [line["event"] for line in lines] == ["schedules_delayed", "schedules_declared"]
        assert "Servers of an older version" in lines[0]["error"]
        assert list(await stored(service(rig))) == ["hourly"]

    async def test_it_is_given_up_after_an_hour(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        waited: list[float] = []

        async def wait(self: Retrying) -> None:
            waited.append(self.next())

        monkeypatch.setattr(Retrying, "wait", wait)
        monkeypatch.setattr("queuey.worker.schedules.syncing.LIST_SECONDS", -1.0)  # so that no call is sent again
        lines = await started(part_of(app_of(hourly="0 * * * *"), Silent(service(rig)), "report"))
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("schedules_delayed", "warning"),
            ("schedules_not_put", "error"),
        ]
        assert len(waited) == MAX_TRIES
        assert 3000 < sum(waited) < 3600 + 60

    async def test_stopping_ends_it(self, rig: Rig) -> None:
        part = part_of(app_of(hourly="0 * * * *"), Silent(service(rig)), "report")
        await part.start()
        await part.stop()
        assert part._task is not None
        assert part._task.done()

    def test_managed_needs_a_name_of_the_app(self, rig: Rig) -> None:
        app = App()
        app.name = "shop"  # as load_app names it
        with pytest.raises(StartupError, match=r"--schedules managed .* needs a name that no other App has: App\(name"):
            part_of(app, service(rig), "managed")
        part_of(app, service(rig), "report")


async def test_a_shard_that_is_silent_holds_up_no_other(
    schedules: Schedules, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """And what is done on the others is not done again, since a later start may have put something else there."""
    app = app_of(**{f"n{number}": "0 * * * *" for number in range(8)})
    shard_of = schedules.broker.shards.of_schedule
    silent = {name for name in app.schedules if shard_of(name) == shard_of("n0")}
    list_schedules = schedules.broker.schedules.list_schedules

    async def all_but_one(shard: int, *given: Any) -> Any:
        if shard == shard_of("n0"):
            raise StoreUnavailable("The store did not answer in time.", shard=shard)
        return await list_schedules(shard, *given)

    monkeypatch.setattr("queuey.worker.schedules.syncing.LIST_SECONDS", -1.0)  # so that no call is sent again
    syncing = Syncing(app, schedules, "report")
    with monkeypatch.context() as patch:
        patch.setattr(schedules.broker.schedules, "list_schedules", all_but_one)
        with pytest.raises(StoreUnavailable):
            await syncing.run_once()
    others = sorted(app.schedules.keys() - silent)
    assert sorted(await stored(schedules)) == others
    assert (shards > 1) == (len(others) > 0)
    for name in others:
        await schedules.put(name, BY_HAND, Deadline(10), app="shop")
    assert shown(await syncing.run_once()) == {"new": sorted(app.schedules)}
    crons = {name: kept.spec.cron for name, kept in (await stored(schedules)).items()}
    assert crons == {name: "0 * * * *" if name in silent else None for name in app.schedules}


class Silent(Schedules):
    """Schedules of a store that does not answer."""

    def __init__(self, schedules: Schedules) -> None:
        super().__init__(silent(schedules.broker), schedules.submission)


def silent(broker: Any) -> Any:
    class Calls:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            async def fail(*_: Any) -> None:
                raise StoreUnavailable("The store did not answer in time.")

            return fail

    class Silenced:
        shards = broker.shards
        schedules = Calls()

    return Silenced()


async def started(part: DeclaredSchedules) -> list[Any]:
    """The lines of the log of a part that comes to its end."""
    with capture_logs() as lines:
        await part.start()
        assert part._task is not None
        await part._task
    return lines


class TestReport:
    def test_nothing_is_said_of_a_start_that_changes_nothing(self) -> None:
        assert lines_of(Synced()) == []

    def test_changes_are_one_line_and_each_problem_has_its_own(self) -> None:
        synced = Synced(["b", "a"], ["c"], ["d"], ["e"], {"f": "blog", "g": ""}, {"h": "too large"})
        lines = lines_of(synced)
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("schedules_declared", "info"),
            ("schedules_not_declared", "warning"),
            ("schedule_of_another", "warning"),
            ("schedule_of_another", "warning"),
            ("schedule_refused", "error"),
        ]
        assert {"app": "shop", "new": ["a", "b"], "replaced": ["c"], "removed": ["d"]}.items() <= lines[0].items()
        assert (lines[1]["schedules"], lines[1]["count"]) == (["e"], 1)
        assert [(line["schedule"], line["declared_by"]) for line in lines[2:4]] == [("f", "blog"), ("g", None)]
        assert (lines[4]["schedule"], lines[4]["error"]) == ("h", "too large")

    def test_it_names_so_many(self) -> None:
        names = [f"s{number:03}" for number in range(100)]
        lines = lines_of(Synced(undeclared=names, foreign=dict.fromkeys(names, "blog")))
        assert (lines[0]["schedules"], lines[0]["count"]) == (names[:MAX_SHOWN], 100)
        assert len(lines) == 1 + MAX_SHOWN


def lines_of(synced: Synced) -> list[Any]:
    with capture_logs() as lines:
        report(app_of(), synced)
    return lines
