"""A listener of POST /v1/jobs over no socket and no store, by the direct path or without it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from structlog.testing import capture_logs

from queuey.api.app import Api
from queuey.api.http.auth import Gate
from queuey.api.http.waiting import Awaited
from queuey.api.routes.submit import SubmitJob
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials
from queuey.protocol.records import NewJob
from queuey.server.http.direct import Direct
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.jobs.type_queues import TypeQueues
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import connect
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.wire import Client, Listening

BODY: Final = b'{"type":"t","queue":"q","payload":"0123456789"}'


def request(
    body: bytes = BODY,
    *headers: bytes,
    line: bytes = b"POST /v1/jobs HTTP/1.1",
    host: bytes = b"localhost",
    kind: bytes = b"application/json",
    length: int | None = None,
) -> bytes:
    """A request to enqueue a job. `headers`: further ones, without their line ends."""
    size = len(body) if length is None else length
    lines = [line, b"Host: " + host, b"Content-Type: " + kind, *headers, b"Content-Length: %d" % size]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def head_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def normal(written: bytes) -> bytes:
    """What was written, but for the ids."""
    return re.sub(rb"[0-9A-HJKMNP-TV-Z]{28}", b"ID", written)


class Store:
    """Answers the calls of the script `enqueue`, once `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.jobs: list[NewJob] = []
        self.word = "new"
        """The answer for each job."""
        self.error: Callable[[], Exception] | None = None
        """Makes the error in place of an answer."""

    async def enqueue(self, shard: int, jobs: Sequence[NewJob], *, full: bool, copies: int, offer: object) -> list[str]:
        self.jobs += jobs
        await self.open.wait()
        if self.error is not None:
            raise self.error()
        return ["full" if full else self.word] * len(jobs)


class Jobs(Listening):
    """The connections of a server with one endpoint, and what they share."""

    def __init__(self, *, is_direct: bool = True, credentials: Credentials | None = None, **settings: Any) -> None:
        self.store = Store()
        self.metrics = Metrics()
        self.queues = TypeQueues()
        broker = Broker(Shards(connect("unix:///nowhere", timeout=1), 1), Scripts())
        broker.jobs.enqueue = self.store.enqueue  # type: ignore[method-assign, assignment]
        self.producer = Producer(broker, metrics=self.metrics, resend_for=0)
        frozen = Settings(data_dir=Path("/unused"), **settings)
        self.endpoint = SubmitJob(
            Gate(credentials or Credentials()),
            Submission(SubmissionSettings.of(frozen), lambda job_type: None, queues=self.queues),
            self.producer,
            Awaited(broker, cast(Any, None), 1),
            frozen.body_limit,
        )
        super().__init__(Api([self.endpoint], self.metrics))
        self.state.default_headers = [(b"date", b"Sun, 29 Nov 2026 16:58:26 GMT")]
        if is_direct:
            self.direct = Direct(self.endpoint, self.metrics)

    @property
    def hits(self) -> int:
        """The number of requests that took the direct path."""
        return int(self.metrics.direct.cell(())[0])

    @property
    def heads(self) -> int:
        """The number of heads that are remembered."""
        return 0 if self.direct is None else self.direct.heads

    def counts(self) -> dict[str, float]:
        """What the metrics say, but for times and for the way that was taken."""
        samples = (sample for family in self.metrics.collect() for sample in family.samples)
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for sample in samples
            if not sample.name.endswith(("_bucket", "_sum")) and "direct" not in sample.name
        }

    async def taught(self, *requests: bytes) -> Client:
        """A client whose server has seen these requests, and no job of them."""
        client = self.client()
        await client.send(*requests or [request()])
        client.wire.written = b""
        self.store.jobs.clear()
        return client


async def both(*requests: bytes, set_up: Callable[[Jobs], None] = lambda jobs: None, **settings: Any) -> list[Jobs]:
    """Send the same requests to a server with the path and to one without, which know a plain head.

    Asserts that what both write, count and log is the same. Returns both."""
    servers, written, logged = [], [], []
    for is_direct in (True, False):
        jobs = Jobs(is_direct=is_direct, **settings)
        client = await jobs.taught()
        set_up(jobs)
        with capture_logs() as lines:
            for each in requests:
                await client.send(each)
        servers.append(jobs)
        written.append((normal(client.wire.written), client.wire.closed, client.wire.aborted))
        logged.append([{**line, "job_id": "", "exc_info": repr(line.get("exc_info"))} for line in lines])
    assert written[0] == written[1]
    assert logged[0] == logged[1]
    assert servers[0].counts() == servers[1].counts()
    assert servers[1].hits == 0
    return servers
