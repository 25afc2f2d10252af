"""`queuey serve --processes N`: a parent that starts N replicas on one port, and another for each that dies.

The parent binds the port and answers nothing itself; each replica is a whole server (replica.py), and they share the
private Valkey as any servers on one data directory do. The first one starts before the others, so
that an error at the start is found and reported once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

import queuey.version
from queuey import log
from queuey.errors import SettingsError, StartupError
from queuey.lifecycle import StopSignals, done_before, end_tasks
from queuey.protocol.backoff import delay_ms
from queuey.protocol.credentials import Credentials
from queuey.protocol.models import Backoff
from queuey.server.http.ports import SharedPort
from queuey.server.processes.replica import DRAIN, LEAVE, Init, Refused, Started, pack
from queuey.service_manager import READY, STOPPING, notify
from queuey.services.peers import PEER_SECONDS, Channel, Respond
from queuey.settings.settings import Settings, notify_socket

BACKOFF: Final = Backoff(0.2, 2.0, 5.0)
"""Seconds between the starts of a replica that keeps dying."""
STABLE_AFTER: Final = 10.0
"""Seconds after which a replica that dies is replaced at once."""
LEAVE_SECONDS: Final = 5.0
"""Seconds that replicas may take to end after a second signal."""
REPORT_LIMIT: Final = 16 << 20
IMPORT_FROM: Final = str(Path(queuey.version.__file__).parent.parent)

logger = log.get(__name__)
_decode_report: Final[Callable[[bytes], Started | Refused]] = msgspec.json.Decoder(Started | Refused).decode


def supervise(settings: Settings) -> int:
    """Run `settings.processes` replicas until SIGTERM, SIGINT or SIGHUP. Returns the exit code. Raises StartupError."""
    log.configure(settings.log_level, settings.log_format)
    return asyncio.run(Supervisor(settings).run())


def open_port(settings: Settings) -> SharedPort:
    """Return the port of these settings, bound. Raises StartupError."""
    warning = Credentials(settings.api_key, settings.api_keys, settings.anonymous).check_bind(settings.host)
    if warning:
        logger.warning("weak_access", warning=warning)
    return SharedPort(settings.host, settings.port)


class Replica:
    """The process of a replica, and the sockets to it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket, channel: Channel) -> None:
        self.pid = process.pid
        self.channel = channel
        self._process = process
        self._control = control
        self._started_at = time.monotonic()
        self._began = False
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def start(
        cls, listening: socket.socket | None, respond: Respond, variables: Mapping[str, str] | None = None
    ) -> Replica:
        """Start the process, which then waits for `begin`. `respond` answers what it asks. Raises OSError.

        `variables`: its environment, unless it is that of this process."""
        ours, theirs = socket.socketpair()
        our_end, their_end = socket.socketpair()
        path = f"import sys; sys.path[:] = [{IMPORT_FROM!r}, *filter(None, sys.path)]"  # not the working directory
        handed = [theirs.fileno(), their_end.fileno()]
        code = f"{path}; from queuey.server.processes.replica import main; sys.exit(main(*{handed}))"
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[*handed, *([listening.fileno()] if listening else [])],
                env=variables,
            )
        except BaseException:
            ours.close()
            our_end.close()
            raise
        finally:
            theirs.close()
            their_end.close()
        return cls(process, ours, Channel(our_end, respond))

    async def begin(self, init: Init) -> Started | Refused | None:
        """Make it serve. Returns once it does, or why it does not; None when it ended without a report."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._control, limit=REPORT_LIMIT)
        self._writer.write(pack(init))
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        report = _decode_report(line)
        if isinstance(report, Started):
            await self.channel.open()
            self._began = True
        return report

    def order(self, order: bytes) -> None:
        """Send DRAIN or LEAVE. A replica that does not serve yet may be importing the App, and is ended."""
        if self._began and self._writer is not None:
            self._writer.write(order)
        else:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def ended(self) -> int:
        """Wait until it has ended. Returns its exit code, negative for a signal."""
        code = await self._process.wait()
        self.channel.close()
        if self._writer is None:
            self._control.close()
        else:
            self._writer.close()
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            self._process.kill()

    @property
    def serves(self) -> bool:
        return self._began and self._process.returncode is None

    @property
    def was_stable(self) -> bool:
        return time.monotonic() - self._started_at >= STABLE_AFTER


class Supervisor:
    """The parent of `settings.processes` replicas."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._port: SharedPort | None = None
        self._replicas: dict[int, Replica] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self._random = Random()

    async def run(self) -> int:
        """Start all replicas, keep them running until a signal comes, then drain them. Returns the exit code."""
        signals = StopSignals()
        signals.install()
        if "api" in self._settings.roles:
            self._port = open_port(self._settings)
        try:
            if await done_before(self._start(), signals.first):
                await self._wait(signals.first)
        finally:
            code = await self._stop(signals.second)
        logger.info("stopped", processes=self._settings.processes)
        return code

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        facts = await self._start_one(0)
        others = [asyncio.create_task(self._start_one(number)) for number in range(1, self._settings.processes)]
        try:
            await asyncio.gather(*others)
        finally:
            await end_tasks(others)
        del facts["replica"]
        pids = [replica.pid for _, replica in sorted(self._replicas.items())]
        logger.info("started", **facts, processes=len(pids), pids=pids)
        notify(notify_socket(), READY)

    async def _start_one(self, number: int) -> dict[str, Any]:
        """Start a replica. Returns its report. Raises StartupError when it cannot start."""
        report = await self._launch(number)
        if isinstance(report, Started):
            self._keepers.add(asyncio.create_task(self._keep(number), name=f"keeper-{number}"))
            return report.facts
        if report is None:
            code = await self._replicas[number].ended()
            raise StartupError(f"A process of this server ended with exit code {code} before it had started.")
        kind = SettingsError if report.exit_code == SettingsError.exit_code else StartupError
        raise kind(report.message, report.trace)

    async def _launch(self, number: int) -> Started | Refused | None:
        """Start the process of a replica. Raises StartupError when the system refuses it."""
        listening = self._port.of(number) if self._port else None
        try:
            replica = await Replica.start(listening, partial(self._ask_others, number))
        except OSError as error:
            raise StartupError(f"A process cannot be started: {error}.") from error
        self._replicas[number] = replica
        settings = self._settings
        return await replica.begin(Init(settings, sys.path, listening.fileno() if listening else None, number + 1))

    # --- run ------------------------------------------------------------------------------------------------------

    async def _keep(self, number: int) -> None:
        """Replace the replica whenever it ends."""
        failures = 0
        error: str | None = None
        while True:
            replica = self._replicas[number]
            code = await replica.ended()
            failures = 0 if replica.was_stable else failures + 1
            logger.warning("process_ended", process=number + 1, pid=replica.pid, exit_code=code, error=error)
            if failures and self._port is not None:
                self._port.give_up(number)
            error = await self._replace(number, failures)

    async def _replace(self, number: int, failures: int) -> str | None:
        """Start another one as soon as its pause is over, and wait until it serves. Returns why it does not."""
        while True:
            if failures:
                await asyncio.sleep(delay_ms(BACKOFF, failures, self._random) / 1000)
            try:
                report = await self._launch(number)
            except StartupError as error:
                failures += 1
                logger.warning("process_start_failed", process=number + 1, error=error.message, exception=error.trace)
                continue
            if isinstance(report, Started):
                logger.info("process_started", process=number + 1, pid=self._replicas[number].pid)
            return report.message if isinstance(report, Refused) else None

    async def _ask_others(self, number: int, question: str) -> list[str]:
        """Return the other replicas' answers to a replica's question, of those that answer in time."""
        others = [each for other, each in self._replicas.items() if other != number and each.serves]
        answers = await asyncio.gather(*(each.channel.ask(question, PEER_SECONDS) for each in others))
        return [text for texts in answers for text in texts]

    async def _wait(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises the error of a keeper that has ended, which none should."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._keepers}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done:
            task.result()

    # --- stop -----------------------------------------------------------------------------------------------------

    async def _stop(self, at_once: asyncio.Event) -> int:
        """Drain the replicas. Returns 1 if one of them failed. Ends all of them at once when `at_once` is set."""
        notify(notify_socket(), STOPPING)
        await end_tasks(self._keepers)
        if self._port is not None:
            self._port.close()
        replicas = self._replicas.values()
        serving = [replica for replica in replicas if replica.serves]

        async def ended() -> None:
            await asyncio.gather(*(replica.ended() for replica in replicas))

        self._order(DRAIN)
        if not await done_before(ended(), at_once):
            logger.warning("forced_exit")
            self._order(LEAVE)
            try:
                await asyncio.wait_for(ended(), LEAVE_SECONDS)
            except TimeoutError:
                for replica in replicas:
                    replica.kill()
                await ended()
            os._exit(1)
        return 1 if any([await replica.ended() for replica in serving]) else 0

    def _order(self, order: bytes) -> None:
        for replica in self._replicas.values():
            replica.order(order)
