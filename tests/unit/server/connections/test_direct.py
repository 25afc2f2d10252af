"""POST /v1/jobs by the direct path: the replies are those of the endpoint, also beside other requests."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from queuey import log
from queuey.errors import Full, ScriptFailed, StoreUnavailable
from queuey.services.workers import WorkerReport
from tests.support.direct.stub import BODY, Jobs, both, head_of, normal, request
from tests.support.wire import LIMITS, Client, settle

HOLDER = "0" * 28


# --- taking the path -----------------------------------------------------------------------------------------------


async def test_a_head_that_came_before_is_enough() -> None:
    jobs = Jobs()
    client = jobs.client()
    await client.send(request())
    assert (jobs.hits, jobs.heads) == (0, 1)
    await client.send(request(), request(BODY.replace(b"0", b"1")))
    assert jobs.hits == 2
    assert [job.body[-12:] for job in jobs.store.jobs] == ['"0123456789"'[-11:] + "}"] * 2 + [
        '"1123456789"'[-11:] + "}"
    ]
    assert [json.loads(body)["job_id"] for _, body in client.replies] == [job.id for job in jobs.store.jobs]
    another = jobs.client()
    await another.send(request())
    assert jobs.hits == 3, "all connections share it"


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"type":"t","id":"4C01M85WK1F481TEH724WFD9NG9Z"}',
        b'{"type":"t","dedupe_key":"k","priority":"low","delay":5,"max_attempts":2}',
        b'{"type":"t","payload":{"type":"x","queue":"\\u00e4\\n"}}',
        '{"type":"t","payload":"ä"}'.encode(),
        b'{"type":"t","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}',
    ],
)
async def test_the_job_and_the_reply_are_those_of_the_endpoint(body: bytes) -> None:
    direct, plain = await both(request(body), request(body))
    assert direct.hits == 1 + (len(body) == len(BODY))
    for one, other in zip(direct.store.jobs, plain.store.jobs, strict=True):
        one.id = other.id
        assert one == other


async def test_the_date_is_that_of_the_reply() -> None:
    jobs = Jobs()
    client = await jobs.taught()
    for date in (b"1", b"2"):
        jobs.state.default_headers = [(b"date", date)]
        await client.send(request())
    assert [line for line in client.wire.written.split(b"\r\n") if line.startswith(b"date")] == [b"date: 1", b"date: 2"]


async def test_it_is_logged_as_by_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(log._state, "debug", True)
    direct, _ = await both(request())
    assert direct.hits == 1
    with capture_logs() as lines:
        client = await direct.taught()
        await client.send(request())
    (line,) = [line for line in lines if line["event"] == "job_enqueued"][1:]
    assert (line["type"], line["queue"], line["deduplicated"]) == ("t", "q", False)


@pytest.mark.parametrize(
    "body",
    [b'{"type":"t"}', b'{"type":"other"}', b'{"type":"torn"}', b'{"type":"t","delay":5}', b'{"type":"t","queue":null}'],
)
async def test_the_queue_of_a_type_is_that_of_the_endpoint(body: bytes) -> None:
    def set_up(jobs: Jobs) -> None:
        reports = [WorkerReport("w", "process", 1, 0, [], [], ["t", "torn"]) for _ in range(2)]
        reports[0].type_queues, reports[1].type_queues = {"slow": [0, 1]}, {"slow": [0]}
        jobs.queues.learn(reports)

    direct, plain = await both(request(body), request(body), set_up=set_up)
    is_certain = b'"t"' in body
    assert direct.hits == is_certain
    for one, other in zip(direct.store.jobs, plain.store.jobs, strict=True):
        one.id = other.id
        assert one == other
        assert one.queue == ("slow" if is_certain else "default")


# --- what the store answers ----------------------------------------------------------------------------------------

ERRORS: dict[str, Callable[[], Exception]] = {
    "down": lambda: StoreUnavailable("nobody there"),
    "unknown": lambda: StoreUnavailable("no answer", maybe_done=True),
    "full": lambda: Full("no room"),
    "script": lambda: ScriptFailed("a bug"),
    "bug": lambda: RuntimeError("s3cret"),
}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("down", 503, "store-unavailable"),
        ("unknown", 503, "outcome-unknown"),
        ("full", 429, "full"),
        ("script", 500, "script-failed"),
        ("bug", 500, "internal-error"),
    ],
)
async def test_an_error_of_the_store_is_answered_as_by_the_endpoint(name: str, status: int, code: str) -> None:
    def fail(jobs: Jobs) -> None:
        jobs.store.error = ERRORS[name]

    direct, _ = await both(request(), set_up=fail)
    assert direct.hits == 1
    client = await direct.taught()
    await client.send(request())
    assert direct.hits == 3
    ((answered, body),) = client.replies
    assert (answered, json.loads(body)["type"].rpartition(":")[2]) == (status, code)
    assert b"s3cret" not in body
    if name == "unknown":
        assert json.loads(body)["job_ids"] == [direct.store.jobs[-1].id]
    direct.store.error = None
    await client.send(request())
    assert [each for each, _ in client.replies] == [status, 200], "the connection goes on"


@pytest.mark.parametrize(
    ("word", "status"), [("full", 429), ("too_many_queues", 422), (f"duplicate {HOLDER}", 200), ("new", 200)]
)
async def test_each_answer_of_the_script_is_that_of_the_endpoint(word: str, status: int) -> None:
    def answer(jobs: Jobs) -> None:
        jobs.store.word = word

    direct, _ = await both(request(), set_up=answer)
    assert direct.hits == 1
    assert direct.counts()[
        f"queuey_http_requests_total[('method', 'POST'), ('route', '/v1/jobs'), ('status', '{status}')]"
    ]


async def test_a_full_store_is_told_by_the_path() -> None:
    direct, _ = await both(request(), set_up=lambda jobs: jobs.producer.set_full(True))
    assert direct.hits == 1


async def test_too_many_calls_are_refused_by_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def crowd(jobs: Jobs) -> None:
        jobs.producer._batchers[0]._max_waiting = 0

    direct, _ = await both(request(), set_up=crowd)
    assert direct.hits == 0


async def test_a_client_that_has_gone_gets_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for is_direct in (True, False):
        jobs = Jobs(is_direct=is_direct)
        client = await jobs.taught()
        jobs.store.open.clear()
        await client.send(request())
        client.go()
        jobs.store.open.set()
        await settle()
        assert client.wire.written == b""
        assert len(jobs.store.jobs) == 1
        assert jobs.hits == is_direct
        assert jobs.counts()["queuey_jobs_enqueued_total[('queue', 'q')]"] == 2
        assert sum(count for name, count in jobs.counts().items() if name.startswith("queuey_http_requests")) == 2
    assert not caplog.records


async def test_nor_one_that_was_cut_off() -> None:
    jobs = Jobs()
    client = await jobs.taught()
    jobs.store.open.clear()
    await client.send(request())
    client.wire.abort()
    jobs.store.open.set()
    await settle()
    assert (jobs.hits, client.wire.written) == (1, b"")


# --- beside other requests on the connection -----------------------------------------------------------------------

GET = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "behind", [[request()], [request(), request() + request()], [GET], [request()[:9], request()[9:]]]
)
async def test_what_comes_behind_is_answered_in_order(behind: list[bytes]) -> None:
    written = []
    for is_direct in (True, False):
        jobs = Jobs(is_direct=is_direct)
        client = await jobs.taught()
        jobs.store.open.clear()
        await client.send(request(), *behind)
        assert client.wire.written == b""
        jobs.store.open.set()
        for _ in range(5):
            await settle()
        assert jobs.hits == is_direct
        written.append((normal(client.wire.written), client.wire.closed, client.wire.reads))
    assert written[0] == written[1]
    assert written[0][2][-1] == "resumed"


@pytest.mark.parametrize("rest", [b"G", b"POST /v1/jobs HT", head_of(request()), request()[:-1]])
async def test_while_the_parser_has_a_part_of_a_request_it_gets_the_rest(rest: bytes) -> None:
    direct, _ = await both(request() + rest, request(), request())
    assert direct.hits == 0
    await both(request(), rest, request())


async def test_a_refusal_waits_for_the_reply() -> None:
    for is_direct in (True, False):
        jobs = Jobs(is_direct=is_direct)
        client = await jobs.taught()
        jobs.store.open.clear()
        await client.send(request(), b"\x00nonsense", request())
        jobs.store.open.set()
        await settle()
        assert [status for status, _ in client.replies] == [200]
        assert b"connection: close\r\n" in client.wire.written
        assert client.wire.closed
        assert (jobs.hits, len(jobs.store.jobs)) == (is_direct, 1)


@pytest.mark.parametrize("end", ["shutdown", "eof_received"])
async def test_a_request_under_way_is_answered_before_the_end(end: str) -> None:
    written = []
    for is_direct in (True, False):
        jobs = Jobs(is_direct=is_direct)
        client = await jobs.taught()
        jobs.store.open.clear()
        await client.send(request())
        getattr(client.connection, end)()
        assert client.wire.written == b""
        assert client.connection in jobs.state.connections
        jobs.store.open.set()
        await settle()
        assert client.wire.closed
        assert not client.wire.aborted
        assert jobs.hits == is_direct
        written.append(normal(client.wire.written))
    assert written[0] == written[1]
    assert b"connection: close\r\n" in written[0]


def in_use(client: Client) -> bool:
    return client.connection.age is None


async def test_it_is_in_use_while_a_request_is_under_way() -> None:
    jobs = Jobs()
    client = await jobs.taught()
    assert not in_use(client)
    jobs.store.open.clear()
    await client.send(request())
    assert in_use(client)
    for seconds in range(0, 10_000, 50):
        jobs.look(seconds)
    assert not client.wire.aborted
    jobs.store.open.set()
    await settle()
    assert not in_use(client)
    jobs.look(10_001)
    jobs.look(10_001 + LIMITS.idle)
    assert client.wire.closed


async def test_while_the_client_does_not_read_the_endpoint_waits_to_write() -> None:
    jobs = Jobs()
    client = await jobs.taught()
    client.connection.pause_writing()
    await client.send(request(), request(), request())
    assert (jobs.hits, client.wire.written) == (0, b"")
    client.connection.resume_writing()
    for _ in range(5):
        await settle()
    assert [status for status, _ in client.replies] == [200] * 3
    await client.send(request())
    assert jobs.hits == 1


async def test_a_connection_that_is_lost_is_not_kept_by_its_last_request() -> None:
    jobs = Jobs()
    client = await jobs.taught()
    await client.send(request())
    assert jobs.hits == 1
    assert client.connection not in gc.get_referents(client.connection.cycle)
