"""Schedules that an App declares, in a real server: what its starts log, and what becomes of the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.workers.test_remote_worker import Work, work
from tests.support.serving import Serving

__all__ = ["work"]
SHOP: Final = """\
from queuey import App, Schedule

app = App(name="shop")


@app.job("reports.nightly", cron="0 3 * * *", timezone="Europe/Berlin")
async def nightly(job: None) -> None: ...


@app.job("reports.send", schedules=[Schedule(name="{name}", every=900, payload="{region}")])
async def send(region: str) -> None: ...
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


def test_each_start_puts_what_has_changed(start: Start) -> None:
    server = start("reports.eu", "eu")
    assert declared(server) == {"new": ["reports.eu", "reports.nightly"]}
    assert server.stop() == 0
    server = start("reports.us", "us")
    assert declared(server) == {"new": ["reports.us"]}
    left = server.event("schedules_not_declared")
    assert (left["app"], left["schedules"]) == ("shop", ["reports.eu"])
    assert server.stop() == 0
    server = start("reports.us", "us/ca", "--schedules", "managed")
    assert declared(server) == {"replaced": ["reports.us"], "removed": ["reports.eu"]}
    assert not server.events("schedules_not_declared")
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


def test_off_puts_none(start: Start) -> None:
    server = start("reports.eu", "eu", "--schedules", "off")
    assert server.stop() == 0
    server = start("reports.eu", "eu")
    assert declared(server) == {"new": ["reports.eu", "reports.nightly"]}


def test_a_pull_worker_says_that_it_puts_none(start: Start, work: Work, folder: Path) -> None:
    server = start("reports.eu", "eu", "--schedules", "off")
    worker = work(server, app="shop:app", PYTHONPATH=os.pathsep.join([str(folder), *sys.path]))
    said = worker.until("schedules_not_put")
    assert said["schedules"] == ["reports.eu", "reports.nightly"]
    assert "A server that is started with this --app puts them" in said["advice"]
    assert worker.end() == 0
