"""Check that long polls and event streams work through the balancer.

    python -m scripts.container.through_balancer URL KEY

Each step waits for the event of the step before it, so a balancer that buffers replies would stop the check. No handler
serves the queues.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Final

from scripts.container.asking import Server, until

WORKER: Final = "docker-test"
SECONDS: Final = 60
"""The most seconds that a stream is followed."""


def submit(server: Server, queue: str) -> str:
    job_id: str = server.ask("/v1/jobs", {"type": "by-hand", "queue": queue})["job_id"]
    return job_id


def lease(server: Server, queue: str, wait: int) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = server.ask("/v1/leases", {"queues": [queue], "wait": wait, "worker": WORKER})["jobs"]
    return jobs


def check_long_poll(server: Server) -> None:
    """Check that a waiting request gets the job that arrives."""

    def is_waiting() -> bool:
        workers = server.ask("/v1/workers")["workers"]
        return any(worker["name"] == WORKER and "polled" in worker["queues"] for worker in workers)

    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(lease, server, "polled", 60)
        until("the request for leases is among the workers", is_waiting)
        assert not polled.done(), f"the long poll was answered with nothing there: {polled.result()}"
        job_id = submit(server, "polled")
        (job,) = polled.result()
    assert job["id"] == job_id, job
    done = server.ask("/v1/leases/complete", {"id": job_id, "token": job["token"], "result": None})
    assert done["status"] == "ok", done
    print("ok    a long poll gets the job that arrives")


def check_events_of_a_job(server: Server) -> None:
    """Check that each event arrives before the next one is caused, and that the stream ends after the last."""
    job_id = submit(server, "watched")
    events = server.events(f"/v1/jobs/{job_id}/events?seconds={SECONDS}")
    assert next(events)[1]["status"] == "queued"
    (job,) = lease(server, "watched", 0)
    held = {"id": job_id, "token": job["token"]}
    done = count()
    cause_until_reported(
        events, "progress", lambda: server.ask("/v1/leases/extend", held | {"progress": {"done": next(done)}})
    )
    server.ask("/v1/leases/complete", held | {"result": None})
    rest = [data["status"] for name, data in events if name == "status"]
    assert rest[-1:] == ["succeeded"], rest
    print("ok    the events of a job arrive at once")


def check_events_of_all(server: Server) -> None:
    events = server.events(f"/v1/events?queue=watched&seconds={SECONDS}")
    assert next(events)[0] == "", "a stream begins with a comment"
    cause_until_reported(events, "status", lambda: submit(server, "watched"))
    print("ok    the events of all jobs arrive at once")


def cause_until_reported(events: Iterator[tuple[str, Any]], wanted: str, cause: Callable[[], object]) -> None:
    """Cause events until one has arrived.

    The first may be missed, because a replica begins to publish events a moment after the first subscription.
    """
    with ThreadPoolExecutor(1) as pool:
        reported = pool.submit(lambda: any(name == wanted for name, _ in events))

        def is_reported() -> bool:
            if not reported.done():
                cause()
            return reported.done()

        until(f"an event {wanted!r} arrives", is_reported, SECONDS)
    assert reported.result(), f"the stream ended without an event {wanted!r}"


def main() -> None:
    server = Server(*sys.argv[1:])
    check_long_poll(server)
    check_events_of_a_job(server)
    check_events_of_all(server)


if __name__ == "__main__":
    main()
