"""A server and a worker report to systemd: ready once they serve, and that they stop."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import Serve
from tests.support import jobs
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, ROOT, environment

SO_PASSCRED: Final = 16
SCM_CREDENTIALS: Final = 2
CREDENTIALS: Final = struct.Struct("iII")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd and SCM_CREDENTIALS are those of Linux")


class Manager:
    """The socket at which systemd waits for reports."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(self.address)

    def report(self) -> tuple[str, int]:
        """The next report, and the process that sent it. With NotifyAccess=main, only those of the main one count."""
        text, control, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        (sender,) = [data for _, kind, data in control if kind == SCM_CREDENTIALS]
        return text.decode(), CREDENTIALS.unpack(sender)[0]

    def has_no_more(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    manager = Manager(folder / "notify")
    yield manager
    manager.close()


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_the_main_process_of_a_server_reports(serve: Serve, gate: Gate, manager: Manager, processes: str) -> None:
    server = serve("--processes", processes, variables={"NOTIFY_SOCKET": manager.address})
    assert manager.report() == ("READY=1", server.process.pid)
    assert server.http.get("/readyz").status_code == 200
    server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    server.terminate()
    assert manager.report() == ("STOPPING=1", server.process.pid)
    assert server.process.poll() is None, "it drains"
    visitor.let_go("finished")
    assert server.wait() == 0
    assert manager.has_no_more()


def test_a_worker_over_http_reports(serve: Serve, manager: Manager) -> None:
    server = serve("--roles", "api,reaper")
    command = [sys.executable, "-m", "queuey", "work", "--url", str(server.url), "--app", jobs.PATH]
    variables = environment(NOTIFY_SOCKET=manager.address)
    null = subprocess.DEVNULL
    worker = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=null, stderr=null)
    try:
        assert manager.report() == ("READY=1", worker.pid)
        worker.send_signal(signal.SIGTERM)
        assert manager.report() == ("STOPPING=1", worker.pid)
        assert worker.wait(PATIENCE) == 0
    finally:
        worker.kill()
        worker.wait(PATIENCE)


def test_a_manager_that_is_gone_is_logged(serve: Serve, folder: Path) -> None:
    server = serve(variables={"NOTIFY_SOCKET": str(folder / "none")})
    server.event("service_manager_unreachable", state="READY=1")
    assert server.stop() == 0
