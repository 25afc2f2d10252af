"""What the plain ways of scripts write is in the append-only file, and replaying it gives the same store."""

from __future__ import annotations

from typing import Any

from queuey.protocol import ids
from queuey.protocol.records import NewJob, NewJobs
from queuey.store.broker.broker import Broker
from queuey.store.broker.leases import Results
from queuey.store.shards import Shards
from tests.support.scripts.contents import contents
from tests.support.scripts.plain_ways import WatchedScripts
from tests.support.store import LEASE, NOW, client_for
from tests.support.stores import StartServer

AOF = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--aof-use-rdb-preamble",
    "no",
    "--enable-debug-command",
    "local",
)


async def test_the_append_only_file_has_all_that_the_plain_ways_wrote(start_server: StartServer) -> None:
    server = start_server(*AOF)
    client: Any = client_for(server.url)
    scripts = WatchedScripts()
    broker = Broker(Shards(client, 1), scripts)
    await broker.jobs.enqueue(0, [NewJob(ids.new_id(), "default", "default", "", "{}")], now=NOW)
    new_ids = [ids.new_id() for _ in range(50)]
    group = NewJobs("default", "default", "m=3", new_ids, ['{"type":"é"}'] * 50, size=0)
    assert await broker.jobs.enqueue(0, [group], now=NOW) == ["new"] * 50
    claimed = await broker.leases.claim(
        0, claim_id="c1", worker="w1", lease_ms=LEASE, limit=30, queues=["default"], now=NOW
    )
    done = [job.id for job in claimed.jobs[:20]]
    assert await broker.leases.complete(0, [Results("1.c1", done, ["", "1"] * 10)], now=NOW) == ["ok"] * 20
    assert scripts.calls == [("enqueue", False), ("enqueue", True), ("claim", True), ("complete", True)]
    before = await contents(client)
    await client.execute_command("DEBUG", "LOADAOF")
    assert await contents(client) == before
    await client.aclose()
