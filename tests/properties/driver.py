"""What the rules of the state machine rest on: the store, the models, and ways to pick jobs and leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from string import ascii_lowercase
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from queuey.protocol import ids
from queuey.protocol.records import (
    DEFAULT_DEDUPE_TTL_MS,
    UNIQUE,
    NewJob,
    OnConflict,
    encode_key,
    job_head,
    parse_fields,
)
from queuey.store.asides import SUSPECTS
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.properties.agreement import Held
from tests.properties.invariants import History
from tests.properties.model.asides import MAX_NAMES
from tests.properties.model.contents import Request
from tests.properties.model.model import Model
from tests.properties.strategies import Spec
from tests.properties.visible import Visible, read_store
from tests.support.store import client_for

T = TypeVar("T")

START = 1_800_000_000_000
Trace = list[dict[str, Any]]
"""By step, the value of each key. A state is its fields and lines: the order of the fields has no meaning."""
UNKNOWN = "0Z0ZZZZZZZZZZZZZZZZZZZZZZZZZ"


def without_order(raw: dict[str, Any]) -> dict[str, Any]:
    """All values, with states and schedules as their fields and lines, and without what the store's own clock says."""
    shown = dict(raw)
    for name, value in raw.items():
        kind = name.split(":")[2]
        if kind in ("state", "schedule"):
            shown[name] = (parse_fields(value), value.split("\n")[1:])
        elif kind == "queue":
            shown[name] = {field: text for field, text in value.items() if field != "paused_at"}
    return shown


class Driver(RuleBasedStateMachine):
    def __init__(
        self, url: str, shards: int, scripts: Scripts, trace: Trace | None = None, names: tuple[int, int] = MAX_NAMES
    ) -> None:
        """`trace` gets what the store holds after each step. `names`: see Asides.most_names."""
        super().__init__()
        self.trace = trace
        self.runner = asyncio.Runner()
        self.client: Any = client_for(url)
        self.run(self.client.flushall())
        self.broker = Broker(Shards(self.client, shards), scripts)
        self.models = [Model() for _ in range(shards)]
        for model in self.models:
            model.most_names = names
        self.history = History()
        self.now = self.history.latest = START
        self.ids: list[list[str]] = [[] for _ in range(shards)]
        self.claim_ids: list[str] = []
        self.replay_ids: list[str] = []
        self.given: list[Held] = [(UNKNOWN, "1.c1")]
        self.seen = self.read()
        self.sound = True

    def run(self, call: Awaitable[T]) -> T:
        # Not Runner.run, which sets and unsets a signal handler for every call.
        return self.runner.get_loop().run_until_complete(call)

    def read(self) -> Visible:
        return self.run(read_store(self.client, self.broker.shards.keys))

    def on(self, number: int, where: Callable[[Model], object] = bool) -> tuple[int, Model]:
        """A shard, if possible one of those `where` it is worth while, and its model."""
        self.sound = False
        every = list(enumerate(self.models))
        some = [(shard, model) for shard, model in every if where(model)] or every
        return some[number % len(some)]

    def hold(self, ask: Callable[[], Awaitable[T]], expect: Callable[[], T], twice: bool = False) -> T:
        """Ask the Broker, and hold its answer against the model's; if `twice`, nothing changes the second time."""
        answer, wanted = self.run(ask()), expect()
        assert answer == wanted, f"the Broker answers {answer}, the model {wanted}"
        if twice:
            before = _uncounted(self.read())
            again, wanted = self.run(ask()), expect()
            assert again == answer == wanted, f"sent again: the Broker answers {again}, the model {wanted}"
            assert _uncounted(self.read()) == before, "sent again, it changes something"
        return answer

    def order_of_queues(self, shard: int) -> list[str]:
        """The order in which the shard's scripts go through its queues: that of SMEMBERS."""
        names: list[str] = self.seen.raw.get(self.broker.shards.keys[shard].queues, [])
        return names

    def keys_of(self, shard: int) -> list[str]:
        """Two dedupe keys that belong to the shard."""
        return [key for key in ascii_lowercase if ids.bucket_of_key(key) % len(self.models) == shard][:2]

    def new_job(self, shard: int, spec: Spec) -> tuple[NewJob, Request]:
        """A job for the Broker, and for the model."""
        key = "" if spec.key is None else self.keys_of(shard)[spec.key]
        known = self.ids[shard]
        suspects = {i for model in self.models for at, ids in model.asides.items() if at[2] == SUSPECTS for i in ids}
        if spec.reuse is None or not known or known[-1 - spec.reuse % len(known)] in suspects:
            job_id = _make_id(ids.new_id(key)[:2] if key else f"0{shard}", sum(map(len, self.ids)))
            known.append(job_id)
        else:
            job_id = known[-1 - spec.reuse % len(known)]
            if key and ids.bucket_of(job_id) != ids.bucket_of_key(key):
                key = ""  # the API refuses an id that does not fit the key
        dedupe, dedupe_ttl = (encode_key(key), spec.dedupe_ttl) if key else ("", DEFAULT_DEDUPE_TTL_MS)
        is_unique = bool(spec.do and key)
        if is_unique:
            dedupe = UNIQUE + dedupe
        until = spec.until if is_unique else ""
        on_conflict = OnConflict(spec.do or "return", spec.wait, 3 * spec.wait) if is_unique else None
        run_at = 0 if spec.run_in is None else self.now + spec.run_in
        head = job_head(
            queue=spec.queue,
            priority=spec.lane,
            max_attempts=spec.max_attempts,
            retention_ms=spec.retention,
            dedupe=dedupe,
            dedupe_ttl_ms=dedupe_ttl,
            expires_ms=spec.expires,
            until=until,
        )
        request = Request(
            id=job_id,
            queue=spec.queue,
            lane=spec.lane,
            max_attempts=spec.max_attempts,
            retention=spec.retention,
            dedupe=dedupe,
            dedupe_ttl=dedupe_ttl,
            delay=spec.delay,
            run_at=run_at,
            body=spec.body,
            expires=spec.expires,
            until=until,
            unique=on_conflict,
        )
        times = spec.delay, run_at, dedupe, dedupe_ttl
        new = NewJob(job_id, spec.queue, spec.lane, head, spec.body, *times, on_conflict)
        return new, request

    def pick_held(self, model: Model, numbers: list[int]) -> list[Held]:
        """Mostly leases that stand, else one of a running job that ended, a forged one, or any that was ever given."""
        standing = [(job_id, job.token) for job_id, job in model.jobs.items() if job.token]
        stale = [(job_id, token) for job_id, token in self.given if job_id in model.leases]
        stale = [held for held in stale if held not in standing]
        forged = [(job_id, "9." + token.partition(".")[2]) for job_id, token in standing]
        pools = [standing, standing, standing, stale, forged + self.given]
        chosen = [pools[number % 5] or self.given for number in numbers]
        return [pool[number // 5 % len(pool)] for pool, number in zip(chosen, numbers, strict=True)]

    def pick_ids(self, shard: int, numbers: list[int], mostly: list[str] | None = None) -> list[str]:
        anything = [*self.ids[shard], UNKNOWN]
        pools = [mostly if mostly and number % 5 else anything for number in numbers]
        return [pool[number // 5 % len(pool)] for pool, number in zip(pools, numbers, strict=True)]

    def earlier_or_new(self, names: list[str], again: int | None, letter: str) -> str:
        """The name before so many, or else a new one."""
        if again is not None and names:
            return names[-1 - again % len(names)]
        names.append(f"{letter}{len(names) + 1}")
        return names[-1]


def one_lease_each(held: list[Held]) -> bool:
    """Whether no job is there with two tokens: then what the one was answered may change with the other."""
    return len(set(held)) == len({job_id for job_id, _ in held})


def _uncounted(seen: Visible) -> dict[str, Any]:
    """All but the counters: a duplicate that is refused twice is counted twice."""
    return {name: value for name, value in without_order(seen.raw).items() if name.split(":")[2] != "stats"}


def _make_id(pair: str, serial: int) -> str:
    """Like an id of ids.new_id, and the same in every run. A later one may sort before an earlier one, also by its
    time."""
    return f"{pair}{serial * 5 % 7:010d}{serial * 7919 % 100_003:016d}"
