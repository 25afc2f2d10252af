"""The README's curl session, run against a real server: what it prints is what the README says."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.conftest import Serve

README: Final = Path(__file__).parents[2] / "README.md"
SETTLE_SECONDS: Final = 10.0


class Step:
    """A command of the session and what it prints, after ids of the text have been replaced by those of this run."""

    def __init__(self, command: str, output: str) -> None:
        self.command = command
        self.output = output


def session() -> list[Step]:
    """Every `$ ` line of the README's console blocks, with the lines up to the next one."""
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    steps = []
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(Step(command, output.strip()))
    return steps


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
            assert word.startswith("localhost:8000/"), f"unknown to this test: {word}"
            url = base + word.removeprefix("localhost:8000")
    return httpx.request(method, url, headers=headers, content=body).text


def masked(text: str) -> Any:
    """The JSON without what differs from run to run."""
    text = re.sub(r"[0-9A-HJKMNP-TV-Z]{28}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return json.loads(re.sub(r'"worker":"[^"]*"', '"worker":"W"', text))


def test_the_session_prints_what_the_readme_says(serve: Serve) -> None:
    steps = session()
    assert len(steps) >= 6
    known_ids: dict[str, str] = {}
    server = serve(app=None)
    for step in steps:
        for printed, actual in known_ids.items():
            step.command = step.command.replace(printed, actual)
        expected = masked(step.output)
        give_up_at = time.monotonic() + SETTLE_SECONDS
        answer = curl(step.command, server.url)
        only_looks = " -d " not in step.command and " -X " not in step.command
        while masked(answer) != expected and only_looks and time.monotonic() < give_up_at:
            answer = curl(step.command, server.url)  # a job takes a moment to run
        assert masked(answer) == expected, step.command
        ids = re.findall(r'"job_id":"(\w{28})"', step.output)
        known_ids.update(zip(ids, re.findall(r'"job_id":"(\w{28})"', answer), strict=True))
