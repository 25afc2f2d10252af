"""The load of a round: a few clients that enqueue, cancel, replay and look, as a seed says, and not for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from queuey.protocol import ids
from tests.faults.evidence.ledger import Answered
from tests.faults.load.calls import Caller
from tests.faults.load.handlers import ITEMS, TYPES, Deed
from tests.faults.system.rig import UNPULLED

CLIENTS: Final = 5
MAX_JOBS: Final = 400
"""Per round, all clients together."""
PAUSE: Final = (0.0, 0.06)
KEYS: Final = [f"key-{number}" for number in range(6)]
BATCH_KEYS: Final = ["batch-1", "batch-2"]
ITEMS_SHARE: Final = 0.15
"""Of what is enqueued."""
UNIQUE_KEYS: Final = [f"unique-{number}" for number in range(3)]
ALWAYS: Final = 99
RESENDS: Final = 3
LONGEST_DELAY: Final = 1.2
LONGEST_WAIT: Final = 1.0
"""For the end of a job; below what a call may take."""


def make_request(rng: Random) -> dict[str, Any]:
    """The body of an enqueue, with an id of the client's."""
    key = rng.choice(KEYS) if rng.random() < 0.2 else None
    unique_key = rng.choice(UNIQUE_KEYS) if key is None and rng.random() < 0.15 else None
    request: dict[str, Any] = {"id": ids.new_id(key or unique_key), "type": rng.choices(TYPES, (5, 3, 1))[0]}
    take = rng.choice((0.0, rng.uniform(0.02, 0.4)))
    fate = rng.random()
    fails = ALWAYS if fate < 0.06 else rng.randint(1, 2) if fate < 0.2 else 0
    request["payload"] = msgspec.to_builtins(Deed(take=round(take, 3), fails=fails))
    request["max_attempts"] = 2 if fails == ALWAYS else 4
    request["priority"] = rng.choices(("high", "default", "low"), (2, 7, 1))[0]
    request["queue"] = rng.choices(("default", "other"), (4, 1))[0]
    if key is not None:
        request["dedupe_key"] = key
        request["dedupe_ttl"] = rng.choice((0.5, 1.5, 3600))
    if unique_key is not None:
        request["unique"] = {"key": unique_key, "on_conflict": rng.choice(("return", "reject"))}
    when = rng.random()
    if when < 0.1:
        request["delay"] = round(rng.uniform(0.2, LONGEST_DELAY), 3)
    elif when < 0.14:
        due = datetime.now(UTC) + timedelta(seconds=rng.uniform(0.2, LONGEST_DELAY))
        request["run_at"] = due.isoformat(timespec="milliseconds")
    return request


def make_item(rng: Random) -> dict[str, Any]:
    """The body of an enqueue of an item, which only the replicas' own workers get."""
    item_id = ids.new_id()
    batch = {"key": rng.choice(BATCH_KEYS), "max_size": 4, "max_wait": 0.4}
    return {"id": item_id, "type": ITEMS, "payload": {"item": item_id}, "queue": UNPULLED, "batch": batch}


class Clients:
    """`start`, then `stop`, which returns once every call has been answered or given up."""

    def __init__(self, caller: Caller, rng: Random, *, replays: bool) -> None:
        self._caller = caller
        self._rngs = [Random(rng.random()) for _ in range(CLIENTS)]
        self._replays = replays
        self._jobs_left = MAX_JOBS
        self._submitted: list[str] = []
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(rng)) for rng in self._rngs]

    async def stop(self) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def abort(self) -> None:
        """Leave everything as it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, rng: Random) -> None:
        while not self._stopping.is_set():
            await self._act(rng)
            try:
                await asyncio.wait_for(self._stopping.wait(), rng.uniform(*PAUSE))
            except TimeoutError:
                continue

    async def _act(self, rng: Random) -> None:
        choice = rng.random()
        if choice < 0.7 or not self._submitted:
            await self._enqueue(rng, 1)
        elif choice < 0.76:
            await self._enqueue(rng, rng.randint(2, 8))
        elif choice < 0.84:
            await self._caller.cancel(rng.choice(self._submitted[-20:]))
        elif choice < 0.87:
            if self._replays:
                await self._caller.replay(rng.randint(1, 5))
        elif choice < 0.9:
            if self._replays:
                await self._caller.retry(rng.choice(self._submitted[-20:]))
        elif choice < 0.94:
            await self._caller.look(rng.choice(self._submitted[-20:]), rng.uniform(0.1, LONGEST_WAIT))
        else:
            await self._caller.look(rng.choice(self._submitted[-100:]))

    async def _enqueue(self, rng: Random, count: int) -> None:
        if self._jobs_left < count:
            return
        self._jobs_left -= count
        requests = [make_item(rng) if rng.random() < ITEMS_SHARE else make_request(rng) for _ in range(count)]
        self._submitted += [request["id"] for request in requests if "batch" not in request]
        for answer, request in zip(await self._caller.enqueue(requests), requests, strict=True):
            await self._maybe_again(rng, answer, request)

    async def _maybe_again(self, rng: Random, answer: Answered, request: dict[str, Any]) -> None:
        """Some clients send again what they do not know to have arrived, with the same id; some never learn."""
        for _ in range(RESENDS):
            if answer.outcome != "unknown" or self._stopping.is_set() or rng.random() < 0.4:
                return
            await asyncio.sleep(rng.uniform(0.05, 0.3))
            (answer,) = await self._caller.enqueue([request])
