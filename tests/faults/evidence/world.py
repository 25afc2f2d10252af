"""A ledger and a store made by hand, in which all is well: for tests that spoil one thing and look who notices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from queuey.protocol import ids
from queuey.protocol.records import encode_key
from queuey.protocol.stored.schedules import Run, to_schedule
from tests.faults.evidence.history import History
from tests.faults.evidence.invariants import NS, Evidence, Rest
from tests.faults.evidence.ledger import Answered, Ended, Event, Scheduled, Seen, Sent, Started, Unscheduled
from tests.faults.load.handlers import Deed
from tests.faults.store.view import StoredJob, StoreView

T0 = 1_800_000_000_000
"""When the world begins, in ms by the store's clock; the ledger's clock begins at 0."""
TTL = 5_000
LETTERS = {"succeeded": "s", "dead_letter": "d", "cancelled": "c", "running": "r", "waiting": "w"}
PLACES = {"succeeded": "done", "cancelled": "done", "dead_letter": "dead"}


class World:
    """Each job takes a second: sent at its full second, acknowledged 10 ms later, claimed 100 ms after that."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.view = StoreView()
        self.rest = Rest(0.5, 5.0)
        self._calls = 0

    def add(self, deed: Deed | None = None, *, status: str = "succeeded", key: str = "", **request: Any) -> str:
        """A job that was run once, or cancelled before it ran. Returns its id."""
        deed = deed or Deed()
        job_id = ids.new_id(key or None)
        self._calls += 1
        at = self._calls * 1000
        request |= {"id": job_id, "type": "loop", "payload": msgspec.to_builtins(deed)}
        if key:
            request |= {"dedupe_key": key, "dedupe_ttl": TTL / 1000}
        self.events += [
            Sent(at * NS, self._calls, "enqueue", job_id, request),
            Answered((at + 10) * NS, self._calls, "enqueue", "ok", "200", job_id, job_id),
        ]
        self._store(job_id, T0 + at, status, key)
        if status == "cancelled":
            self.cancel(job_id, "cancelled", at + 20)
        else:
            self.run(job_id, "1.a", at + 110, "ok" if status == "succeeded" else "failed")
        return job_id

    def schedule(self, name: str, ticks: int, *, overlap: str = "allow", catch_up: str = "all") -> list[int]:
        """A schedule whose ticks, one a second, have a job that succeeded, and that was paused. Returns the ticks."""
        job = {"type": "loop", "payload": msgspec.to_builtins(Deed())}
        request = {"every": 1, "overlap": overlap, "catch_up": catch_up, "job": job}
        at_ms = [T0 + number * 1000 for number in range(1, ticks + 1)]
        self.events.append(Scheduled(0, name, "u", T0, T0, request))
        for tick in at_ms:
            self.tick(name, tick)
        record = f"u=u v=1 a={T0} c={T0} n={at_ms[-1] + 1000} t={at_ms[-1]}\n{{}}\n{{}}"
        self.view.schedules[name] = to_schedule(name, record)
        self.view.names.setdefault("schedule_names", set()).add(name)
        self.events.append(Unscheduled(900_000 * NS, name, at_ms[-1]))
        return at_ms

    def tick(self, name: str, tick_ms: int) -> str:
        """The job of a tick, and its line in the history."""
        job_id = ids.of_tick(name, "u", tick_ms)
        self._store(job_id, tick_ms, "succeeded", "")
        self.view.jobs[job_id].metadata = {"schedule.name": name, "schedule.tick": str(tick_ms)}
        self.run(job_id, "1.a", tick_ms - T0 + 110, "ok")
        self.view.runs.setdefault(name, []).insert(0, Run(tick_ms, tick_ms, "tick", "fired", job_id, 1))
        return job_id

    def _store(self, job_id: str, created: int, status: str, key: str) -> None:
        head = {"r": str(created)}
        if key:
            head |= {"k": encode_key(key), "e": str(TTL)}
        state = {"s": LETTERS[status], "f": str(created + 200)}
        if status != "cancelled":
            state |= {"n": "1", "b": str(created + 100), "p": "1.a", "o": LETTERS[status]}
        job = self.view.jobs[job_id] = StoredJob(0, head, "loop", state, bytes=100)
        if status == "succeeded":
            job.result = {"token": "1.a"}
        if key and status == "succeeded":
            self.view.dedupe[encode_key(key)] = (job_id, TTL // 2)
        self.count("enqueued")
        self.count("claimed", job.number("n"))
        self.count({"dead_letter": "dead"}.get(status, status))
        kind = PLACES[status]
        self.view.places.setdefault((0, f"{kind}:default"), []).append(job_id)
        queue = self.view.queues.setdefault((0, "default"), {})
        queue[f"{kind}_bytes"] = str(int(queue.get(f"{kind}_bytes", 0)) + 100)

    def count(self, name: str, by: int = 1) -> None:
        self.view.counters = Counter(self.view.counters)
        self.view.counters[name] += by

    def run(self, job_id: str, token: str, at: int, how: Any, attempt: int = 1) -> None:
        """A handler's attempt, `at` ms after the beginning."""
        self.events += [
            Started(at * NS, job_id, "loop", attempt, token, 7),
            Ended((at + 50) * NS, job_id, token, how, 7),
        ]

    def cancel(self, job_id: str, said: str, at: int) -> None:
        self._calls += 1
        self.events += [
            Sent(at * NS, self._calls, "cancel", job_id),
            Answered((at + 1) * NS, self._calls, "cancel", "ok", "200", job_id, said),
        ]

    def see(self, job_id: str, status: str, finished_at: str = "", at: int = 900_000) -> None:
        self.events.append(Seen(at * NS, at * NS, job_id, status, finished_at))

    def answer(self, job_id: str, **changes: Any) -> None:
        """Change what was answered to the first call for a job."""
        answer = next(event for event in self.events if isinstance(event, Answered) and event.job == job_id)
        self.events[self.events.index(answer)] = msgspec.structs.replace(answer, **changes)

    def evidence(self) -> Evidence:
        return Evidence(History.of(self.events), self.view, self.rest, lease=2.0)
