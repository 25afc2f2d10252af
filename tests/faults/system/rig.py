"""The real system, started for one round: replicas of `queuey serve`, their store, and what stands between."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from redis.exceptions import RedisError

from queuey.store.connections.pipelined import connect
from queuey.store.embedded.process import Fsync
from queuey.store.embedded.unix_socket import SOCKET_NAME
from queuey.store.scripts import read_scripts
from tests.faults.evidence.ledger import NO_PROCESS, Event, Ledger, Moment, Started, Tail, now
from tests.faults.load import handlers
from tests.faults.store.external import ExternalStore
from tests.faults.system.proxy import Proxy
from tests.support.store import free_port

ROOT: Final = Path(__file__).resolve().parents[3]
START_PATIENCE: Final = 60.0
STOP_PATIENCE: Final = 15.0
POLL: Final = 0.03
QUEUES: Final = ("default", "other")
UNPULLED: Final = "unpulled"
"""A queue that only the replicas' own workers serve, for jobs by which a fault hits one of them."""


@dataclass(frozen=True)
class Timing:
    """Settings of the replicas, in seconds: short, so that a round is."""

    lease: float = 2.0
    reap_interval: float = 0.25
    reap_delay_max: float = 0.3
    backoff_base: float = 0.1
    backoff_cap: float = 0.4
    drain_timeout: float = 0.5
    grace: float = 0.5
    concurrency: int = 10

    def flags(self) -> list[str]:
        flags = []
        for name in self.__dataclass_fields__:
            flags += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        return flags


@dataclass
class Setup:
    """What is started. A fault's `prepare` and a variant of the system change it before the start."""

    folder: Path
    """Everything of this round is in it. Its path must be short, for the sockets in it."""
    replicas: int = 2
    external: bool = False
    """The store is our own, behind a proxy, and not the private one of the replicas."""
    shards: int = 1
    fsync: Fsync = "always"
    lua: Path | None = None
    """Other scripts than the real ones."""
    data_dir: Path | None = None
    """Of the store. None: in `folder`."""
    store_arguments: list[str] = field(default_factory=list)
    """More of the command line of an external store."""
    store_environment: dict[str, str] = field(default_factory=dict)
    """Of an external store; an embedded one has none."""
    apart: int | None = None
    """A shard of an external store that the replicas reach through a proxy of its own."""
    replica_flags: list[str] = field(default_factory=list)
    apps: dict[int, str] = field(default_factory=dict)
    """Other Apps than the usual one, by the number of the replica."""
    replica_environment: dict[int, dict[str, str]] = field(default_factory=dict)
    """More variables, by the number of the replica."""
    replicas_may_end: bool = False
    """Without having been sent a signal."""
    timing: Timing = field(default_factory=Timing)

    @property
    def store_folder(self) -> Path:
        return self.data_dir or self.folder / "data"


class Replica:
    """One `queuey serve`, started again whenever it ends."""

    def __init__(self, number: int, app: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.number = number
        self.app = app
        """The path of the App that it serves from its next start on."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.pids: list[int] = []
        """Of each time that it was started."""
        self.unasked_ends: list[int] = []
        """Exit codes of the times that it ended though nobody had sent it a signal."""
        self.ends: list[int] = []
        """Exit codes of all times that it ended, but for the last."""
        self._command = [*command, "--port", str(self.port)]
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._signalled = False

    @property
    def pid(self) -> int:
        return self.pids[-1]

    async def start(self) -> None:
        """Start it, and keep it running. Returns before it is ready."""
        await self._launch()
        self._supervision = asyncio.create_task(self._supervise())

    async def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--app",
                self.app,
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the conductor, which then stops everything
            )
        self._signalled = False
        self.pids.append(self._process.pid)

    async def _supervise(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self.ends.append(code)
            if not self._signalled:
                self.unasked_ends.append(code)
            await asyncio.sleep(0.05)
            await self._launch()

    def send(self, number: signal.Signals) -> None:
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._signalled = True
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """SIGHUP to its process group, as from a terminal that closes. Child processes have groups of their own."""
        self._signalled = True
        with suppress(ProcessLookupError):  # it has ended since the first one
            os.killpg(self.pid, signal.SIGHUP)

    async def answers(self, http: httpx.AsyncClient, path: str = "/readyz") -> bool:
        try:
            return (await http.get(self.url + path, timeout=1.0)).status_code == 200
        except httpx.HTTPError:
            return False

    async def started_again(self, http: httpx.AsyncClient, starts: int) -> None:
        """Wait until it has been started so many times, and is ready. Raises TimeoutError."""
        async with asyncio.timeout(START_PATIENCE):
            while len(self.pids) < starts or not await self.answers(http):  # noqa: ASYNC110 - nothing tells when it does
                await asyncio.sleep(POLL)

    async def stop(self) -> bool:
        """End it for good. Returns whether it did so by itself when asked."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
        if self._process is None or self._process.returncode is not None:
            return True
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_PATIENCE)
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        """The last resort."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


class Rig:
    """`async with Rig(setup) as rig`: ready when entered, gone when left. `complaints`: what went wrong at its end."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.timing = setup.timing
        self.ledger = Ledger(setup.folder / "ledger.jsonl")
        self.complaints: list[str] = []
        self.http = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=64))
        self.external = ExternalStore(setup) if setup.external else None
        self._socket = setup.store_folder / SOCKET_NAME
        self._proxy = self._make_proxy("proxy.sock") if setup.external else None
        self._apart = self._make_proxy("apart.sock") if setup.apart is not None else None
        self._client: Any = None
        self._tail = Tail(self.ledger.path)
        self.replicas = [self._make_replica(number) for number in range(setup.replicas)]

    def _make_proxy(self, name: str) -> Proxy:
        texts = read_scripts(self.setup.lua).items()
        names = {hashlib.sha1(text.encode()).hexdigest(): name for name, text in texts}
        return Proxy(self.setup.folder / name, self._socket, names)

    def _make_replica(self, number: int) -> Replica:
        setup = self.setup
        where = ["--redis", f"unix://{setup.folder / 'proxy.sock'}"] if setup.external else []
        command = [sys.executable, "-m", "tests.faults.system.serve", "serve"]
        command += [*where, "--data-dir", str(setup.store_folder), "--fsync", setup.fsync, "--maxmemory", "200MB"]
        command += ["--queues", ",".join((*QUEUES, UNPULLED)), "--process-slots", "2", "--thread-slots", "4"]
        command += ["--shards", str(setup.shards), "--log-format", "json", *setup.timing.flags(), *setup.replica_flags]
        # Settings meant for another server must not reach this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUEY_")}
        environment[handlers.LEDGER] = str(self.ledger.path)
        if setup.lua is not None:
            environment["FAULTS_LUA"] = str(setup.lua)
        environment |= setup.replica_environment.get(number, {})
        if setup.apart is not None:
            environment["FAULTS_APART"] = f"{setup.folder / 'apart.sock'} {setup.apart}"
            environment["FAULTS_PATCH"] = f"tests.faults.system.apart {environment.get('FAULTS_PATCH', '')}"
        app = setup.apps.get(number, handlers.PATH)
        return Replica(number, app, command, environment, setup.folder / f"replica{number}.log")

    # --- start and stop -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Rig:
        try:
            if self.external is not None:
                await self.external.start()
            for proxy in self._proxies():
                proxy.start()
            for replica in self.replicas:
                await replica.start()
            await self.ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        try:
            stopping = [asyncio.create_task(replica.stop()) for replica in self.replicas]
            for replica, alone in zip(self.replicas, await asyncio.gather(*stopping), strict=True):
                if not alone:
                    self.complaints.append(f"replica {replica.number} did not end within {STOP_PATIENCE:.0f} s")
                if replica.unasked_ends and not self.setup.replicas_may_end:
                    self.complaints.append(f"replica {replica.number} ended by itself: {replica.unasked_ends}")
        finally:
            for replica in self.replicas:
                replica.kill()
            await self._stop_rest()

    async def _stop_rest(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        await self.http.aclose()
        for proxy in self._proxies():
            proxy.stop()
        if self.external is not None:
            await self.external.stop()
        self.ledger.close()
        self.complaints += await end_leftovers(self.setup)

    async def ready(self) -> None:
        """Wait until the store and every replica answer. Raises TimeoutError."""
        async with asyncio.timeout(START_PATIENCE):
            await self.store_answers()
            for replica in self.replicas:
                while not await replica.answers(self.http):  # noqa: ASYNC110 - nothing tells when it does
                    await asyncio.sleep(POLL)

    # --- looking --------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Any:
        """A client of the store itself, past the proxy."""
        if self._client is None:
            self._client = connect(self.store_url, timeout=10.0, max_connections=4)
        return self._client

    @property
    def store_url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def proxy(self) -> Proxy:
        """Between the replicas and an external store."""
        assert self._proxy is not None, "prepare() must ask for an external store"
        return self._proxy

    @property
    def apart(self) -> Proxy:
        """Between the replicas and the shard that is apart."""
        assert self._apart is not None, "prepare() must set a shard apart"
        return self._apart

    def _proxies(self) -> list[Proxy]:
        return [proxy for proxy in (self._proxy, self._apart) if proxy is not None]

    async def store_answers(self) -> int:
        """Wait until the store has loaded its data. Returns its process id. Raises TimeoutError."""
        async with asyncio.timeout(START_PATIENCE):
            while True:
                with suppress(RedisError, OSError):
                    info = await self.store.info()
                    if not info["loading"]:
                        return int(info["process_id"])
                await asyncio.sleep(POLL)

    def new_events(self) -> list[Event]:
        """What was written into the ledger since the last call of this or of what asks how much is in flight."""
        return list(self._tail.new())

    def in_flight(self) -> int:
        """How many attempts of handlers are under way, in processes that live; pull workers have none."""
        return sum(started.pid != NO_PROCESS and _lives(started.pid) for started in self._tail.in_flight())

    def running(self) -> list[Started]:
        """The attempts under way, those of killed processes included."""
        return self._tail.in_flight()

    def busiest(self) -> Replica:
        """The replica with the most attempts under way, those in its child processes not counted."""
        running = Counter(started.pid for started in self._tail.in_flight())
        return max(self.replicas, key=lambda replica: running[replica.pid])

    async def until_in_flight(self, count: int = 1, patience: float = 5.0) -> int:
        """Wait until so many attempts are under way, but no longer than `patience`. Returns how many are."""
        give_up = time.monotonic() + patience
        while self.in_flight() < count and time.monotonic() < give_up:  # noqa: ASYNC110 - handlers tell nobody but the ledger
            await asyncio.sleep(0.005)
        return self.in_flight()

    def note(self, what: Any, detail: str = "") -> None:
        self.ledger.write(Moment(now(), what, detail))

    # --- doing ----------------------------------------------------------------------------------------------------

    async def kill_store(self) -> int:
        """SIGKILL the store. The replicas start an embedded one again, `external.start()` our own."""
        pid = await self.store_answers()
        os.kill(pid, signal.SIGKILL)
        if self.external is not None:
            await self.external.ended()
        return pid


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def end_leftovers(setup: Setup, patience: float = 4.0) -> list[str]:
    """Wait until no process of this round is left, and end those that are after that. Returns complaints."""
    give_up = time.monotonic() + patience
    while (left := _leftovers(setup)) and time.monotonic() < give_up:  # noqa: ASYNC110 - they are no children of ours
        await asyncio.sleep(POLL)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"process {pid} was left behind: {name}" for pid, name in left.items()]


def _leftovers(setup: Setup) -> dict[int, str]:
    """Processes that bear this round's ledger in their environment, or sit in its store's folder. Linux only."""
    mark = f"{handlers.LEDGER}={setup.folder / 'ledger.jsonl'}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = mark in (entry / "environ").read_bytes() or (entry / "cwd").resolve() == setup.store_folder
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if is_ours and state != "Z":
                found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found
