"""The parts of a server in the role `api`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from queuey.api.app import ApiParts, ApiSettings, create_app
from queuey.api.openapi.description import PayloadSchemas
from queuey.api.routes.metrics import ReplicaMetrics
from queuey.api.ui.settings import UiSettings
from queuey.lifecycle import Part, StopSignals
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials
from queuey.server.http.direct import Direct
from queuey.server.http.listener import Listener, within_files
from queuey.server.limits import connection_limits
from queuey.server.roles import Common
from queuey.services.events.publisher import EventPublisher
from queuey.services.events.subscribers import EventSubscribers
from queuey.services.health import Health
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from queuey.services.jobs.waiters import Waiters
from queuey.services.leases.long_polls import LongPolls
from queuey.services.leases.pulling import Pulling, PullSettings, pull_wakers
from queuey.services.maintenance.loops import run_forever
from queuey.services.maintenance.shard_watch import SilentShards
from queuey.services.peers import ALONE, Peers, Place
from queuey.services.pulse import Pulses
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.pubsub import EventStream
from queuey.store.selfcheck import Durability
from queuey.store.wakeups import SharedWaker


def api_parts(
    settings: Settings,
    *,
    credentials: Credentials,
    broker: Broker,
    durability: Durability,
    metrics: Metrics,
    publisher: EventPublisher,
    stream: EventStream,
    submission: Submission,
    producer: Producer,
    polls: LongPolls,
    wakers: Sequence[SharedWaker] = (),
    place: Place = ALONE,
    payload_schemas: PayloadSchemas = dict,
) -> ApiParts:
    """Make the parts of the API. It is called inside the running loop.

    The caller has to run `waiters`, `followers`, `pulses` and the wakers as chores, and to open the peers.
    """
    own, most, pull = ReplicaMetrics(metrics, place.number), settings.waiters, PullSettings.of(settings)
    return ApiParts(
        settings=ApiSettings.of(settings),
        credentials=credentials,
        broker=broker,
        metrics=metrics,
        health=Health(broker, durability),
        submission=submission,
        producer=producer,
        waiters=Waiters(broker, most),
        followers=EventSubscribers(broker, stream, publisher, most),
        pulses=Pulses(broker, most, settings.request_deadline, settings.unknown_type_ttl),
        pulling=Pulling(broker, pull, metrics=metrics, polls=polls, wakers=wakers, on_progress=publisher.progress),
        own=own,
        peers=Peers(place, own.text),
        ui=UiSettings.of(settings),
        payload_schemas=payload_schemas,
    )


def server_api_parts(
    common: Common,
    *,
    credentials: Credentials,
    submission: Submission,
    producer: Producer,
    polls: LongPolls,
    place: Place,
    payload_schemas: PayloadSchemas,
) -> ApiParts:
    """Make the parts of a server's API, on connections of their own."""
    broker, store = common.api_broker, common.store
    return api_parts(
        common.settings,
        credentials=credentials,
        broker=broker,
        durability=common.durability,
        metrics=common.metrics,
        publisher=common.publisher,
        stream=EventStream(store.blocking_client(), broker.shards.keys[0]),
        submission=submission,
        producer=producer,
        polls=polls,
        wakers=pull_wakers(broker, polls, store.blocking_client, common.replica, cluster=common.is_cluster),
        place=place,
        payload_schemas=payload_schemas,
    )


class Front(Part):
    """The requests that wait, and what tells a load balancer that the server is about to stop.

    It is drained first. `known_at` is then the time, by the event loop, from which no balancer sends anything more.
    """

    def __init__(self, common: Common, api: ApiParts, listener: Listener, signals: StopSignals) -> None:
        self.known_at = 0.0
        self._tasks = common.tasks
        self._api = api
        self._listener = listener
        self._signals = signals
        self._drain_delay = common.settings.drain_delay

    async def start(self) -> None:
        """Listen for what the waiting requests wait for."""
        self._tasks.spawn("waiters", run_forever(self._api.waiters))
        self._tasks.spawn("followers", run_forever(self._api.followers))
        self._tasks.spawn("pulses", run_forever(self._api.pulses))
        for waker in self._api.pulling.wakers:
            self._tasks.spawn("pull-waker", run_forever(waker))
        if self._api.broker.shards.count > 1:
            self._tasks.spawn("silent-shards", run_forever(SilentShards(self._api.broker)))

    async def drain(self) -> None:
        """Turn /readyz red, and answer the requests that wait: with what their jobs are by now, or without a job."""
        self._api.health.draining = True
        self._api.waiters.close()
        self._api.followers.close()
        self._api.pulses.close()
        delay = self._drain_delay
        if self._signals.port_first:
            self._listener.close_port()
            delay = 0.0
        self._api.pulling.leasing.drain()
        self.known_at = asyncio.get_running_loop().time() + delay


class Http(Part):
    """The HTTP listener. It answers until the running jobs are done."""

    def __init__(self, common: Common, api: ApiParts, listener: Listener, front: Front) -> None:
        self._tasks = common.tasks
        self._api = api
        self._listener = listener
        self._front = front

    async def start(self) -> None:
        """Take requests."""
        await self._api.peers.open()
        self._tasks.add(await self._listener.start())

    async def drain(self) -> None:
        """Take no more requests once no balancer sends any, and answer those under way."""
        await asyncio.sleep(max(0.0, self._front.known_at - asyncio.get_running_loop().time()))
        await self._listener.stop()
        await self._api.pulling.leasing.close()

    async def stop(self) -> None:
        """Answer no more questions of other replicas."""
        self._api.peers.close()


def http_parts(common: Common, api: ApiParts, bound: socket.socket, signals: StopSignals) -> tuple[Front, Http]:
    """Make the two parts that serve the API on a socket."""
    app = create_app(api)
    direct = Direct(app.submit_job, api.metrics) if common.settings.direct == "yes" else None
    listener = Listener(app, bound, within_files(connection_limits(common.settings)), direct)
    front = Front(common, api, listener, signals)
    return front, Http(common, api, listener, front)
