"""A job that takes its server along, twice: then it ends in a child process of its own, and its neighbours succeed."""

from __future__ import annotations

import signal

import httpx

from tests.e2e.conftest import Serve
from tests.support.serving import PATIENCE, Serving, eventually

FLAGS = ("--lease", "600ms", "--reap-interval", "100ms", "--reap-delay-max", "0s")
"""What has crashed together comes back together, so that only being kept apart saves the neighbours."""
CRASHES = 2


class Supervisor:
    """Keeps two servers running on one data directory, as a supervisor of services would."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.servers = [serve(*FLAGS), serve(*FLAGS)]
        self.deaths = 0

    def revive(self) -> Serving:
        """Start again what has died. Returns a server that was alive when it was looked at."""
        for index, server in enumerate(self.servers):
            if server.process.poll() is not None:
                assert server.wait() == -signal.SIGKILL
                self.deaths += 1
                self.servers[index] = self._serve(*FLAGS)
        return self.servers[0]


def test_a_poison_job_is_dead_lettered_and_its_neighbours_succeed(serve: Serve) -> None:
    supervisor = Supervisor(serve)
    items: list[dict[str, object]] = [{"type": "echo", "payload": number} for number in range(6)]
    items.insert(3, {"type": "poison"})
    reply = supervisor.servers[0].http.post("/v1/jobs/batch", json=items)
    neighbours = [item["job_id"] for item in reply.json()["results"]]
    poison = neighbours.pop(3)

    def has_ended() -> bool:
        try:
            job = supervisor.revive().http.get(f"/v1/jobs/{poison}")
        except httpx.TransportError:  # the server dies, or the one that has the store
            return False
        return job.status_code == 200 and job.json()["finished_at"] is not None

    eventually(has_ended, lambda: f"{supervisor.deaths} deaths", within=2 * PATIENCE)
    server = supervisor.revive()
    job = server.until(poison)
    assert (job["status"], job["crashes"], job["attempts"], job["result"]) == ("dead_letter", CRASHES, 1, None)
    assert [error["kind"] for error in job["errors"]] == ["lease_lapsed"] * CRASHES + ["worker_died"]
    assert "no heartbeat from worker" in job["errors"][0]["message"]
    for number, job_id in enumerate(neighbours):
        job = server.until(job_id)
        assert (job["status"], job["result"], job["attempts"]) == ("succeeded", number, 0)
        assert job["crashes"] <= CRASHES
    assert supervisor.deaths == CRASHES
