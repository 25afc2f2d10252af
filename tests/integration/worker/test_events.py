"""Events of an App: once an outcome is stored, and for a job that died by a crash."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from structlog.testing import capture_logs

from queuey import App, JobEvent
from queuey.metrics import Metrics
from queuey.services.maintenance.reaper import Reaper
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.worker.hooks.crashes import Crashes
from tests.support.store import HOUR, Rig, Server
from tests.support.working import working

BODY = '{"type":"job","payload":"%s"}'


class Watched:
    def __init__(self, jobs: int) -> None:
        self.app = App()
        self.seen: dict[str, list[tuple[str, JobEvent]]] = {}
        self.all = asyncio.Event()
        self._left = jobs
        for name in ("on_success", "on_failure", "on_retry", "on_dead"):
            getattr(self.app, name)(self._keep(name))

        @self.app.job("job")
        async def job(payload: str) -> None:
            if payload == "bad":
                raise ValueError("broken")

    def _keep(self, name: str) -> Any:
        def keep(event: JobEvent) -> None:
            self.seen.setdefault(event.job_id, []).append((name, event))
            self._left -= name in ("on_success", "on_dead")
            if not self._left:
                self.all.set()

        return keep

    def names(self, job_id: str) -> list[tuple[str, int]]:
        return [(name, event.attempt) for name, event in self.seen[job_id]]


async def test_a_worker_reports_outcomes_once_they_are_stored(rig: Rig, server: Server) -> None:
    good, bad = await rig.add(now=0, body=BODY % "good") + await rig.add(now=0, body=BODY % "bad", max_attempts=2)
    watched = Watched(jobs=2)
    async with working(server.url, watched.app, backoff_base=0.02, backoff_cap=0.02):
        await watched.all.wait()
        assert (await rig.state(bad))["s"] == "d", "it is stored before it is reported"
    assert watched.names(good) == [("on_success", 1)]
    assert watched.names(bad) == [("on_failure", 1), ("on_retry", 1), ("on_failure", 2), ("on_dead", 2)]
    assert (watched.seen[good][0][1].ran or -1) >= 0


async def reap(rig: Rig, watched: Watched) -> None:
    """Run a Reaper of a replica with this App."""
    on_dead = Crashes(rig.broker, watched.app.handlers, watched.app.hooks.events).report
    watch = StoreWatch(rig.broker, 0.0, lambda full: None)
    await Reaper(rig.broker, watch, 5, 0, metrics=Metrics(), on_dead=on_dead).run_once()


async def crashed(rig: Rig, **fields: Any) -> str:
    """A running job whose lease has expired for the third time."""
    before = int(time.time() * 1000) - HOUR
    job_id = await rig.crashed(crashes=2, now=before, **fields)
    await rig.claim(now=before)
    return job_id


async def test_the_replica_that_reaps_a_job_reports_its_death(rig: Rig) -> None:
    known, unknown = await crashed(rig, body=BODY % ""), await crashed(rig, body='{"type":"other"}')
    before = int(time.time() * 1000) - HOUR
    (again,) = await rig.add(now=before, body=BODY % "")
    await rig.claim(now=before)
    watched = Watched(jobs=1)
    await reap(rig, watched)
    assert (await rig.state(again))["x"] == "1", "a crash that is followed by another attempt is no event"
    for job_id in (known, unknown):
        assert (await rig.state(job_id))["s"] == "d"
    assert list(watched.seen) == [known]
    (failure, event), (dead, _) = watched.seen[known]
    assert (failure, dead) == ("on_failure", "on_dead")
    assert (event.type, event.queue, event.kind, event.ran) == ("job", "default", "lease_lapsed", None)


async def test_what_cannot_be_read_hides_no_other_death(rig: Rig) -> None:
    unreadable, known = await crashed(rig, body="not JSON"), await crashed(rig, body=BODY % "")
    watched = Watched(jobs=1)
    with capture_logs() as logs:
        await reap(rig, watched)
    assert [line["job_id"] for line in logs if line["event"] == "crashes_not_reported"] == [unreadable]
    for job_id in (unreadable, known):
        assert (await rig.state(job_id))["s"] == "d"
    assert watched.names(known) == [("on_failure", 1), ("on_dead", 1)]
    assert list(watched.seen) == [known]
