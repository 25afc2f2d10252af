"""The fixed sequence of requests whose store commands are compared, sent to a server of one revision."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.against.checkout import Revision
from bench.against.recording import Recorder, Recording, Step, recording_proxy
from bench.against.store import store
from bench.servers import ended, started

SINGLE_CALLS: Final = 100
BATCH_CALLS: Final = 24
BATCH: Final = 100
"""Jobs in a batch: those of one call to a script."""
PAYLOAD: Final = "x" * 98
LEASE_SECONDS: Final = 3600
"""Longer than any run takes, however slow the store is made."""
RETRY_SECONDS: Final = 3600
FLAGS: Final = ("--roles", "api", "--beat-interval", "1m", "--store-timeout", "10s", "--request-deadline", "20s")
"""No loop of the server's own calls a script while the session lasts."""

NOTHING_WAITS: Final = Step("claim, nothing waits", SINGLE_CALLS, 1)
ENQUEUE_ONE: Final = Step("enqueue, 1 job", SINGLE_CALLS, 1)
CLAIM_ONE: Final = Step("claim, 1 job", SINGLE_CALLS, 1)
EXTEND_ONE: Final = Step("extend, 1 job", SINGLE_CALLS, 1)
COMPLETE_ONE: Final = Step("complete, 1 job", SINGLE_CALLS, 1)
ENQUEUE_BATCH: Final = Step(f"enqueue, {BATCH} jobs", BATCH_CALLS, BATCH)
CLAIM_BATCH: Final = Step(f"claim, {BATCH} jobs", BATCH_CALLS, BATCH)
EXTEND_BATCH: Final = Step(f"extend, {BATCH} jobs", BATCH_CALLS, BATCH)
COMPLETE_BATCH: Final = Step(f"complete, {BATCH} jobs", BATCH_CALLS, BATCH)
RETRY_ONE: Final = Step("fail, 1 job, with a retry", SINGLE_CALLS, 1)
DEAD_ONE: Final = Step("fail, 1 job, for good", SINGLE_CALLS, 1)
BETWEEN: Final = Step("", 0, 0)
"""What has to happen between two steps and is not compared."""

Held = list[dict[str, str]]
"""Leased jobs, each with its id and token."""


def record(revision: Revision, folder: Path) -> Recording:
    """Run the session against a new server and store of this revision. Raises RuntimeError when a request fails."""
    with store(revision.store, folder / "store") as socket_path:
        proxy_path = folder / "proxy"
        with recording_proxy(proxy_path, socket_path) as recorder:
            program = revision.program
            command = program.command("--redis", f"unix://{proxy_path}", *FLAGS)
            log = folder / "server.log"
            with ended(command, log, program.folder, program.variables) as process:
                url, _, _ = started(process, log)
                _Session(url, recorder).run()
            return recorder.recording()


class _Session:
    """One client with one connection. Its ids and claim ids are counted, so every session sends the same."""

    def __init__(self, url: str, recorder: Recorder) -> None:
        self._http = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._recorder = recorder
        self._jobs = 0
        self._claims = 0

    def run(self) -> None:
        # The first request opens the server's connection to its store.
        self._recorder.begin(BETWEEN)
        self._lease(1, expected=0)
        # The batches come first, so that the tables of the store no longer grow when single requests are counted.
        self._steps_of_batches()
        self._steps_of_one_job()
        self._failures()
        self._recorder.begin(BETWEEN)
        self._http.close()

    def _steps_of_one_job(self) -> None:
        for _ in self._calls(NOTHING_WAITS):
            self._lease(1, expected=0)
        for _ in self._calls(ENQUEUE_ONE):
            self._ask("POST", "/v1/jobs", self._job())
        held = [self._lease(1, expected=1) for _ in self._calls(CLAIM_ONE)]
        for number in self._calls(EXTEND_ONE):
            self._outcome("extend", held[number], "ok", lease=LEASE_SECONDS)
        for number in self._calls(COMPLETE_ONE):
            self._outcome("complete", held[number], "ok")

    def _steps_of_batches(self) -> None:
        for _ in self._calls(ENQUEUE_BATCH):
            self._ask("POST", "/v1/jobs/batch", [self._job() for _ in range(BATCH)])
        held = [self._lease(BATCH, expected=BATCH) for _ in self._calls(CLAIM_BATCH)]
        for number in self._calls(EXTEND_BATCH):
            self._outcome("extend", held[number], "ok", lease=LEASE_SECONDS)
        for number in self._calls(COMPLETE_BATCH):
            self._outcome("complete", held[number], "ok")

    def _failures(self) -> None:
        self._recorder.begin(BETWEEN)
        count = 2 * SINGLE_CALLS
        self._ask("POST", "/v1/jobs/batch", [self._job() for _ in range(count)])
        held = [[job] for job in self._lease(count, expected=count)]
        for number in self._calls(RETRY_ONE):
            self._outcome("fail", held[number], "retry", error="no answer", retry_after=RETRY_SECONDS)
        for number in self._calls(DEAD_ONE):
            self._outcome("fail", held[SINGLE_CALLS + number], "dead_letter", error="no answer", dead=True)

    def _calls(self, step: Step) -> Iterator[int]:
        """The numbers of a step's requests, of which each has to be sent before the next number is taken."""
        self._recorder.begin(step)
        for number in range(step.calls):
            yield number
            self._recorder.next_call()

    def _job(self) -> dict[str, str]:
        """A plain job. Its id is of the form that Queuey makes: 2 characters, and 26 of a ULID."""
        self._jobs += 1
        return {"type": "bench.noop", "payload": PAYLOAD, "id": f"00{self._jobs:026}"}

    def _lease(self, most: int, expected: int) -> Held:
        self._claims += 1
        asked = {"max": most, "lease": LEASE_SECONDS, "worker": "bench", "claim_id": f"claim{self._claims:07}"}
        jobs = self._ask("POST", "/v1/leases", asked)["jobs"]
        if len(jobs) != expected:
            raise RuntimeError(f"{len(jobs)} jobs were leased where {expected} were expected.")
        return [{"id": job["id"], "token": job["token"]} for job in jobs]

    def _outcome(self, route: str, held: Held, expected: str, **fields: object) -> None:
        """Report on leased jobs, with the same fields for each."""
        results = self._ask("POST", f"/v1/leases/{route}", {"jobs": [{**job, **fields} for job in held]})["results"]
        statuses = {result.get("status") for result in results}
        if len(results) != len(held) or statuses != {expected}:
            raise RuntimeError(f"/v1/leases/{route} answered {statuses} where {expected} was expected.")

    def _ask(self, method: str, path: str, body: object) -> Any:
        self._http.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        reply = self._http.getresponse()
        text = reply.read()
        if reply.status // 100 != 2:
            raise RuntimeError(f"{method} {path} answered {reply.status}: {text[:500]!r}")
        return json.loads(text)
