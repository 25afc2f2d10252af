"""What a replica costs that has nothing to do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from bench.figures import filling
from bench.servers import server
from queuey.store.broker.broker import Broker

SENT_BY_CLIENTS: Final = ("evalsha", "eval", "bzpopmin", "info", "ping", "subscribe", "script|load", "config|get")
"""Commands that a replica sends itself; those that the scripts call have other names."""
SETTLE_SECONDS: Final = 2


async def idle(folder: Path, seconds: float = 20) -> tuple[float, float]:
    """Commands per second that one idle replica sends, and the percentage of one core that its process takes."""
    with server(folder / "data") as served:
        async with filling.broker_at(served.store_url) as broker:
            await asyncio.sleep(SETTLE_SECONDS)
            count, used = await sent(broker), cpu_seconds(served.pid)
            await asyncio.sleep(seconds)
            used = cpu_seconds(served.pid) - used
            count = await sent(broker) - count - 1  # one INFO is our own
    return count / seconds, 100 * used / seconds


async def sent(broker: Broker) -> int:
    """Count the commands that clients of the store have sent."""
    stats = await broker.shards.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in SENT_BY_CLIENTS)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; NaN where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
