"""The two ways of POST /v1/jobs/batch, in groups and one by one, each on a store of its own, and what they leave there.

Ids that the server makes, and times, are replaced by what does not change from run to run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from queuey.api.app import Api
from queuey.api.http.auth import Gate
from queuey.api.http.endpoints import Guarded
from queuey.api.routes.batch import BATCH, SubmitBatch
from queuey.errors import Full, ScriptFailed, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.jobs.offers import Types
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Decoder, Submission, SubmissionSettings
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.http import HOST, Typed, keys
from tests.support.scripts.contents import READ_ALL
from tests.support.store import Moves

PATH: Final = "/v1/jobs/batch"
LIMITS: Final[dict[str, Any]] = {"payload_limit": 200, "json_depth": 3, "check_payloads": "yes"}
BATCH_LIMIT: Final = 12
MAX_QUEUES: Final = 256
POISON: Final = "poison"
"""A job of this type makes the script fail, if the store is poisoned."""
_ID: Final = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{2}[0-7][0-9A-HJKMNP-TV-Z]{25}\b")
_TIMES: Final = re.compile(r"\b([rc])=\d+")


class Way:
    """An API with the batch route alone, on keys of its own. The key `most` may submit to some queues only."""

    def __init__(self, client: Any, scripts: Scripts, shards: int, *, in_groups: bool) -> None:
        self.client = client
        self.prefix = "groups" if in_groups else "single"
        self.moves = Moves()
        self.broker = Broker(Shards(client, shards, self.prefix), scripts, self.moves)
        self.metrics = Metrics()
        self.expected: Counter[tuple[str, bool]] = Counter()
        self.sent: list[NewJob | NewJobs] = []
        self._enqueue: Callable[..., Awaitable[list[str]]] = self.broker.jobs.enqueue
        self.producer = Producer(self.broker, metrics=self.metrics, resend_for=5, claimers=[self])
        max_attempts_of: Callable[[str], int | None] = {"patient": 9}.get
        decoder_of: Callable[[str], Decoder | None] = {"typed": msgspec.json.Decoder(Typed).decode}.get
        settings = SubmissionSettings.of(Settings(data_dir=Path("/unused"), **LIMITS))
        submission = Submission(settings, max_attempts_of, decoder_of)
        self.route = SubmitBatch(
            submission,
            self.producer,
            body_limit=20_000,
            batch_limit=BATCH_LIMIT,
            in_groups=in_groups,
        )
        gate = Gate(keys(most="submit@default+submit@a+submit@b"))
        api = Api([Guarded("POST", PATH, "submit", gate, self.route, BATCH)], self.metrics)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url=f"http://{HOST}")

    def offer(self, shard: int, queue: str, types: Types) -> None:
        """Offer nothing: it takes no jobs."""

    def expect(self, shard: int, items: Sequence[NewJob | NewJobs]) -> None:
        """Count the jobs that an idle claimer would expect."""
        for item in items:
            self.expected[item.queue, item.is_due] += len(item.ids) if isinstance(item, NewJobs) else 1

    async def be(self, store: str) -> None:
        """Have the store do what this says: `well`, `full`, `crowded`, `out of memory`, `poisoned`, `away`, `unknown`.

        `crowded`: there is room for one more queue.
        """
        self.producer.set_full(store == "full")
        if store == "crowded":
            for keys_of in self.broker.shards.keys:
                await self.client.sadd(keys_of.queues, *(f"q{number}" for number in range(MAX_QUEUES - 1)))
        for batcher in self.producer._batchers:
            batcher._resend_for = 0 if store in ("away", "unknown") else 5
        self.broker.jobs.enqueue = self._enqueue_if(store)  # type: ignore[method-assign, assignment]

    def _enqueue_if(self, store: str) -> Callable[..., Awaitable[list[str]]]:
        async def enqueue(shard: int, items: Sequence[NewJob | NewJobs], **options: Any) -> list[str]:
            self.sent.extend(items)
            if store == "out of memory":
                raise Full("out of memory")
            if store in ("away", "unknown"):
                raise StoreUnavailable("away", maybe_done=store == "unknown")
            if store == "poisoned" and any(f'"{POISON}"' in body for item in items for body in bodies(item)):
                raise ScriptFailed("poisoned")
            return await self._enqueue(shard, items, **options)

        return enqueue

    async def post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post(PATH, content=body, headers={"x-api-key": "most", **headers})


def bodies(item: NewJob | NewJobs) -> Iterable[str]:
    return item.bodies if isinstance(item, NewJobs) else (item.body,)


class Masks:
    """Stands for ids: each is replaced by a number, in the order in which the replies name them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        return _ID.sub(lambda found: f"#{self.numbers.setdefault(found[0], len(self.numbers)):05}", text)


async def contents(way: Way, masks: Masks, *, in_order: bool) -> dict[str, Any]:
    """Return what a way has left in its store: each key without its shard, the values of all shards together.

    `in_order`: assert that the jobs of each lane of a shard are in the order of the requests."""
    found: Counter[tuple[str, str]] = Counter()
    for name, kind, _, value in msgspec.msgpack.decode(await way.client.eval(READ_ALL, 0)):
        prefix, _shard, key = name.split(":", 2)
        if prefix != way.prefix or key.startswith("wake:"):
            continue
        key = "stats" if key.startswith("stats") else masks(key)
        if kind == "list" and in_order:
            lane = [masks(job_id) for job_id in value]
            assert all(one < two for one, two in pairwise(lane)), f"{way.prefix} {key} is out of order: {lane}"
        if kind == "hash":
            for field, count in zip(value[::2], value[1::2], strict=True):
                found[key, field] += int(count)
        else:
            entries = value[::2] if kind == "zset" else [value] if kind == "string" else value
            found.update((key, _TIMES.sub(r"\1=", masks(entry))) for entry in entries)
    return {f"{key} {entry}": count if key != "queues" else 1 for (key, entry), count in sorted(found.items())}


def counters(way: Way) -> dict[str, Any]:
    return {
        f"{sample.name} {sample.labels}": sample.value
        for counter in (way.metrics.enqueued, way.metrics.deduplicated)
        for sample in counter.collect().samples
    }
