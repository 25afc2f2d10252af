"""What a job costs the store in instructions, which depend neither on the machine's speed nor on its other work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from bench.against import instructions
from bench.against.recording import Recorder, Recording, Step, recording_proxy
from bench.against.store import Client, store
from bench.figures import filling
from bench.report import MissingTool
from queuey.protocol.records import NewJob
from queuey.store.asides import Room, Wanted
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import connect
from queuey.store.embedded.process import find_binary
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards

BATCH: Final = 500
"""Jobs in a call."""
CALLS: Final = 10
"""Of each kind that are counted."""
WARM: Final = 2
"""Calls of each kind before, while the store's tables are small and its scripts are new."""
LEASE_MS: Final = 3_600_000
"""Longer than a store under callgrind takes for all calls."""
IN_MEMORY: Final = ("--appendonly", "no")
"""The append-only file costs the same for every version of a script, and its writes fall beside the calls."""
STEPS: Final = tuple(Step(name, CALLS, BATCH) for name in ("enqueue", "claim", "complete", "fill", "claim_typed"))
TYPES: Final = tuple(f"bench.type.{number}" for number in range(15))
WANTED: Final = Wanted(room=[Room(BATCH, TYPES)])
"""A claim by type that finds room for all jobs that it meets."""


@dataclass(frozen=True)
class Instructions:
    """Instructions of the store's whole process for a job."""

    enqueue: float
    claim: float
    complete: float
    claim_typed: float
    """With room for each of 15 types."""

    @property
    def all(self) -> float:
        """Those of a job's whole life."""
        return self.enqueue + self.claim + self.complete


async def measure(folder: Path) -> Instructions:
    """Count them by callgrind, at `BATCH` jobs a call. Raises MissingTool without valgrind."""
    if instructions.valgrind() is None:
        raise MissingTool("valgrind is missing. Install it to count instructions (apt install valgrind).")
    recording = await _recorded(folder)
    counted = _replayed(recording, folder)
    found = {step.name: _per_job(recording, counted, number) for number, step in enumerate(STEPS)}
    return Instructions(**{name: found[name] for name in Instructions.__dataclass_fields__})


async def _recorded(folder: Path) -> Recording:
    """The commands of the calls. Ids are counted, so that they meet in the store's tables in the same way each time."""
    with (
        store(find_binary(), folder / "recorded", options=IN_MEMORY) as socket,
        recording_proxy(folder / "proxy", socket) as recorder,
    ):
        client = connect(f"unix://{folder / 'proxy'}", timeout=30)
        try:
            scripts = Scripts()
            await scripts.load(client)  # or the first call would be refused, and be refused again when it is replayed
            broker = Broker(Shards(client), scripts)
            await _Lives(broker).warm_up()
            await _Lives(broker, recorder).run()
        finally:
            await client.aclose()
        return recorder.recording()


class _Lives:
    """Whole lives of jobs, first all of them enqueued, then claimed, then completed."""

    def __init__(self, broker: Broker, recorder: Recorder | None = None) -> None:
        self._broker = broker
        self._recorder = recorder
        self._prefix = "00" if recorder else "01"
        self._texts = [filling.body()]
        self._made = 0
        self._held: list[list[tuple[str, str, str]]] = []

    async def warm_up(self) -> None:
        """The same calls, uncounted."""
        for do in self._steps():
            for call in range(WARM):
                await do(call)

    def _steps(self) -> list[Callable[[int], Awaitable[None]]]:
        return [self._enqueue, self._claim, self._complete, self._fill, self._claim_typed]

    async def run(self) -> None:
        assert self._recorder is not None
        for step, do in zip(STEPS, self._steps(), strict=True):
            self._recorder.begin(step)
            for call in range(CALLS):
                await do(call)
                self._recorder.next_call()

    async def _enqueue(self, call: int) -> None:
        jobs = [self._job() for _ in range(BATCH)]
        if await self._broker.jobs.enqueue(0, jobs) != ["new"] * BATCH:
            raise RuntimeError("the store did not take every job")

    def _job(self) -> NewJob:
        self._made += 1
        return NewJob(
            f"{self._prefix}{self._made:026}", "default", "default", "", self._texts[self._made % len(self._texts)]
        )

    async def _fill(self, call: int) -> None:
        self._texts = [filling.body(name) for name in TYPES]
        await self._enqueue(call)

    async def _claim_typed(self, call: int) -> None:
        await self._claim(call, "typed", WANTED)

    async def _claim(self, call: int, name: str = "claim", wanted: Wanted | None = None) -> None:
        claimed = await self._broker.leases.claim(
            0,
            claim_id=f"{name}{self._prefix}{call:05}",
            worker="bench",
            lease_ms=LEASE_MS,
            limit=BATCH,
            queues=["default"],
            wanted=wanted,
        )
        if len(claimed.jobs) != BATCH:
            raise RuntimeError(f"a claim brought {len(claimed.jobs)} jobs instead of {BATCH}")
        self._held.append([(job.id, job.token, "") for job in claimed.jobs])

    async def _complete(self, call: int) -> None:
        if await self._broker.leases.complete(0, self._held[call]) != ["ok"] * BATCH:
            raise RuntimeError("the store did not complete every job")


def _replayed(recording: Recording, folder: Path) -> list[int]:
    """What each command took, with the reading of its arguments and the writing of the reply to the one before."""
    under = instructions.command_line(folder, whole=True)
    with store(find_binary(), folder / "counted", under, IN_MEMORY) as path, Client(path) as client:
        for sent in recording.sent:
            client.ask(sent.command)
    return [count.all for count in instructions.complete_counts(folder, recording)]


def _per_job(recording: Recording, counted: Sequence[int], step: int) -> float:
    """The mean call of a step without its first, which has part of the last call of another kind in it.

    Some calls pay for a collection of garbage. Which ones is the same in each run, so the mean repeats to 1 %."""
    calls = [count for sent, count in zip(recording.sent, counted, strict=True) if sent.step == step]
    return mean(calls[1:]) / BATCH
