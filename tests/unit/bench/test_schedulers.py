"""The comparison of schedulers: what its report makes of the lateness of each job."""

from __future__ import annotations

from bench.peers.schedulers.__main__ import SCHEDULERS, sections

VERSIONS = dict.fromkeys(SCHEDULERS, "1.0")


def figures(late: list[float]) -> dict[str, float]:
    (part,) = sections({"SAQ": late}, {}, 100, VERSIONS)
    return {row.name.removeprefix("SAQ 1.0: "): row.median for row in part.rows}


def test_jobs_that_began_after_the_minute_do_not_count() -> None:
    assert figures([*range(99), 60_001]) == {
        "began within a minute": 99,
        "p50, of these": 49,
        "p99, of these": 98,
        "at most, of these": 98,
    }


def test_where_no_job_began_there_is_no_lateness() -> None:
    assert figures([]) == {"began within a minute": 0}


def test_a_peer_that_could_not_be_measured_is_named_with_the_reason() -> None:
    (_, missing) = sections({}, {"Celery": "npm is not installed"}, 100, VERSIONS)
    assert missing.note == "- Celery: not measured: npm is not installed"
