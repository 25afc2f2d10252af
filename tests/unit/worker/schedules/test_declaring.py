"""Schedules that an App declares: what they stand for, and the faults that stop the App from loading."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest

from queuey import App, Fields, Schedule
from queuey.errors import StartupError
from queuey.protocol.job_requests import schedule_json
from queuey.worker.handlers.signatures import where
from queuey.worker.schedules.declaring import MAX_SCHEDULES


class Region(msgspec.Struct):
    name: str


async def nightly(job: None) -> None: ...
async def of_region(job: Region) -> None: ...
async def of_fields(region: str = "eu", days: int = 1) -> None: ...
async def needs_field(region: str, days: int = 1) -> None: ...


def declared(function: Callable[..., Any], **given: Any) -> dict[str, Any]:
    """The schedules of a handler as they are sent, by name."""
    app = App()
    app.job("report", queue="reports", max_attempts=3, **given)(function)
    return {name: msgspec.json.decode(schedule_json(each.request)) for name, each in app.schedules.items()}


def fault(function: Callable[..., Any], **given: Any) -> str:
    """The error of a handler, without the place that each one names."""
    with pytest.raises(StartupError) as refused:
        App().job("report", **given)(function)
    place, _, said = refused.value.message.partition(": ")
    assert place == where(function)
    return said


class TestDeclared:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"cron": "0 3 * * *"}, {"cron": "0 3 * * *", "timezone": "UTC"}),
            (
                {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
                {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
            ),
            ({"every": 900}, {"every": 900, "timezone": "UTC"}),
        ],
    )
    def test_the_short_form_is_a_schedule_with_the_name_of_the_type(
        self, given: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        [(name, schedule)] = declared(nightly, **given).items()
        assert name == "report"
        assert expected.items() <= schedule.items()
        assert schedule["job"] == {
            "type": "report",
            "payload": None,
            "queue": "reports",
            "priority": "default",
            "max_attempts": 3,
        }

    def test_a_schedule_has_all_fields(self) -> None:
        one = Schedule(
            name="report.eu",
            cron="0 3 * * *",
            payload=Region("eu"),
            queue="slow",
            priority="low",
            expires_in=600,
            tags=["nightly"],
            metadata={"tenant": "eu"},
            overlap="queue_one",
            catch_up="all",
            catch_up_window=7200,
            jitter=30,
            exclude=["2026-12-25", date(2027, 1, 1)],
        )
        [(name, schedule)] = declared(of_region, schedules=[one]).items()
        assert name == "report.eu"
        assert schedule == {
            "cron": "0 3 * * *",
            "timezone": "UTC",
            "job": {
                "type": "report",
                "payload": {"name": "eu"},
                "queue": "slow",
                "priority": "low",
                "max_attempts": 3,
                "expires_in": 600,
                "tags": ["nightly"],
                "metadata": {"tenant": "eu"},
            },
            "overlap": "queue_one",
            "catch_up": "all",
            "catch_up_window": 7200,
            "jitter": 30,
            "exclude": ["2026-12-25", "2027-01-01"],
        }

    @pytest.mark.parametrize(
        ("function", "given", "payload"),
        [
            (nightly, {}, None),
            (of_fields, {}, {}),
            (of_fields, {"payload": Fields(days=2)}, {"days": 2}),
            (needs_field, {"payload": {"region": "us"}}, {"region": "us"}),
            (of_region, {"payload": {"name": "us"}}, {"name": "us"}),
        ],
    )
    def test_the_payload(self, function: Callable[..., Any], given: dict[str, Any], payload: Any) -> None:
        [schedule] = declared(function, schedules=[Schedule(every=60, **given)]).values()
        assert schedule["job"]["payload"] == payload

    def test_a_handler_may_have_several(self) -> None:
        found = declared(nightly, schedules=[Schedule(every=60), Schedule(name="late", cron="0 22 * * *")])
        assert list(found) == ["report", "late"]

    def test_included_apps_bring_theirs_also_later_ones(self) -> None:
        app, mail = App(), App()
        mail.job("mail.digest", every=60)(nightly)
        app.include(mail)
        mail.job("mail.bounces", every=60)(nightly)
        assert list(app.schedules) == ["mail.digest", "mail.bounces"]

    def test_an_app_without_schedules_imports_nothing_for_them(self) -> None:
        code = (
            "import sys; from queuey import App\n"
            "app = App()\n"
            "@app.job('t'{})\n"
            "async def handler(job: None) -> None: ...\n"
            "print(sorted({{'cronsim', 'zoneinfo'}} & sys.modules.keys()))"
        )
        runs = [(code.format(""), "[]"), (code.format(", every=5"), "['cronsim', 'zoneinfo']")]
        for text, printed in runs:
            ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
            assert ran.stdout.strip() == printed


class TestFaults:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"cron": "0 25 * * *"}, "its schedule 'report': cron has the hour '25'."),
            ({"cron": "0 0 30 2 *"}, "its schedule 'report': cron names days of the month that none of its months has"),
            ({"cron": 3}, "its schedule 'report': cron must be a cron expression of 1 to 200 characters"),
            (
                {"cron": "0 3 * * *", "timezone": "Europe/Berln"},
                "its schedule 'report': timezone is not a known time zone: 'Europe/Berln'; did you mean Europe/Berlin?",
            ),
            ({"cron": "0 3 * * *", "timezone": "Europe"}, "its schedule 'report': timezone is not a known time zone"),
            ({"cron": "0 3 * * *", "every": 5}, "its schedule 'report': give it either cron or every"),
            ({"every": 0}, "its schedule 'report': every must be a number of seconds from 1 to 31536000 (1 year)."),
            ({"every": "5"}, "its schedule 'report': every must be a number of seconds, not '5'."),
            ({"timezone": "UTC"}, "timezone is that of a cron expression: give cron too"),
            ({"cron": "0 3 * * *", "schedules": [Schedule(every=5)]}, "cron and every are the only schedule"),
            ({"schedules": Schedule(every=5)}, "schedules=Schedule("),
            ({"schedules": ["0 3 * * *"]}, "schedules has '0 3 * * *': make each of them with Schedule(...)"),
            ({"schedules": [Schedule()]}, "its schedule 'report': give it either cron or every"),
            (
                {"schedules": [Schedule(every=5)] * (MAX_SCHEDULES + 1)},
                "it has 101 schedules: a handler has at most 100",
            ),
            ({"schedules": [Schedule(every=5), Schedule(every=6)]}, "two of its schedules have the same name"),
            ({"schedules": [Schedule(every=5, name="a b")]}, "'a b' is not a valid name of a schedule"),
            ({"schedules": [Schedule(every=5, name=3)]}, "3 is not a valid name of a schedule: it must be"),  # type: ignore[arg-type]
            ({"schedules": [Schedule(every=5, payload={"a": 1})]}, "its schedule 'report': its payload does not fit"),
            ({"schedules": [Schedule(every=5, payload=object())]}, "its schedule 'report': Encoding objects of type"),
            (
                {"schedules": [Schedule(every=5, payload=float("nan"))]},
                "its schedule 'report': payload is nan, and JSON",
            ),
            ({"schedules": [Schedule(every=5, tags="ab")]}, "its schedule 'report': tags must be a list of strings"),
            ({"schedules": [Schedule(every=5, expires_in=-1)]}, "its schedule 'report': expires_in must be a number"),
            ({"schedules": [Schedule(every=5, queue="a b")]}, "its schedule 'report': queue must be 1 to 64 letters"),
        ],
    )
    def test_a_schedule_that_is_wrong_names_the_handler(self, given: dict[str, Any], said: str) -> None:
        assert fault(nightly, **given).startswith(said)

    def test_every_fault_is_named(self) -> None:
        wrong = Schedule(every=5, exclude=["2026-13-01"], jitter=-1, overlap="x")  # type: ignore[arg-type]
        assert fault(nightly, schedules=[wrong]) == (
            "its schedule 'report': overlap must be allow, cancel_previous, queue_one or skip; jitter must be a number "
            "of seconds from 0 to 86400 (1 day); exclude/0 must be a date such as 2026-12-25"
        )

    @pytest.mark.parametrize("function", [needs_field, of_region])
    def test_a_payload_that_does_not_fit(self, function: Callable[..., Any]) -> None:
        said = fault(function, every=5)
        assert said.startswith("its schedule 'report': its payload does not fit the handler: ")
        assert said.endswith(". Give payload=... in a Schedule")

    def test_two_handlers_cannot_have_one_name(self) -> None:
        app = App()
        app.job("a", schedules=[Schedule(name="b", every=5)])(of_fields)
        with pytest.raises(StartupError, match=r"the schedule 'b' is already taken by .*\.of_fields \("):
            app.job("b", every=5)(nightly)
        assert list(app.handlers) == ["a"]

    def test_two_apps_cannot_have_one_name(self) -> None:
        app, other = App(), App()
        app.job("a", every=5)(nightly)
        other.job("c", schedules=[Schedule(name="a", every=5)])(nightly)
        with pytest.raises(StartupError, match="the schedule 'a' is already taken by"):
            app.include(other)
