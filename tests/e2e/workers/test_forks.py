"""Handlers that fork in a server: the copy ends when it comes back, and keeps neither results nor the port."""

from __future__ import annotations

import os
import signal
from urllib.parse import urlsplit

import pytest

from queuey.forks import EXIT_CODE
from queuey.server.http.ports import bind
from tests.e2e.conftest import Serve
from tests.unit.worker import forking_app


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("type", ["fork.process", "fork.thread", "fork.async", "fork.late"])
def test_a_copy_that_goes_on_ends_and_the_server_works_on(serve: Serve, type: str, how: str) -> None:
    server = serve("--process-slots", "1", app=forking_app.PATH)
    assert server.until(server.submit(type, how))["result"] == EXIT_CODE
    assert server.event("forked_copy_ended")["type"] == type
    for number in range(3):
        assert server.until(server.submit("echo", number))["result"] == number
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_copy_that_lives_on_does_not_keep_the_port(serve: Serve) -> None:
    server = serve(app=forking_app.PATH)
    copy = server.until(server.submit("daemon"))["result"]
    try:
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        os.kill(copy, 0)
        address = urlsplit(server.url)
        with bind(str(address.hostname), int(address.port or 0)) as again:
            again.listen(1)
    finally:
        os.kill(copy, signal.SIGKILL)
