"""GET /metrics of `--processes 2`: whichever replica is asked, it tells what each of them has counted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, Serving, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the replicas share one socket")

CONNECTIONS = 64
"""So many that chance leaves no replica without one."""

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


def scraped(client: httpx.Client) -> dict[Series, float]:
    response = client.get("/metrics")
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def total(samples: dict[Series, float], name: str, **labels: str) -> float:
    """The sum over all series of that name with these labels."""
    return sum(v for (each, has), v in samples.items() if each == name and labels.items() <= dict(has).items())


def told_of(samples: dict[Series, float]) -> set[str]:
    """The replicas of which there are series."""
    return {dict(labels)["process"] for _, labels in samples if "process" in dict(labels)}


def answering(client: httpx.Client) -> float:
    return total(scraped(client), "queuey_processes_answering")


def place_of(client: httpx.Client) -> int:
    """Which replica it is connected to: the one that counts its scrapes."""
    before, after = scraped(client), scraped(client)
    scrapes = {"route": "/metrics", "name": "queuey_http_requests_total"}
    (place,) = (p for p in (1, 2) if total(after, process=str(p), **scrapes) > total(before, process=str(p), **scrapes))
    return place


@contextmanager
def both(server: Serving) -> Iterator[dict[int, httpx.Client]]:
    """A connection to each replica, which stays open."""
    with ExitStack() as stack:
        found: dict[int, httpx.Client] = {}
        for _ in range(CONNECTIONS):
            client = stack.enter_context(httpx.Client(base_url=str(server.url), timeout=PATIENCE))
            found.setdefault(place_of(client), client)
            if len(found) == 2:
                break
        yield found


def pid_of(server: Serving, place: int) -> int:
    return int(server.event("started")["pids"][place - 1])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP: as one whose event loop is blocked."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_any_scrape_tells_of_both_and_asks_the_store_once(serve: Serve, gate: Gate) -> None:
    server = serve("--processes", "2", "--concurrency", "1")
    jobs = [server.submit("gate.loop", gate.path) for _ in range(2)]
    for visitor in [await gate.visitor() for _ in jobs]:  # both at once, and each has one slot
        visitor.let_go("done")
    for job_id in jobs:
        server.until(job_id)
    finished = {"name": "queuey_jobs_finished_total", "outcome": "succeeded"}
    with both(server) as clients:
        for client in clients.values():
            eventually(lambda client=client: total(scraped(client), **finished) == 2)  # type: ignore[misc]
            samples = scraped(client)
            assert [total(samples, process=place, **finished) for place in ("1", "2")] == [1, 1]
            for name, value in {
                "queuey_jobs_enqueued_total": 2,
                "queuey_slots": 2,
                "queuey_slots_busy": 0,
                "queuey_processes": 2,
                "queuey_processes_answering": 2,
                "queuey_build_info": 2,
                "queuey_store_up": 1,
            }.items():
                assert total(samples, name) == value, name
            assert ("queuey_store_jobs_total", (("event", "succeeded"),)) in samples, "the store's have no replica"
            asked = {"name": "queuey_store_script_duration_seconds_count", "script": "stats"}
            assert total(scraped(client), **asked) - total(samples, **asked) == 1


def test_counters_never_fall_whoever_is_asked(serve: Serve) -> None:
    server = serve("--processes", "2")
    with both(server) as clients:
        before: dict[Series, float] = {}
        for round in range(20):
            clients[round % 2 + 1].post("/v1/jobs", json={"type": "echo"})
            after = scraped(clients[round // 2 % 2 + 1])
            for series, value in before.items():
                if series[0].endswith(("_total", "_count", "_sum", "_bucket")):
                    assert after[series] >= value, series
            before = after
        assert total(before, "queuey_jobs_enqueued_total") == 20
        for place in ("1", "2"):
            assert total(before, "queuey_jobs_enqueued_total", process=place) == 10


def test_a_killed_replica_is_missing_until_the_next_one_counts_in_its_place(serve: Serve) -> None:
    server = serve("--processes", "2")
    with both(server) as clients:
        clients[2].post("/v1/jobs", json={"type": "echo"})
        assert total(scraped(clients[1]), "queuey_jobs_enqueued_total", process="2") == 1
        os.kill(pid_of(server, 2), signal.SIGKILL)
        samples = scraped(clients[1])
        assert total(samples, "queuey_processes_answering") == len(told_of(samples))
        assert server.event("process_ended")["process"] == 2
        assert server.event("process_started")["process"] == 2
        samples = scraped(clients[1])
        assert told_of(samples) == {"1", "2"}
        assert total(samples, "queuey_jobs_enqueued_total", process="2") == 0


def test_a_replica_that_hangs_is_left_out_until_it_answers_again(serve: Serve) -> None:
    server = serve("--processes", "2")
    with both(server) as clients:
        with stopped(pid_of(server, 2)):
            for _ in range(3):
                samples = scraped(clients[1])
                assert told_of(samples) == {"1"}
                assert total(samples, "queuey_processes") == 2
                assert total(samples, "queuey_processes_answering") == 1
            assert clients[1].get("/readyz").status_code == 200
        eventually(lambda: answering(clients[1]) == 2)
        assert answering(clients[2]) == 2


def test_without_the_parent_a_replica_tells_of_itself(serve: Serve) -> None:
    server = serve("--processes", "2")
    with both(server) as clients:
        with stopped(server.process.pid):
            for _ in range(3):
                assert told_of(scraped(clients[1])) == {"1"}
        eventually(lambda: answering(clients[1]) == 2 == answering(clients[2]))


def test_a_single_server_has_no_such_label(serve: Serve) -> None:
    samples = scraped(serve().http)
    assert told_of(samples) == set()
    assert [total(samples, name) for name in ("queuey_processes", "queuey_processes_answering")] == [1, 1]
