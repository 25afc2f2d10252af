"""The queue of a type: what the live workers report, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from msgspec import UNSET
from structlog.testing import capture_logs

from queuey.services.jobs import plain, type_queues
from queuey.services.jobs.type_queues import Destination, OwnHandlers, TypeQueues, queues_by_type, types_mark
from queuey.services.workers import WorkerReport

DEMO = ("math.square", "text.reverse")
DEFAULT = Destination("default")


def process(handlers: dict[str, str], *served: str) -> WorkerReport:
    """A replica that runs an App with these handlers and their queues."""
    report = WorkerReport("r", "process", 4, 0, [], list(served or handlers.values()), sorted(handlers))
    report.type_queues = queues_by_type(report.types, handlers.get)
    return report


def old(types: Iterable[str], *served: str) -> WorkerReport:
    """A replica of an earlier version."""
    return WorkerReport("old", "process", 4, 0, [], list(served), sorted(types))


def puller(*asked: str, types: Iterable[str] = (), quiet: bool = False) -> WorkerReport:
    return WorkerReport("p", "pull", 0, 0, [], list(asked), sorted(types), quiet=quiet)


def naming(type_queues: dict[str, list[str]], *asked: str, types: Iterable[str] = ()) -> WorkerReport:
    """A pull worker that names the queues of some of its types."""
    report = puller(*asked, types={*types, *(name for names in type_queues.values() for name in names)})
    report.type_queues = {queue: [report.types.index(name) for name in names] for queue, names in type_queues.items()}
    return report


def known(*reports: WorkerReport, own: OwnHandlers = type_queues.NO_HANDLERS) -> TypeQueues:
    queues = TypeQueues(own, DEMO)
    queues.learn(reports)
    return queues


def warning(queues: TypeQueues, job_type: str) -> str:
    queue, reason = queues.of(job_type)
    assert queue == "default"
    assert reason is not None, f"{job_type} has a queue"
    return reason


# --- the rule ------------------------------------------------------------------------------------------------------


def test_a_type_has_the_queue_of_its_handler() -> None:
    queues = known(process({"mail.send": "mail", "echo": "default"}), process({"mail.send": "mail"}))
    assert queues.of("mail.send") == Destination("mail")
    assert queues.of("echo") == DEFAULT


def test_the_queue_is_the_handlers_whichever_queues_a_worker_serves() -> None:
    queues = known(process({"mail.send": "mail"}, "default"))
    assert queues.of("mail.send") == Destination("mail")


def test_workers_that_differ_leave_it_at_the_default_queue() -> None:
    queues = known(process({"mail.send": "mail"}), process({"mail.send": "default"}))
    assert warning(queues, "mail.send") == (
        "The live workers differ on the queue of the type mail.send, so the job went to the queue default. "
        "Name its queue."
    )


def test_a_type_that_nobody_knows_is_warned_of_where_workers_name_types() -> None:
    queues = known(process({"mail.send": "mail"}))
    assert warning(queues, "mail.sned") == (
        "No live worker knows the type mail.sned, so the job went to the queue default. Check the type, or name its "
        "queue."
    )


@pytest.mark.parametrize(
    "reports",
    [
        [],
        [process(dict.fromkeys(DEMO, "default"))],
        [old(DEMO, "default")],
        [puller("default")],
        [puller("mail")],
        [process({"mail.send": "mail"}), puller("mail", "default")],
    ],
)
def test_there_is_no_warning_where_nobody_names_types_or_somebody_takes_all(reports: list[WorkerReport]) -> None:
    assert known(*reports).of("thumbnail") == DEFAULT


@pytest.mark.parametrize("beside", [puller("mail"), puller("default", quiet=True), puller("default", types=["x"])])
def test_a_pull_worker_that_does_not_take_it_prevents_no_warning(beside: WorkerReport) -> None:
    assert "No live worker knows" in warning(known(process({"mail.send": "mail"}), beside), "thumbnail")


def test_a_pull_worker_takes_its_types_from_its_only_queue() -> None:
    queues = known(puller("images", types=["thumbnail"]))
    assert queues.of("thumbnail") == Destination("images")
    queues = known(puller("images", "default", types=["thumbnail"]))
    assert queues.of("thumbnail") == DEFAULT, "it takes it from there too"
    queues = known(naming({"images": ["thumbnail"], "default": ["echo"]}, "images", "default", types=["strange"]))
    assert [queues.of(name).queue for name in ("thumbnail", "echo", "strange")] == ["images", "default", "default"]
    queues = known(naming({}, "urgent", types=["thumbnail"]), process({"thumbnail": "images"}))
    assert queues.of("thumbnail") == Destination("images"), "it says that urgent is not its queue"
    queues = known(naming({}, "urgent", types=["thumbnail"]))
    assert warning(queues, "thumbnail").startswith("No live worker names the queue of the type thumbnail")
    queues = known(puller("images", "video", types=["thumbnail"]))
    assert "No live worker names the queue of the type thumbnail" in warning(queues, "thumbnail")


def test_a_replica_of_an_earlier_version_names_no_queue() -> None:
    assert known(old(["mail.send"], "default", "mail")).of("mail.send") == DEFAULT
    assert "No live worker names the queue" in warning(known(old(["mail.send"], "mail")), "mail.send")
    beside = known(old(["mail.send"], "default"), process({"mail.send": "mail"}))
    assert beside.of("mail.send") == Destination("mail"), "the newer one decides"


def test_no_type_is_unknown_where_a_worker_may_know_more_than_it_reports() -> None:
    many = {f"t{number}": "default" for number in range(1000)}
    assert known(process(many)).of("thumbnail") == DEFAULT
    del many["t0"]
    assert known(process(many)).of("thumbnail").warning


# --- the handlers of this replica ----------------------------------------------------------------------------------


def test_a_replica_that_runs_jobs_counts_before_its_first_heartbeat() -> None:
    own = OwnHandlers({"mail.send": "mail"}.get, run_here=True, name_types=True)
    queues = TypeQueues(own, DEMO)
    assert queues.of("mail.send") == Destination("mail")
    assert "No live worker knows" in warning(queues, "thumbnail")
    queues.learn([process({"mail.send": "default"})])
    assert "differ" in warning(queues, "mail.send")


def test_handlers_that_do_not_run_here_count_only_where_no_live_worker_knows_the_type() -> None:
    own = OwnHandlers({"mail.send": "mail", "echo": "slow"}.get, name_types=True)
    queues = known(process({"mail.send": "bulk"}), own=own)
    assert queues.of("mail.send") == Destination("bulk")
    assert queues.of("echo") == Destination("slow")
    assert TypeQueues(own, DEMO).of("thumbnail") == DEFAULT, "nobody runs anything"


# --- what is kept --------------------------------------------------------------------------------------------------


def test_the_plain_way_gets_what_is_certain() -> None:
    queues = known(process({"mail.send": "mail"}))
    assert [queues.plain[name] for name in ("mail.send", "thumbnail", "no name", "")] == ["mail", "", "", ""]
    queues.learn([])
    assert [queues.plain[name] for name in ("mail.send", "thumbnail")] == ["default", "default"]


def test_a_queue_is_found_once_until_something_may_have_changed() -> None:
    handlers: dict[str, str] = {}
    queues = TypeQueues(OwnHandlers(handlers.get, run_here=True))
    assert queues.plain["late"] == "default"
    handlers["late"] = "slow"
    assert queues.plain["late"] == "default"
    queues.refresh()
    assert queues.plain["late"] == "slow"


def test_everything_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_queues, "MAX_TYPES", 3)
    monkeypatch.setattr(type_queues, "MAX_SAID", 2)
    monkeypatch.setattr(type_queues, "MAX_KEPT", 3)
    many = [process(dict.fromkeys("abcde", f"q{number}")) for number in range(9)]
    queues = known(*many)
    assert queues._queues_of("a") == {"q0", "q1"}
    assert [bool(queues._queues_of(name)) for name in "abcde"] == [True, True, True, False, False]
    assert queues.of("d") == DEFAULT, "somebody knows it"
    for number in range(10):
        queues.plain[f"t{number}"]
    assert len(queues.plain) == 1
    assert plain.MAX_KEPT == 1024


# --- the log -------------------------------------------------------------------------------------------------------


def logged(queues: TypeQueues, types: Iterable[str]) -> list[Any]:
    with capture_logs() as lines:
        for job_type in types:
            queues._log(job_type, "why")
    return [line["type"] for line in lines]


def test_a_type_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    queues = known(process({"a": "x"}), process({"a": "y"}))
    assert logged(queues, ["a", "a", "b", "a"]) == ["a", "b"]
    now += 59
    assert logged(queues, ["a", "b"]) == []
    now += 1
    with capture_logs() as lines:
        queues._log("a", "why")
    assert lines == [
        {
            "event": "queue_uncertain",
            "log_level": "warning",
            "type": "a",
            "queue": "default",
            "queues": ["x", "y"],
            "reason": "why",
        }
    ]


def test_the_log_of_many_types_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    queues = TypeQueues()
    assert len(logged(queues, (f"t{number}" for number in range(1000)))) == type_queues.MAX_LOGGED
    assert len(queues._logged) == type_queues.MAX_LOGGED
    now += 60
    assert logged(queues, ["t999", "t0"]) == ["t999", "t0"]
    assert len(queues._logged) == 2


# --- reports -------------------------------------------------------------------------------------------------------


def test_a_report_names_only_the_queues_that_are_not_the_default_one() -> None:
    report = process({"a": "default", "b": "mail", "c": "mail", "d": "slow"})
    assert report.type_queues == {"mail": [1, 2], "slow": [3]}
    assert process({"a": "default"}).type_queues == {}
    assert old(["a"]).type_queues is UNSET


def test_a_mark_is_that_of_what_is_said() -> None:
    def marks(*groups: Collection[WorkerReport]) -> int:
        return len({types_mark(group) for group in groups})

    one, busy = process({"a": "mail"}), process({"a": "mail"})
    busy.name, busy.busy, busy.jobs, busy.started_ms = "other", 3, ["j"], 5
    assert marks([one], [busy], [one, busy], [busy, puller("mail")]) == 1
    assert marks([puller("default")], [puller("default", "x"), puller("mail")]) == 1
    assert marks([], [one], [process({"a": "slow"})], [process({"b": "mail"})], [one, puller("default")]) == 5
    assert marks([puller("x", types=["a"])], [puller("y", types=["a"])], [old(["a"], "x")]) == 3
    said = [naming({"x": ["a"]}, "x", "y"), naming({"y": ["a"]}, "x", "y"), naming({}, "x", "y", types=["a"])]
    assert marks(*([report] for report in said), [naming({}, "x", types=["a"])], [puller("x", types=["a"])]) == 5
    assert len(types_mark([one])) == 16
