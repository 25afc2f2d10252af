"""The errors of the client and of handlers: they survive pickling, and none shows a key."""

from __future__ import annotations

import pickle
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from queuey import Dead, Retry
from queuey.client import Client, SyncClient
from queuey.client.errors import BadAnswer, ClientError, Closed, JobFailed, NotFinished, Refused, Unreachable
from queuey.protocol.models import JobError, Problem
from tests.unit.protocol.test_readable import MOMENT, job


def tree(kind: type[ClientError] = ClientError) -> Iterator[type[ClientError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def one(kind: type[ClientError]) -> ClientError:
    if issubclass(kind, Refused):
        problem = Problem(type="urn:queuey:problem:full", title="Full", status=429, detail="no room")
        return kind(problem, retry_after=2.0)
    if issubclass(kind, Unreachable):
        return kind("gone", maybe_done=True)
    if issubclass(kind, Closed):
        return kind()
    if issubclass(kind, (JobFailed, NotFinished)):
        failed = JobError(MOMENT, 5, "error", "ValueError: boom", "Traceback")
        return kind(job(b"null", status="dead_letter", last_error="ValueError: boom", errors=[failed]))
    return kind("odd", 200) if issubclass(kind, BadAnswer) else kind("odd")


@pytest.mark.parametrize("error", [one(kind) for kind in tree()], ids=lambda error: type(error).__name__)
def test_every_error_of_the_client_survives_pickling(error: ClientError) -> None:
    error.add_note("while sending mail")
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert (restored.args, restored.__dict__) == (error.args, error.__dict__)
    assert str(restored) == str(error)


@pytest.mark.parametrize("error", [Retry("later", after=5), Dead("never")], ids=repr)
def test_the_other_exceptions_survive_pickling(error: Exception) -> None:
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored)) == (type(error), str(error))
    assert restored.__dict__ == error.__dict__


URLS = {
    "no scheme": "localhost:8000",
    "another scheme": "ftp://host",
    "no host": "http://:8000",
    "empty": "",
    "port too high": "http://localhost:99999",
    "port 0": "http://localhost:0",
    "half an address": "http://[::1",
    "a line end": "http://host\n",
    "a space": "http://a b",
    "a query": "http://host/?x=1",
    "not text": "http://\ud800",
    "no IDNA": "http://\u2603\u0301\u0301.\ud7a4",
    "bytes": b"http://host",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("client", [Client, SyncClient])
def test_a_wrong_url_is_refused_at_once(client: type[Client | SyncClient], url: Any) -> None:
    with pytest.raises(ValueError, match="url must be http:// or https:// with a host, and a port from 1 to 65535"):
        client(url)


@pytest.mark.parametrize("url", ["http://h", "https://h:1/under/", "HTTP://[::1]:65535", "http://b\u00fccher.example"])
def test_other_urls_are_taken(url: str) -> None:
    assert Client(url).url == url.rstrip("/")


def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(ValueError, match=r"not 'http://\*\*\*@h:99999'"):
        Client("http://me:canary@h:99999")


SECRETS = {
    "header": httpx.LocalProtocolError("Illegal header value b'canary'"),
    "not ASCII": UnicodeEncodeError("ascii", "canary", 0, 1, "ordinal not in range"),
    "group": ExceptionGroup("groups", [ExceptionGroup("inner", [OverflowError("port canary")])]),
}


@pytest.mark.parametrize("trouble", SECRETS.values(), ids=SECRETS)
async def test_what_cannot_be_sent_is_raised_at_once_without_a_word_of_its_headers(trouble: Exception) -> None:
    sent: list[httpx.Request] = []

    def fail(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise trouble from ValueError("canary")

    async with Client("http://q.test", transport=httpx.MockTransport(fail)) as client:
        for call in (client.metrics(), anext(client.events())):
            with pytest.raises(ClientError, match="cannot be sent") as raised:
                await call
            assert "canary" not in "".join(traceback.format_exception(raised.value, chain=True))
            assert (raised.value.__cause__, raised.value.__context__) == (None, None)
            assert type(raised.value) is ClientError
    assert len(sent) == 2


FAILURES: dict[str, Exception] = {
    "system": OSError("no route"),
    "group": ExceptionGroup("attempts", [OSError("no route")]),
    "encoding": httpx.DecodingError("no gzip"),
    "timeout": httpx.ReadTimeout(""),
}


@pytest.mark.parametrize("trouble", FAILURES.values(), ids=FAILURES)
async def test_other_failures_of_httpx_are_unreachable_and_keep_their_cause(trouble: Exception) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise trouble

    url = "http://me:canary@q.test"
    async with Client(url, retries=0, transport=httpx.MockTransport(fail)) as client:
        for call in (client.metrics(), anext(client.events())):
            with pytest.raises(Unreachable, match=r"^http://\*\*\*@q.test cannot be reached: ") as raised:
                await call
            assert raised.value.__cause__ in (trouble, *getattr(trouble, "exceptions", ()))


async def test_a_header_of_the_callers_own_is_not_shown_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        await refuse_to_send(f"http://127.0.0.1:{server.getsockname()[1]}")


async def refuse_to_send(url: str) -> None:
    async with Client(url) as client:
        for id in ("a\nb", "\u00e4", "\ud800"):
            with pytest.raises(ClientError, match="cannot be sent"):
                await anext(client.events(last_event_id=id))
        with pytest.raises(ClientError, match="cannot be sent: URL too long"):
            await client.get("x" * 70_000)


@pytest.mark.parametrize("body", [b'{"job_id":"\xff"}', b'"\xff"', b"[" * 100_000], ids=["text", "string", "deep"])
async def test_an_answer_that_cannot_be_read_is_a_client_error(body: bytes) -> None:
    for status in (200, 400):
        answer = httpx.Response(status, content=body)
        async with Client("http://q.test", transport=httpx.MockTransport(lambda _, answer=answer: answer)) as client:
            with pytest.raises(BadAnswer):
                await client.enqueue("mail")


async def test_a_closed_client_says_so_in_both_trees() -> None:
    client = Client("http://q.test", transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    await client.close()
    for call in (client.metrics(), anext(client.events())):
        with pytest.raises(Closed, match="This client is closed") as raised:
            await call
        assert isinstance(raised.value, ClientError)
        assert isinstance(raised.value, RuntimeError)


@pytest.mark.parametrize("key", ["canary\n", " canary", "can\u00e4ry", "", "canary\0", "c" * 201])
@pytest.mark.parametrize("client", [Client, SyncClient])
def test_a_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(
    client: type[Client | SyncClient], key: str
) -> None:
    with pytest.raises(ValueError, match=r"api_key must be .* use \.strip\(\)") as refused:
        client("http://127.0.0.1:1", api_key=key)
    assert "can" not in str(refused.value)
    assert "ccc" not in str(refused.value)
