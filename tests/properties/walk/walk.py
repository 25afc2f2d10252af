"""A random walk of workers over a real store, in virtual time, with what must hold after each step.

It knows nothing of how the scripts work. It keeps what happened to each job, and looks at the store's places.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.records import NewJob, job_head
from queuey.store.asides import ANY, SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.keys import asides_channel
from queuey.store.replies import Caps, Claimed
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.properties.walk.workers import PRIORITY_OF, ROUND_MS, Lease, Worker, read_names

START: Final = 1_800_000_000_000
LEASE: Final = 20_000
QUEUES: Final = ("default", "mail")
TYPES: Final = ("a1", "a2", "t1", "t2", "p1", "p1", "x1", "x2", "nobody")
MOST_NAMES: Final = 64
MOST_CLAIMS: Final = 300
"""At one moment. Workers that go on for longer would never stop."""
CAPS: Final = Caps()
Spot = tuple[str, Priority, str]
"""A queue, a lane, and the type of a list that was set aside there: '' = the lane itself."""


@dataclass
class Seen:
    """What happened to a job, as far as the workers and callers of the walk know."""

    type: str
    queue: str
    lane: Priority
    number: int
    status: str = "waiting"
    crashes: int = 0
    is_fresh: bool = True
    """It was never claimed nor delayed."""
    is_released: bool = False
    """It was released, and was not claimed again."""


class Walk:
    def __init__(self, client: Any, scripts: Scripts, seed: int, types: Sequence[str] = TYPES) -> None:
        self.client, self.random, self.types = client, random.Random(seed), types
        self.broker = Broker(Shards(client), scripts)
        self.keys = self.broker.shards.keys[0]
        self.now = START
        self.jobs: dict[str, Seen] = {}
        self.without_order: set[Spot] = set()
        """The types of which jobs stood in a list '*', which has no order."""
        self.last_fresh: Counter[Spot] = Counter()
        self.counts: Counter[str] = Counter()
        self.made = 0
        self.releases_unknown = False
        """A fault: jobs of unknown types are released to their lane."""
        app = frozenset({"a1", "a2", "t1", "t2", "p1"})
        self.workers = [
            self.worker(app, {"async": 40, "thread": 2, "process": 1}),
            self.worker(app, {"async": 3, "thread": 1, "process": 1}),
            *(self.worker({"p1"}, {"process": 1}) for _ in range(2)),
            self.worker({"x1", "x2"}, {"async": 4, "thread": 2}),
            self.worker({"a1", "x1"}, {"async": 1}, pull=True),
        ]

    def worker(self, types: Any, slots: dict[str, int], pull: bool = False) -> Worker:
        self.made += 1
        return Worker(f"w{self.made}", frozenset(types), slots, pull, round_at=self.now + ROUND_MS)

    async def run(self, steps: int) -> None:
        """Take so many steps, then let workers that know every type finish all jobs."""
        await self.client.flushall()
        await self.client.hset(self.keys.meta, "features", "aside")
        async with self.client.pubsub(ignore_subscribe_messages=True) as self.heard:
            await self.heard.subscribe(asides_channel())
            for _ in range(steps):
                self.now += self.random.choice([0, 1, 50, 300, 900])
                await self.ends_and_rounds()
                await self.something_happens()
                await self.maintain()
                settled = await self.settle(self.random.choice([0, 1, 3, MOST_CLAIMS, MOST_CLAIMS, MOST_CLAIMS]))
                await self.check(settled)
            await self.drain()

    # --- what happens ------------------------------------------------------------------------------------------

    async def something_happens(self) -> None:
        draw = self.random.random()
        if draw < 0.5:
            await self.enqueue(self.random.choice([1, 2, 3, 8, 20]))
        elif draw < 0.6:
            await self.cancel()
        elif draw < 0.64:
            old = self.random.choice(self.workers)  # it dies: its leases expire later
            self.workers.remove(old)
            self.workers.append(self.worker(old.types, dict(old.slots), old.pull))
            self.counts["deaths"] += 1
        elif draw < 0.67:
            await self.purge(self.random.choice(QUEUES))
        elif draw < 0.7:
            await self.broker.maintenance.trim(0, 500, CAPS, now=self.now)
        elif draw < 0.8:
            await self.broker.maintenance.tidy_asides(0)
        elif draw < 0.85:
            worker = self.random.choice(self.workers)
            await self.release(worker, list(worker.held))
        elif draw < 0.88 and not any(worker.takes_all for worker in self.workers):
            self.workers.append(self.worker((), {"async": 3}, pull=True))
        elif draw < 0.9:
            self.workers = [worker for worker in self.workers if not worker.takes_all or worker.held]
        elif draw < 0.93:
            queue = self.random.choice(QUEUES)
            await self.broker.queues.pause(0, queue, "walk")
            await self.settle()
            await self.broker.queues.resume(0, queue)

    async def enqueue(self, count: int) -> None:
        batch = []
        types = self.types if self.random.random() < 0.6 else [self.random.choice(self.types)]
        for _ in range(count):
            number = len(self.jobs) + 1
            queue, lane = self.random.choice(QUEUES), self.random.choices(PRIORITIES, [1, 6, 2])[0]
            kind, delay = self.random.choice(types), self.random.choice([0] * 9 + [700])
            job_id = f"{number % 10}0{self.now - START:010}{number:016}"
            self.jobs[job_id] = Seen(kind, queue, lane, number, is_fresh=not delay)
            head = job_head(queue=queue, priority=lane)
            batch.append(NewJob(job_id, queue, lane, head, f'{{"type":"{kind}"}}', delay_ms=delay))
        await self.broker.jobs.enqueue(0, batch, now=self.now)

    async def cancel(self) -> None:
        living = [job_id for job_id, job in self.jobs.items() if job.status in ("waiting", "running")]
        for job_id in self.random.sample(living, min(len(living), 4)):
            if await self.broker.jobs.cancel(0, [job_id], now=self.now) == ["cancelled"]:
                self.jobs[job_id].status = "ended"

    async def purge(self, queue: str) -> None:
        purged = await self.broker.queues.purge(0, queue, queued=True, scheduled=False, limit=1_000, now=self.now)
        assert not purged.more
        for job_id in await self.cancelled():
            self.jobs[job_id].status = "ended"
        left = [spot for spot in (await self.places()).values() if spot and spot[0] == queue]
        assert not left, f"a purge left jobs in {left}"

    async def cancelled(self) -> list[str]:
        waiting = [job_id for job_id, job in self.jobs.items() if job.status == "waiting"]
        stored = await self.broker.jobs.get(0, waiting) if waiting else []
        return [job_id for job_id, found in zip(waiting, stored, strict=True) if found.state.startswith("s=c")]

    async def ends_and_rounds(self) -> None:
        for worker in self.workers:
            if self.now >= worker.round_at:
                worker.is_hot = worker.looks_at_rest = True
                worker.round_at = self.now + ROUND_MS
            for job_id in [job_id for job_id, lease in worker.held.items() if lease.ends_at <= self.now]:
                await self.end(worker, job_id, self.random.choices(["complete", "fail", "release"], [8, 1, 1])[0])

    async def end(self, worker: Worker, job_id: str, how: str) -> None:
        if how == "release":
            await self.release(worker, [job_id])
            return
        lease, job = worker.held.pop(job_id), self.jobs[job_id]
        if how == "complete":
            (answer,) = await self.broker.leases.complete(0, [(job_id, lease.token, "")], now=self.now)
        else:
            failure = (job_id, lease.token, "{}", self.random.choice([0, 500]), False)
            (answer,) = await self.broker.leases.fail(0, [failure], now=self.now)
        job.status = "waiting" if answer == "retry" else "ended"
        worker.freed(lease.executor)

    async def release(self, worker: Worker, job_ids: Sequence[str]) -> None:
        ordered = sorted(job_ids, key=lambda job_id: self.jobs[job_id].number)
        held = [(job_id, worker.held[job_id].token) for job_id in ordered]
        if not held:
            return
        assert set(await self.broker.leases.release(0, held, now=self.now)) == {"ok"}
        for (job_id, _), found in zip(held, await self.broker.jobs.get(0, ordered), strict=True):
            is_cancelled = found.state.startswith("s=c")
            self.jobs[job_id].status, self.jobs[job_id].is_released = "ended" if is_cancelled else "waiting", True
            worker.freed(worker.held.pop(job_id).executor)

    async def maintain(self) -> None:
        for job_id, outcome in (await self.broker.maintenance.reap(0, 500, [10, 400], now=self.now)).outcomes:
            job = self.jobs[job_id]
            job.crashes, job.is_fresh, job.is_released = job.crashes + 1, False, False
            job.status = "waiting" if outcome == "retry" else "ended"
        await self.broker.maintenance.promote(0, 100, now=self.now)

    # --- claims ------------------------------------------------------------------------------------------------

    async def settle(self, most: int = MOST_CLAIMS) -> bool:
        """What happens while no time passes: workers are told of names, are woken, and claim. Returns whether that is
        all, or whether time passes before that."""
        for _ in range(most):
            heard = most == MOST_CLAIMS or self.random.random() < 0.5
            if heard:
                await self.hear()
            hot = [worker for worker in self.workers if worker.is_hot and worker.room > 0]
            if hot:
                await self.claim(self.random.choice(hot))
            elif not await self.wake_one() and heard:
                return True
        assert most < MOST_CLAIMS, "the workers claim without end"
        return False

    async def hear(self) -> None:
        """Deliver the messages. The last one is sent for that, so that none is under way."""
        await self.client.publish(asides_channel(), "end")
        while (message := await self.heard.get_message(timeout=5)) is None or message["data"] != b"end":
            if message is not None:
                base, queue, names = message["data"].decode().split(" ", 2)
                assert base == self.keys.base
                for worker in self.workers:
                    worker.learn(read_names([(queue, names)]))

    async def wake_one(self) -> bool:
        """Let the first worker with room take a marker that it waits for."""
        for worker in self.random.sample(self.workers, len(self.workers)):
            if worker.room == 0:
                continue
            markers = [(self.keys.wake(queue), "") for queue in QUEUES]
            markers += [
                (self.keys.wake_type(queue, name), name) for queue in QUEUES for name in worker.waits_for(queue)
            ]
            for key, name in markers:
                if await self.client.zpopmin(key):
                    worker.woken |= {name} - {""}
                    worker.is_hot = True
                    return True
        return False

    async def claim(self, worker: Worker) -> None:
        self.counts["claims"] += 1
        queues = self.random.sample(QUEUES, len(QUEUES))
        suspects = 0 if any(self.jobs[job_id].crashes for job_id in worker.held) else 1
        terms: dict[str, Any] = {
            "claim_id": f"c{self.counts['claims']}",
            "worker": worker.name,
            "lease_ms": LEASE,
            "now": self.now,
            "limit": worker.room,
            "queues": queues,
            "suspects": suspects,
        }
        wanted = worker.wanted()
        claimed = await self.broker.leases.claim(0, **terms, wanted=wanted)
        if wanted is None and claimed.asides:
            assert not claimed.jobs
            worker.learn(read_names(claimed.asides))
            wanted = worker.wanted()
            claimed = await self.broker.leases.claim(0, **terms, wanted=wanted)
        worker.woken, worker.looks_at_rest = set(), False
        if claimed.jobs and self.random.random() < 0.05:
            again = await self.broker.leases.claim(0, **terms, wanted=wanted)
            assert [job.id for job in again.jobs] == [job.id for job in claimed.jobs]
        await self.take(worker, claimed)

    async def take(self, worker: Worker, claimed: Claimed) -> None:
        worker.is_hot = claimed.more
        unknown = []
        for job in claimed.jobs:
            self.handed_out(job.id, job.crashes)
            kind = self.jobs[job.id].type
            if not worker.knows(kind):
                assert kind not in worker.contacts, f"{worker.name} gets {kind} again, which it does not know"
                unknown.append((job.id, job.token, None, kind))
                continue
            executor = worker.executor_of(kind)
            assert worker.free()[executor] > 0, f"{worker.name} cannot begin {kind}"
            ends_at = self.now + self.random.choice([20, 100, 1_000, 5_000])
            worker.held[job.id] = Lease(job.token, kind, executor, ends_at)
        if unknown:
            await self.give_back(worker, unknown)
        if claimed.asides is not None or not claimed.repeated:
            worker.learn({queue: frozenset() for queue in QUEUES} | dict(read_names(claimed.asides or ())))

    async def give_back(self, worker: Worker, unknown: list[tuple[str, str, None, str]]) -> None:
        self.counts["contacts"] += len(unknown)
        items = [item[:2] for item in unknown] if self.releases_unknown else unknown
        if not self.releases_unknown:
            worker.contacts |= {kind for *_, kind in unknown}
            worker.has_met_unknown = True
        assert set(await self.broker.leases.release(0, items, now=self.now)) == {"ok"}
        for job_id, *_ in unknown:
            self.jobs[job_id].status, self.jobs[job_id].is_released = "waiting", True
        worker.is_hot = True

    def handed_out(self, job_id: str, crashes: int) -> None:
        """A claim brought this job: it was waiting, and in its turn."""
        job = self.jobs[job_id]
        assert job.status == "waiting", f"{job_id} was claimed, and is {job.status}"
        assert job.crashes == crashes
        spot = (job.queue, job.lane, job.type)
        if job.is_fresh and not job.is_released and spot not in self.without_order:
            assert job.number > self.last_fresh[spot], f"{job_id} of {spot} comes after one that was behind it"
            self.last_fresh[spot] = job.number
            first = [other for other in self.jobs.values() if other.is_released and other.status == "waiting"]
            first = [other for other in first if (other.queue, other.lane, other.type) == spot and not other.crashes]
            assert not first, f"{job_id} of {spot} comes before one that was released"
        job.status, job.is_fresh, job.is_released = "running", False, False

    # --- what must hold ----------------------------------------------------------------------------------------

    async def places(self) -> dict[str, Spot | None]:
        """The place of each waiting job, None = scheduled. A job stands in one place; tombstones are counted."""
        found: dict[str, Spot | None] = {}
        for queue in QUEUES:
            tombstones: Counter[str] = Counter()
            for spot in await self.lists(queue):
                key = self.keys.aside(*spot) if spot[2] else self.keys.ready(queue, spot[1])
                for entry in await self.client.lrange(key, 0, -1):
                    job = self.jobs[entry.decode()]
                    if job.status != "waiting":
                        tombstones[spot[1]] += 1
                        continue
                    assert entry.decode() not in found, f"{entry.decode()} stands in two places"
                    assert (job.queue, job.lane) == spot[:2]
                    assert spot[2] in ("", ANY, SUSPECTS, job.type)
                    found[entry.decode()] = spot
            for lane in PRIORITIES:
                counted = int(await self.client.hget(self.keys.queue(queue), f"tombstones_{lane}") or 0)
                assert counted == tombstones[lane], f"{queue}:{lane} counts {counted} tombstones"
                for entry in await self.client.zrange(self.keys.scheduled(queue, lane), 0, -1):
                    assert entry.decode() not in found
                    found[entry.decode()] = None
        return found

    async def lists(self, queue: str) -> list[Spot]:
        """The lanes of a queue, and its lists set aside, which must all have names."""
        names = ((await self.client.hget(self.keys.queue(queue), "aside")) or b"").decode().split()
        assert len(set(names)) == len(names) <= MOST_NAMES + len(PRIORITIES)
        spots: list[Spot] = [(queue, lane, "") for lane in PRIORITIES]
        for key in await self.client.keys(self.keys.aside(queue, "*", "*")):
            lane, kind = key.decode().rsplit(":", 2)[1:]
            assert f"{lane[0]}:{kind}" in names, f"{key} has no name"
            spots.append((queue, PRIORITY_OF[lane[0]], kind))  # type: ignore[arg-type]
        return spots

    async def check(self, settled: bool) -> None:
        places = await self.places()
        waiting = {job_id for job_id, job in self.jobs.items() if job.status == "waiting"}
        assert places.keys() == waiting, f"lost or without a place: {waiting ^ places.keys()}"
        for job_id, spot in places.items():
            job = self.jobs[job_id]
            if spot and spot[2] == ANY:
                self.without_order.add((*spot[:2], job.type))
            elif spot and settled and spot[2] != SUSPECTS:
                able = [worker.name for worker in self.workers if worker.can_begin(job.type)]
                assert not able, f"{job_id} of {job.type} waits in {spot}, and {able} could begin it: a lost wake"

    async def drain(self) -> None:
        self.workers = [worker for worker in self.workers if not worker.pull]
        self.workers.append(self.worker(self.types, {"async": 50, "thread": 20, "process": 20}))
        for _ in range(1_000):
            if not any(job.status in ("waiting", "running") for job in self.jobs.values()):
                break
            self.now += 1_000
            await self.ends_and_rounds()
            await self.maintain()
            await self.settle()
        await self.broker.maintenance.tidy_asides(0)
        await self.check(settled=True)
        left = [job for job in self.jobs.values() if job.status != "ended"]
        assert not left, f"workers that know every type leave {left[:3]}"
