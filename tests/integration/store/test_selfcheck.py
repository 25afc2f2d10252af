"""The self-test at start-up, on servers that pass it and on servers that do not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from queuey.errors import StartupError, StoreUnavailable
from queuey.store.scripts import Scripts, read_scripts
from queuey.store.selfcheck import StoreReport, check_store
from queuey.store.shards import Shards
from tests.support.store import (
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

LimitUser = Callable[..., Awaitable[Server]]
Check = Callable[..., Awaitable[StoreReport]]

RIGHTS = (
    *("+@read", "+@write", "+evalsha", "+script|load", "+time", "+publish", "+subscribe", "+unsubscribe"),
    *("+info", "+hello", "+client", "+ping"),
)
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb")


@pytest.fixture
async def check(scripts: Scripts) -> AsyncIterator[Check]:
    """Runs the self-test on a server, as `login` ("user:password@") where one is given."""
    clients = []

    async def run(server: Server, login: str = "", *, shards: int = 1, embedded: bool = False) -> StoreReport:
        client = client_for(server.url.replace("unix://", f"unix://{login}"))
        clients.append(client)
        return await check_store(client, Shards(client, shards), scripts, embedded=embedded)

    yield run
    for client in clients:
        await client.aclose()


# --- stores that pass --------------------------------------------------------------------------------------------


async def test_it_passes_and_leaves_nothing_behind(rig: Rig, scripts: Scripts) -> None:
    await rig.client.script_flush()
    async with rig.unchanged():
        report = await check_store(rig.client, rig.broker.shards, scripts, embedded=False)
    info = await rig.client.info("server")
    assert report.server == ("valkey" if "valkey_version" in info else "redis")
    assert report.version == info.get("valkey_version", info["redis_version"])
    assert all(await rig.client.script_exists(*scripts._shas.values())), "the scripts are loaded"


async def test_a_store_that_syncs_before_each_reply_is_verified(
    start_server: StartServer, binary: Path, check: Check
) -> None:
    report = await check(start_server(*DURABLE, binary=binary))
    assert (report.durability, report.warnings) == ("verified", ())


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (("--appendfsync", "everysec"), "appendfsync to always"),
        (("--appendfsync", "no"), "appendfsync to always"),
        (("--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite to no"),
    ],
)
async def test_a_store_that_syncs_less_often_is_declared(
    start_server: StartServer, check: Check, options: tuple[str, ...], setting: str
) -> None:
    server = start_server(*DURABLE, *options)
    report = await check(server)
    assert report.durability == "declared"
    assert [setting in warning for warning in report.warnings] == [True]
    assert (await check(server, embedded=True)).warnings == (), "it was asked for"


async def test_where_config_is_blocked_the_sync_is_declared(start_server: StartServer, check: Check) -> None:
    report = await check(start_server(*DURABLE, "--rename-command", "CONFIG", ""))
    assert (report.durability, report.warnings) == ("declared", ())


async def test_without_an_append_only_file_it_is_memory_only(
    start_server: StartServer, binary: Path, check: Check
) -> None:
    report = await check(start_server("--save", "60 1", "--maxmemory", "100mb", binary=binary))
    assert report.durability == "memory only"
    assert [warning.split(" so ")[0] for warning in report.warnings] == ["The store keeps no append-only file,"]


async def test_a_store_without_a_memory_limit_is_warned_of(start_server: StartServer, check: Check) -> None:
    server = start_server(*DURABLE, "--maxmemory", "0", "--maxmemory-policy", "allkeys-lru")
    assert [warning.split(":")[0] for warning in (await check(server)).warnings] == ["The store has no memory limit"]
    assert (await check(server, embedded=True)).warnings == ()


async def test_a_full_store_passes(start_server: StartServer, check: Check) -> None:
    """A restart must be possible while the store is full: finishing jobs is what makes room."""
    assert (await check(start_server(*DURABLE, "--maxmemory", "1"))).durability == "verified"


# --- stores that somebody has to change --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_store_that_evicts_is_refused(start_server: StartServer, check: Check, policy: str) -> None:
    server = start_server("--maxmemory", "100mb", "--maxmemory-policy", policy)
    with pytest.raises(StartupError, match=f"maxmemory-policy is {policy}, .* set it to noeviction"):
        await check(server)


async def test_a_replica_is_refused(start_server: StartServer, binary: Path, check: Check) -> None:
    server = start_server("--replicaof", "127.0.0.1 1", binary=binary)
    with pytest.raises(StartupError, match="read-only replica: give its primary in --redis"):
        await check(server)


async def test_a_cluster_of_several_nodes_is_refused(start_server: StartServer, check: Check) -> None:
    ports = [free_port(), free_port()]
    nodes = [start_server("--cluster-enabled", "yes", "--cluster-port", str(port)) for port in ports]
    clients: list[Any] = [client_for(node.url) for node in nodes]
    await clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
    await clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 8001, 16383)
    await clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", 1, ports[1])
    async with asyncio.timeout(20):
        while (await clients[0].execute_command("CLUSTER INFO"))["cluster_size"] != "2":
            pass
    with pytest.raises(StartupError, match="does not support yet"):
        await check(nodes[0])
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("login", ["", "nobody:secret@", ":wrong@"])
async def test_a_wrong_user_or_password_is_refused(
    start_server: StartServer, binary: Path, check: Check, login: str
) -> None:
    server = start_server(binary=binary)
    admin = client_for(server.url)
    await admin.config_set("requirepass", "secret")
    with pytest.raises(StartupError, match="refuses the user name or password: correct them in --redis"):
        await check(server, login)
    assert (await check(server, ":secret@")).durability == "memory only"
    await admin.aclose()


# --- users that may not do everything ----------------------------------------------------------------------------


@pytest.fixture
async def limit_user(start_server: StartServer, binary: Path) -> AsyncIterator[LimitUser]:
    """Gives a server on which the user `q`, password `p`, has these rights."""
    server = start_server(binary=binary)
    admin: Any = client_for(server.url)

    async def limit(*rules: str) -> Server:
        await admin.execute_command("ACL", "SETUSER", "q", "reset", "on", ">p", *rules)
        return server

    yield limit
    await admin.aclose()


async def test_each_command_that_is_missing_is_named(limit_user: LimitUser, check: Check, scripts: Scripts) -> None:
    commands = sorted(set(re.findall(r"try\('([A-Z]+)'", read_scripts()["selftest"])))
    assert len(commands) > 30
    for command in commands:
        server = await limit_user("~queuey:*", "&queuey:*", "+@all", f"-{command.lower()}")
        with pytest.raises(StartupError) as caught:
            await check(server, "q:p@")
        message = caught.value.message
        assert f"The store's user q may not run {command} (" in message
        assert message.endswith(f"Grant it: ACL SETUSER q ~queuey:* &queuey:* +{command.lower()}")


async def test_several_that_are_missing_are_named_at_once(limit_user: LimitUser, check: Check) -> None:
    server = await limit_user("~queuey:*", "&queuey:*", "+@all", "-@write", "+evalsha", "+bzpopmin")
    with pytest.raises(StartupError, match=r"may not run MSET, SET, RPUSH, .*\+mset \+set \+rpush"):
        await check(server, "q:p@")


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("~queuey:* &queuey:* +@all -info", "info"),
        ("~queuey:* &queuey:* +@all -script", "script"),
        ("~queuey:* &queuey:* +@all -evalsha", "evalsha"),
        ("~queuey:* &queuey:* +@all -bzpopmin", "BZPOPMIN"),
        ("~queuey:* &queuey:* +@all -subscribe", "SUBSCRIBE"),
        ("~queuey:* resetchannels +@all", "PUBLISH"),
        ("~other:* &queuey:* +@all", "key"),
    ],
)
async def test_what_scripts_alone_do_not_show_is_named_too(
    limit_user: LimitUser, check: Check, rules: str, named: str
) -> None:
    with pytest.raises(StartupError, match=rf"may not run .*{named}.* Grant it"):
        await check(await limit_user(*rules.split()), "q:p@")


async def test_no_more_rights_than_these_are_needed(limit_user: LimitUser, check: Check) -> None:
    server = await limit_user("~queuey:*", "&queuey:*", *RIGHTS)
    assert (await check(server, "q:p@")).durability == "memory only"


@pytest.mark.parametrize("command", ["EVALSHA", "SCRIPT", "BZPOPMIN"])
async def test_a_store_that_lacks_a_command_is_refused(start_server: StartServer, check: Check, command: str) -> None:
    server = start_server("--rename-command", command, "")
    with pytest.raises(StartupError, match=f"unknown command '{command}'.*Queuey needs Redis 7.0 or newer"):
        await check(server)


async def test_a_store_without_a_command_inside_scripts_is_refused(start_server: StartServer, check: Check) -> None:
    with pytest.raises(StartupError, match="may not run LPOP"):
        await check(start_server("--rename-command", "LPOP", ""))


# --- stores that may come round ----------------------------------------------------------------------------------


async def test_a_store_that_is_away_may_come_back(start_server: StartServer, check: Check) -> None:
    server = start_server()
    server.process.kill()
    server.process.wait()
    with pytest.raises(StoreUnavailable):
        await check(server)


async def test_a_store_that_is_loading_will_be_done(start_server: StartServer, check: Check, tmp_path: Path) -> None:
    start_server("--dir", str(tmp_path)).save_many_keys()
    server = start_server("--dir", str(tmp_path), *SLOW_LOADING, ready=False)
    client = client_for(server.url)
    await until_loading(client)
    with pytest.raises(StoreUnavailable, match="still loading"):
        await check(server)
    await client.aclose()


async def test_a_store_that_cannot_be_written_to_now(start_server: StartServer, check: Check) -> None:
    with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
        await check(start_server("--min-replicas-to-write", "1"))


async def test_every_shard_is_tried(rig: Rig, scripts: Scripts) -> None:
    await rig.client.set(rig.keys.selftest("zset"), "not a zset")
    with pytest.raises(StartupError, match="may not run ZADD"):
        await check_store(rig.client, rig.broker.shards, scripts, embedded=False)
