"""The plain ways of scripts: copies of the scripts without them, and a scenario that runs with them and without."""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from queuey.store.connections.pipelined import StoreClient
from queuey.store.scripts import Scripts, lua_folder
from tests.support.scripts.contents import contents
from tests.support.store import Rig

PLAIN: Final = re.compile(r"^--@plain\n.*?^--@general\n|^--@include typed_plain\n", re.MULTILINE | re.DOTALL)


def without_plain_ways(folder: Path) -> Path:
    """Copy the scripts into a folder, without their plain ways. Returns the folder."""
    shutil.copytree(lua_folder(), folder, dirs_exist_ok=True)
    cut = 0
    for place in folder.rglob("*.lua"):
        text, found = PLAIN.subn("", place.read_text(encoding="utf-8"))
        place.write_text(text, encoding="utf-8")
        cut += found
    assert cut, "no script has a plain way"
    return folder


IS_PLAIN: Final[dict[str, Callable[[Any], bool]]] = {
    "enqueue": lambda reply: reply == "new",
    "claim": lambda reply: len(reply) == FIRST_CLAIMS,
    "claim_typed": lambda reply: len(reply) >= FIRST_CLAIMS and len(reply[6]) > 0,
    "complete": lambda reply: reply == "ok",
}
"""Whether a script's reply is that of its plain way."""
FIRST_CLAIMS: Final = 8
"""The parts of a reply to a claim that has the ids and definitions in place of the jobs."""


class WatchedScripts(Scripts):
    """Scripts that remember of each call whether it went the plain way, which its reply shows.

    They never wait for replicas of the store, since a test's store has none."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.calls: list[tuple[str, bool]] = []

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        reply = await super().call(client, name, keys, argument)
        if name in IS_PLAIN:
            self.calls.append((name, IS_PLAIN[name](msgspec.msgpack.decode(reply))))
        return reply


class _TwinRig(Rig):
    """A Rig with given ids as long as there are some."""

    given: list[str]
    made: list[str]

    def new_id(self) -> str:
        if self.given:
            return self.given.pop(0)
        self.made.append(super().new_id())
        return self.made[-1]


class Twins:
    """Runs a scenario twice, on an emptied store: with the plain ways and without."""

    def __init__(self, client: StoreClient, shards: int, general: Path) -> None:
        self._client: Any = client
        self._shards = shards
        self._plain, self._general = WatchedScripts(), WatchedScripts(general)

    async def alike(self, scenario: Callable[[Rig], Awaitable[Any]]) -> tuple[Any, dict[str, list[bool]]]:
        """Assert that both ways give the same replies, report the same moves and leave the same store.

        Returns what the scenario returned, and by script whether each of its calls went the plain way."""
        ids: list[str] = []
        outcomes = []
        for scripts in (self._plain, self._general):
            await self._client.flushall()
            scripts.calls.clear()
            rig = _TwinRig(self._client, self._shards, scripts)
            rig.given, rig.made = list(ids), []
            moves = rig.listen()
            outcomes.append((await scenario(rig), list(moves), await contents(self._client)))
            ids = ids or rig.made
        assert outcomes[0] == outcomes[1]
        assert not any(plain for _, plain in self._general.calls)
        ways: dict[str, list[bool]] = {}
        for name, plain in self._plain.calls:
            ways.setdefault(name, []).append(plain)
        return outcomes[0][0], ways


async def commands_of(client: Any, call: Awaitable[Any]) -> dict[str, int]:
    """Await the call of a script, and return how often it called each command. The script must be loaded."""
    await client.config_resetstat()
    await call
    stats = await client.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()}
    return {name: calls for name, calls in counts.items() if name not in ("evalsha", "config|resetstat", "info")}
