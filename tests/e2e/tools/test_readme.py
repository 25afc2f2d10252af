"""The README's commands, run against a real server: what they print is what the README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx

from scripts import readme_session
from scripts.readme_session import README
from tests.e2e.conftest import Serve

FIRST_SCREEN = 40
"""Lines of the README that a reader sees without scrolling."""


def curl(command: str, base: str) -> str:
    """What curl would print for this command, with httpx in its place: the tests need Python alone."""
    words = iter(shlex.split(command))
    assert next(words) == "curl"
    method, url, headers, body = "GET", "", {}, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            method, body = "POST", next(words)
        elif word != "-s":
            assert word.startswith(f"{readme_session.PRINTED}/"), f"unknown to this test: {word}"
            url = base + word.removeprefix(readme_session.PRINTED)
    return httpx.request(method, url, headers=headers, content=body).text


def test_the_first_handler_runs_the_first_job(serve: Serve, tmp_path: Path) -> None:
    first_screen = "".join(README.read_text().splitlines(keepends=True)[:FIRST_SCREEN])
    (handler,) = re.findall(r"^```python\n(.*?)^```", first_screen, re.MULTILINE | re.DOTALL)
    start, submit = re.findall(r"^```sh\n(.*?)^```", first_screen, re.MULTILINE | re.DOTALL)
    (tmp_path / "hello.py").write_text(handler)
    *serving, app = shlex.split(start)
    assert serving == ["queuey", "dev", "--app"]
    server = serve(app=app, command="dev", root=tmp_path)
    answer = curl(submit, server.url)
    said = re.findall(r"`(\"(?:status|result)\":[^`]*)`", first_screen)
    assert len(said) == 2
    assert all(part in answer for part in said), answer


def test_the_session_prints_what_the_readme_says(serve: Serve) -> None:
    server = serve(app=None)
    assert readme_session.play(lambda command: curl(command, server.url)) >= 6
