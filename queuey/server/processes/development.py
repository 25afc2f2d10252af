"""`queuey dev`: a parent that runs one replica, and replaces it whenever the code changes.

The next replica starts beside the running one, as in a rolling deploy, and takes over once it serves. If it cannot
start, the error is logged, and the running one goes on. They share the port and the store.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from queuey import log
from queuey.errors import AppNotFound, SettingsError, StartupError
from queuey.lifecycle import StopSignals, done_before, end_tasks
from queuey.protocol.backoff import delay_ms
from queuey.server.http.ports import SharedPort
from queuey.server.processes.replica import DRAIN, LEAVE, Init, Started
from queuey.server.processes.supervisor import BACKOFF, LEAVE_SECONDS, Replica, open_port
from queuey.settings.settings import Settings

IGNORED: Final = ("site-packages", "venv", "env", ".queuey", ".queuey-dev")
MAX_NAMED: Final = 5
"""The maximum number of changed files in a log line."""

logger = log.get(__name__)

Load = Callable[[], tuple[Settings, Mapping[str, str]]]
"""Returns the settings of the next replica, and its environment. Raises SettingsError."""
Facts = dict[str, Any]


def develop(load: Load, folders: Sequence[Path], files: Sequence[Path], on_started: Callable[[Facts], None]) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, and reload when Python code in `folders` or one of `files` changes.

    `on_started` is called once, with the facts of the first replica. Returns the exit code. Raises StartupError.
    """
    settings, _ = load()
    log.configure(settings.log_level, settings.log_format)
    return asyncio.run(DevelopmentServer(settings, load, on_started).run(changes(folders, files)))


async def changes(folders: Sequence[Path], files: Sequence[Path]) -> AsyncIterator[set[str]]:
    """Yield the paths that have changed, once for each burst of changes. Raises StartupError."""
    from watchfiles import PythonFilter, awatch

    class Filter(PythonFilter):
        ignore_dirs = (*PythonFilter.ignore_dirs, *IGNORED)

    matters, single = Filter(), {str(file) for file in files}
    watched = {*folders, *(file.parent for file in files if file.parent.is_dir())}
    try:
        async for found in awatch(*watched, watch_filter=lambda change, path: path in single or matters(change, path)):
            yield {path for _, path in found}
    except (OSError, RuntimeError) as error:
        names = ", ".join(str(folder) for folder in folders)
        raise StartupError(
            f"{names}: cannot be watched: {error}. Watch a smaller folder with --watch, or set "
            "WATCHFILES_FORCE_POLLING=true."
        ) from error


class DevelopmentServer:
    """The parent of the replica that serves, and of those that still drain."""

    def __init__(self, settings: Settings, load: Load, on_started: Callable[[Facts], None]) -> None:
        self._settings = settings
        self._load = load
        self._on_started: Callable[[Facts], None] | None = on_started
        self._port: SharedPort | None = None
        self._starts = 0
        self._current: Replica | None = None
        self._spare: tuple[Replica, Mapping[str, str]] | None = None
        """A process that has imported all but the App, so that a reload is quick, and its environment."""
        self._numbers: dict[Replica, int] = {}
        """The replicas that have not ended, with the number of the socket of each."""
        self._endings: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._changed = asyncio.Event()
        self._paths: set[str] = set()
        self._random = Random()

    async def run(self, changes: AsyncIterator[set[str]]) -> int:
        """Serve until a signal comes. Returns 1 if replicas had to be ended at once, else 0."""
        signals = StopSignals()
        signals.install()
        if "api" in self._settings.roles:
            self._port = open_port(self._settings)
        collecting = asyncio.create_task(self._collect(changes))
        reloading = asyncio.create_task(self._reload_forever())
        stopping = asyncio.create_task(signals.first.wait())
        try:
            done, _ = await asyncio.wait({stopping, collecting, reloading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks([stopping, collecting])
            code = await self._stop(reloading, signals.second)
        return code

    async def _collect(self, changes: AsyncIterator[set[str]]) -> None:
        async for paths in changes:
            self._paths |= paths
            self._changed.set()

    # --- reload ---------------------------------------------------------------------------------------------------

    async def _reload_forever(self) -> None:
        deaths = 0
        while not self._stopping:
            paths, self._paths = self._paths, set()
            self._changed.clear()
            await done_before(self._reload(paths), self._changed)
            current = self._current
            if current is None or not await done_before(_end_of(current), self._changed):
                deaths = 0
                await self._changed.wait()
                continue
            deaths = 0 if current.was_stable else deaths + 1
            logger.warning("process_ended", pid=current.pid, exit_code=await current.ended())
            self._forget(current)
            self._current = None
            if deaths:
                await done_before(asyncio.sleep(delay_ms(BACKOFF, deaths, self._random) / 1000), self._changed)

    async def _reload(self, paths: set[str]) -> None:
        """Start the next replica, and let it take over. If it cannot start, log why.

        Raises SettingsError if the first one finds no App: a flag is wrong, which no change of a file corrects.
        """
        began, is_first = time.monotonic(), self._starts == 0
        try:
            self._settings, variables = self._load()
            replica, facts = await self._start(variables)
            before, self._current = self._current, replica
            if before is not None:  # from its end on, only the new code runs
                self._endings.add(ending := asyncio.create_task(self._end(before)))
                ending.add_done_callback(self._endings.discard)
                await asyncio.wait({ending})
            if self._on_started is not None:
                self._on_started(facts)
                self._on_started = None
            else:
                logger.info("reloaded", changed=_shown(paths), took_ms=round((time.monotonic() - began) * 1000))
            self._spare = await self._spawn(variables), variables
        except StartupError as error:
            if is_first and isinstance(error, AppNotFound):
                raise SettingsError(error.message) from error
            serving = "the code before the change" if self._current else "nothing, until the next change"
            logger.error("reload_failed", error=error.message, exception=error.trace, serving=serving)

    async def _start(self, variables: Mapping[str, str]) -> tuple[Replica, Facts]:
        """Return a replica that serves, and its report. Raises StartupError. If cancelled, it leaves none behind."""
        spare, self._spare = self._spare, None
        if spare is not None and spare[1] != variables:
            await self._end(spare[0])
            spare = None
        replica = spare[0] if spare else await self._spawn(variables)
        try:
            listening = self._port.of(self._numbers[replica]) if self._port else None
            report = await replica.begin(Init(self._settings, sys.path, listening.fileno() if listening else None, 1))
            if isinstance(report, Started):
                return replica, report.facts
            if report is None:
                raise StartupError(f"The process ended with exit code {await replica.ended()} before it had started.")
            if report.code == AppNotFound.code:
                raise AppNotFound(report.message)
            raise StartupError(report.message, report.trace)
        except BaseException:
            await self._end(replica)
            raise

    async def _spawn(self, variables: Mapping[str, str]) -> Replica:
        """Return a new replica that waits for `begin`. Raises StartupError."""
        number, self._starts = self._starts, self._starts + 1
        try:
            replica = await Replica.start(self._port.of(number) if self._port else None, _answer_nobody, variables)
        except OSError as error:
            raise StartupError(f"A process cannot be started: {error}.") from error
        self._numbers[replica] = number
        return replica

    # --- stop -----------------------------------------------------------------------------------------------------

    async def _end(self, replica: Replica) -> None:
        """Drain a replica, and wait until it has ended. One whose event loop is blocked is killed."""
        replica.order(DRAIN)
        self._give_up_port(replica)
        try:
            await asyncio.wait_for(replica.ended(), self._settings.drain_timeout + LEAVE_SECONDS)
        except TimeoutError:
            logger.warning("process_killed", pid=replica.pid, error="It did not end in time.")
            replica.kill()
            await replica.ended()
        self._forget(replica)

    async def _stop(self, reloading: asyncio.Task[None], at_once: asyncio.Event) -> int:
        """Drain all replicas. Returns 1 if `at_once` was set before they had ended."""
        logger.info("stopping", timeout=self._settings.drain_timeout, hint="Press Ctrl-C again to end at once.")
        self._stopping = True
        self._changed.set()  # a replica that is about to start ends
        if await done_before(self._drain(reloading), at_once):
            return 0
        logger.warning("forced_exit")
        await end_tasks([reloading])
        for replica in self._numbers:
            replica.order(LEAVE)
        if not self._numbers:
            return 1
        ends = [asyncio.create_task(_end_of(each)) for each in self._numbers]
        _, late = await asyncio.wait(ends, timeout=LEAVE_SECONDS)
        for replica in self._numbers if late else ():
            replica.kill()
            await replica.ended()
        return 1

    async def _drain(self, reloading: asyncio.Task[None]) -> None:
        await asyncio.wait({reloading})
        await asyncio.gather(*(self._end(replica) for replica in self._numbers))

    def _give_up_port(self, replica: Replica) -> None:
        """Close our copy of its socket: once the replica closes its own, no connection may wait there."""
        if self._port is not None and replica in self._numbers:
            self._port.give_up(self._numbers[replica])

    def _forget(self, replica: Replica) -> None:
        self._give_up_port(replica)
        self._numbers.pop(replica, None)


def _shown(paths: set[str]) -> list[str]:
    return sorted(os.path.relpath(path) for path in paths)[:MAX_NAMED]


async def _end_of(replica: Replica) -> None:
    await replica.ended()


async def _answer_nobody(_: str) -> list[str]:
    """Answer a replica that asks for its peers: it has none."""
    return []
