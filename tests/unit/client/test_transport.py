"""The client's retries, and its errors for answers. The network is a function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from math import nan
from typing import Any

import httpx
import msgspec
import pytest

from queuey import errors
from queuey.client import (
    BadAnswer,
    Client,
    Forbidden,
    Full,
    Invalid,
    LostLease,
    NotFound,
    Refused,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WrongState,
)
from queuey.client.errors import refusal
from queuey.protocol.models import EnqueueReply, JobRequest, Problem, RetryReply
from tests.support.virtual_time import in_virtual_time

ID = "00" + "0" * 26
Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]] | httpx.Response | Exception


class Network:
    """A transport with a list of answers, the last of which repeats. It records requests with their times."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        given = answer(request) if callable(answer) else answer
        return given if isinstance(given, httpx.Response) else await given

    def client(self, **options: Any) -> Client:
        return Client("http://queuey.test/under/", transport=httpx.MockTransport(self), **options)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": f"urn:queuey:problem:{code}", "title": "t", "status": status, "detail": "Mend it."}
    return httpx.Response(status, json=body, headers=headers)


TAKEN = httpx.Response(200, json={"job_id": ID, "deduplicated": False})
RETRIED = httpx.Response(200, json={"job_id": ID, "status": "queued"})
DOWN = problem(503, "store-unavailable", **{"retry-after": "1"})
UNKNOWN = problem(503, "outcome-unknown", **{"retry-after": "1"})
NULLS = ("dedupe_key", "timeout", "run_at", "started_at", "finished_at", "lease_expires_at", "last_error", "result")
SUCCEEDED = {"id": ID, "type": "mail", "queue": "default", "priority": "default", "status": "succeeded", "payload": 1}
SUCCEEDED |= {"attempts": 0, "max_attempts": 1, "crashes": 0, "created_at": "2026-01-01T00:00:00Z", "errors": []}
SUCCEEDED |= dict.fromkeys(NULLS)
REFUSED_CONNECTION = httpx.ConnectError("refused")
LOST = httpx.ReadError("gone")


# --- what is sent again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [DOWN, UNKNOWN, problem(429, "full", **{"retry-after": "2"}), httpx.Response(502), REFUSED_CONNECTION, LOST],
    ids=["down", "unknown", "full", "bad gateway", "refused", "lost"],
)
@in_virtual_time
async def test_an_enqueue_is_sent_again_with_the_same_id(trouble: Answer) -> None:
    network = Network(trouble, trouble, TAKEN)
    async with network.client() as client:
        assert await client.enqueue("mail", {"to": "a"}) == EnqueueReply(ID, deduplicated=False)
    bodies = {request.content for request in network.requests}
    assert (len(network.requests), len(bodies)) == (3, 1)
    assert b'"id":"' in bodies.pop()


@pytest.mark.parametrize("trouble", [DOWN, problem(503, "too-many-connections"), REFUSED_CONNECTION])
@in_virtual_time
async def test_what_was_surely_not_done_is_sent_again_in_any_case(trouble: Answer) -> None:
    network = Network(trouble, RETRIED)
    async with network.client() as client:
        assert await client.retry(ID) == RetryReply(ID)
    assert len(network.requests) == 2


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [
        (UNKNOWN, Unavailable),
        (LOST, Unreachable),
        (httpx.ReadTimeout("slow"), Unreachable),
        (httpx.Response(504), Unreachable),
    ],
)
@in_virtual_time
async def test_what_may_have_been_done_is_not_when_twice_would_do_harm(
    trouble: Answer, raised: type[Exception]
) -> None:
    network = Network(trouble, RETRIED)
    async with network.client() as client:
        with pytest.raises(raised):
            await client.retry(ID)
    assert len(network.requests) == 1


@in_virtual_time
async def test_it_gives_up_when_its_time_is_up() -> None:
    network = Network(LOST)
    async with network.client(retry_for=7) as client:
        with pytest.raises(Unreachable, match=r"http://queuey.test/under cannot be reached: gone") as raised:
            await client.get(ID)
    assert raised.value.maybe_done
    assert network.times[-1] == 7
    assert max(after - before for before, after in pairwise(network.times)) <= 2


@in_virtual_time
async def test_the_time_begins_with_the_first_failure() -> None:
    async def late(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(9)
        raise LOST

    network = Network(late, LOST, TAKEN)
    async with network.client(retry_for=1) as client:
        await client.enqueue("mail")
    assert network.times[1] > 9


@in_virtual_time
async def test_clients_do_not_come_back_all_at_once() -> None:
    networks = [Network(LOST, TAKEN) for _ in range(5)]
    for network in networks:
        async with network.client() as client:
            await client.enqueue("mail")
    assert len({after - before for before, after in (network.times for network in networks)}) == 5


@in_virtual_time
async def test_nothing_is_sent_again_within_no_time() -> None:
    network = Network(TAKEN, LOST)
    async with network.client(retry_for=0) as client:
        await client.enqueue("mail")
        for call in (client.get(ID), client.wait(ID), client.run("mail"), anext(client.events())):
            with pytest.raises(Unreachable):
                await call
    assert len(network.requests) == 5


@in_virtual_time
async def test_a_number_of_attempts_still_counts_whatever_they_take() -> None:
    network = Network(LOST, problem(429, "full", **{"retry-after": "25"}), LOST)
    async with network.client(retries=2) as client:
        with pytest.raises(Unreachable):
            await client.get(ID)
    assert len(network.requests) == 3
    assert network.times[-1] > 25


@in_virtual_time
async def test_a_wait_outlasts_a_restart_and_asks_for_the_time_that_is_left() -> None:
    down_until = 45.0

    async def restarting(request: httpx.Request) -> httpx.Response:
        if asyncio.get_running_loop().time() < down_until:
            raise REFUSED_CONNECTION
        return httpx.Response(200, json=SUCCEEDED)

    for way in ("wait", "run"):
        network = Network(TAKEN, LOST, restarting)
        async with network.client(retry_for=2) as client:
            await client.enqueue("mail")
            began = asyncio.get_running_loop().time()
            down_until = began + 45
            job = await (client.wait(ID, timeout=60) if way == "wait" else client.run("mail", wait=60))
        assert job.status == "succeeded"
        asked = [float(request.url.params["wait"]) for request in network.requests[1:]]
        assert asked == [pytest.approx(60 - (time - began), abs=0.001) for time in network.times[1:]]
        assert asked[-1] < 15


@in_virtual_time
async def test_a_wait_ends_with_its_time_when_the_server_stays_away() -> None:
    network = Network(TAKEN, REFUSED_CONNECTION)
    async with network.client() as client:
        await client.enqueue("mail")
        with pytest.raises(Unreachable):
            await client.wait(ID, timeout=30)
    assert network.times[-1] == 30


@in_virtual_time
async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    network = Network(REFUSED_CONNECTION)
    async with network.client() as client:
        for call in (client.wait(ID, timeout=300), anext(client.events())):
            with pytest.raises(Unreachable):
                await call
    assert network.times[-1] == 20


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": nan}, {"retry_for": -1}, {"retry_for": nan}], ids=str)
def test_a_time_that_is_none_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds"):
        Client("http://queuey.test", **options)  # type: ignore[arg-type]


@in_virtual_time
async def test_pauses_grow_and_are_never_shorter_than_the_server_asks() -> None:
    network = Network(LOST, LOST, problem(429, "full", **{"retry-after": "7"}), TAKEN)
    async with network.client() as client:
        await client.enqueue("mail")
    first, second, third = (after - before for before, after in zip(network.times, network.times[1:], strict=False))
    assert 0.05 <= first <= 0.1
    assert 0.1 <= second <= 0.2
    assert 7.2 <= third <= 7.4


@in_virtual_time
async def test_a_request_is_not_sent_again_after_a_long_retry_after() -> None:
    network = Network(problem(429, "full", **{"retry-after": "31"}))
    async with network.client() as client:
        with pytest.raises(Full) as raised:
            await client.enqueue("mail")
    assert raised.value.retry_after == 31
    assert len(network.requests) == 1


@in_virtual_time
async def test_an_answer_that_does_not_come_is_awaited_for_the_timeout_of_each_attempt() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with Client("http://queuey.test", timeout=3, retry_for=2, transport=httpx.MockTransport(never)) as client:
        with pytest.raises(Unreachable, match="did not answer within 3 s") as raised:
            await client.get(ID)
        assert asyncio.get_running_loop().time() == pytest.approx(6.1, abs=0.1)
    assert raised.value.maybe_done


# --- errors ------------------------------------------------------------------------------------------------------

EXPECTED: dict[str, type[Refused]] = {
    "malformed": Invalid,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "foreign-origin": Forbidden,
    "not-found": NotFound,
    "method-not-allowed": Refused,
    "request-timeout": Refused,
    "wrong-state": WrongState,
    "lost-lease": LostLease,
    "too-large": TooLarge,
    "unsupported-media-type": Refused,
    "wrong-host": Refused,
    "invalid": Invalid,
    "full": Full,
    "head-too-large": Refused,
    "too-many-connections": Unavailable,
    "store-unavailable": Unavailable,
    "outcome-unknown": Unavailable,
    "script-failed": Refused,
}


@pytest.mark.parametrize("code", EXPECTED)
def test_a_problem_becomes_the_error_of_its_code(code: str) -> None:
    (kind,) = [kind for kind in _tree(errors.QueueyError) if kind.code == code]
    error = refusal(Problem(f"urn:queuey:problem:{code}", kind.title, kind.status, "Mend it."))
    assert type(error) is EXPECTED[code]
    assert (error.code, error.status, error.message, str(error)) == (code, kind.status, "Mend it.", "Mend it.")


def _tree(kind: type[errors.QueueyError]) -> list[type[errors.QueueyError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _tree(child))]


def test_a_code_that_is_newer_than_the_client_goes_by_its_status() -> None:
    error = refusal(Problem("urn:queuey:problem:brand-new", "t", 409, "d"))
    assert (type(error), error.code) == (Refused, "brand-new")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(200, text="<html>"), "sent an unexpected answer"),
        (httpx.Response(200, json={"job_id": 1}), "sent an unexpected answer"),
        (httpx.Response(404, text="no such page"), "answered 404, and is not a Queuey server: 'no such page'"),
        (httpx.Response(404, json={"type": "about:blank", "title": "", "status": 404, "detail": ""}), "answered 404"),
        (httpx.Response(301, headers={"location": "https://x"}), "answered 301"),
    ],
)
async def test_another_program_at_the_address_is_reported(answer: httpx.Response, said: str) -> None:
    network = Network(answer)
    async with network.client() as client:
        with pytest.raises(BadAnswer, match=said) as raised:
            await client.enqueue("mail")
    assert "http://queuey.test/under/v1/jobs" in raised.value.message
    assert raised.value.status == answer.status_code
    assert len(network.requests) == 1


# --- requests ----------------------------------------------------------------------------------------------------


async def test_the_key_goes_along_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    network = Network(TAKEN)
    async with network.client(api_key="secret") as client:
        await client.enqueue("mail", [1, None], delay=5, run_at=None)  # type: ignore[arg-type]
    (request,) = network.requests
    assert request.headers["x-api-key"] == "secret"
    assert "secret" not in repr(client)
    assert str(request.url) == "http://queuey.test/under/v1/jobs"
    body = httpx.Response(200, content=request.content).json()
    assert body.pop("id")
    assert body == {"type": "mail", "payload": [1, None], "priority": "default", "delay": 5}


async def test_an_id_cannot_lead_elsewhere() -> None:
    network = Network(problem(404, "not-found"))
    async with network.client() as client:
        with pytest.raises(NotFound):
            await client.get("../queues?x=1#")
    assert network.requests[0].url.raw_path == b"/under/v1/jobs/..%2Fqueues%3Fx%3D1%23"


async def test_many_jobs_go_in_requests_within_the_limits_and_keep_their_ids() -> None:
    def taken(request: httpx.Request) -> httpx.Response:
        jobs = httpx.Response(200, content=request.content).json()
        return httpx.Response(200, json={"results": [{"job_id": job["id"], "deduplicated": False} for job in jobs]})

    network = Network(taken)
    small = [JobRequest("mail") for _ in range(1001)]
    large = [JobRequest("mail", payload=_raw("x" * 250_000)) for _ in range(5)]
    async with network.client() as client:
        results = await client.enqueue_many([*small, *large])
        again = await client.enqueue_many(small[:1])
    assert [result.job_id for result in results] == [request.id for request in [*small, *large]]
    assert again[0].job_id == small[0].id
    sizes = [len(request.content) for request in network.requests]
    assert len(sizes) == 4
    assert max(sizes) < 1_000_000


def _raw(value: Any) -> Any:
    return msgspec.Raw(msgspec.json.encode(value))
