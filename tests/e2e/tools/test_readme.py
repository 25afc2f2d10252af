"""The README's curl session, run against a real server: what it prints is what the README says."""

from __future__ import annotations

import shlex

import httpx

from scripts import readme_session
from tests.e2e.conftest import Serve


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


def test_the_session_prints_what_the_readme_says(serve: Serve) -> None:
    server = serve(app=None)
    assert readme_session.play(lambda command: curl(command, server.url)) >= 6
