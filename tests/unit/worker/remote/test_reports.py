"""What a pull worker does when the server cannot be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.client import Client, Unreachable
from queuey.lifecycle import end_tasks
from queuey.protocol.models import CompleteItem, FailItem
from queuey.worker.handlers.attempt import CheckpointFailed, Work
from queuey.worker.remote import reports as remote_reports
from queuey.worker.remote.reports import Checkpoints, Outcome, Renewal, Reports
from tests.support.virtual_time import in_virtual_time

Answer = Callable[[str, list[dict[str, Any]]], httpx.Response]
DOWN = httpx.Response(
    503, json={"type": "urn:queuey:problem:store-unavailable", "title": "", "status": 503, "detail": "Down."}
)


def ok(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
    status = "ok" if verb == "complete" else "retry"
    return httpx.Response(200, json={"results": [{"id": job["id"], "status": status} for job in jobs]})


class Told:
    """A server that answers request after request as told, the last way for ever, and what came of the reports."""

    def __init__(self, *answers: Answer | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, list[str]]] = []
        self.statuses: dict[str, str] = {}
        self.errors: list[Any] = []
        self.enough = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rpartition("/")[2]
        jobs = msgspec.json.decode(request.content)["jobs"]
        self.requests.append((verb, [job["id"] for job in jobs]))
        self.errors += [job["error"] for job in jobs if "error" in job]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(verb, jobs) if callable(answer) else answer

    async def of(self, *outcomes: Outcome, retries: int = 0) -> dict[str, str]:
        def on_reported(outcome: Outcome, status: str) -> None:
            self.statuses[outcome.id] = status
            if len(self.statuses) == len(outcomes):
                self.enough.set()

        async with Client("http://q.test", retries=retries, transport=httpx.MockTransport(self)) as client:
            reports = Reports(client, on_reported)
            for outcome in outcomes:
                reports.add(outcome)
            task = asyncio.create_task(reports.run())
            await asyncio.wait_for(self.enough.wait(), 1000)
            await end_tasks([task])
        return self.statuses


def done(number: int) -> CompleteItem:
    return CompleteItem(f"c{number}", "1.a")


def failed(number: int) -> FailItem:
    return FailItem(f"f{number}", "1.a", "broken")


@in_virtual_time
async def test_what_has_gathered_goes_in_one_request_of_each_kind() -> None:
    told = Told(ok)
    statuses = await told.of(done(1), failed(1), done(2))
    assert statuses == {"c1": "ok", "c2": "ok", "f1": "retry"}
    assert sorted(told.requests) == [("complete", ["c1", "c2"]), ("fail", ["f1"])]


@in_virtual_time
async def test_it_is_told_again_while_the_store_is_away() -> None:
    told = Told(DOWN, DOWN, DOWN, ok)
    assert await told.of(done(1)) == {"c1": "ok"}
    assert len(told.requests) == 4


@in_virtual_time
async def test_but_not_for_ever() -> None:
    told = Told(DOWN)
    began = asyncio.get_running_loop().time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", asyncio.get_running_loop().time)
        assert await told.of(done(1)) == {"c1": "untold"}
    assert asyncio.get_running_loop().time() - began >= remote_reports.RESEND_SECONDS


@in_virtual_time
async def test_of_a_batch_only_what_the_store_did_not_take_is_told_again() -> None:
    problem = {"type": "urn:queuey:problem:outcome-unknown", "title": "", "status": 503, "detail": "Unknown."}
    gone = {"type": "urn:queuey:problem:not-found", "title": "", "status": 404, "detail": "No such job."}
    large = {"type": "urn:queuey:problem:too-large", "title": "", "status": 413, "detail": "Too large."}

    def first(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        results = [
            {"id": "c1", "status": "ok"},
            {"id": "c2", "error": problem},
            {"id": "c3", "status": "lost"},
            {"id": "c4", "error": gone},
            {"id": "c5", "error": large},
        ]
        return httpx.Response(200, json={"results": results})

    told = Told(first, ok)
    statuses = await told.of(*map(done, range(1, 6)))
    assert statuses == {"c1": "ok", "c2": "ok", "c3": "lost", "c4": "lost", "c5": "retry"}
    assert sorted(told.requests[1:]) == [("complete", ["c2"]), ("fail", ["c5"])]


@in_virtual_time
async def test_new_outcomes_do_not_wait_with_those_of_a_silent_shard() -> None:
    """The server answers a request with such an outcome only when it has waited for the shard."""
    ended: asyncio.Queue[str] = asyncio.Queue()
    silent, requests = asyncio.Event(), list[list[str]]()

    async def answer(request: httpx.Request) -> httpx.Response:
        jobs = msgspec.json.decode(request.content)["jobs"]
        requests.append([job["id"] for job in jobs])
        if "c1" not in requests[-1]:
            return ok("complete", jobs)
        if len(requests) > 1:
            await silent.wait()
        return DOWN

    async with Client("http://q.test", retries=0, transport=httpx.MockTransport(answer)) as client:
        reports = Reports(client, lambda outcome, status: ended.put_nowait(outcome.id))
        task = asyncio.create_task(reports.run())
        reports.add(done(1))
        await asyncio.sleep(remote_reports.PAUSE + 0.5)
        for number in (2, 3):
            reports.add(done(number))
            assert await ended.get() == f"c{number}"
        await end_tasks([task])
    assert requests == [["c1"], ["c1"], ["c2"], ["c3"]]


def refusing(status: int, code: str, *bad: str) -> Answer:
    """Refuses every request that completes one of these."""
    body = {"type": f"urn:queuey:problem:{code}", "title": "", "status": status, "detail": "Mend it."}

    def answer(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        if verb == "complete" and any(job["id"] in bad for job in jobs):
            return httpx.Response(status, json=body)
        return ok(verb, jobs)

    return answer


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (413, "too-large", "result_too_large"),
        (400, "malformed", "result_not_json"),
        (422, "invalid", "result_not_json"),
    ],
)
@in_virtual_time
async def test_one_bad_result_costs_no_other_and_is_told_as_a_failure(status: int, code: str, kind: str) -> None:
    told = Told(refusing(status, code, "c3"))
    statuses = await told.of(*map(done, range(1, 8)))
    assert statuses == {f"c{number}": "retry" if number == 3 else "ok" for number in range(1, 8)}
    assert told.errors == [{"message": "Mend it.", "kind": kind, "detail": None}]


@in_virtual_time
async def test_so_is_one_that_is_too_large_for_a_proxy() -> None:
    def proxy(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        return httpx.Response(413, text="<html>") if verb == "complete" else ok(verb, jobs)

    told = Told(proxy)
    assert await told.of(done(1)) == {"c1": "retry"}
    assert [error["kind"] for error in told.errors] == ["result_too_large"]


@in_virtual_time
async def test_a_failure_that_is_refused_is_not_told_again() -> None:
    refused = httpx.Response(
        422, json={"type": "urn:queuey:problem:invalid", "title": "", "status": 422, "detail": "No."}
    )
    told = Told(refused)
    assert await told.of(failed(1)) == {"f1": "untold"}
    assert len(told.requests) == 1


@in_virtual_time
async def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    def garbled(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, content=b"no gzip")

    assert await Told(garbled, ok).of(done(1)) == {"c1": "ok"}


@in_virtual_time
async def test_a_renewal_without_an_answer_is_given_up_well_within_the_lease() -> None:
    async def silent(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        await asyncio.sleep(1e6)
        raise AssertionError

    requests: list[httpx.Request] = []
    for lease, seconds in ((3.0, 1.0), (300.0, 10.0)):
        renewal = Renewal("http://q.test", None, lease, transport=httpx.MockTransport(silent))
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable):
            await renewal.extend(0, round(lease * 1000), [("c1", "1.a")])
        assert asyncio.get_running_loop().time() - began == pytest.approx(seconds)
        await renewal.close()
    assert len(requests) == 2


@in_virtual_time
async def test_a_refusal_of_all_is_not_told_again() -> None:
    refused = httpx.Response(
        403, json={"type": "urn:queuey:problem:forbidden", "title": "", "status": 403, "detail": "No."}
    )
    told = Told(refused)
    assert await told.of(done(1), done(2)) == {"c1": "untold", "c2": "untold"}
    assert len(told.requests) == 1


@in_virtual_time
async def test_a_server_without_snoozes_gets_a_retry() -> None:
    unknown = {"type": "urn:queuey:problem:invalid", "title": "", "status": 422, "detail": "Unknown field 'snooze'."}
    sent: list[dict[str, Any]] = []

    def older(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
        sent.extend(jobs)
        return httpx.Response(
            200,
            json={
                "results": [
                    {"id": job["id"]} | ({"error": unknown} if "snooze" in job else {"status": "retry"}) for job in jobs
                ]
            },
        )

    told = Told(older)
    with capture_logs() as logs:
        statuses = await told.of(
            FailItem("s1", "1.a", "not ready", snooze=60.0), failed(1), FailItem("s2", "1.a", "x", snooze=0.0)
        )
    assert statuses == {"s1": "retry", "f1": "retry", "s2": "retry"}
    assert [(job["id"], job.get("snooze"), job["retry_after"], job["error"]) for job in sent] == [
        ("s1", 60, None, "not ready"),
        ("f1", None, None, "broken"),
        ("s2", 0, None, "x"),
        ("s1", None, 60, "not ready"),
        ("s2", None, 0, "x"),
    ]
    assert [line["event"] for line in logs] == ["server_ignores_snooze"], "said once"


# --- checkpoints ---------------------------------------------------------------------------------------------------


async def kept_by(*answers: Answer | httpx.Response) -> tuple[str, Told]:
    """Keep a checkpoint at such a server. Returns the reason why it was not kept, '' if it was."""
    told = Told(*answers)
    async with Client("http://q.test", retries=0, transport=httpx.MockTransport(told)) as client:
        checkpoints = Checkpoints(client)
        work = Work("c1", "t", "default", "1", "1.a", 1, 5)
        kept = await asyncio.to_thread(checkpoints.keep, work, '{"line":1}')
        try:
            await asyncio.wait_for(asyncio.wrap_future(kept), 1000)
        except CheckpointFailed as error:
            return error.reason, told
        finally:
            await checkpoints.close()
    return "", told


def kept(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
    assert (verb, [job["checkpoint"] for job in jobs]) == ("checkpoint", [{"line": 1}])
    return httpx.Response(200, json={"results": [{"id": job["id"], "status": "ok"} for job in jobs]})


def lost(verb: str, jobs: list[dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, json={"results": [{"id": job["id"], "status": "lost"} for job in jobs]})


@in_virtual_time
async def test_a_checkpoint_is_sent_until_it_is_answered() -> None:
    reason, told = await kept_by(DOWN, DOWN, kept)
    assert (reason, len(told.requests)) == ("", 3)


@in_virtual_time
async def test_a_checkpoint_of_a_lost_lease_is_refused() -> None:
    assert (await kept_by(lost))[0] == "another worker has the job now, or it has finished"


@in_virtual_time
async def test_an_older_server_keeps_no_checkpoints() -> None:
    older = httpx.Response(
        404, json={"type": "urn:queuey:problem:not-found", "title": "", "status": 404, "detail": "No such route."}
    )
    reason, told = await kept_by(older)
    assert reason == "No such route. Update the server: it is of a release without checkpoints."
    assert len(told.requests) == 1


async def test_a_checkpoint_is_given_up_when_the_worker_ends() -> None:
    never = asyncio.Event()

    async def silent(request: httpx.Request) -> httpx.Response:
        asked.set()
        await never.wait()
        raise AssertionError

    asked = asyncio.Event()
    async with Client("http://q.test", retries=0, transport=httpx.MockTransport(silent)) as client:
        checkpoints = Checkpoints(client)
        waiting = checkpoints.keep(Work("c1", "t", "default", "1", "1.a", 1, 5), "1")
        await asked.wait()
        await checkpoints.close()
    assert str(waiting.exception()) == "the checkpoint was not kept: the worker has ended"
