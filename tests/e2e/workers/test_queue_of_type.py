"""Jobs sent by the name of their type only, to real servers: one that knows the type, and two that differ."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.cli import exits
from tests.e2e.conftest import Serve
from tests.e2e.workers import mailing
from tests.e2e.workers.test_remote_worker import Work, work
from tests.support.command import Run
from tests.support.serving import eventually

__all__ = ("work",)  # a fixture
BEAT = ("--beat-interval", "100ms")


def test_a_job_sent_by_its_name_runs(serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(*BEAT, app=mailing.MAIL)
    job = server.until(server.submit("mail.send", "a"))
    assert (job["queue"], job["status"], job["result"]) == ("mail", "succeeded", "sent a")
    monkeypatch.setenv("QUEUEY_URL", server.url)
    ran = run("job", "enqueue", "mail.send", '"b"', "--wait", "20s", "-o", "json")
    assert (ran.code, ran.err) == (exits.OK, "")
    assert (ran.data["queue"], ran.data["result"]) == ("mail", "sent b")


def test_two_replicas_that_differ(serve: Serve) -> None:
    one = serve(*BEAT, app=mailing.MAIL)
    other = serve(*BEAT, app=mailing.BULK)
    replies: list[Any] = []

    def both_know() -> bool:
        replies[:] = [server.http.post("/v1/jobs", json={"type": "mail.send"}).json() for server in (one, other)]
        return all("warnings" in reply for reply in replies)

    eventually(both_know, lambda: str(replies))
    for server, reply in zip((one, other), replies, strict=True):
        assert reply["warnings"][0].startswith("The live workers differ on the queue of the type mail.send")
        assert server.job(reply["job_id"])["queue"] == "default"
        assert len(server.events("queue_uncertain", type="mail.send", queues=["bulk", "mail"])) == 1
    other.stop()
    eventually(lambda: "warnings" not in one.http.post("/v1/jobs", json={"type": "mail.send"}).json())
    assert one.until(one.submit("mail.send", "c"))["queue"] == "mail"


def test_an_api_learns_from_workers_elsewhere(serve: Serve) -> None:
    api = serve(*BEAT, "--roles", "api,reaper", app=None)
    assert "warnings" not in api.http.post("/v1/jobs", json={"type": "mail.sned"}).json()
    serve(*BEAT, "--roles", "worker", app=mailing.MAIL)
    eventually(lambda: "warnings" in api.http.post("/v1/jobs", json={"type": "mail.sned"}).json())
    assert api.until(api.submit("mail.send", "d"))["queue"] == "mail"


def test_the_built_in_handlers_do_not_say_which_types_exist(serve: Serve) -> None:
    server = serve(*BEAT, app=None)
    reply = server.http.post("/v1/jobs", json={"type": "thumbnail"}).json()
    assert set(reply) == {"job_id", "deduplicated"}


def test_a_remote_worker_names_the_queue_of_its_types_and_its_app(serve: Serve, work: Work) -> None:
    api = serve(*BEAT, "--roles", "api,reaper", app=None)
    work(api, "--queues", "mail,bulk", "--name", "far", app=mailing.MAIL)

    def shown() -> list[Any]:
        workers = api.http.get("/v1/workers").json()["workers"]
        return [(each["name"], each["app"], each["types"]) for each in workers]

    eventually(lambda: shown() == [("far", "tests", ["mail.send"])], lambda: str(shown()))
    eventually(lambda: "warnings" in api.http.post("/v1/jobs", json={"type": "mail.sned"}).json())
    assert api.until(api.submit("mail.send", "e"))["queue"] == "mail"
