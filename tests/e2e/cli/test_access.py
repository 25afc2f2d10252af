"""`queuey audit`, `queuey ui logout-all`, and the calls of both clients about access, against a real server."""

from __future__ import annotations

from queuey import Client, SyncClient
from queuey.cli import exits
from tests.support.command import Run
from tests.support.serving import Serving


def test_audit_shows_what_was_done(run: Run, server: Serving) -> None:
    server.submit("echo", queue="cli-audit")
    assert run("queue", "pause", "cli-audit", "--reason", "by hand").code == exits.OK
    assert run("queue", "resume", "cli-audit").code == exits.OK
    newest, before = run("audit", "--limit", "2", "-o", "json").data
    assert (newest["action"], before["action"], before["target"]) == ("queues.resume", "queues.pause", "cli-audit")
    assert (before["outcome"], before["filter"]) == ("done", {"reason": "by hand"})
    head, row, *_ = run("audit").out.splitlines()
    assert head.split()[:4] == ["AT", "NAME", "VIA", "ACTION"]
    assert "queues.resume" in row
    with SyncClient(server.url, "dev") as client:
        assert next(client.audit()).id == newest["id"]


def test_logout_all_ends_the_sessions(run: Run, server: Serving) -> None:
    ended = run("ui", "logout-all")
    assert (ended.code, ended.out, ended.err) == (exits.OK, "", "All sessions have ended.\n")
    assert run("audit", "--limit", "1", "-o", "json").data[0]["action"] == "session.logout_all"


async def test_clients_show_who_they_are(server: Serving) -> None:
    async with Client(server.url, "dev") as client:
        known = await client.me()
        assert (known.via, known.grants[0], known.ui, known.open) == ("key", "admin", "full", True)
        await client.end_sessions()
    with SyncClient(server.url, "dev") as blocking:
        assert blocking.me().name == known.name
        blocking.end_sessions()
