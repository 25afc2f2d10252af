"""The server of the demo, which is started, killed, restarted and stopped by its pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from examples.demo.client import DemoFailed

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT = 30.0  # seconds; above the server's own drain timeout
LOG_TAIL = 15  # lines
SOCKET_PATH_LIMIT = 100  # bytes; the kernels' limits are 103 and 107


def store_socket(work: Path) -> Path:
    return work / "queuey" / "valkey.sock"


class Server:
    """`queuey serve` as a child process, with its data and its log in `work`."""

    def __init__(self, work: Path) -> None:
        self.port = free_port()
        self.log = work / "server.log"
        self._socket = store_socket(work)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "queuey", "serve", "--app", "examples.thumbnails:app"]
        command += ["--data-dir", str(self._socket.parent), "--port", str(self.port), "--lease", "5s"]
        # Settings for another server must not reach this one, above all its store.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUEUEY_")}
        with self.log.open("ab") as log:
            # In its own session, Ctrl-C reaches only the demo, which then stops the server.
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raise DemoFailed if the server ended by itself."""
        status = self._process.poll() if self._process else None
        if status is not None:
            raise DemoFailed(f"the server ended by itself, with status {status}")

    def log_tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-LOG_TAIL:])

    def kill_and_restart(self) -> None:
        """Kill the server with SIGKILL, and start it again with the same data and port."""
        if self._process is None:
            raise DemoFailed("there is no server to kill")
        self._process.kill()
        self._process.wait()
        self.start()

    def kill_store(self) -> int:
        """Kill the private Valkey with SIGKILL and return its pid. The server must restart it."""
        pid = self.store_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def store_pid(self) -> int:
        """Return the pid of the store. Raises redis.RedisError if it does not answer."""
        at_once = Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5, retry=at_once) as store:
            return int(store.info("server")["process_id"])

    def stop(self) -> list[str]:
        """Stop the server, and its store if that is still running. Return what went wrong.

        The child processes of handlers end with their server.
        """
        complaints = []
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                status = self._process.wait(STOP_TIMEOUT)
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
                # A second Ctrl-C ends the wait.
                complaints.append(f"the server had to be killed: {reason!r}")
                self._process.kill()
                self._process.wait()
            else:
                complaints += [f"the server stopped with status {status}"] if status else []
        self._process = None
        return complaints + self._stop_left_over_store()

    def _stop_left_over_store(self) -> list[str]:
        try:
            pid = self.store_pid()
        except (redis.RedisError, OSError):
            return []
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            for _ in range(50):
                time.sleep(0.1)
                os.kill(pid, 0)
        return ["the server stopped, but left its Valkey running"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
