from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from queuey.api.http.body import JSON, NDJSON, ClientDisconnected, media_type, read_body
from queuey.api.http.problems import problem_response
from queuey.errors import TooLarge, UnsupportedMedia


class EventPublisher:
    """An ASGI `receive` that hands out the chunks of a body, and counts how many were taken."""

    def __init__(self, chunks: Iterable[bytes | None]) -> None:
        """None stands for a client that goes away."""
        self._chunks = list(chunks)
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        chunk = self._chunks[self.taken]
        self.taken += 1
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": self.taken < len(self._chunks)}


@pytest.mark.parametrize("chunks", [[b""], [b"abcdef"], [b"abc", b"", b"def"], [b"0123456789"], [b"01234", b"56789"]])
async def test_a_body_is_read_whole(chunks: list[bytes]) -> None:
    assert await read_body({}, EventPublisher(chunks), 10) == b"".join(chunks)


@pytest.mark.parametrize("length", [b"11", b"9" * 30, b"-1", b"x", b""])
async def test_a_body_that_says_it_is_too_long_is_not_read(length: bytes) -> None:
    feed = EventPublisher([b"x"])
    with pytest.raises(TooLarge):
        await read_body({b"content-length": length}, feed, 10)
    assert feed.taken == 0


@pytest.mark.parametrize(("chunks", "taken"), [([b"x" * 11], 1), ([b"x" * 6] * 9, 2), ([b"x" * 10, b"x"], 2)])
async def test_a_body_that_says_nothing_is_read_to_the_limit(chunks: list[bytes], taken: int) -> None:
    feed = EventPublisher(chunks)
    with pytest.raises(TooLarge):
        await read_body({}, feed, 10)
    assert feed.taken == taken


async def test_a_body_longer_than_it_says_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read_body({b"content-length": b"3"}, EventPublisher([b"x" * 11]), 10)


@pytest.mark.parametrize("chunks", [[None], [b"ab", None]])
async def test_a_client_may_go_away(chunks: list[bytes | None]) -> None:
    with pytest.raises(ClientDisconnected):
        await read_body({}, EventPublisher(chunks), 10)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, JSON),
        (b"application/json", JSON),
        (b"application/json; charset=utf-8", JSON),
        (b'Application/JSON;charset="UTF-8"', JSON),
        (b"application/json;", JSON),
        (b"application/vnd.example+json", JSON),
        (b"application/x-ndjson", NDJSON),
    ],
)
def test_json_is_taken_under_its_names(value: bytes | None, found: str) -> None:
    headers = {} if value is None else {b"content-type": value}
    assert media_type(headers, JSON, NDJSON) == found


@pytest.mark.parametrize(
    "value",
    [
        b"application/x-www-form-urlencoded",
        b"text/plain",
        b"text/json",
        b"multipart/form-data; boundary=json",
        b"application/json; charset=latin-1",
        b"application/json; charset=utf-8; charset=utf-16",
        b"application/x-ndjson",
        b"",
        b"\xff",
    ],
)
def test_other_media_types_are_refused_with_what_to_send(value: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="'Content-Type: application/json'"):
        media_type({b"content-type": value}, JSON)


@pytest.mark.parametrize("value", [b"identity", b"", b"Identity , identity"])
def test_a_body_without_a_coding_is_taken(value: bytes) -> None:
    assert media_type({b"content-encoding": value, b"transfer-encoding": b"Chunked"}, JSON) == JSON


@pytest.mark.parametrize("header", [b"content-encoding", b"transfer-encoding"])
@pytest.mark.parametrize("value", [b"gzip", b"br", b"identity, GZIP", b"zstd, chunked", b"x" * 1000])
def test_a_compressed_body_is_refused_with_what_to_send(header: bytes, value: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="Send the body uncompressed") as caught:
        media_type({header: value}, JSON)
    assert len(caught.value.message) < 200
    response = problem_response(caught.value, {})
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")


def test_another_media_type_says_nothing_of_encodings() -> None:
    """RFC 9110, 12.5.3: such a reply must not have the header."""
    with pytest.raises(UnsupportedMedia) as caught:
        media_type({b"content-type": b"text/plain"}, JSON)
    assert "accept-encoding" not in problem_response(caught.value, {}).headers
