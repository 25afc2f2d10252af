"""An enqueue with an offer does what an enqueue and the offer's claim right behind it do, or it claims nothing.

It may claim only if that claim finds nothing but the new jobs, and then it must. All keys are compared. Only one thing
differs: no marker is put for jobs that are claimed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from queuey.protocol.models import PRIORITIES, Priority
from queuey.protocol.records import NewJob, NewJobs
from queuey.store import offers
from queuey.store.broker import leases
from queuey.store.offers import Offer
from queuey.store.replies import Claimed
from queuey.store.scripts import Scripts
from tests.support.scripts.contents import contents
from tests.support.store import HOUR, LEASE, NOW, SECOND, Rig, Server, client_for, valkey_binary

SCRIPTS = Scripts()
QUEUES = ("default", "mail")
OLD, NEW = "claim0", "claim1"
"""The claim ids of the claims before, and of an offer that has none of theirs."""


class Step(NamedTuple):
    """Something that happens to the store before."""

    what: str
    queue: str
    lane: Priority
    number: int


class Items(NamedTuple):
    """New jobs of one queue and lane: a group, or one by one."""

    queue: str
    lane: Priority
    many: int
    is_group: bool
    odd: str
    """What a job of them has that leaves the plain way, or ''."""


steps = st.builds(
    Step,
    st.sampled_from(
        ["add", "add later", "claim", "claim", "finish", "fail", "cancel", "pause", "wait", "crash", "wake"]
    ),
    st.sampled_from(QUEUES),
    st.sampled_from(["default", "default", "high", "low"]),
    st.integers(0, 5),
)
items = st.builds(
    Items,
    st.sampled_from(["default", "default", "default", "default", "mail", "new"]),
    st.sampled_from(["default", "default", "default", "default", *PRIORITIES]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["", "", "", "", "", "", "", "expires", "known id", "dedupe", "delay"]),
)
offered = st.builds(
    Offer,
    claim_id=st.sampled_from([NEW, NEW, NEW, OLD]),
    worker=st.just("w2"),
    lease_ms=st.sampled_from([HOUR, 2 * HOUR]),
    limit=st.sampled_from([1, 2, 100]),
    queues=st.sampled_from([["default"], ["default", "mail"], ["mail", "default", "web"], ["default"], ["mail"]]),
)


class World:
    """A store after some steps. Two worlds of the same steps are equal."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.broker = rig.broker
        self.moves = rig.listen()
        self.broker = rig.broker
        self.now = NOW
        self.ids: list[str] = []
        self.held: list[tuple[str, str]] = []
        self.claims = 0

    def new_id(self) -> str:
        self.ids.append(f"00{len(self.ids):026}")
        return self.ids[-1]

    def job(self, queue: str, lane: Priority, **options: Any) -> NewJob:
        body = f'{{"type":"t{len(self.ids) % 3}"}}'
        return self.rig.job(id=self.new_id(), queue=queue, priority=lane, body=body, **options)

    async def do(self, step: Step) -> None:
        jobs = self.broker.jobs
        if step.what.startswith("add"):
            delay_ms = step.number * SECOND if step.what == "add later" else 0
            await jobs.enqueue(0, [self.job(step.queue, step.lane, delay_ms=delay_ms)], now=self.now)
        elif step.what == "claim":
            claim_id = f"old{self.claims}" if self.claims else OLD
            self.claims += 1
            claimed = await self.broker.leases.claim(
                0, claim_id=claim_id, worker="w1", lease_ms=LEASE, limit=step.number, queues=QUEUES, now=self.now
            )
            self.held += [(job.id, job.token) for job in claimed.jobs]
        elif step.what == "finish":
            await self.broker.leases.complete(0, [(*held, "") for held in self.held], now=self.now)
            self.held = []
        elif step.what == "fail":
            failed = [(*held, "{}", step.number * SECOND, False) for held in self.held]
            await self.broker.leases.fail(0, failed, now=self.now)
            self.held = []
        elif step.what == "cancel":
            await jobs.cancel(0, self.ids[-step.number :], now=self.now)
        elif step.what == "pause":
            await self.broker.queues.pause(0, step.queue, "why", now=self.now)
        elif step.what == "wait":
            self.now += step.number * SECOND
        elif step.what == "miscount":  # as if a tombstone had been lost
            await self.rig.client.hset(self.rig.keys.queue(step.queue), f"tombstones_{step.lane}", step.number)
        elif step.what == "wake":  # as an idle replica does
            await self.rig.marked(step.queue)
        elif step.what == "crash":
            await self.broker.maintenance.reap(0, 10, [SECOND], now=self.now + LEASE)

    def new(self, wanted: Sequence[Items]) -> list[NewJob | NewJobs]:
        made: list[NewJob | NewJobs] = []
        for each in wanted:
            jobs = [self.job(each.queue, each.lane) for _ in range(each.many)]
            if each.odd == "known id" and len(self.ids) > each.many:
                jobs[-1].id = self.ids[0]
            elif each.odd == "dedupe":
                jobs[0] = self.job(each.queue, each.lane, key="k")
            elif each.odd == "delay":
                jobs[0] = self.job(each.queue, each.lane, delay_ms=SECOND)
            elif each.odd == "expires":
                jobs = [self.job(each.queue, each.lane, expires_ms=1, max_attempts=3) for _ in range(each.many)]
            if each.is_group and each.odd not in ("dedupe", "delay"):
                bodies = [job.body for job in jobs]
                made.append(NewJobs(each.queue, each.lane, jobs[0].head, [job.id for job in jobs], bodies, 0))
            else:
                made += jobs
        return made


def may_claim(before: dict[str, Any], world: World, jobs: Sequence[NewJob | NewJobs], offer: Offer) -> bool:
    """Whether a claim by the offer would find only these jobs, all of them new and in one lane."""
    base, (queue, lane) = world.rig.keys.base, (jobs[0].queue, jobs[0].priority)
    job_ids = [job_id for item in jobs for job_id in (item.ids if isinstance(item, NewJobs) else [item.id])]

    def read(key: str, otherwise: Any) -> Any:
        return before.get(base + key, ("", otherwise, 0))[1]

    open_queues = [name for name in offer.queues if "paused" not in read(f"queue:{name}", {})]
    scheduled = [read(f"scheduled:{name}:{each}", {}) for name in open_queues for each in PRIORITIES]
    return (
        queue in open_queues
        and queue in read("queues", [])
        and all((item.queue, item.priority) == (queue, lane) and item.is_due for item in jobs)
        and not any(isinstance(item, NewJob) and item.dedupe for item in jobs)
        and len(set(job_ids)) == len(job_ids)
        and not any(f"{base}job:{job_id}" in before for job_id in job_ids)
        and f"{base}claim:{offer.claim_id}" not in before
        and not any(f"{base}ready:{name}:{each}" in before for name in open_queues for each in PRIORITIES)
        and not any(float(due) <= world.now for places in scheduled for due in places.values())
        and int(read(f"queue:{queue}", {}).get(f"tombstones_{lane}", 0)) <= 0
    )


class Outcome(NamedTuple):
    """What came of an enqueue."""

    answers: list[str]
    claimed: Claimed | None
    moves: list[Any]
    store: dict[str, Any]


class Comparison:
    """Runs the same steps and the same enqueue on an emptied store: with the offer, or with a claim right behind."""

    def __init__(self, url: str, scripts: Scripts, done: Sequence[Step], wanted: Sequence[Items]) -> None:
        self.client: Any = client_for(url)
        self.scripts = scripts
        self.done, self.wanted = done, wanted

    async def world(self) -> tuple[World, list[NewJob | NewJobs], dict[str, Any]]:
        await self.client.flushall()
        world = World(Rig(self.client, 1, self.scripts))
        for step in self.done:
            await world.do(step)
        jobs = world.new(self.wanted)
        world.moves.clear()
        return world, jobs, await contents(self.client)

    async def offered(self, offer: Offer) -> tuple[Outcome, bool, bool]:
        world, jobs, before = await self.world()
        answers = await world.broker.jobs.enqueue(0, jobs, offer=offer, now=world.now)
        outcome = Outcome(answers, offer.claimed, list(world.moves), await contents(self.client))
        return outcome, may_claim(before, world, jobs, offer), world.rig.keys.wake(jobs[0].queue) in before

    async def behind(self, offer: Offer) -> tuple[Outcome, Outcome]:
        world, jobs, _ = await self.world()
        answers = await world.broker.jobs.enqueue(0, jobs, now=world.now)
        alone = Outcome(answers, None, list(world.moves), await contents(self.client))
        claimed = await world.broker.leases.claim(
            0,
            claim_id=offer.claim_id,
            worker=offer.worker,
            lease_ms=offer.lease_ms,
            limit=offer.limit,
            queues=offer.queues,
            now=world.now,
        )
        return alone, Outcome(answers, claimed, list(world.moves), await contents(self.client))

    async def compare(self, offer: Offer) -> None:
        one_call, may, was_marked = await self.offered(offer)
        alone, two_calls = await self.behind(offer)
        event("taken" if may else "declined")
        assert (one_call.claimed is not None) == may
        if one_call.claimed is None:
            assert one_call == alone
            return
        marker = f"{{0}}:wake:{self.wanted[0].queue}"
        if not one_call.claimed.more and not was_marked:
            (key,) = [key for key in two_calls.store if key.endswith(marker)]
            del two_calls.store[key]
        assert one_call == two_calls


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One store, which is emptied before each example."""
    server = Server(valkey_binary())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    done=st.lists(steps, max_size=6),
    emptied=st.booleans(),
    miscounted=st.sampled_from([0, 0, 0, 0, 0, 2]),
    wanted=st.lists(items, min_size=1, max_size=2),
    offer=offered,
    max_bytes=st.sampled_from([4_000_000, 4_000_000, 40]),
)
def test_an_offer_is_a_claim_right_behind(
    server: Server,
    runner: asyncio.Runner,
    done: list[Step],
    emptied: bool,
    miscounted: int,
    wanted: list[Items],
    offer: Offer,
    max_bytes: int,
) -> None:
    offer.claimed = None
    known = [Step("add", queue, "default", 0) for queue in QUEUES] + [Step("claim", "", "default", 2)]
    known += [Step("finish", "", "default", 0), *(Step("wake", queue, "default", 0) for queue in QUEUES)]
    ending = [Step("claim", "", "default", 100), known[-2], known[-1]] if emptied else []
    if miscounted:
        ending.append(Step("miscount", wanted[0].queue, wanted[0].lane, miscounted))
    comparison = Comparison(server.url, SCRIPTS, [*known, *done, *ending], wanted)

    async def run() -> None:
        try:
            await comparison.compare(offer)
        finally:
            await comparison.client.aclose()

    with patch.object(leases, "CLAIM_BYTES", max_bytes), patch.object(offers, "CLAIM_BYTES", max_bytes):
        runner.run(run())
