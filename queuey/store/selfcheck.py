"""The self-test at start-up: can this store do what Queuey asks of it, and what does it do for durability?

It reads INFO and not CONFIG, which managed stores block, and runs once every command that Queuey uses: a user that
lacks one would else find out half-way through a move of a job.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey.errors import ScriptFailed, StartupError, StoreUnavailable
from queuey.store.keys import channels
from queuey.store.scripts import Scripts, translate
from queuey.store.shards import Shards

Durability = Literal["verified", "declared", "memory only"]
"""What becomes of an acknowledged job when the store's machine loses its power.

verified      It is on disk: the store keeps an append-only file, and was seen to sync it before each reply.
declared      It may be: the store says that it keeps an append-only file, but how often that is synced could not be
              read, or is less often than before each reply; then the last of what was acknowledged may be lost.
memory only   It is lost, unless a snapshot or a replica holds it: the store keeps no append-only file.
"""

FLOOR: Final = {"redis": (7, 0), "valkey": (7, 2)}
NEEDED: Final = "Queuey needs Redis 7.0 or newer, or Valkey 7.2 or newer"
MEND: Final = "See that the store is up, or mend --redis (rediss:// is with TLS, redis:// without)."
"""For whoever waits for it no longer."""

_failures = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode


class StoreReport(Struct, frozen=True):
    """What the self-test found. `warnings` are for people: what works, and still should be changed."""

    durability: Durability
    version: str
    server: Literal["valkey", "redis"]
    warnings: tuple[str, ...]


async def check_store(client: Redis, shards: Shards, scripts: Scripts, *, embedded: bool) -> StoreReport:
    """Hold a store against what Queuey needs, and load the scripts. `embedded`: it is our own, so warn of nothing.

    Raises StartupError when somebody has to change something, and StoreUnavailable when the store cannot be reached,
    is still loading its data or cannot be written to at the moment; then call it again, as long as you like to wait.
    """
    try:
        info = await _read_info(client)
        server, version = _check_server(info)
        _check_settings(info)
        if info.get("cluster_enabled"):
            await _check_cluster(client)
        await _check_scripts(shards, scripts)
        await _check_waiting(client, shards)
    except ScriptFailed as error:
        raise _unfit(error) from error
    durability, warnings = await _durability(client, info)
    if not info.get("maxmemory"):
        warnings.append("The store has no memory limit: set maxmemory, so that it refuses jobs rather than be killed.")
    return StoreReport(durability, version, server, () if embedded else tuple(warnings))


async def check_answers(client: Redis) -> None:
    """Whether there is a store, and one that is new enough. Raises StartupError."""
    try:
        _check_server(await _read_info(client))
    except ScriptFailed as error:
        raise _unfit(error) from error
    except StoreUnavailable as error:
        raise StartupError(f"{error.message} {MEND}") from error


def _unfit(error: ScriptFailed) -> StartupError:
    return StartupError(f"The store does not do what Queuey asks of it ({error.message.rstrip('.')}): {NEEDED}.")


async def _read_info(client: Redis) -> Mapping[str, Any]:
    try:
        info: Mapping[str, Any] = await client.info()
    except (redis_errors.RedisError, OSError) as error:
        if isinstance(error.__cause__ or error, (redis_errors.AuthenticationError, redis_errors.AuthorizationError)):
            raise StartupError("The store refuses the user name or password: mend those in --redis.") from error
        raise translate("INFO", error) from error
    if info.get("loading"):
        raise StoreUnavailable("The store is still loading its data.")
    return info


def _check_server(info: Mapping[str, Any]) -> tuple[Literal["valkey", "redis"], str]:
    """What it is, and its version."""
    if "dragonfly_version" in info:
        raise StartupError(f"The store is Dragonfly, whose Lua differs: {NEEDED}.")
    server: Literal["valkey", "redis"] = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{server}_version", "unknown"))
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < FLOOR[server]:
        raise StartupError(f"The store is {server.capitalize()} {version}: {NEEDED}.")
    return server, version


def _check_settings(info: Mapping[str, Any]) -> None:
    if info.get("role") != "master":
        raise StartupError("The store is a read-only replica: give its primary in --redis.")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        raise StartupError(
            f"The store's maxmemory-policy is {policy}, which throws jobs away once its memory is full: "
            "set it to noeviction, or give Queuey a store of its own."
        )


async def _check_cluster(client: Redis) -> None:
    answer = await _run("CLUSTER INFO", client.execute_command("CLUSTER INFO"))  # type: ignore[no-untyped-call]
    if int(answer["cluster_size"]) > 1:
        raise StartupError(
            "The store is a Cluster of several nodes, which this version of Queuey does not support yet: "
            "use a single server, or a Cluster with all its slots on one node."
        )


async def _check_scripts(shards: Shards, scripts: Scripts) -> None:
    """Load the scripts, and run each of their commands on every shard."""
    named = channels(shards.prefix)
    await scripts.load(shards.client)
    for shard, keys in enumerate(shards.keys):
        client = shards.client_of(shard)
        failed = _failures(await scripts.call(client, "selftest", keys.anchors, msgspec.msgpack.encode(named)))
        if failed:
            commands = list(dict.fromkeys(command for command, _ in failed))
            user = client.connection_pool.connection_kwargs.get("username") or "default"
            rules = " ".join(
                [f"~{shards.prefix}:*", f"&{shards.prefix}:*", *(f"+{command.lower()}" for command in commands)]
            )
            raise StartupError(
                f"The store's user {user} may not run {', '.join(commands)} ({failed[0][1]}). "
                f"Grant it: ACL SETUSER {user} {rules}"
            )


async def _check_waiting(client: Redis, shards: Shards) -> None:
    """What workers wait with, outside of the scripts: for a marker, for messages and for events."""
    await _run("BZPOPMIN", client.bzpopmin([shards.keys[0].selftest("marker")], timeout=0.01))
    events = shards.keys[0].selftest("stream")
    await _run("XREAD", client.xread({events: "$"}, count=1))
    await _run("XRANGE", client.xrange(events, count=1))
    await _run("XREVRANGE", client.xrevrange(events, count=1))
    async with client.pubsub() as pubsub:
        await _run("SUBSCRIBE", pubsub.subscribe(*channels(shards.prefix)))
        await _run("SUBSCRIBE", pubsub.get_message(timeout=1.0))


async def _durability(client: Redis, info: Mapping[str, Any]) -> tuple[Durability, list[str]]:
    if not info.get("aof_enabled"):
        return "memory only", [
            "The store keeps no append-only file, so acknowledged jobs are lost when it stops: set appendonly to yes."
        ]
    warnings = []
    if info.get("aof_last_write_status", "ok") != "ok":
        warnings.append("The store could not write to its append-only file: make room on its disk.")
    try:
        config = await client.config_get("appendfsync", "no-appendfsync-on-rewrite")
    except redis_errors.RedisError:  # blocked, as managed stores do
        return "declared", warnings
    for name, wanted in (("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")):
        if config.get(name) != wanted:
            warnings.append(f"A power cut may lose acknowledged jobs: set the store's {name} to {wanted}.")
            return "declared", warnings
    return "verified", warnings


async def _run(command: str, call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (redis_errors.RedisError, OSError) as error:
        raise translate(command, error) from error
