"""A store with a replica, for tests of what survives the first of them."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from redis import Redis as BlockingRedis

from tests.support.store import START_PATIENCE, Server, free_port

HOST = "127.0.0.1"


class Pair:
    """`first` is replicated by `second`, which has all that it had when the pair is made."""

    def __init__(self, binary: Path) -> None:
        port = free_port()
        self.first = Server(binary, "--port", str(port), "--bind", HOST, "--repl-diskless-sync-delay", "0")
        try:
            self.second = Server(binary, "--replicaof", HOST, str(port))
        except BaseException:
            self.first.stop()
            raise
        try:
            self.until_copied()
        except BaseException:
            self.stop()
            raise

    def until_copied(self) -> None:
        give_up = time.monotonic() + START_PATIENCE
        with _client(self.first) as client:
            client.set("something", 1)
            while client.execute_command("WAIT", 1, 1000) != 1:
                assert time.monotonic() < give_up, "the replica does not follow"

    def has(self, job_id: str) -> bool:
        """Whether the replica has this job, of shard 0."""
        return self.reads(f"queuey:{{0}}:job:{job_id}") is not None

    def reads(self, key: str) -> str | None:
        """The replica's value of this key."""
        with _client(self.second) as client:
            value: bytes | None = client.get(key)
        return None if value is None else value.decode()

    def halt(self) -> None:
        """The replica takes nothing, until `go_on`."""
        self.second.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.second.process.send_signal(signal.SIGCONT)

    def part(self) -> None:
        """The replica hears no more of the first, ever."""
        with _client(self.second) as client:
            client.replicaof(HOST, free_port())

    def fail_over(self) -> None:
        """The first dies, and the replica becomes what it was."""
        self.first.process.kill()
        self.first.process.wait()
        with _client(self.second) as client:
            client.replicaof("NO", "ONE")

    def stop(self) -> None:
        self.second.stop()
        self.first.stop()


def _client(server: Server) -> Any:
    return BlockingRedis(unix_socket_path=str(server.socket))
