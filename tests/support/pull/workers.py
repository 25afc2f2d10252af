"""The examples of workers in other languages, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.serving import ROOT, environment, eventually

PATIENCE: Final = 20.0
SLEEPER: Final = """
import json, sys, time
payload, kind = json.load(sys.stdin), sys.argv[1]
if kind == "bad":
    sys.exit('no luck: "quoted" \\\\ and\\n\\tmore')
if kind == "sleep":
    time.sleep(payload["seconds"])
    print('"rested"')
elif kind == "text.reverse":
    print(json.dumps(payload["text"][::-1]))
"""
"""What the worker in bash runs: the same handlers as those of the worker in Node."""


def bash(queue: str) -> list[str]:
    return [str(ROOT / "examples" / "pull-worker.sh"), queue, sys.executable, "-c", SLEEPER]


def node(queue: str) -> list[str]:
    return ["node", str(ROOT / "examples" / "pull-worker.mjs"), queue]


class PullWorker:
    """One worker of a queue, in a session of its own, by which what it has started is found."""

    def __init__(self, command: Sequence[str], url: str, log: Path, *, lease: float = 30) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(QUEUEY_URL=url, LEASE=f"{lease:g}", TMPDIR=str(log.parent)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL for the worker alone: what it has started is left to itself."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it with all that it has started."""
        eventually(self._is_ended)
        self.process.wait(PATIENCE)
        self._log.close()

    def _is_ended(self) -> bool:
        """Whether nothing is left of it. What is left is killed."""
        left = _session(self.process.pid)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.poll()
        return not left


def _session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(folder.name))
    return found
