"""GET /docs: what it is made of comes from this server, and it works in a browser with nothing else to reach."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.serving import Serving

QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
"""Flags that keep the browser from asking for what is its own."""
NOWHERE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def policy(reply: httpx.Response) -> dict[str, list[str]]:
    directives = [directive.split() for directive in reply.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in directives}


def test_the_page_and_its_files_may_load_nothing_from_elsewhere(server: Serving) -> None:
    page = server.http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    files = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page.text)
    assert len(files) == 3
    for path in ("/docs", *(f"/{file}" for file in files), "/docs/openapi.json"):
        reply = server.http.get(path)
        assert reply.status_code == 200
        rules = policy(reply)
        assert rules.pop("default-src") == ["'none'"]
        assert {source for sources in rules.values() for source in sources} == {"'self'", "'none'", "data:"}
        assert rules["script-src"] == rules["connect-src"] == ["'self'"]
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_description_has_the_payloads_of_the_servers_handlers(server: Serving) -> None:
    schemas = server.http.get("/v1/openapi.json").json()["components"]["schemas"]
    assert any(name.startswith("payload.") for name in schemas), sorted(schemas)


def test_no_other_file_is_given_away(server: Serving) -> None:
    for path in ("/docs/", "/docs/index.html", "/docs/../pyproject.toml", "/docs/%2e%2e/__init__.py", "/docs//etc"):
        assert server.http.get(path).status_code == 404


def requested(log: Path, origin: str) -> Iterator[str]:
    """The URLs in a browser's network log that pages of this origin asked for: the browser asks for some of its own."""
    events: list[dict[str, Any]] = json.loads(log.read_text())["events"]
    for event in events:
        parameters = event.get("params", {})
        if "url" in parameters and parameters.get("initiator") == origin:
            yield parameters["url"]


@pytest.mark.serial  # a browser takes every core
@pytest.mark.needs("chromium")
def test_in_a_browser_it_shows_every_operation_and_asks_nobody_else(server: Serving, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", *QUIET]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", f"--host-resolver-rules={NOWHERE}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", f"{server.url}/docs"]
    browser = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    shown = html.unescape(re.sub(r"<[^>]*>", "", browser.stdout))
    document = server.http.get("/v1/openapi.json").json()
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"] in shown, (browser.stdout[-3000:], browser.stderr[-3000:])
        assert path in shown.replace("\u200b", "")
    assert "Content Security Policy" not in browser.stderr
    urls = set(requested(log, server.url))
    assert urls == {
        f"{server.url}/docs/{file}" for file in ("swagger-ui.css", "swagger-ui-bundle.js", "page.js", "openapi.json")
    }
