"""Who is measured, with which settings, and how many jobs make a measurement last some seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

ALL: Final = frozenset(("one", "bulk", "memory", "drain", "pick-up"))
MEMORY_JOBS: Final = 20_000
"""The same for all, since the tables of the store grow by doubling."""


@dataclass(frozen=True)
class Peer:
    """One row of the tables.

    adapter        its script in bench/peers/adapters
    lock           its lock file in bench/peers/requirements; 'npm' for bench/peers/bullmq; None: our own environment
    concurrency    what its worker runs at a time, as fast as it gets; `wide`: the variant at 256, if that is measured
    one, bulk, drain  jobs in each measurement; `bulk` is 0 where it has no means for many jobs
    variables      of the environment, for settings that have no other place
    store          'plain': no append-only file. 'embedded': as Queuey's own store, synced before each reply.
                   'postgres': a new database cluster
    wide_enqueue   jobs with 64 under way at a time, for those that are compared with brokers
    answer         what its acknowledgement of a job means, for the same
    """

    name: str
    adapter: str
    lock: str | None
    settings: str
    concurrency: int
    one: int
    bulk: int
    drain: int
    acks_after_running: bool = True
    keeps_state: bool = True
    wide: bool = False
    store: Literal["plain", "embedded", "postgres"] = "plain"
    wide_enqueue: int = 0
    answer: str = ""
    serves_http: bool = False
    measured: frozenset[str] = ALL
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def measurements(self) -> frozenset[str]:
        """What is measured of it, with its variants."""
        found = set(self.measured)
        if self.wide:
            found.add("drain-wide")
        if self.wide_enqueue:
            found.add("enqueue-wide")
        if not self.bulk:
            found.discard("bulk")
        return frozenset(found)

    @property
    def is_queuey(self) -> bool:
        return self.lock is None

    @property
    def is_python(self) -> bool:
        return self.lock != "npm"


QUEUEY: Final = "Queuey"
QUEUEY_HTTP: Final = "Queuey over HTTP"
QUEUEY_SYNCED: Final = "Queuey, fsync always"
QUEUEY_SYNCED_HTTP: Final = "Queuey over HTTP, fsync always"
DRAMATIQ_DEFAULTS: Final = "dramatiq, defaults"
BULLMQ: Final = "BullMQ"
PGQUEUER: Final = "pgqueuer"

PEERS: Final = (
    Peer(
        QUEUEY,
        "queuey_inside_peer.py",
        None,
        "enqueued in process by a Producer, many by enqueue_many of 1,000; `queuey serve`, all defaults",
        concurrency=100,
        one=8_000,
        bulk=60_000,
        drain=60_000,
        wide=True,
    ),
    Peer(
        QUEUEY_HTTP,
        "queuey_http_peer.py",
        None,
        "one kept-alive connection; many by /v1/jobs/batch of 1,000 on 4 connections; `queuey serve`, all defaults",
        concurrency=100,
        one=4_000,
        bulk=60_000,
        drain=0,
        serves_http=True,
        measured=ALL - {"drain"},
    ),
    Peer(
        QUEUEY_SYNCED,
        "queuey_inside_peer.py",
        None,
        "as above, on a store that runs as the embedded one does: append-only file, fsync always",
        concurrency=100,
        one=1_500,
        bulk=60_000,
        drain=60_000,
        wide=True,
        store="embedded",
    ),
    Peer(
        QUEUEY_SYNCED_HTTP,
        "queuey_http_peer.py",
        None,
        "as above, on a store that runs as the embedded one does: append-only file, fsync always",
        concurrency=100,
        one=1_500,
        bulk=60_000,
        drain=0,
        serves_http=True,
        store="embedded",
        measured=ALL - {"drain"},
    ),
    Peer(
        "arq",
        "arq_peer.py",
        "arq.txt",
        "max_jobs 100, poll_delay 10 ms (default 500), keep_result 0, log_results off, uvloop, hiredis; "
        "many: 100 enqueue_job at a time",
        concurrency=100,
        one=4_000,
        bulk=5_000,
        drain=5_000,
        wide=True,
    ),
    Peer(
        "SAQ",
        "saq_peer.py",
        "saq.txt",
        "concurrency 50 (default 10), ttl -1 (job deleted when done), uvloop, hiredis; many: 100 enqueue at a time",
        concurrency=50,
        one=4_000,
        bulk=5_000,
        drain=4_000,
        wide=True,
    ),
    Peer(
        "streaq",
        "streaq_peer.py",
        "streaq.txt",
        "concurrency 100, ttl 0 (no result), silent tasks, uvloop; many: enqueue_many of 1,000",
        concurrency=100,
        one=4_000,
        bulk=20_000,
        drain=4_000,
        wide=True,
    ),
    Peer(
        "taskiq",
        "taskiq_peer.py",
        "taskiq.txt",
        "RedisStreamBroker, max_async_tasks 100, xread_count 1,000 (default 100), acknowledged when executed, "
        "no result backend, parameters not parsed, orjson, uvloop, hiredis; many: 100 kiq at a time",
        concurrency=100,
        one=4_000,
        bulk=5_000,
        drain=6_000,
        keeps_state=False,
        wide=True,
    ),
    Peer(
        "dramatiq",
        "dramatiq_peer.py",
        "dramatiq.txt",
        "8 threads (its default), dramatiq_queue_prefetch 1,000 (default 16), default middleware, no results, hiredis",
        concurrency=8,
        one=8_000,
        bulk=0,
        drain=20_000,
        keeps_state=False,
        variables={"dramatiq_queue_prefetch": "1000"},
    ),
    Peer(
        "dramatiq, 32 threads",
        "dramatiq_peer.py",
        "dramatiq.txt",
        "the same with 32 threads and the prefetch that follows, 64",
        concurrency=32,
        one=0,
        bulk=0,
        drain=20_000,
        keeps_state=False,
        measured=frozenset(("drain",)),
    ),
    Peer(
        DRAMATIQ_DEFAULTS,
        "dramatiq_peer.py",
        "dramatiq.txt",
        "the same with 8 threads and the prefetch that follows, 16",
        concurrency=8,
        one=0,
        bulk=0,
        drain=5_000,
        keeps_state=False,
        measured=frozenset(("drain",)),
    ),
    Peer(
        "RQ",
        "rq_peer.py",
        "rq.txt",
        "SimpleWorker (no fork per job), result_ttl 0, hiredis; many: enqueue_many of 500",
        concurrency=1,
        one=4_000,
        bulk=10_000,
        drain=500,
    ),
    Peer(
        "Celery",
        "celery_peer.py",
        "celery.txt",
        "pool solo (threads came out the same), acks_late, ignore_result, prefetch 100, "
        "no gossip, mingle, heartbeat or events, hiredis",
        concurrency=1,
        one=3_000,
        bulk=0,
        drain=1_500,
        keeps_state=False,
    ),
    Peer(
        "huey",
        "huey_peer.py",
        "huey.txt",
        "RedisHuey (blocking), 4 threads, no results, no periodic tasks, hiredis",
        concurrency=4,
        one=6_000,
        bulk=0,
        drain=6_000,
        acks_after_running=False,
        keeps_state=False,
    ),
    Peer(
        BULLMQ,
        "bullmq_peer.mjs",
        "npm",
        "concurrency 100, removeOnComplete count 0, ioredis; many: addBulk of 1,000",
        concurrency=100,
        one=5_000,
        bulk=20_000,
        drain=40_000,
        wide=True,
    ),
    Peer(
        PGQUEUER,
        "pgqueuer_peer.py",
        "pgqueuer.txt",
        "PostgreSQL with its defaults (fsync and synchronous_commit on), asyncpg, uvloop, batch_size 500 (default 10); "
        "many: enqueue of 1,000 on 4 connections",
        concurrency=100,
        one=2_000,
        bulk=40_000,
        drain=10_000,
        store="postgres",
        measured=ALL - {"memory"},
        wide_enqueue=10_000,
        answer="the job is on disk: PostgreSQL has committed it with synchronous_commit",
    ),
)

WIDE: Final = 256
"""The concurrency of the second drain."""
