"""The pure parts of examples/demo: its plan, its figures, its comparisons and its resending client."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import pytest

from examples.demo.client import Client, Deadline, DemoFailed
from examples.demo.differences import differing_files, differing_ids, differing_metrics, differing_statuses
from examples.demo.figures import Spread, spread, summarise
from examples.demo.plan import FAULTS, KINDS, job_request, make_plan


class ScriptedConnection:
    """Gives one scripted outcome a request: (status, body), or an exception that the request ends in."""

    def __init__(self, *outcomes: tuple[int, Any] | Exception) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[tuple[str, str, Any]] = []
        self.closed = 0

    def request(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> None:
        self.sent.append((method, path, None if data is None else json.loads(data)))

    def getresponse(self) -> ScriptedResponse:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return ScriptedResponse(*outcome)

    def close(self) -> None:
        self.closed += 1


class ScriptedResponse:
    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body

    def read(self) -> bytes:
        return json.dumps(self.body).encode()

    def getheader(self, name: str) -> str | None:
        return "60" if name == "retry-after" and self.status == 503 else None


class Clock:
    """Moves on only when somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def make_client(connection: ScriptedConnection, clock: Clock, check_alive: Callable[[], None] = lambda: None) -> Client:
    deadline = Deadline(10, lambda: clock.now)
    return Client(cast(HTTPConnection, connection), deadline, check_alive, clock.pause)


def test_a_lost_connection_and_a_503_are_followed_by_the_same_request() -> None:
    clock = Clock()
    connection = ScriptedConnection(ConnectionResetError(), (503, {}), (200, {"job_id": "a"}))
    client = make_client(connection, clock)
    assert client.post("/v1/jobs", {"type": "x"}) == {"job_id": "a"}
    assert connection.sent == [("POST", "/v1/jobs", {"type": "x"})] * 3
    assert client.resent == 2
    assert connection.closed == 1
    assert clock.pauses == [0.1, 2.0]


def test_resending_ends_at_the_deadline() -> None:
    clock = Clock()
    connection = ScriptedConnection(*[(503, {})] * 20)
    with pytest.raises(DemoFailed, match=r"after 10 s still waiting for the server: GET /readyz was answered 503"):
        make_client(connection, clock).get("/readyz")
    assert len(connection.sent) == 6


def test_resending_ends_when_the_server_has_ended() -> None:
    def check_alive() -> None:
        raise DemoFailed("the server ended")

    connection = ScriptedConnection(ConnectionRefusedError())
    with pytest.raises(DemoFailed, match="the server ended"):
        make_client(connection, Clock(), check_alive).get("/readyz")


def test_other_errors_are_final() -> None:
    connection = ScriptedConnection((422, {"detail": "no such field"}))
    with pytest.raises(DemoFailed, match="answered 422"):
        make_client(connection, Clock()).post("/v1/jobs", {})


def test_the_disturbance_comes_once_while_the_request_is_under_way() -> None:
    connection = ScriptedConnection(ConnectionResetError(), (200, {"results": [{"job_id": "a"}]}))
    sent_before: list[int] = []
    ids = make_client(connection, Clock()).submit([{"id": "a"}], lambda: sent_before.append(len(connection.sent)))
    assert ids == ["a"]
    assert sent_before == [1]


def test_only_the_refused_items_of_a_batch_are_sent_again() -> None:
    later = {"error": {"status": 503}}
    connection = ScriptedConnection(
        (200, {"results": [{"job_id": "a"}, later, {"job_id": "c"}]}), (200, {"results": [{"job_id": "b"}]})
    )
    ids = make_client(connection, Clock()).submit([{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert ids == ["a", "b", "c"]
    assert connection.sent[1][2] == [{"id": "b"}]


def test_an_invalid_item_of_a_batch_is_final() -> None:
    connection = ScriptedConnection((200, {"results": [{"error": {"status": 422, "detail": "too wide"}}]}))
    with pytest.raises(DemoFailed, match="too wide"):
        make_client(connection, Clock()).submit([{"id": "a"}])


def test_the_plan_is_the_same_each_time_and_has_every_kind_and_fault() -> None:
    plan = make_plan(300)
    assert plan == make_plan(300)
    assert len(plan) == 305
    assert sorted(picture.fault for picture in plan if picture.fault) == sorted(FAULTS)
    assert {picture.kind for picture in plan} == set(KINDS)
    assert len({picture.name for picture in plan}) == len({picture.target_name for picture in plan}) == 305
    assert {picture.name[-4:] for picture in plan} == {".jpg", ".png"}
    assert max(picture.size[0] * picture.size[1] for picture in plan) > 3_000_000


def test_a_job_request_names_the_file_and_the_size_in_its_dedupe_key() -> None:
    picture = make_plan(10)[0]
    width, height = picture.thumbnail
    request = job_request(picture, Path("/in"), Path("/out"), "an-id")
    assert request["dedupe_key"] == f"{picture.name}:{width}x{height}"
    assert request["payload"]["source"] == f"/in/{picture.name}"
    assert request["payload"]["target"] == f"/out/{picture.target_name}"
    assert request["id"] == "an-id"
    assert "id" not in job_request(picture, Path("/in"), Path("/out"), None)


def make_record(number: int, **fields: Any) -> dict[str, Any]:
    record = {
        "id": str(number),
        "status": "succeeded",
        "attempts": 0,
        "max_attempts": 3,
        "crashes": 0,
        "created_at": "2030-01-01T00:00:00Z",
        "finished_at": f"2030-01-01T00:00:{number:02d}.500Z",
        "result": {"bytes": 1, "seconds": 0.5},
    }
    return record | fields


def test_figures_of_finished_jobs() -> None:
    dead = make_record(19, status="dead_letter", attempts=3, result=None)
    crashed = make_record(9, crashes=1)
    figures = summarise([make_record(1), make_record(3), crashed, dead])
    assert figures.seconds == 19.5
    assert figures.jobs_per_second == pytest.approx(4 / 19.5)
    assert figures.wait == Spread(1.0, 3.0, 3.0)
    assert figures.run == Spread(0.5, 0.5, 0.5)
    assert (figures.retries, figures.crashes) == (2, 1)
    assert figures.statuses == {"succeeded": 3, "dead_letter": 1}


def test_spread_takes_the_nearest_rank() -> None:
    assert spread([float(n) for n in range(100, 0, -1)]) == Spread(50.0, 95.0, 100.0)
    assert spread([]) == Spread(0.0, 0.0, 0.0)


def test_files_that_differ_are_named() -> None:
    expected = {"a": (1, 2), "b": (1, 2), "c": (1, 2), "d": (1, 2)}
    assert differing_files(expected, dict(expected)) == []
    assert differing_files(expected, {"a": (1, 2), "b": (2, 1), "c": "broken data", "e": (1, 2)}) == [
        "1 x thumbnail is missing: d",
        "1 x file was not asked for: e",
        "1 x thumbnail does not open: c (broken data)",
        "1 x thumbnail has another size: b (2 x 1 instead of 1 x 2)",
    ]


def test_many_differences_of_a_kind_take_one_line() -> None:
    [line] = differing_files({str(n): (1, 1) for n in range(9)}, {})
    assert line == "9 x thumbnail is missing: 0, 1, 2, 3, 4 and 4 more"


def test_ids_statuses_and_metrics_that_differ_are_named() -> None:
    assert differing_ids(["a", "b"], ["a", "b"]) == []
    assert differing_ids(["a", "b"], ["a", "c"]) == ["1 x job was given another id: c instead of b"]

    records = [{"id": "a", "status": "succeeded"}]
    assert differing_statuses({"a": "succeeded"}, records) == []
    assert differing_statuses({"a": "dead_letter", "b": "succeeded"}, records) == [
        "2 x job is not as it should be: a (succeeded instead of dead_letter), b (unknown instead of succeeded)"
    ]

    metrics = {f"queue_{name}_length": 0 for name in ("high", "default", "low", "dlq")}
    assert differing_metrics(metrics, dead=0) == []
    assert differing_metrics({**metrics, "queue_low_length": 7}, dead=5) == [
        "queue_low_length is 7 instead of 0",
        "queue_dlq_length is 0 instead of 5",
    ]
