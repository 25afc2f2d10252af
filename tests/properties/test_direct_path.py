"""A server with the direct path answers any stream of bytes as one without it, however the stream is cut."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from queuey.errors import QueueyError, StoreUnavailable
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.settings.settings import Settings
from tests.support.direct.stub import BODY, Jobs, head_of, normal, request
from tests.support.wire import settle

# --- streams -------------------------------------------------------------------------------------------------------

PLAIN: Final = request()
CHUNKED: Final = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    % (len(BODY), BODY)
)
PIECES: Final = (
    *[PLAIN] * 8,
    request(BODY.replace(b"0", b"1")),
    request(b'{"type":"t","dedupe_key":"k"}'),
    request(b'{"type":"t","payload":null}'),
    request('{"type":"t","payload":"ä\\u00e4"}'.encode()),
    request(b'{"type":"t","payload":' + b"[" * 100 + b"]" * 100 + b"}"),
    request(b'{"type":"t","payload":"' + b"x" * 5000 + b'"}'),
    request(b""),
    request(b"{" * len(BODY)),
    request(b"\xff" * len(BODY)),
    request(BODY.replace(b"type", b"tyqe")),
    request(BODY.replace(b'"q"', b'"/"')),
    request(b"x" * 20_000),
    request(BODY, b"Connection: keep-alive"),
    request(BODY, b"Connection: close"),
    request(BODY, b"Expect: 100-continue"),
    request(BODY, b"Idempotency-Key: k"),
    request(BODY, b"Prefer: wait=x"),
    request(BODY, b"Content-Length: 3"),
    request(BODY, b"Transfer-Encoding: chunked"),
    request(BODY, b"Connection: Upgrade", b"Upgrade: h2c"),
    request(BODY, b"a: b", b" c"),
    request(BODY, b"Origin: http://evil.example"),
    request(BODY, b"x-api-key: dev"),
    request(BODY, b"x-api-key: nope"),
    request(host=b"evil.example"),
    request(kind=b"text/plain"),
    request(line=b"POST /v1/jobs HTTP/1.0"),
    request(line=b"POST /v1/jobs?foo=1 HTTP/1.1"),
    request(b"", line=b"HEAD /v1/jobs HTTP/1.1"),
    request(length=10**12),
    request(length=len(BODY) - 1),
    request(length=len(BODY) + 1),
    PLAIN.replace(b"\r\n", b"\n"),
    PLAIN[:-1],
    PLAIN[:30],
    head_of(PLAIN),
    BODY,
    CHUNKED,
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\r\n",
    b"GARBAGE\r\n\r\n",
    b"\x00",
)


@dataclass(frozen=True)
class Sent:
    """What a client does: it sends `data`, cut at these places; after each of them the server goes on, or not.

    The store answers nothing between `shut` and `opened`, counted in pieces, and then `word` or an error."""

    data: bytes
    cuts: tuple[tuple[int, bool], ...] = ()
    shut: int = -1
    opened: int = 0
    word: str = "new"
    ends: bool = False

    def pieces(self) -> list[tuple[bytes, bool]]:
        places = sorted({place for place, _ in self.cuts if 0 < place < len(self.data)})
        pauses = dict(self.cuts)
        bounds = [0, *places, len(self.data)]
        return [(self.data[start:end], pauses.get(end, True)) for start, end in pairwise(bounds)]


@st.composite
def streams(draw: st.DrawFn) -> Sent:
    chosen = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
    if draw(st.booleans()):  # cut mostly where requests begin, since that is where the path is taken
        chosen = [PLAIN, *chosen]
    edges, at = [], 0
    for piece in chosen:
        at += len(piece)
        edges.append(at)
    places = st.sampled_from(edges) | st.integers(0, at)
    cuts = draw(st.lists(st.tuples(places, st.booleans()), max_size=10))
    if draw(st.booleans()):
        cuts = [*((edge, draw(st.booleans())) for edge in edges), *cuts]
    shut = draw(st.integers(-1, 6))
    return Sent(
        b"".join(chosen),
        tuple(cuts),
        shut,
        shut + draw(st.integers(0, 4)),
        draw(st.sampled_from(["new"] * 4 + ["full", "too_many_queues", "duplicate " + "0" * 28, "down"])),
        draw(st.booleans()),
    )


async def answered(sent: Sent, *, is_direct: bool) -> tuple[Any, int]:
    """What comes of it, and how many requests took the direct path."""
    jobs = Jobs(is_direct=is_direct, body_limit=10_000, json_depth=20)
    if sent.word == "down":
        jobs.store.error = lambda: StoreUnavailable("nobody there", maybe_done=True)
    else:
        jobs.store.word = sent.word
    client = jobs.client()
    for number, (piece, goes_on) in enumerate(sent.pieces()):
        if number == sent.shut:
            jobs.store.open.clear()
        if number == sent.opened:
            jobs.store.open.set()
        if client.wire.closed:
            break
        client.connection.data_received(piece)
        if goes_on:
            await quiet()
    stays = sent.ends and not client.wire.closed and client.end()
    if sent.ends and not stays and not client.wire.closed:
        client.go()
    jobs.store.open.set()
    await quiet()
    stored = [msgspec.structs.replace(job, id="") for job in jobs.store.jobs]
    return (normal(client.wire.written), client.wire.closed, client.wire.aborted, stored, jobs.counts()), jobs.hits


async def quiet() -> None:
    for _ in range(8):  # of which each answers a request that was sent ahead
        await settle()


def both(sent: Sent) -> int:
    """Assert that both ways come to the same. Returns how many requests took the direct path."""
    direct, hits = asyncio.run(answered(sent, is_direct=True))
    plain, none = asyncio.run(answered(sent, is_direct=False))
    assert direct == plain
    assert none == 0
    return hits


def whole(*pieces: bytes, goes_on: bool = True) -> Sent:
    """A stream that is cut between its pieces."""
    places = [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]
    return Sent(b"".join(pieces), tuple((place, goes_on) for place in places))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(streams())
@example(whole(PLAIN, PLAIN + b"G", PLAIN))
@example(whole(PLAIN, PLAIN, b"\x00", goes_on=False))
@example(Sent(PLAIN * 5, ends=True))
def test_replies_jobs_and_counts_are_the_same(sent: Sent) -> None:
    both(sent)


def test_the_path_is_taken() -> None:
    assert both(whole(PLAIN, PLAIN, PLAIN)) == 2
    assert both(whole(PLAIN, request(BODY, b"Expect: 100-continue"), PLAIN, PLAIN * 2, PLAIN)) == 2
    assert both(whole(PLAIN, PLAIN, PLAIN, goes_on=False)) == 0, "the first is still under way"


def test_byte_by_byte() -> None:
    for pieces in (PLAIN * 2, PLAIN + CHUNKED, PLAIN + request(BODY, b"Connection: close") + PLAIN):
        both(Sent(pieces, tuple((place, False) for place in range(len(PLAIN), len(pieces)))))


# --- the jobs of plain requests ------------------------------------------------------------------------------------

KEYS: Final = (
    "type",
    "payload",
    "queue",
    "priority",
    "id",
    "dedupe_key",
    "delay",
    "max_attempts",
    "nope",
    "t\\u0079pe",
)
TEXTS: Final = ("1e999", "NaN", '"\\ud800"', '"\\u0041"', '"ä"', '"\\\\"', "12345678901234567890123")
VALUES: Final = st.sampled_from(
    [
        *("t", "a.b", "x" * 64, "x" * 65, "a b", "", "ä", "default", "high", "type", "queue", "\u0000", None, 3, 1.5),
        *(True, [], {"type": "t", "queue": "q"}, {"a": [1, '\\"']}, ids.new_id(), "x" * 3000, [[[[[[[]]]]]]]),
    ]
).map(json.dumps) | st.sampled_from(TEXTS)
FIELDS: Final = st.lists(st.tuples(st.sampled_from(KEYS[:5]) | st.sampled_from(KEYS), VALUES), max_size=5)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    fields = draw(FIELDS)
    if draw(st.integers(0, 4)):
        fields.insert(draw(st.integers(0, len(fields))), ("type", '"t"'))
    space = draw(st.sampled_from(["", "", " ", "\n\t"]))
    text = (
        space + "{" + ",".join(f'{space}"{name}"{space}:{space}{value}{space}' for name, value in fields) + "}" + space
    )
    data = text.encode()
    if not draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(data) - 1))
        data = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    return data


def submission(**options: Any) -> Submission:
    chosen = SubmissionSettings.of(Settings(data_dir=Path("/unused"), payload_limit=2000, json_depth=6, **options))
    return Submission(chosen, {"a.b": 9}.get, {"x" * 64: msgspec.json.Decoder(int).decode}.get)


ALL: Final = (submission(), submission(max_attempts=2, retention=60.0, dedupe_ttl=5.0, check_payloads="yes"))


def made(reader: Submission, text: bytes, new_id: str = "") -> tuple[str, NewJob] | None:
    """The type and the job as the endpoint makes them, None if it refuses the request.

    `new_id`: the job's, unless the request has one."""
    try:
        parsed = reader.parse(text)
        job = reader.new_job(parsed, 1_800_000_000_000)
    except QueueyError:
        return None
    return parsed.type, msgspec.structs.replace(job, id=parsed.id or new_id)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(texts(), st.sampled_from(ALL))
@example(b'{"type":"a b","type":"t"}', ALL[0])
@example(b'{"t\\u0079pe":"a b","type":"t"}', ALL[0])
@example(b'{"queue":"a b","queue":"default","type":"t"}', ALL[0])
@example(b'{"queue":"","type":"t"}', ALL[0])
@example(b'{"payload":{"queue":1},"queue":"","type":"t"}', ALL[0])
@example(b'{"payload":"type","type":"a b","payload":{"type":1},"type":"t"}', ALL[0])
def test_a_plain_job_is_the_one_that_the_endpoint_makes(text: bytes, reader: Submission) -> None:
    try:
        plain = reader.plain.job(text)
    except QueueyError:
        assert made(reader, text) is None
        return
    if plain is not None:
        assert plain == made(reader, text, plain[1].id)


def test_requests_with_a_few_fields_are_plain() -> None:
    for text in (
        BODY,
        b'{"type":"t","id":"%s"}' % ids.new_id().encode(),
        b'{"type":"t","payload":{"type":"\\n","queue":1}}',
    ):
        assert ALL[0].plain.job(text) is not None
