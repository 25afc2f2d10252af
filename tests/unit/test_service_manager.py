"""Where reports to a service manager go, and what becomes of one that cannot be sent."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from queuey.service_manager import READY, STOPPING, notify
from queuey.settings.settings import notify_socket

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")


@pytest.mark.parametrize("abstract", [False, pytest.param(True, marks=needs_linux)])
def test_a_report_is_one_datagram(folder: Path, abstract: bool) -> None:
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path if abstract else path)
        address = "@" + path if abstract else path
        notify(address, READY)
        notify(address, STOPPING)
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["/none/notify", "a\0b", "x" * 200, "vsock:2:1", "/\udcff"])
def test_one_that_cannot_be_sent_is_logged(address: str) -> None:
    with capture_logs() as logs:
        notify(address, READY)
    assert [(line["event"], line["state"]) for line in logs] == [("service_manager_unreachable", "READY=1")]


def test_without_a_manager_nothing_is_sent() -> None:
    with capture_logs() as logs:
        notify(notify_socket({}), READY)
        notify(notify_socket({"NOTIFY_SOCKET": ""}), READY)
    assert logs == []
    assert notify_socket({"NOTIFY_SOCKET": "/run/notify"}) == "/run/notify"
