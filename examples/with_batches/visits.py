"""Visits are written to a database 100 at a time: queuey dev --app examples.with_batches.visits:app"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from os import environ

from msgspec import Struct

from queuey import App, Batch
from queuey.client import Client
from queuey.models import EnqueueReply

app = App()


class Visit(Struct):
    """One visit. `id` makes writing it twice the same as writing it once."""

    id: str
    page: str


@app.job("visits.write")
def write_visits(visits: list[Visit]) -> int:
    rows = [(visit.id, visit.page) for visit in visits]
    with closing(sqlite3.connect(environ.get("VISITS_DATABASE", "visits.sqlite3"))) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS visits (id TEXT PRIMARY KEY, page TEXT)")
        database.executemany("INSERT OR IGNORE INTO visits VALUES (?, ?)", rows)
    return len(rows)


async def visited(queue: Client, visit: Visit) -> EnqueueReply:
    """Have a visit written with up to 99 others, five seconds after the first of them at the latest."""
    return await write_visits.enqueue(visit, client=queue, batch=Batch("visits", max_size=100, max_wait=5))
