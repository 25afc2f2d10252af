"""POST /v1/jobs by the direct path: which heads are remembered, and for whom."""

from __future__ import annotations

from typing import cast

import pytest

from queuey.api.http.auth import Gate
from queuey.api.ui.settings import UiSettings
from queuey.api.ui.visitors import Visitors
from queuey.protocol.credentials import Credentials
from queuey.server.http.direct import MAX_HEAD, MAX_HEADS
from queuey.services.access.session_secret import SessionSecret
from tests.support.direct.stub import BODY, Jobs, both, head_of, request
from tests.support.http import keys

TRACEPARENT = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def with_size(size: int) -> bytes:
    plain = len(head_of(request()))
    return request(BODY, b"a: " + b"x" * (size - plain - len(b"a: \r\n")))


async def test_more_heads_than_are_remembered_cost_nothing_but_time() -> None:
    jobs = Jobs()
    client = jobs.client()
    different = [request(BODY, b"a: %d" % number) for number in range(MAX_HEADS + 1)]
    for _ in range(2):
        for number, each in enumerate(different):
            await client.send(each)
            assert jobs.heads <= MAX_HEADS
            assert len(client.replies) == 1, number
            assert client.replies[0][0] == 200
            client.wire.written = b""
    assert len(jobs.store.jobs) == 2 * len(different)
    assert jobs.hits < len(different), "some of them had been forgotten"
    hits = jobs.hits
    await client.send(different[-1], different[-1])
    assert jobs.hits >= hits + 1
    assert not client.wire.closed


@pytest.mark.parametrize(("size", "known"), [(MAX_HEAD - 1, 1), (MAX_HEAD, 1), (MAX_HEAD + 1, 0), (5 * MAX_HEAD, 0)])
async def test_a_long_head_is_not_remembered(size: int, known: int) -> None:
    jobs = Jobs()
    client = jobs.client()
    data = with_size(size)
    assert len(head_of(data)) == size
    await client.send(data, data)
    assert (jobs.heads, jobs.hits) == (known, known)
    assert [status for status, _ in client.replies] == [200, 200]


def changes(data: bytes) -> list[bytes]:
    """The same bytes, with another one in each place of the head."""
    length = len(head_of(data))
    return [data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(length)]


async def test_a_head_that_differs_by_one_byte_is_another_one() -> None:
    for changed in changes(request()):
        direct, _ = await both(changed)
        assert direct.hits == 0, changed


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b" ", BODY + b"GET / HTTP/1.1\r\n\r\n", b"", BODY + request()])
async def test_a_body_of_another_length_is_left_to_the_parser(body: bytes) -> None:
    direct, _ = await both(request(body, length=len(BODY)), request())
    assert direct.hits <= 1, "the last one, if it is whole"


@pytest.mark.parametrize(
    "body",
    [
        b"{" * len(BODY),
        b"\xff" * len(BODY),
        BODY.replace(b"type", b"tyqe"),
        BODY.replace(b'"t"', b'" "'),
        BODY.replace(b'"q"', b'"/"'),
        BODY.replace(b'"payload":"0123456789"', b'"payload":1e999' + b" " * 7),
        b" " * len(BODY),
        BODY.replace(b'"payload":"0123456789"', b'"type":"a b","type":"t"'[:22]),
    ],
)
async def test_a_body_that_is_wrong_is_refused_by_the_endpoint(body: bytes) -> None:
    assert len(body) == len(BODY)
    direct, _ = await both(request(body), request())
    assert direct.hits == 1
    assert len(direct.store.jobs) == 1


async def test_a_body_beyond_the_limit_is_not_read_as_one_of_a_known_length() -> None:
    """It would be a good one, if it were not for the spaces."""
    data = request(BODY + b" " * 2000)
    direct, _ = await both(data, data, body_limit=1000, payload_limit=500)
    assert (direct.hits, direct.heads) == (0, 1)
    assert len(direct.store.jobs) == 0


UNUSUAL = [
    request(BODY, b"Expect: 100-continue"),
    request(BODY, b"Idempotency-Key: k"),
    request(BODY, b"Prefer: respond-async"),
    request(BODY, TRACEPARENT),
    request(BODY, b"Trailer: a"),
    request(BODY, b"TE: trailers"),
    request(BODY, b"Connection: close"),
    request(BODY, b"Connection: close", b"Connection: keep-alive"),
    request(BODY, b"Connection: x"),
    request(BODY, b"Connection: Upgrade", b"Upgrade: h2c"),
    request(BODY, b"Upgrade: h2c"),
    request(BODY, b"Content-Length: %d" % len(BODY)),
    request(BODY, b"Content-Length: 1"),
    request().replace(b"Content-Length: ", b"Content-Length: 0"),
    request().replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked").replace(BODY, b"0\r\n\r\n"),
    request(line=b"POST /v1/jobs HTTP/1.0"),
    request(line=b"POST /v1/jobs?wait=x HTTP/1.1"),
    request(line=b"POST /v1/jobs? HTTP/1.1"),
    request(line=b"POST /v1/./jobs HTTP/1.1"),
    request(line=b"POST /v1/%6aobs HTTP/1.1"),
    request(line=b"POST http://localhost/v1/jobs HTTP/1.1"),
    request(line=b"post /v1/jobs HTTP/1.1"),
    request(line=b"PUT /v1/jobs HTTP/1.1"),
    request(line=b"HEAD /v1/jobs HTTP/1.1"),
    request(line=b"POST /v1/jobs/batch HTTP/1.1"),
    request(host=b"evil.example"),
    request(BODY, b"Origin: http://evil.example"),
    request(BODY, b"x-api-key: nope"),
    request(kind=b"text/plain"),
    request(kind=b"application/json; charset=latin-1"),
    request(BODY, b"Content-Encoding: gzip"),
    request(BODY, b"Host: localhost"),
    request(host=b"local host"),
    request().replace(b"Host: localhost\r\n", b""),
    request().replace(b"\r\n", b"\n"),
    b"\r\n" + request(),
    request() + b"\r\n",
    request() + b"G",
    request()[: -len(BODY)] + BODY[:-1],
]


@pytest.mark.parametrize("data", UNUSUAL)
async def test_what_is_unusual_or_refused_is_not_remembered(data: bytes) -> None:
    jobs = Jobs()
    client = jobs.client()
    await client.send(data, data)
    assert (jobs.heads, jobs.hits) == (0, 0)
    direct, _ = await both(data, data, request())
    assert direct.heads <= 1


async def test_a_head_whose_lines_do_not_end_alike_is_not_remembered() -> None:
    """The parser may see its end elsewhere than the first empty line with \\r\\n."""
    for place in range(head_of(request()).count(b"\r\n")):
        lines = request().split(b"\r\n")
        data = b"\r\n".join(lines[: place + 1]) + b"\n" + b"\r\n".join(lines[place + 1 :])
        direct, _ = await both(data, data)
        assert direct.hits == 0
        assert direct.heads == 1


async def test_heads_with_the_usual_headers_are_remembered() -> None:
    for headers in (
        [b"Connection: keep-alive"],
        [b"connection: Keep-Alive", b"Accept: */*", b"User-Agent: a", b"Accept-Encoding: gzip"],
        [b"x-api-key: dev"],
        [b"Authorization: Bearer dev", b"Origin: http://localhost"],
        [b"tracestate: a=b"],
    ):
        data = request(BODY, *headers)
        direct, _ = await both(data, data, data)
        assert direct.hits == 2, headers


async def test_what_may_come_from_the_page_is_not_remembered() -> None:
    """Its caller is known by a cookie or a header of a proxy, which ASGI judges each time."""
    trusted = UiSettings(header=b"x-forwarded-user")
    for header, is_remembered in ((b"Cookie: a=b", False), (b"X-Forwarded-User: ada", False), (b"X-Other: a", True)):
        jobs = Jobs()
        visitors = Visitors(trusted, Credentials(), cast(SessionSecret, None))
        jobs.endpoint.gate = Gate(Credentials(), visitors)
        data = request(BODY, header)
        await jobs.client().send(data, data)
        assert (jobs.heads, jobs.hits) == ((1, 1) if is_remembered else (0, 0)), header


async def test_another_set_of_credentials_begins_without_heads() -> None:
    jobs = Jobs(credentials=keys(good="submit@q", other="submit@r"))
    good, other = request(BODY, b"x-api-key: good"), request(BODY, b"x-api-key: other")
    client = jobs.client()
    await client.send(good, good, other, other)
    assert [status for status, _ in client.replies] == [200, 200, 403, 403]
    assert (jobs.hits, jobs.heads) == (1, 2)
    client.wire.written = b""
    jobs.endpoint.gate = Gate(keys(other="submit@q"))
    await client.send(good, other, other)
    assert [status for status, _ in client.replies] == [401, 200, 200]
    assert (jobs.hits, jobs.heads) == (2, 1)


async def test_two_servers_of_one_process_share_no_heads() -> None:
    one, other = Jobs(credentials=keys(good="submit")), Jobs(credentials=keys(bad="submit"))
    data = request(BODY, b"x-api-key: good")
    await one.taught(data)
    client = await other.taught(data)
    await client.send(data)
    assert [status for status, _ in client.replies] == [401]
    assert (one.heads, other.heads, other.hits) == (1, 0, 0)
