"""Every POST /v1/jobs of a test, sent once more over real connections to two servers: by the direct path and without.

The replies must be the same, and so must what both count. Each server has a store of its own, so that both have seen
the same requests. Each request is sent twice, since the path is taken only for a head that came before.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import httpx

from queuey.metrics import Metrics
from queuey.server.http.connections import Limits
from queuey.server.http.direct import MAX_HEAD, Direct
from queuey.server.http.listener import Listener
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over
from tests.support.store import client_for
from tests.support.working import PATIENCE

LIMITS: Final = Limits(idle=75, head=10, body=60, reply=30, connections=100)
PATH: Final = b"/v1/jobs"
UNUSUAL: Final = {"expect", "idempotency-key", "prefer", "te", "traceparent", "trailer", "transfer-encoding", "upgrade"}


class Reply(NamedTuple):
    """A reply but for its ids and times. `ends`: the server has closed the connection behind it."""

    status: int
    headers: bytes
    body: bytes
    ends: bool

    @property
    def is_success(self) -> bool:
        return self.status == 200


class Door:
    """A server on a real socket, and one connection to it."""

    def __init__(self, rig: ApiRig, metrics: Metrics, *, is_direct: bool) -> None:
        self.rig = rig
        self.metrics = metrics
        self._direct = Direct(rig.app.submit_job, metrics) if is_direct else None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._listener = Listener(rig.app, self._socket, LIMITS, self._direct)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def hits(self) -> int:
        return int(self.metrics.direct.cell(())[0])

    async def open(self) -> None:
        config, state = self._listener.config, self._listener.server_state
        config.load()
        state.default_headers = [(b"date", b"today"), *config.encoded_headers]
        kind: Any = config.http_protocol_class
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: kind(config=config, server_state=state, app_state={}), sock=self._socket
        )

    async def exchange(self, data: bytes) -> Reply:
        """Send a request, and read the reply to its end."""
        async with asyncio.timeout(PATIENCE):
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._socket.getsockname())
            reader, writer = self._streams
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            assert found, head
            body = await reader.readexactly(int(found[1]))
            ends = b"\r\nconnection: close\r\n" in head
            if ends:
                assert await reader.read() == b""
                await self.hang_up()
        return Reply(int(head[9:12]), normal(head), normal(body), ends)

    async def hang_up(self) -> None:
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            await writer.wait_closed()

    async def close(self) -> None:
        await self.hang_up()
        self._server.close()
        await self._server.wait_closed()

    def counts(self) -> dict[str, float]:
        """What the metrics say, but for times and the way that was taken."""
        samples = (sample for family in self.metrics.collect() for sample in family.samples)
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for sample in samples
            if not sample.name.endswith(("_bucket", "_sum")) and "direct" not in sample.name
        }


def normal(text: bytes) -> bytes:
    """A reply's text but for ids and times."""
    return re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"TIME", re.sub(rb"[0-9A-HJKMNP-TV-Z]{28}", b"ID", text))


class BothWays:
    """The two servers for one API of a test, with its settings and keys. `compare` sends a request to both."""

    def __init__(self, direct: Door, plain: Door, model: ApiRig) -> None:
        self.direct = direct
        self.plain = plain
        self._model = model
        self.compared = 0

    async def compare(self, data: bytes, *, may_hit: bool) -> None:
        """Send a request twice to each. `may_hit`: its head is one that is remembered once its caller is admitted."""
        for is_known in (False, True):
            for door in (self.direct, self.plain):
                door.rig.producer.full = self._model.producer.full
            hits = self.direct.hits
            replies = await asyncio.gather(self.direct.exchange(data), self.plain.exchange(data))
            assert replies[0] == replies[1]
            taken = self.direct.hits - hits
            if is_known and replies[0].is_success:
                assert taken == (may_hit and self._is_certain(data)), data[:MAX_HEAD]
            assert taken <= may_hit
        self.compared += 1

    def _is_certain(self, data: bytes) -> bool:
        """Whether the job's queue is certain. Otherwise the endpoint itself answers, perhaps with a warning.

        It also answers for an item of a batch.
        """
        job = json.loads(data.partition(b"\r\n\r\n")[2])
        is_certain = job.get("queue") is not None or self._model.queues.of(job["type"]).warning is None
        return is_certain and "batch" not in job

    async def settle(self) -> None:
        """Compare what both have counted."""
        assert self.direct.counts() == self.plain.counts()
        assert self.plain.hits == 0


@asynccontextmanager
async def both_ways(model: ApiRig, url: str, name: str) -> AsyncIterator[BothWays]:
    """The two servers for this API, on the store at `url`, with keys that begin with `name`."""
    async with AsyncExitStack() as stack:
        doors = []
        for is_direct in (True, False):
            client = client_for(url)
            stack.push_async_callback(client.aclose)
            metrics = Metrics()
            shards = Shards(client, model.broker.shards.count, prefix=f"{name}.{is_direct}")
            broker = Broker(shards, Scripts())
            rig = await stack.enter_async_context(
                api_over(broker, model.credentials, metrics=metrics, settings=model.settings, queues=model.queues)
            )
            door = Door(rig, metrics, is_direct=is_direct)
            await door.open()
            stack.push_async_callback(door.close)
            doors.append(door)
        both = BothWays(doors[0], doors[1], model)
        yield both
        await both.settle()


class Recorder(httpx.AsyncBaseTransport):
    """Passes requests on to an API, and those to enqueue a job to both servers as well."""

    def __init__(self, model: ApiRig, over: httpx.AsyncBaseTransport, records: Records) -> None:
        self._model = model
        self._over = over
        self._records = records

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (
            request.method == "POST"
            and request.url.path.encode() == PATH
            and isinstance(request.stream, httpx.ByteStream)
        ):
            await self._records.compare(self._model, raw(request), may_hit=is_usual(request))
        return await self._over.handle_async_request(request)


class Records:
    """The servers of one test, made when they are needed."""

    def __init__(self, stack: AsyncExitStack, url: str) -> None:
        self._stack = stack
        self._url = url
        self._of: dict[int, BothWays] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def compare(self, model: ApiRig, data: bytes, *, may_hit: bool) -> None:
        """Compare one request after the other, each to its end even if the test stops waiting for it."""
        task = asyncio.create_task(self._compare(model, data, may_hit))
        self._tasks.add(task)
        await asyncio.shield(task)

    async def _compare(self, model: ApiRig, data: bytes, may_hit: bool) -> None:
        async with self._turn:
            if id(model) not in self._of:
                made = both_ways(model, self._url, f"twin{len(self._of)}")
                self._of[id(model)] = await self._stack.enter_async_context(made)
            await self._of[id(model)].compare(data, may_hit=may_hit)

    async def settle(self) -> None:
        """Return when all is compared."""
        await asyncio.gather(*self._tasks)

    @property
    def compared(self) -> int:
        """The number of requests that were compared."""
        return sum(both.compared for both in self._of.values())

    @property
    def hits(self) -> int:
        """The number of requests that took the direct path."""
        return sum(both.direct.hits for both in self._of.values())


def raw(request: httpx.Request) -> bytes:
    """The request as it is on a connection."""
    assert isinstance(request.stream, httpx.ByteStream)
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [name + b": " + value for name, value in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.content


def is_usual(request: httpx.Request) -> bool:
    head, _, _ = raw(request).partition(b"\r\n\r\n")
    is_plain = request.url.raw_path == PATH and UNUSUAL.isdisjoint(request.headers)
    return is_plain and len(head) + 4 <= MAX_HEAD
