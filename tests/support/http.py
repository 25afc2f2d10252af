"""The HTTP API in this process, over a store of the test's, without a socket in between."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from queuey.api.app import Api, create_app
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.protocol.credentials import ApiKey, Credentials, parse_grant
from queuey.server.api import api_parts
from queuey.services.events.publisher import EventPublisher
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Decoder, Submission, SubmissionSettings
from queuey.services.jobs.type_queues import TypeQueues
from queuey.services.leases.long_polls import LongPolls
from queuey.services.leases.pulling import pull_wakers
from queuey.services.maintenance.loops import Chore, run_forever
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.keys import asides_channel
from queuey.store.pubsub import EventStream, Subscriber
from tests.support.store import client_for

HOST: Final = "127.0.0.1:8000"
UNKNOWN_ID: Final = "J901M8MB88WSKGGRMPSZPW4V745S"
"""A job's id that no job has. It is a constant, since all processes of a test run must collect the same tests."""


class Typed(msgspec.Struct):
    """The payload of jobs of the type `typed`."""

    to: str


def moment(text: str) -> datetime:
    """A time of an answer or of a log line. Compared as strings, 08.002Z is before 08Z."""
    parsed = datetime.fromisoformat(text)
    assert parsed.utcoffset() is not None, f"{text} has no zone"
    return parsed


class ApiRig:
    """The application, its parts, and a client. `http` takes paths."""

    over: Callable[[ApiRig, httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] | None = None
    """Wraps the client's transport, for tests that send what it sends elsewhere too."""

    def __init__(
        self,
        broker: Broker,
        credentials: Credentials,
        settings: Settings,
        *,
        metrics: Metrics,
        woken: bool,
        queues: TypeQueues | None = None,
    ) -> None:
        self.queues = queues or TypeQueues()
        self.broker = broker
        self.credentials = credentials
        self.settings = settings
        self.hears = asyncio.Event()
        polls = LongPolls()
        self.producer = Producer(broker, metrics=metrics, resend_for=settings.request_deadline, claimers=[polls])
        observer = broker.observer
        self.feed = observer if isinstance(observer, EventPublisher) else EventPublisher(broker)
        self.blocking = [_another(broker.shards.client)]
        self.wakers = pull_wakers(broker, polls, self._open_client, "r1", cluster=False) if woken else []
        max_attempts_of: Callable[[str], int | None] = {"patient": 9}.get
        decoder_of: Callable[[str], Decoder | None] = {"typed": msgspec.json.Decoder(Typed).decode}.get
        parts = api_parts(
            settings,
            credentials=credentials,
            broker=broker,
            durability="verified",
            metrics=metrics,
            publisher=self.feed,
            stream=EventStream(self.blocking[0], broker.shards.keys[0]),
            submission=Submission(SubmissionSettings.of(settings), max_attempts_of, decoder_of, self.queues),
            producer=self.producer,
            polls=polls,
            wakers=self.wakers,
        )
        self.health, self.waiters = parts.health, parts.waiters
        self.pulling, self.followers, self.pulses = parts.pulling, parts.followers, parts.pulses
        self.app: Api = create_app(parts)
        transport: httpx.AsyncBaseTransport = httpx.ASGITransport(self.app)
        if ApiRig.over is not None:
            transport = ApiRig.over(self, transport)
        self.http = httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")

    def _open_client(self) -> StoreClient:
        self.blocking.append(_another(self.broker.shards.client))
        return self.blocking[-1]

    def listener(self) -> Subscriber:
        """What hears of lists set aside. It sets `hears` once it does."""

        async def on_open() -> None:
            self.hears.set()

        return Subscriber(self._open_client(), {asides_channel(): self.pulling.leasing.heard}, on_open)

    async def submit(self, **fields: Any) -> str:
        """Enqueue a job; the type is `t` unless told otherwise. Returns its id."""
        response = await self.http.post("/v1/jobs", json={"type": "t", **fields})
        assert response.status_code == 200, response.text
        return str(response.json()["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())


def _another(client: StoreClient) -> StoreClient:
    """A client of the same store: this one blocks what comes behind it."""
    return client_for(f"unix://{client.connection_pool.connection_kwargs['path']}")


@asynccontextmanager
async def api_over(
    broker: Broker,
    credentials: Credentials | None = None,
    *,
    metrics: Metrics | None = None,
    woken: bool = False,
    queues: TypeQueues | None = None,
    **settings: Any,
) -> AsyncIterator[ApiRig]:
    """An API whose keys are `credentials`, by default none, so that everything but admin is open.

    `woken`: requests that wait for work are woken by the store's markers too, as in a server. `queues`: where jobs of a
    type go, by default as if nothing was known of any."""
    frozen = settings.pop("settings", None) or Settings(data_dir=Path("/unused"), **settings)
    rig = ApiRig(broker, credentials or Credentials(), frozen, metrics=metrics or Metrics(), woken=woken, queues=queues)
    chores: list[Chore] = [rig.waiters, rig.followers, rig.pulses, *rig.wakers, *([rig.listener()] if woken else [])]
    listening = [asyncio.create_task(run_forever(chore)) for chore in chores]
    async with rig.http:
        yield rig
    await end_tasks(listening)
    for client in rig.blocking:
        await client.aclose()
    rig.pulling.leasing.drain()
    await rig.pulling.leasing.close()
    await rig.producer.drain()


def keys(**grants: str) -> Credentials:
    """Keys whose secret is their name, with grants like `read+submit@mail`."""
    return Credentials(
        None,
        [
            ApiKey(name, tuple(map(parse_grant, text.split("+"))), hashlib.sha256(name.encode()).digest())
            for name, text in grants.items()
        ],
    )


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that the response is this problem. Returns its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = dict(response.json())
    assert body["type"] == f"urn:queuey:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
