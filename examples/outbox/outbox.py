"""The outbox: a table beside the application's own, and a relay that sends what is in it. It needs no package.

`add` is called inside the application's transaction, so that the row and the application's data are committed together
or not at all. The row holds the job's id. So the relay may send a row twice, after a lost reply or its own death, and
there is one job all the same.
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
    refused  TEXT                               -- why the server will never take it; NULL: it is to be sent
)
"""
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BATCH = 500
BATCH_BYTES = 900_000
TIMEOUT = 10.0


def new_id() -> str:
    """A job's id: two characters for a bucket, ten for the milliseconds since 1970, sixteen at random."""
    millis = time.time_ns() // 1_000_000
    stamp = "".join(ALPHABET[millis >> shift & 31] for shift in range(45, -5, -5))
    spread = secrets.choice(ALPHABET) + secrets.choice(ALPHABET)
    return spread + stamp + "".join(secrets.choice(ALPHABET) for _ in range(16))


def add(database: sqlite3.Connection, job_type: str, payload: Any, **fields: Any) -> str:
    """Put a job into the outbox, in the transaction that is under way. Returns the id that it will have."""
    job = {"type": job_type, "payload": payload, "id": new_id(), **fields}
    database.execute("INSERT INTO outbox (job) VALUES (?)", (json.dumps(job),))
    return str(job["id"])


class Sent(NamedTuple):
    """What became of some rows. `left`: the server has no room for them now; they are sent again later."""

    taken: int
    refused: int
    left: int


class Relay:
    """Sends rows to a server. Several may run at once: they only do some work twice."""

    def __init__(self, database: sqlite3.Connection, url: str, key: str | None = None) -> None:
        self._database = database
        self._url = f"{url}/v1/jobs/batch"
        self._headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}

    def run_once(self) -> Sent:
        """Send the oldest rows, as one request. Raises OSError when the server does not answer, or answers with a
        problem for all of them: then every row stays, and the same call later is safe."""
        rows = self._database.execute(
            "SELECT position, job FROM outbox WHERE refused IS NULL ORDER BY position LIMIT ?", (BATCH,)
        ).fetchall()
        if not rows:
            return Sent(0, 0, 0)
        if len(rows[0][1].encode()) > BATCH_BYTES:  # a server may hang up on it before it has read it
            return self._note([rows[0][0]], [{"error": {"status": 413, "detail": "No request may be that large."}}])
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
            if len(jobs) > 1:  # one of them spoils the request: find out which
                return [result for job in jobs for result in self._post([job])]
            return [{"error": {"status": error.code, "detail": error.reason}}]
        return results

    def _note(self, positions: Sequence[int], results: Sequence[dict[str, Any]]) -> Sent:
        """A job that was taken needs its row no more. One that the server will never take stays to be looked at."""
        taken, refused = [], []
        for position, result in zip(positions, results, strict=True):
            problem = result.get("error")
            if problem is None:
                taken.append((position,))
            elif problem["status"] not in (429, 503):
                refused.append((problem["detail"], position))
        with self._database:
            self._database.executemany("DELETE FROM outbox WHERE position = ?", taken)
            self._database.executemany("UPDATE outbox SET refused = ? WHERE position = ?", refused)
        return Sent(len(taken), len(refused), len(positions) - len(taken) - len(refused))
