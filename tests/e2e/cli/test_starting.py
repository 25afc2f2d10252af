"""Failed starts of a server, and their messages."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.e2e.conftest import Serve
from tests.support.serving import queuey


def test_a_port_that_is_in_use_is_named_and_no_store_is_started(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = queuey("serve", "--port", str(port), "--data-dir", str(folder / "data"))
    assert ended.returncode == 3
    message = f"queuey: Cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another --port."
    assert ended.stderr.splitlines()[-1] == message
    assert ended.stdout == ""
    assert not (folder / "data").exists()


def test_an_app_that_is_not_there_is_named(folder: Path) -> None:
    ended = queuey("serve", "--app", "no_such_module:app", "--data-dir", str(folder / "data"))
    assert ended.returncode == 3
    assert "--app 'no_such_module:app'" in ended.stderr.splitlines()[-1]
    assert not (folder / "data").exists()


def test_without_an_app_the_built_in_types_run(serve: Serve) -> None:
    server = serve(app=None)
    assert server.event("started")["types"] == ["math.square", "text.reverse"]
    assert server.http.get(server.event("started")["docs"]).status_code == 200
    assert server.until(server.submit("text.reverse", {"text": "hello"}))["result"] == "olleh"
    assert server.until(server.submit("math.square", {"n": 10**20}))["result"] == 10**40


def test_the_doctor_finds_the_server_and_its_store(serve: Serve) -> None:
    server = serve()
    port = server.url.rpartition(":")[2]
    looked = queuey("doctor", "--data-dir", str(server.data_dir), "--port", port)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert f"a Queuey server listens on 127.0.0.1 port {port} already" in looked.stdout
    assert all(line.startswith("ok ") for line in looked.stdout.splitlines())
    other = queuey("doctor", "--data-dir", str(server.data_dir), "--port", port, "--shards", "2")
    assert other.returncode == 1
    assert "start with --shards 1" in other.stdout


def test_the_doctor_reports_each_setting_that_is_wrong() -> None:
    looked = queuey("doctor", "--lease", "soon", "--port", "-3")
    assert looked.returncode == 1
    assert [line.split()[:2] for line in looked.stdout.splitlines()] == [["fail", "settings"]] * 2
