"""A small HTTP client that keeps its connection and sends requests without an answer again."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# Both mean "try later": the store has no room, or cannot be reached.
LATER = frozenset({429, 503})
LONGEST_PAUSE = 2.0  # seconds


class DemoFailed(Exception):
    """The demo cannot continue. The message is for the user."""


class Deadline:
    """The time limit of the whole demo. `clock` returns seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock() + seconds

    def check(self, waiting_for: str) -> None:
        """Raise DemoFailed if the time is up."""
        if self._clock() >= self._end:
            raise DemoFailed(f"after {self._seconds:.0f} s still waiting for {waiting_for}")


class Client:
    """A client of one server on loopback. Every request here is safe to send twice.

    `check_alive` raises an error if the server has ended; `pause` waits that many seconds.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        deadline: Deadline,
        check_alive: Callable[[], None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._check_alive = check_alive
        self._pause = pause
        self.resent = 0

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        return self.call("POST", path, body, key=key)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Any:
        """Return the decoded body of a 2xx. `meanwhile` runs once, between the request and its answer.

        After a lost connection, a 429 or a 503 it sends the same request again until the deadline.
        Raises DemoFailed at the deadline, and for any other status.
        """
        headers = {} if key is None else {"x-api-key": key}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        while True:
            try:
                self._connection.request(method, path, data, headers)
                if meanwhile is not None:
                    disturb, meanwhile = meanwhile, None
                    disturb()
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                self._wait(f"an answer to {method} {path}: {error!r}", 0.1)
                continue
            if response.status < 300:
                return json.loads(text)
            answer = f"{method} {path} was answered {response.status}: {text[:500].decode(errors='replace')}"
            if response.status not in LATER:
                raise DemoFailed(answer)
            self._wait(f"the server: {answer}", _seconds(response.getheader("retry-after")))

    def submit(self, requests: Sequence[dict[str, Any]], meanwhile: Callable[[], None] | None = None) -> list[str]:
        """Submit up to 1,000 jobs as one batch. Items that were refused temporarily are sent again.

        Returns the job ids, in the order of `requests`. Each request names its id or a dedupe key.
        """
        ids: dict[int, str] = {}
        missing = list(range(len(requests)))
        while missing:
            batch = [requests[i] for i in missing]
            reply = self.call("POST", "/v1/jobs/batch", batch, meanwhile=meanwhile)
            meanwhile = None
            results = reply["results"]
            if len(results) != len(batch):
                raise DemoFailed(f"a batch of {len(batch)} was answered with {len(results)} results")
            ids.update({i: one["job_id"] for i, one in zip(missing, results, strict=True) if "job_id" in one})
            _refuse_final_errors(results)
            missing = [i for i in missing if i not in ids]
            if missing:
                self._wait(f"{len(missing)} jobs of a batch to be taken", 0.2)
        return [ids[i] for i in range(len(requests))]

    def _wait(self, waiting_for: str, seconds: float) -> None:
        self._check_alive()
        self._deadline.check(waiting_for)
        self.resent += 1
        self._pause(min(seconds, LONGEST_PAUSE))


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.2


def _refuse_final_errors(results: Iterable[dict[str, Any]]) -> None:
    for result in results:
        problem = result.get("error")
        if problem is not None and problem.get("status") not in LATER:
            raise DemoFailed(f"a job of a batch was refused: {json.dumps(problem)}")
