"""Plays a round: starts the system, loads it, lets one fault happen, heals, waits, and holds all against the ledger."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from queuey.protocol.records import SUSPECT
from tests.faults.evidence import invariants
from tests.faults.evidence.history import History
from tests.faults.evidence.invariants import Evidence, Rest, Violation
from tests.faults.evidence.ledger import NO_PROCESS, read
from tests.faults.faults import FAULTS
from tests.faults.faults.base import Fault
from tests.faults.load.calls import Caller
from tests.faults.load.clients import Clients
from tests.faults.load.pullers import Pullers
from tests.faults.load.schedules import Schedules
from tests.faults.store.view import StoreView, read_store
from tests.faults.system.rig import QUEUES, Rig, Setup, Timing

PATIENCE_AFTER_BOUND: Final = 20.0
"""So long a round waits for jobs that are late, to tell what became of them."""
CALM: Final = 2
"""So many looks in a row must find everything terminal."""
LOOK_EVERY: Final = 0.15
ISOLATED: Final = 2
"""Suspects that a replica runs at a time, each in a child process of its own."""
TURN: Final = 2.0
"""Seconds that a suspect takes, with the start of its child process."""

Prepare = Callable[[Setup], None]


@dataclass(frozen=True)
class Plan:
    """One round. `variant` changes the system before it starts, after the fault has: for the negative controls."""

    fault: str
    seed: str
    variant: Prepare | None = None
    shards: int = 1
    """Of the store, unless the fault wants another number."""


@dataclass
class Result:
    """What came of a round. `seconds`: of the whole round; `recovery`: from the healing until all was terminal."""

    plan: Plan
    detail: str = ""
    in_flight: int = 0
    acknowledged: int = 0
    forgotten: int = 0
    """Of the acknowledged, those that are gone, and that the store does not promise to keep: not `lost`."""
    unknown: int = 0
    landed: int = 0
    """Of the unknown ones, those that turned out to be in the store."""
    failed: int = 0
    executions: int = 0
    items: int = 0
    """Items of batches in the store."""
    ticks: int = 0
    """Jobs in the store that schedules made."""
    pulled: int = 0
    """Executions by pull workers."""
    duplicates: int = 0
    """Executions that came to a good end beyond the one that the store took."""
    lost: int = 0
    double_terminal: int = 0
    recovery: float = 0.0
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    kept: Path | None = None
    """The folder with the ledger and the logs, when something was wrong."""


async def play(plan: Plan) -> Result:
    """Play one round in a folder of its own, which is removed unless something was wrong."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="queuey-f-")).resolve()
    result = Result(plan)
    try:
        async with asyncio.timeout(FAULTS[plan.fault].round_patience):
            await _play(plan, folder, result)
    except asyncio.CancelledError:
        shutil.rmtree(folder, ignore_errors=True)  # nobody will be told of it
        raise
    except Exception as error:
        result.violations.append(Violation(0, f"the round broke off: {type(error).__name__}: {error}"))
    finally:
        result.seconds = time.monotonic() - began
        if result.violations:
            result.kept = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return result


async def _play(plan: Plan, folder: Path, result: Result) -> None:
    rng = Random(plan.seed)
    fault = FAULTS[plan.fault](rng)
    setup = Setup(folder, shards=plan.shards)
    try:
        fault.prepare(setup)
        if plan.variant is not None:
            plan.variant(setup)
        await _play_fault(fault, setup, rng, result)
    finally:
        await fault.clean_up()


async def _play_fault(fault: Fault, setup: Setup, rng: Random, result: Result) -> None:
    rig = Rig(setup)
    try:
        async with rig:
            await _happen(rig, fault, rng, result)
            view, rest = await _come_to_rest(rig)
        events = read(rig.ledger.path)
        history = History.of(fault.revise(events))
        evidence = Evidence(history, view, rest, setup.timing.lease, fault.clock_moves)
        result.violations += [found for found in invariants.check(evidence) if found.invariant not in fault.waived]
        result.violations += [Violation(0, f"{fault.name}: {message}") for message in fault.expect(evidence)]
        _count(evidence, History.of(events).must_exist(), result)
    finally:
        result.violations += [Violation(0, complaint) for complaint in rig.complaints]


async def _happen(rig: Rig, fault: Fault, rng: Random, result: Result) -> None:
    """From the first client to the end of the healing. The clients stop then."""
    turn = Random(rng.random())

    def url() -> str:
        return turn.choice(rig.replicas).url

    caller = Caller(rig.http, rig.ledger, url)
    schedules = Schedules(rig.http, rig.ledger, url, lambda: read_store(rig.store))
    clients = Clients(caller, rng, replays=fault.replays)
    lease = rig.timing.lease
    urls = [replica.url for replica in rig.replicas]
    pullers = Pullers(rig.http, rig.ledger, urls, rng, lease, die=fault.pullers_die)
    await schedules.start()
    rig.note("loading")
    clients.start()
    pullers.start(list(QUEUES))
    try:
        await asyncio.sleep(rng.uniform(0.4, 1.2))
        result.in_flight = await rig.until_in_flight()
        rig.note("injecting", fault.name)
        try:
            result.detail = await fault.inject(rig, caller)
            rig.note("injected", result.detail)
            await asyncio.sleep(fault.hold)
        finally:
            rig.note("healing")
            await fault.heal(rig)
        await rig.ready()
        await asyncio.gather(clients.stop(), schedules.stop())
        await pullers.stop()
        rig.note("healed")
    finally:
        await clients.abort()
        await pullers.abort()


async def _come_to_rest(rig: Rig) -> tuple[StoreView, Rest]:
    """Wait until every job is terminal, and stays so."""
    began = time.monotonic()
    rest = Rest(0.0, 0.0)
    calm = 0
    while True:
        view = await read_store(rig.store)
        seconds = time.monotonic() - began
        if view.unfinished():
            calm = 0
            rest.seconds = seconds
        else:
            calm += 1
        suspects = sum(job.number("x") >= SUSPECT for job in view.jobs.values())
        rest.bound = bound(rig.timing, len(rig.replicas), suspects)
        if seconds > rest.bound and not rest.late:
            rest.late = view.unfinished()
        if calm >= CALM or seconds > rest.bound + PATIENCE_AFTER_BOUND:
            rig.note("settled")
            return view, rest
        await asyncio.sleep(LOOK_EVERY)


def bound(timing: Timing, replicas: int, suspects: int) -> float:
    """Seconds of invariant 9. Jobs with two crashes or more take turns, two a replica."""
    turns = math.ceil(suspects / (ISOLATED * replicas)) * TURN
    return 2 * timing.lease + timing.reap_interval + max(timing.backoff_cap, timing.reap_delay_max) + turns


def _count(evidence: Evidence, acknowledged: set[str], result: Result) -> None:
    history, view = evidence.history, evidence.view
    must_exist = history.must_exist()
    unsure = {i for i, job in history.jobs.items() if job.unknown and i not in acknowledged}
    result.acknowledged = len(acknowledged)
    result.forgotten = len(acknowledged - must_exist - view.jobs.keys())
    result.unknown = len(unsure)
    result.landed = len(unsure & view.jobs.keys())
    result.failed = history.count("enqueue", "fail")
    result.executions = sum(len(job.starts) for job in history.jobs.values())
    result.ticks = sum(job.schedule is not None for _, job, _ in evidence.pairs())
    result.items = sum(len(job.items or ()) for job in view.jobs.values())
    result.pulled = sum(start.pid == NO_PROCESS for job in history.jobs.values() for start in job.starts)
    result.duplicates = sum(max(0, len(job.ended("ok")) - 1) for job in history.jobs.values())
    result.lost = len(must_exist - view.jobs.keys() | must_exist & set(view.unfinished()))
    result.double_terminal = _terminal_beyond_runs(view)
    result.recovery = evidence.rest.seconds


def _terminal_beyond_runs(view: StoreView) -> int:
    count = view.counters.get
    ends = count("succeeded", 0) + count("dead", 0) + count("cancelled", 0)
    return max(0, ends - count("enqueued", 0) - count("replayed", 0))
