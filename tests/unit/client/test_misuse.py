"""Wrong uses of the client, which are refused before anything is sent and say what to do."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import httpx
import pytest

from queuey import Batch, Client, job_metadata
from queuey.client import NotFound


def nowhere(request: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing may be sent")


@pytest.mark.parametrize("requests", [[{"type": "mail"}], ["mail"], {"type": "mail"}, [None], "mail"])
async def test_many_are_requests(requests: Any) -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(TypeError, match=r"is not a queuey\.models\.JobRequest\. Make one"):
            await client.enqueue_many(requests)


async def test_a_long_value_is_cut() -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(TypeError) as caught:
            await client.enqueue_many(["x" * 10_000])  # type: ignore[list-item]
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"key": "k"}, r"batch must be a queuey\.Batch, not .* Pass Batch\(key, max_size, max_wait\)"),
        (Batch(7, 2, 3), "Batch: key must be a string, not 7"),  # type: ignore[arg-type]
        (Batch("k", 2.5, 3), r"Batch: max_size must be a whole number, not 2\.5"),  # type: ignore[arg-type]
        (Batch("k", 2, timedelta(seconds=5)), "max_wait must be a number of seconds"),  # type: ignore[arg-type]
    ],
)
async def test_a_batch_is_a_batch(batch: Any, message: str) -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(TypeError, match=message):
            await client.enqueue("mail", batch=batch)


async def test_a_duration_is_a_number() -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(TypeError, match=r"delay must be a number of seconds, not .* Pass the total_seconds\(\)"):
            await client.enqueue("mail", delay=timedelta(seconds=5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wait", "kind", "message"),
    [
        ("5", TypeError, "wait must be a number of seconds, not '5'"),
        (None, TypeError, r"wait must be a number of seconds, not None\. Pass float\('inf'\)"),
        (timedelta(seconds=5), TypeError, r"Pass the total_seconds\(\)"),
        (float("nan"), ValueError, "cannot wait for nan seconds"),
    ],
)
async def test_a_wait_is_a_number(wait: Any, kind: type[Exception], message: str) -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(kind, match=message):
            await client.run("mail", wait=wait)
        if kind is TypeError:
            with pytest.raises(kind, match=message.replace("wait", "timeout", 1)):
                await client.wait("7", wait)


async def test_a_wait_may_be_a_number_of_another_library() -> None:
    def missing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            404, json={"type": "urn:queuey:problem:not-found", "title": "", "status": 404, "detail": "x"}
        )

    async with Client("http://q.test", transport=httpx.MockTransport(missing)) as client:
        with pytest.raises(NotFound):
            await client.wait("7", Fraction(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"tenant": 5}, r"strings only, not tenant=5\. Pass tenant=str"),
        ([("a", "b")], "a dict of strings"),
        ({5: "a"}, "5="),
    ],
)
async def test_metadata_are_strings(metadata: Any, message: str) -> None:
    async with Client("http://q.test", transport=httpx.MockTransport(nowhere)) as client:
        with pytest.raises(TypeError, match=message):
            await client.enqueue("mail", metadata=metadata)


def test_so_are_those_of_a_block() -> None:
    with pytest.raises(TypeError, match="strings only, not tenant=5"), job_metadata(request_id="a", tenant=5):  # type: ignore[arg-type]
        raise AssertionError("the block began")
