"""The state machine with rules for batches of items: requests add items to jobs, which the other rules claim, cancel,
purge, fail, retry and delete."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from queuey.protocol.records import decode_key
from queuey.protocol.stored.items import MAX_BATCH_BYTES, NewItem, batch_name, open_body
from tests.properties import strategies as draw
from tests.properties.batches import model as promised
from tests.properties.groups import GroupMachine
from tests.properties.strategies import HOUR, LEASE, MINUTE, Spec


@dataclass(frozen=True)
class Wanted:
    """An item to add. `again`: the item before so many, None = a new one. `joins`: an open batch that it is for."""

    key: str
    joins: int | None
    again: int | None
    most: int
    wait: int
    length: int
    spec: Spec


wanted_items = st.builds(
    Wanted,
    key=st.sampled_from(["k", "k", "l"]),
    joins=st.sampled_from([None, 0, 0, 1]),
    again=draw.again,
    most=st.sampled_from([1, 2, 3, 3, 5]),
    wait=st.sampled_from([LEASE, LEASE, 2 * LEASE]),
    length=st.sampled_from([0, 0, 30, 80]),
    spec=draw.specs,
)
item_lists = st.lists(wanted_items, min_size=1, max_size=4)
limits = st.sampled_from([MAX_BATCH_BYTES, MAX_BATCH_BYTES, 200])


class ItemMachine(GroupMachine):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.items: list[tuple[NewItem, promised.Item]] = []
        self.heads: dict[str, str] = {}
        self.holders: dict[int, str] = {}
        """By the number of an item that was acknowledged: its job."""
        self.frozen: dict[str, str] = {}
        """The bodies of jobs that were claimed once."""
        self.most: dict[str, int] = {}

    def new_item(self, shard: int, wanted: Wanted) -> tuple[NewItem, promised.Item]:
        """An item for the Broker, and for the model. Its payload has its number."""
        known = [item for item in self.items if item[0].job.id[:2] == f"0{shard}"]
        if wanted.again is not None and known:
            return known[-1 - wanted.again % len(known)]
        wanted = self.for_open_batch(shard, wanted)
        kind: str = msgspec.json.decode(wanted.spec.body)["type"]
        body = open_body(f'{{"type":"{kind}"}}', wanted.key)
        job, request = self.new_job(shard, replace(wanted.spec, reuse=None, key=None, run_in=None, delay=0, body=body))
        self.ids[shard].pop()  # the id is another one, which no other rule knows before the job is there
        number = len(self.items)
        job_id = f"0{shard}7{number:025d}"
        job, request = msgspec.structs.replace(job, id=job_id), replace(request, id=job_id)
        item_id, payload = f"item{number}", f'[{number},"{"x" * wanted.length}"]'
        name = batch_name(job.queue, job.priority, kind, wanted.key)
        self.items.append(
            (
                NewItem(name, item_id, payload, HOUR, wanted.most, wanted.wait, job),
                promised.Item(name, item_id, payload, wanted.most, wanted.wait, job.head, request),
            )
        )
        return self.items[-1]

    def for_open_batch(self, shard: int, wanted: Wanted) -> Wanted:
        """The item with the key, type, queue and priority of an open batch, if it is to join one."""
        names = sorted(self.models[shard].batches)
        if wanted.joins is None or not names:
            return wanted
        queue, lane, kind, key = names[wanted.joins % len(names)].split(":")
        spec = replace(wanted.spec, queue=queue, lane=lane, body=f'{{"type":"{kind}"}}')  # type: ignore[arg-type]
        return replace(wanted, key=decode_key(key), spec=spec)

    @rule(
        shard=draw.shards, wanted=item_lists, full=draw.rarely, limit=limits, times=st.integers(1, 2), wait=draw.waits
    )  # fmt: skip
    def add_items(self, shard: int, wanted: list[Wanted], full: bool, limit: int, times: int, wait: int) -> None:
        self.pass_time(wait)
        shard, model = self.on(shard)
        pairs = [self.new_item(shard, each) for each in wanted]

        async def call() -> list[promised.Answer]:
            new = [item for item, _ in pairs]
            added = await self.broker.batches.add_items(shard, new, full=full, max_bytes=limit, now=self.now)
            return [(each.answer, each.job_id, each.items) for each in added]

        def expected() -> list[promised.Answer]:
            answers, self.heads = promised.add_items(model, self.now, full, limit, [p for _, p in pairs], self.heads)
            return answers

        for _ in range(times):
            for (item, _), (answer, job_id, _) in zip(pairs, self.hold(call, expected), strict=True):
                if answer == "opened":
                    self.history.acknowledged(job_id, at_the_tail=False)
                    self.most[job_id] = item.max_items
                    self.ids[shard].append(job_id)
                if answer in ("opened", "added"):
                    number = msgspec.json.decode(item.payload)[0]
                    assert number not in self.holders, f"the item {number} was added twice"
                    self.holders[number] = job_id
            self.the_store_shows_what_the_model_holds()

    @precondition(lambda self: any(model.batches for model in self.models))
    @rule(
        shard=draw.shards, wanted=item_lists, end=st.sampled_from(["run", "claim", "cancel", "purge", "watch", "due"])
    )
    def a_batch_is_met(self, shard: int, wanted: list[Wanted], end: str) -> None:
        """Something happens to an open batch, and further items come. This sees to it that most examples have that."""
        shard, model = self.on(shard, lambda model: model.batches)
        open_jobs = [job_id for job_id, *_ in model.batches.values() if job_id in model.scheduled]
        if end == "due":
            self.pass_time(LEASE)
        elif end == "watch":
            self.run(self.broker.jobs.watch_end(shard, open_jobs))
        elif end == "cancel":
            self.hold(
                lambda: self.broker.jobs.cancel(shard, open_jobs, now=self.now),
                lambda: model.cancel(self.now, open_jobs),
            )
        elif end == "purge":
            for queue in draw.QUEUES:
                self.purge_scheduled(shard, queue)
        else:
            request_id = self.earlier_or_new(self.replay_ids, None, "y")
            self.hold(
                lambda: self.broker.jobs.run_now(shard, request_id, open_jobs, now=self.now),
                lambda: model.hasten(self.now, request_id, open_jobs),
            )
            if end == "claim":
                self.the_store_shows_what_the_model_holds()  # a claim is judged by what was seen last
                self.claim_in_turn(shard=shard, limits=[3, 3], starve=MINUTE, wait=0)
        self.the_store_shows_what_the_model_holds()
        same = [replace(each, joins=place) for place, each in enumerate(wanted)]
        self.add_items(shard=shard, wanted=same, full=False, limit=MAX_BATCH_BYTES, times=1, wait=0)

    def purge_scheduled(self, shard: int, queue: str) -> None:
        async def call() -> tuple[int, bool]:
            purged = await self.broker.queues.purge(shard, queue, queued=False, scheduled=True, now=self.now)
            return purged.cancelled, purged.more

        self.hold(call, lambda: self.models[shard].purge(self.now, queue, False, True, 1000))

    @invariant()
    def each_item_is_in_its_job_and_in_no_other(self) -> None:
        found: Counter[int] = Counter()
        batches = set[str]()
        for contents in self.seen.contents:
            for job_id, job in contents.jobs.items():
                body = msgspec.json.decode(job.body)
                if "batch_key" not in body:
                    continue
                batches.add(job_id)
                numbers = [number for number, _ in body["payload"]]
                assert len(numbers) <= self.most[job_id], f"{job_id} has too many items"
                assert all(self.holders[number] == job_id for number in numbers), f"{job_id} has items of others"
                found.update(numbers)
                if job.claims or job_id in self.frozen:
                    assert self.frozen.setdefault(job_id, job.body) == job.body, f"{job_id} got items after a claim"
        kept = {number for number, job_id in self.holders.items() if job_id in batches}
        assert found == Counter(kept), "an acknowledged item is in its job, once"
