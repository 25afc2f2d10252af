"""Schedules that an App declares, in a real server: what its starts log, and what becomes of the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from queuey.services.schedules.specs import SCHEDULE, TICK
from tests.e2e.conftest import Serve
from tests.e2e.workers.test_remote_worker import Work, work
from tests.support.serving import Serving, eventually

__all__ = ["work"]
SHOP: Final = """\
from queuey import App, Schedule

app = App(name="shop")


@app.job("reports.nightly", cron="0 3 * * *", timezone="Europe/Berlin")
async def nightly(job: None) -> None: ...


@app.job("reports.send", schedules=[Schedule(name="{name}", every=900, payload="{region}")])
async def send(region: str) -> None: ...
"""

TICKING: Final = """\
from queuey import App, Context

app = App()


@app.job("tick", every=1)
async def tick(job: None, ctx: Context) -> str:
    return ctx.metadata["schedule.tick"]
"""

Start = Callable[..., Serving]


@pytest.fixture
def start(serve: Serve, folder: Path) -> Start:
    """Starts a server with an App whose second schedule has this name and this payload."""

    def start(name: str, region: str, *flags: str, **options: Any) -> Serving:
        (folder / "shop.py").write_text(SHOP.format(name=name, region=region))
        return serve(*flags, app="shop:app", root=folder, **options)

    return start


def declared(server: Serving) -> dict[str, Any]:
    """What a start has changed. Its line comes after that of a start that changes nothing."""
    event = server.event("schedules_declared")
    return {kind: event[kind] for kind in ("new", "replaced", "removed") if event[kind]}


def shown(server: Serving) -> dict[str, dict[str, Any]]:
    """The schedules as the API shows them, by name."""
    return {each["name"]: each for each in server.http.get("/v1/schedules").json()["schedules"]}


def test_each_start_puts_what_has_changed(start: Start) -> None:
    server = start("reports.eu", "eu", key="dev")
    assert declared(server) == {"new": ["reports.eu", "reports.nightly"]}
    first = shown(server)
    assert {name: (each["app"], each["status"]) for name, each in first.items()} == {
        "reports.eu": ("shop", "active"),
        "reports.nightly": ("shop", "active"),
    }
    nightly, job = first["reports.nightly"], first["reports.eu"]["job"]
    assert (nightly["cron"], nightly["timezone"]) == ("0 3 * * *", "Europe/Berlin")
    assert (job["type"], job["payload"]) == ("reports.send", "eu")
    paused = server.http.post("/v1/schedules/reports.nightly/pause", json={"reason": "holidays"})
    assert paused.status_code == 200
    assert server.stop() == 0
    server = start("reports.us", "us")
    assert declared(server) == {"new": ["reports.us"]}
    left = server.event("schedules_not_declared")
    assert (left["app"], left["schedules"]) == ("shop", ["reports.eu"])
    assert server.stop() == 0
    server = start("reports.us", "us/ca", "--schedules", "managed", key="dev")
    assert declared(server) == {"replaced": ["reports.us"], "removed": ["reports.eu"]}
    assert not server.events("schedules_not_declared")
    last = shown(server)
    assert {name: (each["status"], each["pause_reason"]) for name, each in last.items()} == {
        "reports.nightly": ("paused", "holidays"),
        "reports.us": ("active", None),
    }
    assert server.stop() == 0


def test_one_of_several_processes_puts_them(start: Start) -> None:
    server = start("reports.eu", "eu", "--processes", "2")
    assert declared(server) == {"new": ["reports.eu", "reports.nightly"]}
    assert server.stop() == 0
    assert len(server.events("schedules_declared")) == 1
    server = start("reports.us", "us", "--processes", "2")
    server.event("schedules_not_declared")
    assert server.stop() == 0
    assert len(server.events("schedules_not_declared")) == 1


def test_one_that_was_put_by_hand_is_left_to_its_owner(start: Start) -> None:
    server = start("reports.eu", "eu", key="dev")
    declared(server)
    by_hand = {"every": 60, "job": {"type": "reports.send", "payload": "by hand"}}
    put = server.http.put("/v1/schedules/reports.eu", json=by_hand)
    assert (put.status_code, put.json()["app"]) == (200, None)
    assert server.stop() == 0
    server = start("reports.eu", "eu", "--schedules", "managed", key="dev")
    event = server.event("schedule_of_another")
    assert (event["schedule"], event["declared_by"], event["app"]) == ("reports.eu", None, "shop")
    assert shown(server)["reports.eu"]["job"]["payload"] == "by hand"


def test_what_is_declared_is_fired_and_runs(serve: Serve, folder: Path) -> None:
    (folder / "shop.py").write_text(TICKING)
    server = serve(app="shop:app", root=folder, key="dev")
    found: list[dict[str, Any]] = []

    def has_run() -> bool:
        found[:] = server.http.get("/v1/jobs", params={"status": "succeeded", "type": "tick"}).json()["jobs"]
        return bool(found)

    eventually(has_run, lambda: str(shown(server)))
    job = server.job(found[-1]["id"])
    assert job["metadata"][SCHEDULE] == "tick"
    assert job["result"] == job["metadata"][TICK]


def test_off_puts_none(start: Start) -> None:
    server = start("reports.eu", "eu", "--schedules", "off")
    assert server.stop() == 0
    server = start("reports.eu", "eu")
    assert declared(server) == {"new": ["reports.eu", "reports.nightly"]}


def test_a_pull_worker_puts_them_by_the_api(serve: Serve, work: Work, folder: Path) -> None:
    server = serve("--roles", "api,reaper", key="dev")
    path = os.pathsep.join([str(folder), *sys.path])
    (folder / "shop.py").write_text(SHOP.format(name="reports.eu", region="eu"))
    worker = work(server, app="shop:app", PYTHONPATH=path, QUEUEY_API_KEY="dev")
    assert worker.until("schedules_declared")["new"] == ["reports.eu", "reports.nightly"]
    assert {name: each["app"] for name, each in shown(server).items()} == {
        "reports.eu": "shop",
        "reports.nightly": "shop",
    }
    assert worker.end() == 0
    (folder / "shop.py").write_text(SHOP.format(name="reports.us", region="us"))
    worker = work(server, "--schedules", "managed", app="shop:app", PYTHONPATH=path, QUEUEY_API_KEY="dev")
    assert worker.until("schedules_declared")["removed"] == ["reports.eu"]
    assert list(shown(server)) == ["reports.nightly", "reports.us"]
    assert worker.end() == 0
