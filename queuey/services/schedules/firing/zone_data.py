"""The chore that corrects next ticks after an update of the time zone data."""

from __future__ import annotations

import asyncio
from typing import Final

from queuey import log
from queuey.protocol.stored.schedules import Schedule
from queuey.services.schedules.firing.decisions import read
from queuey.store.broker.broker import Broker
from queuey.store.broker.schedules import Firing, in_calls

EVERY_SECONDS: Final = 3600.0
"""Seconds between two looks. A replica with older data may have computed next ticks after this one's start."""
PAGE: Final = 100
SOON_MS: Final = 60_000
"""The next tick of a schedule that is due within this time is left as it is."""
AT_ONCE: Final = 20
"""Schedules after which other work has its turn. A next tick takes up to 0.1 ms, a rare one 4 ms."""

logger = log.get(__name__)


class ZoneData:
    """Computes the next ticks of a shard's schedules in time zones again: at the start of a replica, and once an hour.

    A process reads the data of a zone once, so new data come with a restart. The next ticks in the store are from
    before, and would come at the wrong time once each.
    """

    def __init__(self, broker: Broker, shard: int) -> None:
        self._broker = broker
        self._shard = shard

    async def run_once(self) -> float:
        """Look at all schedules, page by page."""
        after, ended, moved = "", False, 0
        while not ended:
            page, ended = await self._broker.schedules.list_schedules(self._shard, after, PAGE)
            if page:
                after = page[-1].name
                moved += await self._correct(page)
        if moved:
            logger.info("ticks_moved", shard=self._shard, schedules=moved, reason="other time zone data")
        return EVERY_SECONDS

    async def _correct(self, page: list[Schedule]) -> int:
        now_ms = (await self._broker.schedules.due_schedules(self._shard, 0)).now_ms
        moves = []
        for place, schedule in enumerate(page):
            try:
                move = _move(schedule, now_ms)
            except Exception:  # the firing loop reports it when its tick is due
                move = None
            if move is not None:
                moves.append(move)
            if place % AT_ONCE == 0:
                await asyncio.sleep(0)
        moved = 0
        for items in in_calls(moves):
            moved += (await self._broker.schedules.fire(self._shard, items)).answers.count("moved")
        return moved


def _move(schedule: Schedule, now_ms: int) -> Firing | None:
    """Return the move to another next tick, if the schedule has one by the data of this process. Raises Unreadable."""
    if schedule.pause or schedule.next_ms < now_ms + SOON_MS:
        return None
    spec, ticks = read(schedule)
    if spec.timezone == "UTC" or (spec.cron is None and not spec.exclude):
        return None
    next_ms = ticks.after(max(now_ms, schedule.last_tick_ms))
    if next_ms is None or next_ms == schedule.next_ms:
        return None
    due_ms = ticks.due(schedule.uid, next_ms)
    name, mark, expected = schedule.name, schedule.mark, schedule.next_ms
    return Firing(name, mark, "move", next_ms, expected, next_ms, due_ms, spec.overlap, 0, None)
