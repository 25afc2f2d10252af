"""docs/recipes.md: its examples, each with its framework, a server and its workers."""

from __future__ import annotations

import asyncio
import atexit
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from examples.with_batches.visits import Visit, visited
from examples.with_debounce.pages import page_changed
from examples.with_fastapi.web import web
from examples.with_flask.web import create_app
from examples.with_schedules.schedules import refresh_often, report_each_night, report_no_more
from queuey import Batch
from queuey.client import Client, ClientError
from tests.e2e.conftest import Serve
from tests.support.serving import PATIENCE, ROOT, Serving, environment

PAGE = ROOT / "docs" / "recipes.md"
ORDER = {"customer": "Ada", "year": 2026}
REPORT = {"title": "Ada, 2026", "pages": 12}
SETTINGS = "examples.with_django.settings"


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes at the end of the test what would be closed at that of the process."""
    with ExitStack() as closing:
        monkeypatch.setattr(atexit, "register", closing.callback)
        yield


def start(serve: Serve, monkeypatch: pytest.MonkeyPatch, app: str, **variables: str) -> Serving:
    server = serve(app=app, variables=variables)
    monkeypatch.setenv("QUEUEY_URL", server.url)
    monkeypatch.setenv("QUEUEY_API_KEY", "dev")
    return server


def check_reports(http: Any, server: Serving) -> None:
    """Order a report, and wait for it. `http` is the framework's client for tests."""
    ordered = http.post("/reports", json=ORDER)
    assert ordered.status_code == 202
    ready = http.get(f"/reports/{json_of(ordered)['id']}?wait=20")
    assert json_of(ready) == {"status": "succeeded", "report": REPORT}
    assert http.post("/reports", json={"customer": "Ada"}).status_code == 422
    other = server.submit("another", ORDER, id=json_of(ordered)["id"][:2] + "0" * 26, delay=60)
    for unknown in (other, "0" * 28, "x"):
        assert http.get(f"/reports/{unknown}").status_code == 404
        assert http.get(f"/reports/{unknown}?wait=1").status_code == 404


def json_of(answer: Any) -> Any:
    return answer.json if isinstance(answer.json, dict) else answer.json()


@pytest.mark.filterwarnings("ignore:Using `httpx` with")  # Starlette's client asks for httpx2
def test_fastapi(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    server = start(serve, monkeypatch, "examples.with_fastapi.handlers:app")
    with TestClient(web) as http:
        check_reports(http, server)


@pytest.mark.usefixtures("at_exit")
def test_flask(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(serve, monkeypatch, "examples.with_flask.handlers:app")
    check_reports(create_app().test_client(), server)


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Django with the settings of the example and a database of its own: a process has one."""
    import django

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_SETTINGS_MODULE", SETTINGS)
        patched.setenv("SHOP_DATABASE", str(tmp_path_factory.mktemp("shop") / "shop.sqlite3"))
        django.setup()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", run_syncdb=True, verbosity=0)
        yield django
        connections.close_all()


@pytest.mark.usefixtures("at_exit")
def test_django(serve: Serve, monkeypatch: pytest.MonkeyPatch, django: ModuleType) -> None:
    from django.core.wsgi import get_wsgi_application
    from django.db import connection

    from examples.with_django.models import Order
    from examples.with_django.queue import queue

    queue.cache_clear()
    start(serve, monkeypatch, "examples.with_django.worker:app", SHOP_DATABASE=connection.settings_dict["NAME"])
    with httpx.Client(transport=httpx.WSGITransport(get_wsgi_application()), base_url="http://localhost") as http:
        number = http.post("/orders", data={"customer": "Ada"}).json()["order"]
        assert http.get(f"/orders/{number}").json() == {"status": "succeeded", "text": "Thank you, Ada!"}
        order = Order.objects.get(pk=number)
        assert order.confirmed
        queue().delete(order.job_id)
        assert http.get(f"/orders/{number}").json() == {"status": "succeeded", "text": None}
    queue.cache_clear()


def test_the_tests_of_the_django_example_pass() -> None:
    command = [sys.executable, "-W", "error", "-m", "django", "test", "examples.with_django", "--settings", SETTINGS]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"Ran [1-9]\d* tests", ran.stderr)


def code(place: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(place.glob("*.py")))


async def test_schedules(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each customer's report is about the day before, there; and the feed is never refreshed twice at a time."""
    server = start(serve, monkeypatch, "examples.with_schedules.handlers:app")
    async with Client() as queue:
        for customer, zone in (("ada", "Pacific/Auckland"), ("bob", "America/Los_Angeles")):
            made = await report_each_night(queue, customer, zone)
            assert {tick.astimezone(ZoneInfo(zone)).hour for tick in made.next} == {3}
            assert (await report_each_night(queue, customer, zone)).version == 1
            day = datetime(2026, 6, 1, tzinfo=ZoneInfo(zone))
            assert (await queue.backfill_schedule(made.name, day, day + timedelta(hours=12))).fired == 1
            job = await queue.wait((await queue.schedule(made.name)).last_job_id or "")
            assert bytes(job.result).decode() == f'"Sales of {customer} on 2026-05-31"'
        await report_no_more(queue, "ada")
        await report_no_more(queue, "ada")
        assert [schedule.name async for schedule in queue.schedules()] == ["sales-report.bob"]
        await queue.pause("default")
        feed = await refresh_often(queue, "https://example.org/feed")
        first, second = [await queue.trigger_schedule(feed.name) for _ in range(2)]
        assert (first.outcome, second.outcome) == ("fired", "skipped")
        await queue.resume("default")
        assert (await queue.wait(first.job_id or "")).status == "succeeded"
        assert (await queue.trigger_schedule(feed.name)).outcome == "fired"
    assert server.process.poll() is None


async def test_debounce(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three changes are one run, with the last text. A change after it is another run."""
    start(serve, monkeypatch, "examples.with_debounce.pages:app")
    async with Client() as queue:
        first, *others = [await page_changed(queue, 7, text) for text in ("a", "a b", "a b c")]
        assert {(other.job_id, other.replaced) for other in others} == {(first.job_id, "payload")}
        assert (await page_changed(queue, 8, "a")).job_id != first.job_id
        assert (await queue.get(first.job_id)).status == "scheduled"
        await queue.retry(first.job_id)  # the test does not wait for half a minute
        assert (await queue.wait(first.job_id)).value(str) == "page 7: 3 words"
        assert not (await page_changed(queue, 7, "a b c d")).deduplicated


async def test_batches(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each visit is written once. A visit that is sent again is in no other job, and a bad one is refused at once."""
    file = str(tmp_path / "visits.sqlite3")
    variables = {"VISITS_DATABASE": file, "QUEUEY_CHECK_PAYLOADS": "yes"}
    start(serve, monkeypatch, "examples.with_batches.visits:app", **variables)
    async with Client() as queue:
        replies = await asyncio.gather(*(visited(queue, Visit(str(number), "/")) for number in range(100)))
        assert max(reply.items or 0 for reply in replies) > 1
        jobs = [await queue.wait(job_id) for job_id in {reply.job_id for reply in replies}]
        assert {job.status for job in jobs} == {"succeeded"}
        assert sum(job.value(int) for job in jobs) == 100
        with pytest.raises(ClientError, match="payload/id does not fit"):
            await queue.enqueue("visits.write", {"id": 1}, batch=Batch("visits", max_size=100, max_wait=5))
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM visits").fetchone() == (100,)


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django", "schedules", "debounce", "batches"])
def test_the_page_shows_the_code_of_the_examples(framework: str) -> None:
    section = re.search(rf"^## {framework}$(.*?)(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section
    blocks = re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert block in code(ROOT / f"examples/with_{framework}")
