"""The self-test at start-up: checks that the store can do what Queuey needs, and how durable it is.

It relies on INFO and not on CONFIG, which managed stores block. It runs every command that Queuey uses once, since a
missing right would otherwise appear in the middle of a job's move.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
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
"""The fate of an acknowledged job when the store's machine loses its power.

verified      It is kept: the store has an append-only file, and its settings say that it syncs it before each reply.
declared      It may be lost: the store has an append-only file, but it syncs it less often than before each reply, or
              its settings could not be read.
memory only   It is lost, unless a snapshot or a replica of the store has it: the store has no append-only file.
"""

FLOOR: Final = {"redis": (7, 0), "valkey": (7, 2)}
NEEDED: Final = "Queuey needs Redis 7.0 or newer, or Valkey 7.2 or newer"
ADVICE: Final = "Check that the store is running and that --redis is right (rediss:// means TLS)."
"""The last sentence of the error after which a start no longer waits for the store."""

_failures = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode


class StoreReport(Struct, frozen=True):
    """The findings of the self-test. `warnings` are for people: settings that work, but should be changed."""

    durability: Durability
    version: str
    server: Literal["valkey", "redis"]
    warnings: tuple[str, ...]


async def check_store(client: Redis, shards: Shards, scripts: Scripts, *, embedded: bool) -> StoreReport:
    """Check that a store can do what Queuey needs, and load the scripts. An `embedded` store gives no warnings.

    Raises StartupError if the user must change something. Raises StoreUnavailable if the store cannot be reached, is
    still loading its data or cannot be written to at the moment; the call may be repeated then.
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
        warnings.append("The store has no memory limit: set maxmemory, so that it refuses jobs and is not killed.")
    return StoreReport(durability, version, server, () if embedded else tuple(warnings))


async def check_again(client: Redis) -> tuple[Durability, Sequence[str], str]:
    """Look at the settings of a store that was started again. Raises StoreUnavailable.

    Returns its durability, the warnings, and the error with which a server would refuse to start on it, or ''.
    """
    info, unfit = await _read_info(client), ""
    try:
        _check_settings(info)
    except StartupError as error:
        unfit = error.message
    return *await _durability(client, info), unfit


async def check_answers(client: Redis) -> None:
    """Check that there is a store, and that it is new enough. Raises StartupError."""
    try:
        _check_server(await _read_info(client))
    except ScriptFailed as error:
        raise _unfit(error) from error
    except StoreUnavailable as error:
        raise StartupError(f"{error.message} {ADVICE}") from error


def _unfit(error: ScriptFailed) -> StartupError:
    return StartupError(f"The store cannot do what Queuey needs ({error.message.rstrip('.')}): {NEEDED}.")


async def _read_info(client: Redis) -> Mapping[str, Any]:
    try:
        info: Mapping[str, Any] = await client.info()
    except (redis_errors.RedisError, OSError) as error:
        if isinstance(error.__cause__ or error, (redis_errors.AuthenticationError, redis_errors.AuthorizationError)):
            raise StartupError("The store refuses the user name or password: correct them in --redis.") from error
        raise translate("INFO", error) from error
    if info.get("loading"):
        raise StoreUnavailable("The store is still loading its data.")
    return info


def _check_server(info: Mapping[str, Any]) -> tuple[Literal["valkey", "redis"], str]:
    """Return the kind of the store, and its version."""
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
            f"The store's maxmemory-policy is {policy}, which deletes jobs once its memory is full: "
            "set it to noeviction, or use a separate store for Queuey."
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
    """Run the commands with which replicas wait for markers, messages and events, outside of the scripts."""
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
    except redis_errors.RedisError:  # managed stores block it
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
