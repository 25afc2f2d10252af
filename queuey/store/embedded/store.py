"""The embedded store: a private Valkey that every `queuey serve` on one data directory shares.

Three locks in the data directory coordinate the processes; the kernel releases each when its holder dies.

    start.lock    held, exclusively and briefly, by a process that joins, starts or stops the server
    users.lock    held, shared, by every user; its text is the safest fsync policy that one of them asked for
    server.lock   held by the server process itself, which inherits it: free means that no server runs; its text is the
                  server's process id

Users join and leave while they hold start.lock. So a user that finds no other in users.lock is the last one, and none
can join until it has stopped the server. When a user is killed, the server keeps running, and the next user joins it.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hiredis import ReplyError

from queuey.errors import StartupError
from queuey.lifecycle import Retrying
from queuey.store.embedded import aof
from queuey.store.embedded.data_dir import FileLock, exclusively, prepare, sync_names
from queuey.store.embedded.memory_limit import memory_limit
from queuey.store.embedded.process import LOG_NAME, Fsync, StoreProcess, command_line, find_binary, stronger
from queuey.store.embedded.unix_socket import SocketPath, ask, server_info

MEMORY_SHARE: Final = 0.6
LOCK_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 30.0
LOADING_SECONDS: Final = 600.0
SHUTDOWN_SECONDS: Final = 10.0
COMMAND_TIMEOUT: Final = 5.0
ROOM: Final = 100_000
"""Free bytes below which a disk counts as full. A new store writes less."""
POLL: Final = 0.02
LOOK_SECONDS: Final = 1.0
"""Seconds between two looks whether the socket is still there."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
STABLE_AFTER: Final = 10.0
"""Seconds. After a server ran this long, the delay before its restart is FIRST_DELAY again."""

Events = Callable[[str, dict[str, object]], None]


class EmbeddedStore:
    """One user of the store in `data_dir`. Call `start`, then `run` in a task, then `stop`.

    `fsync` is the weakest policy that this user accepts: that of a running server is raised to it, never lowered.
    `maxmemory` is in bytes (None: 60 % of the memory of this machine or container), for a server that is started here.
    `extra_args` are appended to the server's command line.

    `on_event` gets a name and fields: `store_started`, `store_joined`, `store_fsync_raised`, `store_mended`,
    `store_lost`, `store_socket_removed`, `store_restart_failed`, `store_stopped`, `store_left_running`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        fsync: Fsync = "always",
        maxmemory: int | None = None,
        on_event: Events | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._fsync: Fsync = fsync
        self._maxmemory = int(memory_limit() * MEMORY_SHARE) if maxmemory is None else maxmemory
        self._on_event = on_event
        self._extra_args = tuple(extra_args)
        self._start_lock = self._data_dir / "start.lock"
        self._users_lock = FileLock(self._data_dir / "users.lock")
        self._server_lock = FileLock(self._data_dir / "server.lock")
        self._socket = SocketPath(self._data_dir)
        self._child: StoreProcess | None = None
        self._former: StoreProcess | None = None
        self._pid: int | None = None
        self._retries = Retrying(FIRST_DELAY, LONGEST_DELAY)
        self._failures = 0
        """Number of restarts since the server last ran for STABLE_AFTER."""

    @property
    def url(self) -> str:
        """The address for redis-py. It is valid from `start` to `stop`, in this process and its children."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """The id of the server's process, as of the last join or start."""
        return self._pid

    async def start(self) -> None:
        """Join the server on the data directory, or start one. Returns when it answers and has loaded its data.

        Raises StartupError, and then holds no lock."""
        if self._users_lock.held:
            raise RuntimeError("the store is already started")
        prepare(self._data_dir)
        try:
            self._socket.open()
            async with exclusively(self._start_lock, LOCK_SECONDS):
                self._become_user()
            await self._bring_up()
            await asyncio.to_thread(sync_names, self._data_dir)
        except OSError as error:
            await self.stop()
            raise StartupError(f"The store in {self._data_dir} cannot be started: {error}.") from error
        except BaseException:
            await self.stop()
            raise

    async def run(self) -> None:
        """Restart the server whenever it dies, even if another process started it. Returns after `stop`."""
        while self._users_lock.held:
            await self.run_once()

    async def run_once(self) -> float:
        """Wait until the server dies, and restart it."""
        since = time.monotonic()
        await self._until_gone()
        if time.monotonic() - since >= STABLE_AFTER:
            self._retries.reset()
            self._failures = 0
        self._tell("store_lost", pid=self._pid)
        up = False
        while not up:
            await asyncio.sleep(jittered(self._retries.next()))
            self._failures += 1
            up = await self._restarted(self._failures)
        return 0.0

    async def stop(self) -> None:
        """Leave the store. The last user stops the server, and waits for its end."""
        try:
            if self._users_lock.held:
                async with exclusively(self._start_lock, LOCK_SECONDS):
                    if self._users_lock.try_acquire():  # no other user is left, and none can join now
                        await self._shut_down()
        except (OSError, StartupError) as error:
            self._tell("store_left_running", pid=self._pid, reason=str(error))
        finally:
            self._users_lock.release()
            self._socket.close()
            self._pid = None

    # Start

    def _become_user(self) -> None:
        """Join the users. The caller holds start.lock, so no process can come between the two kinds of lock."""
        alone = self._users_lock.try_acquire()
        asked = self._fsync if alone else stronger(self._fsync, self._users_lock.note)
        self._users_lock.note = asked
        if not self._users_lock.try_acquire(shared=True):
            raise StartupError(f"Another program has locked {self._users_lock.path}. End it.")

    async def _bring_up(self) -> None:
        deadline = time.monotonic() + LOADING_SECONDS
        self._former = self._child or self._former
        self._child = None  # one launch per call: a second one would only fail in the same way
        while time.monotonic() < deadline:
            async with exclusively(self._start_lock, LOCK_SECONDS):
                if not self._users_lock.held or await self._reach():
                    return
            await asyncio.sleep(POLL)
        raise StartupError(
            f"The store in {self._data_dir} is still loading its data after {LOADING_SECONDS:.0f} s. Wait "
            "until it is done, then start again."
        )

    async def _reach(self) -> bool:
        """Start the server if none runs, and wait until it answers. Returns False while it loads its data."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            if self._server_lock.try_acquire():
                try:
                    await self._launch()
                finally:
                    self._server_lock.release()
            if self._child is None and self._is_cut_off():
                self._end_holder()
            with suppress(ReplyError, OSError):
                # While it loads, the server reads its connections only once per 1024 commands.
                info = await server_info(str(self._socket), ANSWER_SECONDS)
                if info["loading"] != "0":
                    return False
                await self._settle(int(info["process_id"]))
                return True
            await asyncio.sleep(POLL)
        if self._child is not None:
            self._child.kill()
            self._child.reap()
        why = f"its socket {self._socket} was removed; end" if self._is_cut_off() else "if it hangs, end"
        raise StartupError(
            f"The store in {self._data_dir} runs, but has not answered for {ANSWER_SECONDS:.0f} s. See "
            f"{self._data_dir / LOG_NAME}; {why} its process, which keeps {self._server_lock.path} open."
        )

    def _is_cut_off(self) -> bool:
        """Return whether the server has no socket, so that no new connection reaches it."""
        return not Path(str(self._socket)).exists()

    def _end_holder(self) -> None:
        """End the process that holds server.lock, by the id that its starter has left there."""
        pid = self._server_lock.note
        if pid.isdigit() and not self._server_lock.try_acquire():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
        self._server_lock.release()

    async def _launch(self) -> None:
        if self._child is not None:
            self._child.reap()
            raise await self._why_it_ended(self._child)
        if self._former is not None:
            self._former.reap()  # it has released the lock, and so is about to exit
            self._former = None
        aof.remove_leftovers(self._data_dir)
        await self._repair()
        command = command_line(find_binary(), self._asked_fsync(), self._maxmemory, self._extra_args)
        os.truncate(self._server_lock.path, 0)  # so that it never names a process that has ended
        self._child = StoreProcess(command, self._data_dir, self._server_lock)
        with suppress(OSError):  # a full disk
            self._server_lock.note = str(self._child.pid)

    async def _repair(self) -> None:
        file = aof.last_increment(self._data_dir)
        if file is None or not aof.ends_in_zero(file):
            return
        tail = await asyncio.to_thread(aof.find_zero_tail, file)
        copy = await asyncio.to_thread(aof.keep_copy, tail.file, self._data_dir / "damaged")
        aof.cut(tail)  # not in a thread, which could outlive a cancellation and cut a file in use
        zeros = tail.size - tail.start
        self._tell("store_mended", file=str(tail.file), copy=str(copy), offset=tail.start, zero_bytes=zeros)

    async def _settle(self, pid: int) -> None:
        """Make the server sync at least as safely as every user asks."""
        path = str(self._socket)
        reply = await ask(path, "CONFIG", "GET", "appendfsync", "maxmemory", timeout=COMMAND_TIMEOUT)
        config = dict(zip(reply[::2], reply[1::2], strict=True))
        running = config["appendfsync"]
        asked = stronger(running, self._asked_fsync())
        if asked != running:
            await ask(path, "CONFIG", "SET", "appendfsync", asked, timeout=COMMAND_TIMEOUT)
            self._tell("store_fsync_raised", pid=pid, before=running, after=asked)
        self._users_lock.note = asked
        self._pid = pid
        started = self._child is not None and self._child.pid == pid
        event = "store_started" if started else "store_joined"
        self._tell(event, pid=pid, fsync=asked, maxmemory=int(config["maxmemory"]))

    def _asked_fsync(self) -> Fsync:
        return stronger(self._fsync, self._users_lock.note)

    async def _why_it_ended(self, child: StoreProcess) -> StartupError:
        damage = await asyncio.to_thread(aof.find_damage, self._data_dir, child.log(), find_binary())
        if damage is not None:
            message = (
                f"{damage.file} is damaged at byte {damage.offset} of {damage.size}. Restore {self._data_dir} "
                "from a backup."
            )
            if damage.file == aof.last_increment(self._data_dir):
                message += (
                    " Or copy it, and lose every change to jobs after that byte: "
                    f"truncate -s {damage.offset} {damage.file}"
                )
            return StartupError(message)
        if shutil.disk_usage(self._data_dir).free < ROOM:
            return StartupError(f"The disk of {self._data_dir} is full: make room, or give another --data-dir.")
        return StartupError(
            f"The store in {self._data_dir} ended at once (exit code {child.returncode}): "
            f"{child.complaints()} See {self._data_dir / LOG_NAME}."
        )

    # Restart

    async def _until_gone(self) -> None:
        """Hold a connection open until it ends, which it does when the server dies, or until the socket was removed."""
        path = str(self._socket)
        with suppress(ReplyError, OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                info = await server_info(path, ANSWER_SECONDS)
                if info["process_id"] == str(self._pid):  # else it was replaced before it was watched
                    await self._until_cut_off(reader)
            finally:
                writer.close()

    async def _until_cut_off(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    if not await reader.read(1024):
                        return
            except TimeoutError:
                if self._is_cut_off():
                    self._tell("store_socket_removed", pid=self._pid, socket=str(self._socket))
                    return

    async def _restarted(self, attempt: int) -> bool:
        try:
            await self._bring_up()
        except (OSError, StartupError) as error:
            if attempt <= 8 or attempt % 12 == 0:  # then about once a minute
                self._tell("store_restart_failed", attempt=attempt, error=str(error))
            return False
        return True

    # Stop

    async def _shut_down(self) -> None:
        pid: int | None = None
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        if gone := await self._gone(timeout=0):
            return
        while not gone and time.monotonic() < deadline:
            pid = await self._ask_to_end() or pid  # again, since a server that has just started does not listen yet
            gone = await self._gone(POLL * 10)
        if not gone:
            self._terminate(pid)
            gone = await self._gone(SHUTDOWN_SECONDS)
        if gone:
            self._tell("store_stopped", pid=pid)
        else:
            self._tell("store_left_running", pid=pid, reason="it does not end")

    async def _ask_to_end(self) -> int | None:
        """Ask the server to end. Returns its process id if it answered."""
        if self._is_cut_off():
            self._end_holder()
        path = str(self._socket)
        pid: int | None = None
        with suppress(ReplyError, OSError):
            pid = int((await server_info(path, COMMAND_TIMEOUT))["process_id"])
        with suppress(ReplyError, OSError):
            # It syncs the append-only file, whatever the policy, and closes the connection instead of a reply.
            await ask(path, "SHUTDOWN", "NOSAVE", timeout=COMMAND_TIMEOUT)
        return pid

    def _terminate(self, pid: int | None) -> None:
        """End the server, but only a process that has just named itself on the socket, or that was started here."""
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        elif self._child is not None:
            self._child.terminate()

    async def _gone(self, timeout: float) -> bool:
        """Return whether the server has ended, so that server.lock is free. The caller holds start.lock."""
        deadline = time.monotonic() + timeout
        while not self._server_lock.try_acquire():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL)
        self._server_lock.release()
        if self._child is not None:
            self._child.reap()
        return True

    # Events

    def _tell(self, event: str, **fields: object) -> None:
        if self._on_event is not None:
            self._on_event(event, fields)


def jittered(longest: float) -> float:
    """Return the seconds until the next restart: between the half of `longest` and all of it."""
    return longest * random.uniform(0.5, 1.0)
