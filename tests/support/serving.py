"""Real servers: `queuey serve` as a process of its own, driven over HTTP, its log kept for tests that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support import jobs
from tests.support.store_users import alive

PATIENCE: Final = 20.0
ROOT: Final = Path(__file__).parent.parent.parent
TERMINAL: Final = ("succeeded", "dead_letter", "cancelled")
NO_DATA_DIR: Final = "/dev/null/none"
KEPT_LINES: Final = 2000

started: Final[list[Serving]] = []
"""The servers that have been started and not been closed: what a failing test may want to show the logs of."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, without the settings of whoever runs the tests.

    A command that is given no store fails, and uses none of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUEUEY_")}
    return kept | {"QUEUEY_DATA_DIR": NO_DATA_DIR} | variables


def queuey(*arguments: str, root: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of queuey to its end. `root`: the checkout that has the code."""
    command = [sys.executable, "-m", "queuey", *arguments]
    return subprocess.run(
        command, cwd=root, env=environment(**variables), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


class Serving:
    """One `queuey serve`. It has started when it is made, and ends with `close`."""

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        app: str | None = jobs.PATH,
        variables: Mapping[str, str] | None = None,
        key: str | None = None,
        own_group: bool = False,
        root: Path = ROOT,
        port: int = 0,
        command: str = "serve",
        until: str = "started",
    ) -> None:
        """`key`: what `http` sends as x-api-key. `own_group`: a process group of its own, as a terminal gives one.
        `root`: the checkout that has the code. `port`: 0 for any that is free. `until`: the event to wait for.

        Raises AssertionError, with the log, when it does not start."""
        self.data_dir = data_dir
        line = [sys.executable, "-m", "queuey", command, "--port", str(port), "--data-dir", str(data_dir)]
        line += ["--log-format", "json", *(["--app", app] if app else []), *flags]
        self.process = subprocess.Popen(
            line,
            cwd=root,
            env=environment(**(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0 if own_group else None,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        started.append(self)
        try:
            event = self.event(until)
        except BaseException:
            self.kill()
            self.close()
            raise
        self.url: Any = event.get("url")
        self.http = httpx.Client(base_url=self.url or "http://none", headers={"x-api-key": key} if key else None)

    # --- the log -----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                del self.lines[:-KEPT_LINES]
                self._news.notify_all()

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """Every log line so far of this event and with these fields."""
        found = []
        for line in list(self.lines):
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == name and fields.items() <= event.items():
                found.append(event)
        return found

    def event(self, name: str, **fields: object) -> dict[str, Any]:
        """The first log line of this event and with these fields, which may still be to come."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while not (found := self.events(name, **fields)):
                more = self._reader.is_alive() and time.monotonic() < deadline
                assert more, f"no {name} {fields} in:\n{''.join(self.lines)}"
                self._news.wait(0.2)
        return found[0]

    # --- jobs --------------------------------------------------------------------------------------------------

    def submit(self, job_type: str, payload: object = None, **fields: object) -> str:
        reply = self.http.post("/v1/jobs", json={"type": job_type, "payload": payload, **fields})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        reply = self.http.get(f"/v1/jobs/{job_id}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """The job, once it has one of these statuses; once it has ended if there are none."""
        wanted = statuses or TERMINAL
        job: dict[str, Any] = {}

        def reached() -> bool:
            job.update(self.job(job_id))
            return job["status"] in wanted

        eventually(reached, lambda: f"the job is {job}")
        return job

    def cancel(self, job_id: str) -> httpx.Response:
        return self.http.post(f"/v1/jobs/{job_id}/cancel")

    # --- the end -----------------------------------------------------------------------------------------------

    @property
    def store_pid(self) -> int:
        """The embedded store's process, as it was last started or joined."""
        events = self.events("store_started") + self.events("store_joined")
        return int(max(events, key=lambda event: event["timestamp"])["pid"])

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, within: float = PATIENCE) -> int:
        """Wait until it has ended by itself. Returns its exit code, negative for a signal."""
        code = self.process.wait(within)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """SIGTERM, and wait. Returns the exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def close(self) -> None:
        """End it if it still runs, with its store if that was left behind, and forget it."""
        try:
            if self.process.poll() is None:
                self.terminate()
                try:
                    self.wait()
                except subprocess.TimeoutExpired:
                    self.kill()
                    raise
        finally:
            if hasattr(self, "http"):
                self.http.close()
            if self.process.stderr is not None:
                self.process.stderr.close()
            if self in started:
                started.remove(self)


def eventually(question: Callable[[], bool], why: Callable[[], str] = str, *, within: float = PATIENCE) -> None:
    """Ask until the answer is yes: for what nothing announces."""
    deadline = time.monotonic() + within
    while not question():
        assert time.monotonic() < deadline, why()
        time.sleep(0.01)


def end_store(pid: int) -> None:
    """SIGKILL a store that no server owns any more, and wait until it is gone."""
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid))
