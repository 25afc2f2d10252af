"""The Lua scripts: reads them from lua/, expands their includes, loads them into the store and calls them.

A reply is MessagePack; a status word in it is an answer, not an error. `translate` makes the errors.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, cast

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from queuey.errors import Full, QueueyError, ScriptFailed, StartupError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.store.connections.pipelined import PipelinedConnection, StoreClient

_INCLUDE = re.compile(r"^--@include (\w+)(?:: ([\w ]+))?$", re.MULTILINE)
_DEFINITION = re.compile(r"^local (?:function )?(\w+)(?: = .*|\(.*\) .* end|\([^)\n]*\)\n(?:.*\n)*?end)$", re.MULTILINE)
"""A constant, a function on one line, or a function up to its `end`, which stands at the beginning of its line."""
_TYPED = re.compile(r"^--@typed\n(.*?)^--@end\n", re.MULTILINE | re.DOTALL)
_UNTYPED = re.compile(r"^--@untyped\n.*?^--@end\n|^--@plain\n.*?^--@general\n", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?<=^--\[=\[ )\w+(?=: )", re.MULTILINE)

_TRY_AGAIN: Final = (
    "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS",
    "BUSY", "READONLY", "UNBLOCKED", "MOVED", "ASK", "NOSCRIPT",
)  # fmt: skip
"""The codes of errors after which nothing was done, and the same call may succeed later."""
RIGHTS: Final = (
    "+@read +@write +evalsha +script|load +time +publish +subscribe +unsubscribe +info +hello +client +ping +wait"
)
"""The rights that the store's user needs, besides its keys and channels. docs/configuration.md has the same."""
LABELS: Final[Mapping[str, str]] = {
    "heartbeat": "beat",
    "list_by_status": "list",
    "list_dead": "dead",
    "list_jobs": "page",
    "position": "place",
    "publish_event": "emit",
    "queue_status": "heads",
    "quiet_worker": "quiet",
    "register": "join",
    "reorder": "arrange",
    "run_now": "hasten",
    "save_offset": "mark",
    "set_payload": "edit",
    "store_info": "about",
    "subscribe_events": "listen",
    "watch_end": "watch",
}
"""The label `script` of scripts that had another name in the first versions: dashboards of users rely on it."""
_FORBIDDEN: Final = ("ACL failure in script", "The user executing the script can't")
"""The texts of Valkey and Redis when a script may not run one of its commands; their code is a plain ERR."""
_NO_DATABASE: Final = ("DB index is out of range", "SELECT is not allowed in cluster mode")


def lua_folder() -> Path:
    """Return the folder of the scripts: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent.parent / "lua"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "lua"


def read_scripts(folder: Path | None = None) -> dict[str, str]:
    """Return every script by name, with its includes expanded in place, as `read_sources` names them.

    `--@include keys` stands for the whole file. `--@include keys: base job_key` stands for the definitions of these
    names, in their order in the file: a script makes its functions at each call, which takes more than a small call
    does otherwise. Raises StartupError."""
    root = folder or lua_folder()

    def expand(match: re.Match[str]) -> str:
        text = (root / "include" / f"{match[1]}.lua").read_text(encoding="utf-8")
        return text if match[2] is None else _definitions(text, match[2].split())

    return {name: _INCLUDE.sub(expand, source) for name, source in read_sources(root).items()}


def read_sources(root: Path) -> dict[str, str]:
    """Return the source of every script by name. A file has the name of its script. Raises StartupError.

    A file with lines between `--@typed` and `--@end` has two scripts: that of its name lacks these lines, and the other
    one, called `<name>_typed`, lacks those between `--@untyped` and `--@end` and the plain way."""
    paths = [path for path in sorted(root.rglob("*.lua")) if path.parent.name != "include"]
    if not paths:
        raise StartupError(f"No Lua scripts in {root}: the installation is incomplete; install Queuey again.")
    sources: dict[str, str] = {}
    for path in paths:
        source = path.read_text(encoding="utf-8")
        scripts = {path.stem: _TYPED.sub("", source)}
        if scripts[path.stem] != source:
            typed = f"{path.stem}_typed"
            scripts[typed] = _NAME.sub(typed, _TYPED.sub(r"\1", _UNTYPED.sub("", source)), count=1)
        if twice := scripts.keys() & sources.keys():
            raise StartupError(f"Two Lua scripts in {root} are called {min(twice)}: give one of them another name.")
        sources |= scripts
    return sources


def _definitions(text: str, names: list[str]) -> str:
    found = {match[1]: match[0] for match in _DEFINITION.finditer(text)}
    if missing := set(names) - found.keys():
        raise StartupError(f"A Lua script includes {', '.join(sorted(missing))}, which its include does not define.")
    return "\n".join(definition for name, definition in found.items() if name in names)


class Scripts:
    """Calls scripts by name. They are loaded by `load`, and again whenever the store has lost them."""

    def __init__(self, folder: Path | None = None, metrics: Metrics | None = None) -> None:
        """`metrics` counts the errors of calls, and times them."""
        self._metrics = metrics or Metrics()
        self._sources = read_scripts(folder)
        self._labels = {name: (LABELS.get(name, name),) for name in self._sources}
        self._shas = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._sources.items()}

    @property
    def names(self) -> Iterable[str]:
        return self._sources.keys()

    async def load(self, client: Redis) -> None:
        """Load every script, in one round trip. Raises QueueyError."""
        try:
            pipeline = client.pipeline(transaction=False)
            for source in self._sources.values():
                pipeline.script_load(source)
            # If redis-py raised the error, its text would begin with that of the script.
            replies = await pipeline.execute(raise_on_error=False)
        except (redis_errors.RedisError, OSError) as error:
            raise translate("SCRIPT LOAD", error) from error
        for reply in replies:
            if isinstance(reply, redis_errors.RedisError):
                raise translate("SCRIPT LOAD", reply) from reply

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        """Call a script and return its reply, as MessagePack. Raises QueueyError.

        `copies`: how many replicas of the store must have what it wrote. If fewer have it after half of the time that a
        reply may take, StoreUnavailable is raised with `maybe_done`.

        After NOSCRIPT (a restart, a flush, a failover to a replica without scripts) nothing was done, so the scripts
        are loaded and the call is made again.
        """
        began = time.perf_counter()
        try:
            return await self._call(client, name, keys, argument, copies)
        except QueueyError as error:
            self._metrics.store_errors.add((error.code,))
            raise
        finally:
            self._metrics.script_time.observe(time.perf_counter() - began, self._labels[name])

    async def _call(self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int) -> bytes:
        command = ("EVALSHA", self._shas[name], 2, *keys, argument)
        try:
            try:
                reply = await _run(client.link, command, copies)
            except redis_errors.NoScriptError:
                await self.load(client)
                reply = await _run(client.link, command, copies)
        except (redis_errors.RedisError, OSError) as error:
            raise translate(name, error) from error
        if not isinstance(reply, bytes):
            raise ScriptFailed(f"The script {name} answered {type(reply).__name__} instead of MessagePack.")
        return reply


async def _run(link: PipelinedConnection, command: tuple[bytes | str | int, ...], copies: int) -> object:
    if not copies:
        return await link.call(*command)
    # Both go over one connection, since WAIT waits only for what its own connection wrote.
    reply, copied = await link.calls(command, ("WAIT", copies, round(link.timeout * 500)))
    if isinstance(reply, BaseException):
        raise reply
    if isinstance(copied, BaseException):  # the script has run, whatever this error would say of a call by itself
        text = f"The store did not say how many of its replicas have the job: {_sentence(str(copied))}"
        raise StoreUnavailable(text, maybe_done=True) from copied
    if copied < copies:
        text = f"The job is on {copied} of the store's replicas and must be on {copies}."
        raise StoreUnavailable(f"{text} Check that they run and do not lag.", maybe_done=True)
    return cast(object, reply)


def translate(name: str, error: Exception) -> QueueyError:
    """Return our error for one of redis-py's or the system's. `name`: the script or command that was called."""
    if isinstance(error.__cause__, redis_errors.RedisError):
        error = error.__cause__  # redis-py wraps errors of connecting, such as a wrong password
    text = str(error).split(", with args beginning", 1)[0]  # the rest would quote a payload
    code = getattr(error, "status_code", None) or text.split(" ", 1)[0]
    if code == "OOM":
        return Full("The store is out of memory; wait until finished jobs are trimmed, or raise its maxmemory.")
    if code == "NOPERM" or text.startswith(_FORBIDDEN):
        return _not_allowed(name, text)
    if text.startswith(_NO_DATABASE):
        return StartupError(f"The store has no such database ({text}): use another at the end of --redis, such as /0.")
    if isinstance(error, (redis_errors.AuthenticationError, redis_errors.AuthorizationError)):
        return StoreUnavailable("The store refuses the user name or password of --redis.")
    if code in _TRY_AGAIN:
        return StoreUnavailable(f"The store is not ready: {_sentence(text)}")
    if isinstance(error, redis_errors.ResponseError):
        return ScriptFailed(f"{name} failed: {_sentence(text)}")
    return StoreUnavailable(f"The store cannot be reached: {_sentence(text)}", maybe_done=not _never_sent(error))


def _not_allowed(name: str, text: str) -> StartupError:
    """Return an error with all rights that the user needs: the next missing one would appear only at the next start."""
    found = re.search(r"\bUser (\S+) has no permissions", text)  # Redis 7.0 does not name it
    user = found[1] if found else "NAME"
    return StartupError(
        f"The store's user may not run what {name} needs ({text}). Grant it: ACL SETUSER {user} ~queuey:* &queuey:* "
        f"{RIGHTS} (with another --prefix, put it in place of queuey)"
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _never_sent(error: Exception) -> bool:
    """Return whether the error came while connecting, so that the store cannot have run anything."""
    text = str(error)
    return isinstance(error, (ConnectionRefusedError, FileNotFoundError)) or (
        " connecting to " in text or text.startswith("No connection available")
    )
