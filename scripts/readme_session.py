"""The README's curl session: every command must print what the README shows, except ids, times and worker names.

    python -m scripts.readme_session URL      with curl, against a new server that needs no key to submit and read

It needs only Python's standard library.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

README: Final = Path(__file__).parents[1] / "README.md"
PRINTED: Final = "localhost:8000"
SETTLE_SECONDS: Final = 10.0


class Step(NamedTuple):
    """A command of the session, and its output."""

    command: str
    output: str


def session() -> list[Step]:
    """Return every `$ ` line of the README's console blocks, with the lines up to the next one."""
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    steps = []
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(Step(command, output.strip()))
    return steps


def masked(text: str) -> Any:
    """Return the JSON without the parts that differ between runs."""
    text = re.sub(r"[0-9A-HJKMNP-TV-Z]{28}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return json.loads(re.sub(r'"worker":"[^"]*"', '"worker":"W"', text))


def play(run: Callable[[str], str]) -> int:
    """Pass each command to `run`, with the ids of this run in it, and return the number of commands.

    A command that only reads is repeated while its output differs, because a job takes a moment to run. Raises
    AssertionError for the first command whose output differs from the README.
    """
    known_ids: dict[str, str] = {}
    steps = session()
    for step in steps:
        command, output = step
        for printed, actual in known_ids.items():
            command = command.replace(printed, actual)
        give_up_at = time.monotonic() + SETTLE_SECONDS
        only_looks = " -d " not in command and " -X " not in command
        answer = run(command)
        while only_looks and masked(answer) != masked(output) and time.monotonic() < give_up_at:
            answer = run(command)
        if masked(answer) != masked(output):
            raise AssertionError(f"{command}\n  prints   {answer}\n  instead of {output}")
        ids = re.findall(r'"job_id":"(\w{28})"', output)
        known_ids.update(zip(ids, re.findall(r'"job_id":"(\w{28})"', answer), strict=True))
    return len(steps)


def main() -> None:
    place = sys.argv[1].removeprefix("http://")

    def curl(command: str) -> str:
        words = shlex.split(command.replace(PRINTED, place))
        return subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=30, check=True).stdout

    print(f"ok    the README's session, {play(curl)} commands")


if __name__ == "__main__":
    main()
