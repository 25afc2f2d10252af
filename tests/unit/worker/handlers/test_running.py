"""`handler.run`: a job is enqueued and waited for, and its result is read as what the handler returns."""

from __future__ import annotations

import traceback
from typing import Any

import httpx
import msgspec
import pytest

from queuey import Client, SyncClient, seal
from queuey.client import JobFailed, NotFinished
from queuey.errors import StartupError
from queuey.protocol.models import JobError, JobRequest
from tests.unit.protocol.test_readable import MOMENT, job
from tests.unit.worker.handlers import running_app as apps


class Server:
    """Answers each job with `result`, and these fields."""

    def __init__(self, result: bytes, **fields: Any) -> None:
        self.requests: list[JobRequest] = []
        self.waits: list[str] = []
        self._result = result
        self._fields = fields

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.requests.append(msgspec.json.decode(request.content, type=JobRequest))
        self.waits.append(request.url.params["wait"])
        answer = job(self._result, id=self.requests[0].id, **self._fields)
        return httpx.Response(200, content=msgspec.json.encode(answer))

    def client(self) -> Client:
        return Client("http://queue", transport=httpx.MockTransport(self), retry_for=0)


CASES: list[tuple[Any, bytes, Any]] = [
    (apps.page, b'{"pageNumber":3}', apps.Page(pageNumber=3)),
    (apps.cover, b'{"page":{"pageNumber":3}}', apps.Cover(apps.Page(pageNumber=3))),
    (apps.adult, b'{"age":20}', apps.Adult(20)),
    (apps.nothing, b"null", None),
    (apps.anything, b'{"a":[1]}', {"a": [1]}),
    (apps.objects, b"[3]", [3]),
]


@pytest.mark.parametrize(("handler", "result", "value"), CASES)
async def test_the_result_is_what_the_handler_returns(handler: Any, result: bytes, value: object) -> None:
    async with Server(result).client() as client:
        assert await handler.run(3, client=client) == value


async def test_the_job_has_the_options_of_the_handler_and_of_the_call() -> None:
    server = Server(b'{"pages":3}')
    async with server.client() as client:
        assert await apps.report.run(3, client=client, wait=7, priority="high") == apps.Report(3)
    (request,) = server.requests
    assert (request.type, request.queue, request.max_attempts, request.priority) == ("report", "reports", 3, "high")
    assert bytes(request.payload) == b"3"
    assert 6 < float(server.waits[0]) <= 7


async def test_several_parameters_and_types_of_pydantic_in_the_result() -> None:
    server = Server(b'[{"pageNumber":3},{"age":20}]')
    async with server.client() as client:
        found = await apps.pages.run(apps.pages.payload(3, most=1), client=client)
    assert found == [apps.Page(pageNumber=3), apps.Adult(20)]
    assert bytes(server.requests[0].payload) == b'{"number":3,"most":1}'


async def test_what_a_codec_has_written() -> None:
    server = Server(bytes(seal(apps.Zlib(), {"text": "hello"})))
    async with server.client() as client:
        assert await apps.in_secret.run("hello", client=client) == {"text": "hello"}
    assert bytes(server.requests[0].payload) == bytes(seal(apps.Zlib(), "hello"))


def test_without_asyncio() -> None:
    with SyncClient("http://queue", transport=httpx.MockTransport(Server(b'{"pages":3}'))) as client:
        assert apps.report.run(3, client=client) == apps.Report(3)


async def test_a_job_that_failed() -> None:
    error = JobError(MOMENT, 5, "error", "ValueError: boom", "Traceback ... line 7 in report")
    server = Server(b"null", status="dead_letter", last_error="ValueError: boom", errors=[error])
    async with server.client() as client:
        with pytest.raises(JobFailed, match=r"\(report\) has no result: it is dead_letter: ValueError: boom") as raised:
            await apps.report.run(3, client=client)
    assert raised.value.job.status == "dead_letter"
    assert "line 7 in report" in "".join(traceback.format_exception(raised.value))


async def test_a_job_that_was_cancelled() -> None:
    async with Server(b"null", status="cancelled").client() as client:
        with pytest.raises(JobFailed, match=r"has no result: it is cancelled$"):
            await apps.report.run(3, client=client)


async def test_a_job_that_takes_longer() -> None:
    server = Server(b"null", status="running")
    async with server.client() as client:
        with pytest.raises(TimeoutError, match=r"has not finished in time: it is running. It goes on") as raised:
            await apps.report.run(3, client=client, wait=0)
    assert isinstance(raised.value, NotFinished)
    assert raised.value.job.id == server.requests[0].id


@pytest.mark.parametrize(("handler", "result"), [(apps.report, b'{"pages":"x"}'), (apps.adult, b'{"age":3}')])
async def test_a_result_of_another_type(handler: Any, result: bytes) -> None:
    async with Server(result).client() as client:
        with pytest.raises(msgspec.ValidationError):
            await handler.run(3, client=client)


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (apps.unread, "its result cannot be read as "),
        (apps.unresolved, r"the annotation of 'return' \(Decimal\) cannot"),
    ],
)
async def test_a_type_that_cannot_be_read_is_an_error_before_the_job_is_sent(handler: Any, why: str) -> None:
    server = Server(b"null")
    async with server.client() as client:
        with pytest.raises(StartupError, match=why):
            await handler.run(3, client=client)
    assert server.requests == []


@pytest.mark.parametrize("given", [{}, {"client": None}])
def test_without_a_client_it_says_what_to_pass(given: dict[str, Any]) -> None:
    with pytest.raises(
        TypeError, match=r"page: run waits for the job, so it needs a client: run\(..., client=client\)"
    ):
        apps.page.run(3, **given)
