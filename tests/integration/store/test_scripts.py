"""Scripts that the store has lost, and stores that refuse: each refusal by a server that really does."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from queuey.errors import Full, QueueyError, ScriptFailed, StartupError, StoreUnavailable
from queuey.store.replies import Caps
from queuey.store.scripts import Scripts
from tests.support.store import (
    NOW,
    SLOW_LOADING,
    Rig,
    Server,
    client_for,
    free_port,
    until_loading,
)
from tests.support.stores import KINDS, SHARDS, StartServer, one_of

kind = one_of(*KINDS)
shards = one_of(*SHARDS)

Call = Callable[[Rig], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "enqueue": lambda rig: rig.broker.jobs.enqueue(rig.shard, [rig.job()], now=NOW),
    "add_items": lambda rig: rig.broker.batches.add_items(rig.shard, [], now=NOW),
    "claim": lambda rig: rig.claim(),
    "claim_typed": lambda rig: rig.claim_typed(),
    "extend": lambda rig: rig.broker.leases.extend(rig.shard, 1, [("a", "b")], now=NOW),
    "checkpoint": lambda rig: rig.broker.leases.checkpoint(rig.shard, [("a", "b", "1")], now=NOW),
    "complete": lambda rig: rig.broker.leases.complete(rig.shard, [("a", "b", "")], now=NOW),
    "fail": lambda rig: rig.broker.leases.fail(rig.shard, [("a", "b", "{}", 0, False)], now=NOW),
    "release": lambda rig: rig.broker.leases.release(rig.shard, [("a", "b")], now=NOW),
    "cancel": lambda rig: rig.broker.jobs.cancel(rig.shard, ["a"], now=NOW),
    "replay": lambda rig: rig.broker.dlq.replay(rig.shard, "r", ["a"], now=NOW),
    "reap": lambda rig: rig.broker.maintenance.reap(rig.shard, 1, [0], now=NOW),
    "promote": lambda rig: rig.broker.maintenance.promote(rig.shard, 1, now=NOW),
    "tidy_asides": lambda rig: rig.broker.maintenance.tidy_asides(rig.shard),
    "name_asides": lambda rig: rig.broker.maintenance.name_asides(rig.shard, []),
    "bury_unknown": lambda rig: rig.broker.maintenance.bury_unknown(rig.shard, 1, [], [], now=NOW),
    "note_types": lambda rig: rig.broker.maintenance.note_types(rig.shard, [], now=NOW),
    "list_asides": lambda rig: rig.broker.queues.list_asides(rig.shard, ["q"], now=NOW),
    "type_reports": lambda rig: rig.broker.replicas.type_reports(rig.shard, "", now=NOW),
    "trim": lambda rig: rig.broker.maintenance.trim(rig.shard, 1, Caps(), now=NOW),
    "heartbeat": lambda rig: rig.broker.replicas.heartbeat(rig.shard, "w", "{}", now=NOW),
    "get": lambda rig: rig.broker.jobs.get(rig.shard, ["a"]),
    "keep_log": lambda rig: rig.broker.jobs.keep_log(rig.shard, [("a", "b", "")]),
    "get_log": lambda rig: rig.broker.jobs.get_log(rig.shard, "a"),
    "list_by_status": lambda rig: rig.broker.jobs.list_by_status(rig.shard, "dead"),
    "stats": lambda rig: rig.broker.queues.stats(rig.shard, now=NOW),
    "pause": lambda rig: rig.broker.queues.pause(rig.shard, "q", "r"),
    "resume": lambda rig: rig.broker.queues.resume(rig.shard, "q"),
    "register": lambda rig: rig.broker.replicas.register(),
    "open_feature": lambda rig: rig.broker.replicas.open_feature(rig.shard, "aside", may_open=False, now=NOW),
    "watch_end": lambda rig: rig.broker.jobs.watch_end(rig.shard, ["a"]),
    "run_now": lambda rig: rig.broker.jobs.run_now(rig.shard, "r", ["a"], now=NOW),
    "delete": lambda rig: rig.broker.jobs.delete(rig.shard, ["a"], now=NOW),
    "list_jobs": lambda rig: rig.broker.jobs.list_jobs(rig.shard, [("dead", "q", "")]),
    "progress": lambda rig: rig.broker.jobs.progress(rig.shard, [("a", "b", "{}")], now=NOW),
    "store_info": lambda rig: rig.broker.replicas.store_info(rig.shard, now=NOW),
    "dump": lambda rig: rig.broker.transfer.dump(rig.shard, ["a"], now=NOW),
    "restore": lambda rig: rig.broker.transfer.restore(rig.shard, [], now=NOW),
    "reorder": lambda rig: rig.broker.transfer.reorder(rig.shard, "q", "low", []),
    "save_offset": lambda rig: rig.broker.transfer.save_offset(rig.shard, "i", 0),
    "set_payload": lambda rig: rig.broker.jobs.set_payload(rig.shard, "a", "{}"),
    "queue_status": lambda rig: rig.broker.queues.queue_status(rig.shard, ["q"], now=NOW),
    "purge": lambda rig: rig.broker.queues.purge(rig.shard, "q", now=NOW),
    "list_dead": lambda rig: rig.broker.dlq.list_dead(rig.shard, ["q"], now=NOW),
    "workers": lambda rig: rig.broker.replicas.workers(rig.shard, now=NOW),
    "quiet_worker": lambda rig: rig.broker.replicas.quiet_worker(rig.shard, "w", now=NOW),
    "publish_event": lambda rig: rig.broker.events.publish_event(["{}"]),
    "subscribe_events": lambda rig: rig.broker.events.subscribe_events(1),
    "put_schedules": lambda rig: rig.broker.schedules.put_schedules(rig.shard, [], now=NOW),
    "get_schedules": lambda rig: rig.broker.schedules.get_schedules(rig.shard, ["a"], 1),
    "list_schedules": lambda rig: rig.broker.schedules.list_schedules(rig.shard),
    "delete_schedules": lambda rig: rig.broker.schedules.delete_schedules(rig.shard, [("a", "*")]),
    "set_paused": lambda rig: rig.broker.schedules.set_paused(rig.shard, [], now=NOW),
    "due_schedules": lambda rig: rig.broker.schedules.due_schedules(rig.shard, now=NOW),
    "fire": lambda rig: rig.broker.schedules.fire(rig.shard, [], now=NOW),
    "restore_schedules": lambda rig: rig.broker.transfer.restore_schedules(rig.shard, []),
    "session_key": lambda rig: rig.broker.access.session_key("k"),
    "add_audit": lambda rig: rig.broker.access.add_audit("{}"),
    "list_audit": lambda rig: rig.broker.access.list_audit("", 1),
    "position": lambda rig: rig.broker.jobs.position(rig.shard, "q", "low", "a", look=1),
}
READS = (
    *("store_info", "list_dead", "dump", "get", "queue_status", "list_by_status", "list_jobs", "position", "stats"),
    *("workers", "list_asides", "type_reports", "get_log", "list_audit"),
    *("get_schedules", "list_schedules", "due_schedules"),
)
TAKES_MEMORY = (
    *("set_payload", "enqueue", "add_items", "replay", "restore", "keep_log"),
    *("put_schedules", "fire", "restore_schedules"),
)


@pytest.fixture
def own_server(start_server: StartServer, binary: Path) -> Server:
    return start_server("--busy-reply-threshold", "10", binary=binary)


@pytest.fixture
async def own(own_server: Server, scripts: Scripts) -> AsyncIterator[Rig]:
    """A Broker on a server of the test's own, which it may spoil."""
    client = client_for(own_server.url)
    await scripts.load(client)
    yield Rig(client, 1, scripts)
    await client.aclose()


async def refused(rig: Rig, name: str) -> QueueyError:
    with pytest.raises(QueueyError) as caught:
        await CALLS[name](rig)
    return caught.value


async def unavailable(rig: Rig, reason: str, *names: str) -> None:
    """Every script, or those named, are refused for a reason, and nothing was done."""
    for name in names or CALLS:
        error = await refused(rig, name)
        assert isinstance(error, StoreUnavailable), (name, error)
        assert reason in error.message, (name, error)
        assert not error.maybe_done


# --- lost scripts ------------------------------------------------------------------------------------------------


async def test_every_script_is_loaded_again_when_the_store_has_lost_it(rig: Rig, scripts: Scripts) -> None:
    assert set(CALLS) == set(scripts.names) - {"selftest"}
    for call in CALLS.values():
        await rig.client.script_flush()
        await call(rig)


@pytest.mark.parametrize("kind", ["valkey"])
async def test_many_calls_at_once_after_a_flush(rig: Rig) -> None:
    await rig.client.script_flush()
    ids = await asyncio.gather(*(rig.add() for _ in range(30)))
    assert sorted(await rig.waiting()) == sorted(job_id for (job_id,) in ids)


# --- stores that refuse ------------------------------------------------------------------------------------------


async def test_out_of_memory_only_new_jobs_are_refused(own: Rig) -> None:
    await own.client.config_set("maxmemory", 1)
    for name, call in CALLS.items():
        if name in TAKES_MEMORY:
            assert isinstance(await refused(own, name), Full)
        else:
            await call(own)


async def test_a_read_only_replica_still_answers_what_only_reads(own: Rig) -> None:
    await own.client.execute_command("REPLICAOF", "127.0.0.1", 1)
    for name, call in CALLS.items():
        if name in READS:
            await call(own)
        else:
            await unavailable(own, "read only replica", name)


async def test_a_replica_that_lost_its_master(own: Rig) -> None:
    await own.client.execute_command("REPLICAOF", "127.0.0.1", 1)
    await own.client.config_set("replica-serve-stale-data", "no")
    await unavailable(own, "is down", *READS)


async def test_too_few_replicas(own: Rig) -> None:
    await own.client.config_set("min-replicas-to-write", 1)
    await unavailable(own, "NOREPLICAS", *(name for name in CALLS if name not in READS))


async def test_a_store_that_cannot_save(own: Rig, binary: Path, start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--dir", str(tmp_path), "--save", "3600 1", binary=binary)
    (tmp_path / "dump.rdb").mkdir()  # where a file should go
    client = client_for(server.url)
    rig = Rig(client, 1, own.scripts)
    await rig.add()
    await client.bgsave()
    give_up = time.monotonic() + 10
    while (await client.info("persistence"))["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    await unavailable(rig, "MISCONF", "enqueue", "claim", "complete")
    await client.aclose()


async def until_busy(rig: Rig) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await rig.client.ping()
            except ResponseError:  # it is answered by nothing else
                return


async def test_a_store_that_is_busy_with_a_script(own: Rig, own_server: Server) -> None:
    client: Any = client_for(own_server.url)
    endless = asyncio.create_task(client.eval("while true do end", 0))
    await until_busy(own)
    await unavailable(own, "BUSY")
    with pytest.raises(StoreUnavailable, match="BUSY"):
        await own.scripts.load(own.client)
    await own.client.script_kill()
    with pytest.raises(ResponseError, match="killed"):
        await endless
    await client.aclose()
    await own.add()


async def test_a_store_that_is_still_loading(
    start_server: StartServer, binary: Path, scripts: Scripts, tmp_path: Path
) -> None:
    start_server("--dir", str(tmp_path), binary=binary).save_many_keys()
    server = start_server("--dir", str(tmp_path), *SLOW_LOADING, binary=binary, ready=False)
    client = client_for(server.url)
    await until_loading(client)
    await unavailable(Rig(client, 1, scripts), "load", "enqueue", "claim", "stats")
    await client.aclose()


@pytest.mark.parametrize("binary", ["valkey"], indirect=True)
async def test_a_cluster_without_its_slots(start_server: StartServer, binary: Path, scripts: Scripts) -> None:
    server = start_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), binary=binary)
    client = client_for(server.url)
    await unavailable(Rig(client, 1, scripts), "slot")
    await client.aclose()


# --- users and passwords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ("~queuey:* &* +@all -lpop", "claim"),
        ("~queuey:* &* +@all -set", "enqueue"),
        ("~queuey:* resetchannels +@all", "cancel"),
        ("~other:* &* +@all", "stats"),
        ("~* &* +@all -evalsha", "get"),
    ],
)
async def test_a_user_that_may_not_do_it(own: Rig, own_server: Server, rules: str, name: str) -> None:
    ((job_id, _),) = await own.held()
    await own.add(2)
    await own.client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", *rules.split())
    client = client_for(own_server.url.replace("unix://", "unix://limited:secret@"))
    limited = Rig(client, 1, own.scripts)
    calls: dict[str, Call] = {
        **CALLS,
        "enqueue": lambda rig: rig.add(key="k"),
        "claim": lambda rig: rig.claim(claim_id="limited"),
        "cancel": lambda rig: rig.broker.jobs.cancel(0, [job_id]),
    }
    with pytest.raises(StartupError, match=f"may not run what {name} needs"):
        await calls[name](limited)
    await client.aclose()


async def test_a_user_that_may_not_load_scripts(own: Rig, own_server: Server) -> None:
    await own.client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-script")
    client = client_for(own_server.url.replace("unix://", "unix://limited:secret@"))
    with pytest.raises(StartupError, match="may not run what SCRIPT LOAD needs") as caught:
        await own.scripts.load(client)
    assert "#!lua" not in caught.value.message, "the script's text is no part of the message"
    await client.aclose()


@pytest.mark.parametrize("login", ["", "limited:wrong@", ":wrong@"])
async def test_a_wrong_user_or_password(own: Rig, own_server: Server, login: str) -> None:
    await own.client.config_set("requirepass", "secret")
    client = client_for(own_server.url.replace("unix://", f"unix://{login}"))
    error = await refused(Rig(client, 1, own.scripts), "claim")
    assert isinstance(error, StoreUnavailable)
    assert "user name or password" in error.message
    assert not error.maybe_done
    await client.aclose()


# --- no answer ---------------------------------------------------------------------------------------------------


async def test_a_store_that_is_gone(own: Rig, own_server: Server) -> None:
    own_server.process.kill()
    own_server.process.wait()
    await refused(own, "get")  # takes note that its connection is gone
    await unavailable(own, "cannot be reached")


async def test_a_store_that_dies_during_a_call(own: Rig, own_server: Server) -> None:
    await own.client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    call = asyncio.create_task(refused(own, "enqueue"))
    async with asyncio.timeout(10):
        while (await own.client.info("clients"))["blocked_clients"] == 0:
            pass
    own_server.process.kill()
    error = await call
    assert isinstance(error, StoreUnavailable)
    assert error.maybe_done


async def test_a_store_that_does_not_answer_in_time(own: Rig, own_server: Server) -> None:
    client = client_for(own_server.url, timeout=0.2)
    stalled = Rig(client, 1, own.scripts)
    await stalled.broker.jobs.get(0, [])
    own_server.process.send_signal(signal.SIGSTOP)
    for error in await asyncio.gather(refused(stalled, "enqueue"), refused(stalled, "enqueue")):
        assert isinstance(error, StoreUnavailable)
        assert error.maybe_done, "it was sent"
    error = await refused(stalled, "enqueue")
    assert isinstance(error, StoreUnavailable)
    assert not error.maybe_done, "the new connection was never made"
    own_server.process.send_signal(signal.SIGCONT)
    await client.aclose()


async def test_a_broken_script_fails_and_is_not_sent_again(own: Rig) -> None:
    await own.client.set(own.keys.queues, "not a set")
    error = await refused(own, "enqueue")
    assert isinstance(error, ScriptFailed)
    assert "enqueue failed" in error.message


async def test_a_shard_that_has_answered_and_one_that_is_silent(own: Rig, own_server: Server) -> None:
    assert not own.broker.has_answered(0, 60.0)
    await own.broker.ask(0)
    assert own.broker.has_answered(0, 60.0)
    assert not own.broker.has_answered(0, 0.0)
    own_server.process.kill()
    own_server.process.wait()
    assert own.broker.has_answered(0, 60.0), "it answered just now"
    assert own.broker.silent == set()
    with pytest.raises(StoreUnavailable):
        await own.broker.ask(0)
    assert not own.broker.has_answered(0, 60.0), "a failure counts at once"
    assert own.broker.silent == {0}
