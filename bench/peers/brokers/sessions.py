"""How each broker is talked to: its requests as bytes, made before the clock starts, and what a worker does."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Final

import msgspec

from bench import http_load
from bench.figures import filling
from bench.http_load import HTTP, Wire, post

BATCH: Final = 1_000
"""Jobs in a batch."""
WAIT_SECONDS: Final = 30
LEASE_SECONDS: Final = 60
TEXT: Final = "x" * 98
"""The payload of a job: 100 bytes as JSON."""


class Session(ABC):
    """One connection of a worker. The requests of a load are class attributes, for connections that only send."""

    wire: ClassVar[Wire] = HTTP
    single: ClassVar[bytes]
    batch_wire: ClassVar[Wire] = HTTP
    batch: ClassVar[bytes]

    @classmethod
    @abstractmethod
    def connected(cls, port: int) -> Any:
        """A context with a session."""

    @abstractmethod
    async def put(self) -> None:
        """Enqueue one job."""

    @abstractmethod
    async def take(self, most: int) -> Sequence[Any]:
        """Claim up to so many jobs that wait already."""

    @abstractmethod
    async def wait(self) -> Sequence[Any]:
        """Claim one job, once there is one."""

    @abstractmethod
    async def finish(self, taken: Sequence[Any]) -> None:
        """Report that these jobs are done."""


class _OverHttp(Session):
    """One kept-alive HTTP connection."""

    def __init__(self, connection: http_load.Connection) -> None:
        self._ask = connection.ask

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[Session]:
        async with http_load.connection("127.0.0.1", port) as connection:
            yield cls(connection)

    async def put(self) -> None:
        await self._ask(self.single)


# --- Queuey -----------------------------------------------------------------------------------------------------------


class _Lease(msgspec.Struct):
    id: str
    token: str


class _Leases(msgspec.Struct):
    jobs: list[_Lease]


_leases: Final = msgspec.json.Decoder(_Leases).decode


class Queuey(_OverHttp):
    single = post("/v1/jobs", filling.body().encode())
    batch = post("/v1/jobs/batch", f"[{','.join([filling.body()] * BATCH)}]".encode())

    async def take(self, most: int) -> Sequence[Any]:
        return _leases(await self._ask(post("/v1/leases", b'{"max":%d,"lease":%d}' % (most, LEASE_SECONDS)))).jobs

    async def wait(self) -> Sequence[Any]:
        body = b'{"wait":%d,"lease":%d}' % (WAIT_SECONDS, LEASE_SECONDS)
        return _leases(await self._ask(post("/v1/leases", body))).jobs

    async def finish(self, taken: Sequence[Any]) -> None:
        reply = await self._ask(post("/v1/leases/complete", msgspec.json.encode({"jobs": taken})))
        if reply.count(b'"ok"') != len(taken):
            raise RuntimeError(f"not every job was completed: {reply[:500]!r}")


# --- bunqueue ---------------------------------------------------------------------------------------------------------


class _Held(msgspec.Struct):
    id: str


class _Pulled(msgspec.Struct):
    jobs: list[_Held]
    tokens: list[str] = []


_pulled: Final = msgspec.json.Decoder(_Pulled).decode
_BUNQUEUE_JOBS: Final = "/queues/bench/jobs"


class Bunqueue(_OverHttp):
    job: ClassVar[dict[str, object]] = {"name": "noop", "data": TEXT}
    single = post(_BUNQUEUE_JOBS, msgspec.json.encode(job))
    batch = post(f"{_BUNQUEUE_JOBS}/bulk", msgspec.json.encode({"jobs": [job] * BATCH}))

    async def take(self, most: int) -> Sequence[Any]:
        return await self._pull({"count": most})

    async def wait(self) -> Sequence[Any]:
        return await self._pull({"count": 1, "timeout": WAIT_SECONDS * 1000})

    async def finish(self, taken: Sequence[Any]) -> None:
        ids, tokens = [job_id for job_id, _ in taken], [token for _, token in taken]
        await self._ask(post("/jobs/ack-batch", msgspec.json.encode({"ids": ids, "tokens": tokens})))

    async def _pull(self, asked: dict[str, object]) -> Sequence[tuple[str, str]]:
        """With an owner, for only then there is a lease, as Queuey has one for each job."""
        asked |= {"owner": "bench", "lockTtl": LEASE_SECONDS * 1000}
        pulled = _pulled(await self._ask(post(f"{_BUNQUEUE_JOBS}/pull-batch", msgspec.json.encode(asked))))
        return list(zip((job.id for job in pulled.jobs), pulled.tokens, strict=True))


class BunqueueDurable(Bunqueue):
    """Each job asks to be in the file before the reply."""

    job: ClassVar[dict[str, object]] = {"name": "noop", "data": TEXT, "durable": True}
    single = post(_BUNQUEUE_JOBS, msgspec.json.encode(job))
    batch = post(f"{_BUNQUEUE_JOBS}/bulk", msgspec.json.encode({"jobs": [job] * BATCH}))


# --- beanstalkd -------------------------------------------------------------------------------------------------------


LINE: Final = b"\r\n"
_BODY: Final = filling.body().encode()
_PUT: Final = b"put 0 0 %d %d\r\n%s\r\n" % (LEASE_SECONDS, len(_BODY), _BODY)
_RESERVED: Final = re.compile(rb"RESERVED (\d+) \d+\r\n")


def _lines(count: int) -> Wire:
    """So many lines, the first of which accepts a job."""
    return Wire(b"INSERTED ", lambda reply: reply.endswith(LINE) and reply.count(LINE) == count)


class Beanstalkd(Session):
    """Its protocol has one command a job; a batch is as many commands in one write."""

    wire = _lines(1)
    single = _PUT
    batch_wire = _lines(BATCH)
    batch = _PUT * BATCH

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[Session]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def put(self) -> None:
        await self._ask(_PUT, lambda reply: reply.startswith(b"INSERTED") and reply.endswith(LINE))

    async def take(self, most: int) -> Sequence[Any]:
        def whole(reply: bytes) -> bool:
            jobs, none = reply.count(b"RESERVED "), reply.count(b"TIMED_OUT")
            return jobs + none == most and reply.count(LINE) == 2 * jobs + none

        return _RESERVED.findall(await self._ask(b"reserve-with-timeout 0\r\n" * most, whole))

    async def wait(self) -> Sequence[Any]:
        request = b"reserve-with-timeout %d\r\n" % WAIT_SECONDS
        return _RESERVED.findall(await self._ask(request, lambda reply: reply.count(LINE) == 2))

    async def finish(self, taken: Sequence[Any]) -> None:
        request = b"".join(b"delete %b\r\n" % job_id for job_id in taken)
        reply = await self._ask(request, lambda reply: reply.count(LINE) == len(taken))
        if reply.count(b"DELETED") != len(taken):
            raise RuntimeError(f"not every job was deleted: {reply[:500]!r}")

    async def _ask(self, request: bytes, whole: Any) -> bytes:
        self._writer.write(request)
        reply = b""
        async with asyncio.timeout(http_load.TIMEOUT):
            while not whole(reply):
                data = await self._reader.read(http_load.RECEIVE_BYTES)
                if not data:
                    raise RuntimeError(f"the server hung up: {reply[:500]!r}")
                reply += data
        return reply
