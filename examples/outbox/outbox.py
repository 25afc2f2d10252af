"""The outbox: a table in the application's database, and a relay that enqueues its jobs. It needs no package.

The application calls `add` inside its transaction, so the row and the application's data are committed together or not
at all. The row has the id of the job. So the relay may send a row twice, after a lost reply or a crash, and there is
still only one job.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which rows were added
    job      TEXT NOT NULL,                     -- the body for POST /v1/jobs, with its id
    refused  TEXT                               -- why the server refuses it; NULL if it is still to be sent
)
"""
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BATCH = 500
BATCH_BYTES = 900_000
TIMEOUT = 10.0
UPGRADING = "urn:queuey:problem:upgrade-in-progress"


def new_id() -> str:
    """Return a job id: two characters for a bucket, ten for the milliseconds since 1970, sixteen random ones."""
    millis = time.time_ns() // 1_000_000
    stamp = "".join(ALPHABET[millis >> shift & 31] for shift in range(45, -5, -5))
    spread = secrets.choice(ALPHABET) + secrets.choice(ALPHABET)
    return spread + stamp + "".join(secrets.choice(ALPHABET) for _ in range(16))


def add(database: sqlite3.Connection, job_type: str, payload: Any, **fields: Any) -> str:
    """Add a job to the outbox, in the current transaction. Return the id of the job."""
    job = {"type": job_type, "payload": payload, "id": new_id(), **fields}
    database.execute("INSERT INTO outbox (job) VALUES (?)", (json.dumps(job),))
    return str(job["id"])


class Sent(NamedTuple):
    """The outcome of some rows. The server cannot take those `left` now, so they are sent again later."""

    taken: int
    refused: int
    left: int


class Relay:
    """A sender of rows to a server. Several may run at once: they only do some work twice."""

    def __init__(self, database: sqlite3.Connection, url: str, key: str | None = None) -> None:
        self._database = database
        self._url = f"{url}/v1/jobs/batch"
        self._headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}

    def run_once(self) -> Sent:
        """Send the oldest rows in one request.

        Raises OSError if the server does not answer, or refuses the whole request. All rows stay then, and another call
        is safe.
        """
        rows = self._database.execute(
            "SELECT position, job FROM outbox WHERE refused IS NULL ORDER BY position LIMIT ?", (BATCH,)
        ).fetchall()
        if not rows:
            return Sent(0, 0, 0)
        if len(rows[0][1].encode()) > BATCH_BYTES:  # a server may close the connection before it has read the body
            return self._note(
                [rows[0][0]], [{"error": {"status": 413, "detail": "The job is too large for a request."}}]
            )
        room, sent = BATCH_BYTES, 0
        while sent < len(rows) and len(rows[sent][1].encode()) <= room:
            room -= len(rows[sent][1].encode())
            sent += 1
        results = self._post([job for _, job in rows[:sent]])
        return self._note([position for position, _ in rows[:sent]], results)

    def _post(self, jobs: Sequence[str]) -> list[dict[str, Any]]:
        body = ("[" + ",".join(jobs) + "]").encode()
        request = urllib.request.Request(self._url, body, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                results: list[dict[str, Any]] = json.load(reply)["results"]
        except urllib.error.HTTPError as error:
            if error.code not in (400, 413, 422):
                raise
            if len(jobs) > 1:  # one job makes the request invalid: find out which
                return [result for job in jobs for result in self._post([job])]
            return [{"error": {"status": error.code, "detail": error.reason}}]
        return results

    def _note(self, positions: Sequence[int], results: Sequence[dict[str, Any]]) -> Sent:
        """Delete the rows of accepted jobs. Rows of refused jobs stay, with the reason."""
        taken, refused = [], []
        for position, result in zip(positions, results, strict=True):
            problem = result.get("error")
            if problem is None:
                taken.append((position,))
            elif problem["status"] not in (429, 503) and problem.get("type") != UPGRADING:
                refused.append((problem["detail"], position))
        with self._database:
            self._database.executemany("DELETE FROM outbox WHERE position = ?", taken)
            self._database.executemany("UPDATE outbox SET refused = ? WHERE position = ?", refused)
        return Sent(len(taken), len(refused), len(positions) - len(taken) - len(refused))
