"""Short ways to say what the tests of schedules say often."""

from __future__ import annotations

from typing import Any

from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.protocol.stored.schedules import Run, Schedule, to_run, to_schedule
from queuey.store.broker.schedules import Firing, NewSchedule, Pausing
from tests.support.store import NOW, Rig

MINUTE = 60_000
UID = "UID0000001"
SPEC = '{"cron":"* * * * *","job":{"type":"t"}}'
PAUSE = '{"reason":"by hand"}'


class Timetable:
    """Schedules of the rig's shard. Everything is about `name` and happens at NOW unless a test says otherwise."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.broker = rig.broker
        self.shard = rig.shard
        self.name = self.named("report")

    def named(self, word: str) -> str:
        """A name on the rig's shard that begins with this word."""
        return next(name for n in range(1000) if self.broker.shards.of_schedule(name := f"{word}{n}") == self.shard)

    async def open_gate(self) -> None:
        await self.rig.client.hset(self.rig.keys.meta, "features", "aside schedules")

    # --- what there is -----------------------------------------------------------------------------------------

    async def put(
        self,
        name: str = "",
        *,
        spec: str = SPEC,
        next: int = NOW,
        due: int = -1,
        mark: str = "*",
        uid: str = UID,
        anchor: int = NOW,
        now: int = NOW,
    ) -> tuple[str, str]:
        """Put one schedule. Returns the answer and its mark. `due`: when its tick is fired; -1 = at the tick."""
        item = NewSchedule(name or self.name, uid, mark, anchor, next, max(next, due), spec)
        ((answer, after),) = await self.broker.schedules.put_schedules(self.shard, [item], now=now)
        return answer, after

    async def pause(self, pause: str = PAUSE, *, mark: str = "*", next: int = -1, due: int = -1, now: int = NOW) -> str:
        """Pause the schedule; '' resumes it."""
        item = Pausing(self.name, mark, pause, next, max(next, due))
        (answer,) = await self.broker.schedules.set_paused(self.shard, [item], now=now)
        return answer

    async def get(self, name: str = "") -> Schedule:
        _, ((record, _),) = await self.broker.schedules.get_schedules(self.shard, [name or self.name])
        return to_schedule(name or self.name, record)

    async def history(self, name: str = "") -> list[Run]:
        """Its runs, the oldest first."""
        _, ((_, lines),) = await self.broker.schedules.get_schedules(self.shard, [name or self.name], 50)
        return [to_run(line) for line in reversed(lines)]

    async def outcomes(self) -> list[tuple[int, str]]:
        """The ticks of its runs and their outcomes, the oldest first."""
        return [(run.tick_ms, run.outcome) for run in await self.history()]

    async def ticks(self) -> dict[str, int]:
        return await self.rig.scores(self.rig.keys.ticks)

    async def waiting_ticks(self) -> dict[str, int]:
        return await self.rig.scores(self.rig.keys.waiting_ticks)

    # --- what fires --------------------------------------------------------------------------------------------

    def id_of(self, tick: int, *, name: str = "", uid: str = UID) -> str:
        return ids.of_tick(name or self.name, uid, tick)

    def job(self, tick: int, *, name: str = "", uid: str = UID, **fields: Any) -> NewJob:
        return self.rig.job(id=self.id_of(tick, name=name, uid=uid), **fields)

    def firing(self, tick: int = NOW, **fields: Any) -> Firing:
        """A tick that is expected, and after which the next comes in a minute."""
        name = fields.pop("name", self.name)
        given: dict[str, Any] = {
            "name": name,
            "mark": f"{UID}.1",
            "kind": "tick",
            "tick_ms": tick,
            "expected_ms": tick,
            "next_ms": tick + MINUTE,
            "due_ms": fields.get("next_ms", tick + MINUTE),
            "overlap": "skip",
            "missed": 0,
            "job": self.job(tick, name=name),
        }
        return Firing(**(given | fields))

    async def fire(self, *firings: Firing, now: int = NOW, full: bool = False) -> list[str]:
        fired = await self.broker.schedules.fire(self.shard, firings, full=full, now=now)
        assert fired.now_ms == now
        return fired.answers

    async def fire_tick(self, tick: int = NOW, **fields: Any) -> str:
        """Fire one tick at its time."""
        (answer,) = await self.fire(self.firing(tick, **fields), now=max(tick, NOW))
        return answer
