"""Calls over HTTP, each put into the ledger before it is sent and when it is answered, or is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx

from tests.faults.evidence.ledger import Answered, Ledger, Operation, Outcome, Seen, Sent, now

TIMEOUT: Final = 3.0
"""Seconds. A server answers within about two, whatever its store does."""
UNKNOWN: Final = "urn:queuey:problem:outcome-unknown"


class Reply:
    """What came back, or did not."""

    def __init__(self, outcome: Outcome, code: str, body: Any = None) -> None:
        self.outcome = outcome
        self.code = code
        self.body = body if isinstance(body, dict) else {}


class Caller:
    """Sends calls to the servers that `url` names, one after the other."""

    def __init__(self, http: httpx.AsyncClient, ledger: Ledger, url: Callable[[], str]) -> None:
        self._http = http
        self._ledger = ledger
        self._url = url
        self._numbers = itertools.count(1)

    async def enqueue(self, requests: Sequence[dict[str, Any]]) -> list[Answered]:
        """One job by itself, several as a batch; each must bear an `id`. Returns an answer for each."""
        call = next(self._numbers)
        for request in requests:
            self._ledger.write(Sent(now(), call, "enqueue", request["id"], request))
        if len(requests) == 1:
            reply = await self._post("/v1/jobs", requests[0])
            items = [reply]
        else:
            reply = await self._post("/v1/jobs/batch", list(requests))
            results = reply.body.get("results")
            items = [_item(result) for result in results] if results else [reply] * len(requests)
        answers = [
            Answered(
                at=now(),
                call=call,
                operation="enqueue",
                outcome=item.outcome,
                code=item.code,
                job=request["id"],
                said=item.body.get("job_id", ""),
                deduplicated=item.body.get("deduplicated", False),
            )
            for request, item in zip(requests, items, strict=True)
        ]
        for answer in answers:
            self._ledger.write(answer)
        return answers

    async def cancel(self, job_id: str) -> Answered:
        return await self._simple("cancel", job_id, f"/v1/jobs/{job_id}/cancel", "status")

    async def retry(self, job_id: str) -> Answered:
        return await self._simple("retry", job_id, f"/v1/jobs/{job_id}/retry", "status")

    async def replay(self, limit: int) -> Answered:
        return await self._simple("replay", "", f"/v1/replay-dlq?limit={limit}", "requeued")

    async def _simple(self, operation: Operation, job_id: str, path: str, field: str) -> Answered:
        call = next(self._numbers)
        self._ledger.write(Sent(now(), call, operation, job_id))
        reply = await self._post(path, None)
        said = str(reply.body.get(field, "")) if reply.outcome == "ok" else ""
        answer = Answered(now(), call, operation, reply.outcome, reply.code, job_id, said)
        self._ledger.write(answer)
        return answer

    async def look(self, job_id: str, wait: float = 0.0) -> None:
        """Put what a job is said to be into the ledger, when anything is said; `wait`: seconds until it has ended."""
        asked_at = now()
        url = f"{self._url()}/v1/jobs/{job_id}" + (f"?wait={wait:.3f}" if wait else "")
        try:
            response = await self._http.get(url, timeout=TIMEOUT)
        except httpx.HTTPError:
            return
        if response.status_code == 200:
            job = response.json()
            self._ledger.write(Seen(now(), asked_at, job_id, job["status"], job["finished_at"] or ""))
        elif response.status_code == 404:
            self._ledger.write(Seen(now(), asked_at, job_id, "missing"))

    async def _post(self, path: str, body: Any) -> Reply:
        headers = {"x-api-key": "dev"} if "replay" in path else {}
        try:
            response = await self._http.post(self._url() + path, json=body, headers=headers, timeout=TIMEOUT)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Reply("fail", type(error).__name__)  # nothing was sent
        except httpx.HTTPError as error:
            return Reply("unknown", type(error).__name__)
        return _judge(response.status_code, response.json())


def _judge(status: int, body: Any) -> Reply:
    if status == 200:
        return Reply("ok", "200", body)
    unknown = status == 500 or (isinstance(body, dict) and body.get("type") == UNKNOWN)
    return Reply("unknown" if unknown else "fail", str(status), body)


def _item(result: dict[str, Any]) -> Reply:
    """One job's part of the answer to a batch."""
    error = result.get("error")
    return Reply("ok", "200", result) if error is None else _judge(error["status"], error)
