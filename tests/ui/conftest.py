"""A browser, and a server with prepared trouble. A page that logs a message or breaks its policy fails its test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.e2e.conftest import end_stores
from tests.support.serving import Serving

CANARY: Final = "<img src=x onerror=\"document.title='gotcha'\"><script>document.title='gotcha'</script>"
"""What a careless page would run."""
ABSENT: Final = "Failed to load resource: the server responded with a status of 404"
"""Chromium logs each answer of 404, also where the page asks whether a server has a route."""


class Shop:
    """A server whose queue `mail` is paused and whose job `dead` has died of a canary."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self.url = server.url
        with httpx.Client(base_url=server.url, headers={"x-api-key": "dev"}) as http:
            self.dead = self._die(http)
            sent = http.post("/v1/jobs", json={"type": "text.reverse", "payload": {"text": "hello"}})
            self.done = sent.json()["job_id"]
            http.get(f"/v1/jobs/{self.done}?wait=10")
            payload = '{"text":"a","number":90071992547409931}'
            body = f'{{"type":"mail.send","queue":"mail","payload":{payload}}}'
            self.waiting = http.post("/v1/jobs", content=body, headers={"content-type": "application/json"}).json()[
                "job_id"
            ]
            http.post("/v1/queues/mail/pause", json={"reason": CANARY}).raise_for_status()
            job = {"type": "mail.send", "queue": "mail"}
            http.put("/v1/schedules/nightly", json={"cron": "0 3 * * *", "job": job}).raise_for_status()

    def _die(self, http: httpx.Client) -> str:
        job = {"type": "page.render", "queue": "pull", "payload": {"text": CANARY}, "max_attempts": 1, "tags": ["a:b"]}
        sent: str = http.post("/v1/jobs", json=job).json()["job_id"]
        leased = http.post("/v1/leases", json={"queues": ["pull"], "worker": "puller", "types": ["page.render"]}).json()
        (one,) = leased["jobs"]
        failed = {"jobs": [{"id": one["id"], "token": one["token"], "error": CANARY, "dead": True}]}
        http.post("/v1/leases/fail", json=failed).raise_for_status()
        return sent


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder) / "data", app=None)
        try:
            yield Shop(server)
        finally:
            server.close()
            end_stores([server])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US", timezone_id="UTC")
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab, which has logged nothing at the end of the test."""
    logged: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if not message.text.startswith(ABSENT):
            logged.append(message.text)

    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", lambda error: logged.append(str(error)))
    yield opened
    assert logged == []
