"""A job whose sender names no queue goes to the queue of its type's handler, as the live workers report it.

Each POST /v1/jobs is also sent by the direct path and past it, and the replies are compared (`both_ways`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from queuey.protocol.models import Job, JobRequest
from queuey.server.presence import Capacity, Presence
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.services.leases.pull_workers import PullWorkers
from queuey.services.maintenance.type_watch import TypeWatch
from queuey.services.workers import Description, WorkerReport
from queuey.worker.sender import Sending
from queuey.worker.worker import Worker
from tests.support.direct.both_ways import Records
from tests.support.http import ApiRig, api_over, keys
from tests.support.store import Rig

DIFFER = "The live workers differ on the queue of the type {}, so the job went to the queue default. Name its queue."
UNKNOWN = "No live worker knows the type {}, so the job went to the queue default. Check the type, or name its queue."

pytestmark = pytest.mark.usefixtures("both_ways")


class Idle:
    """A worker that runs nothing."""

    running: tuple[str, ...] = ()
    quieted = False


class Fleet:
    """Replicas on one store, each with an App: their heartbeats, and an API that learns from them."""

    def __init__(self, api: ApiRig) -> None:
        self.api = api
        self.watch = TypeWatch(api.broker, api.queues, 5.0)

    async def beat(self, replica: str, handlers: Mapping[str, str], pull_workers: PullWorkers | None = None) -> None:
        """Send the heartbeat of a replica whose handlers have these queues. The API learns from it."""
        capacity = Capacity(4, list(handlers.values()), handlers, queue_of=handlers.get)
        worker: Any = Idle() if handlers else None
        kind: Worker | None = worker
        presence = Presence(replica, ["worker"], 5.0, worker=kind, capacity=capacity, pull_workers=pull_workers)
        await self.send(replica, presence.describe())

    async def send(self, replica: str, description: Description) -> None:
        await self.api.broker.replicas.heartbeat(0, replica, msgspec.json.encode(description).decode())
        await self.watch.run_once()

    async def leave(self, replica: str) -> None:
        await self.api.broker.replicas.heartbeat(0, replica, "")
        await self.watch.run_once()

    async def post(self, body: Any = None, **request: Any) -> httpx.Response:
        return await self.api.http.post("/v1/jobs", json=body or {"type": "mail.send"}, **request)

    async def sent(self, **fields: Any) -> tuple[str, list[str] | None]:
        """Enqueue a job. Returns its queue and the warnings."""
        response = await self.post({"type": "mail.send", **fields})
        assert response.status_code == 200, response.text
        reply = response.json()
        return (await self.api.job(reply["job_id"]))["queue"], reply.get("warnings")


@pytest.fixture
async def fleet(api: ApiRig) -> Fleet:
    return Fleet(api)


# --- one job -------------------------------------------------------------------------------------------------------


async def test_a_job_goes_to_the_queue_of_its_handler(fleet: Fleet, both_ways: Records) -> None:
    assert await fleet.sent() == ("default", None), "nobody knows anything yet"
    await fleet.beat("a", {"mail.send": "mail", "echo": "default"})
    await fleet.beat("b", {"mail.send": "mail"})
    assert await fleet.sent() == ("mail", None)
    assert await fleet.sent(payload=[1]) == ("mail", None)
    assert await fleet.sent(queue=None, delay=60) == ("mail", None)
    assert await fleet.sent(queue="default") == ("default", None), "what the sender names counts"
    assert await fleet.sent(type="echo") == ("default", None)
    assert both_ways.hits > 0


async def test_the_reply_is_as_ever_where_nothing_is_uncertain(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    response = await fleet.post()
    job_id = response.json()["job_id"]
    assert response.content == b'{"job_id":"%b","deduplicated":false}' % job_id.encode()


async def test_replicas_that_differ_leave_it_at_default_with_a_warning(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    await fleet.beat("b", {"mail.send": "bulk"})
    warning = DIFFER.format("mail.send")
    assert await fleet.sent() == ("default", [warning])
    assert await fleet.sent(delay=60) == ("default", [warning])
    assert await fleet.sent(queue="mail") == ("mail", None)
    await fleet.leave("b")
    assert await fleet.sent() == ("mail", None)


async def test_an_unknown_type_is_warned_of_where_workers_name_types(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    assert await fleet.sent(type="mail.sned") == ("default", [UNKNOWN.format("mail.sned")])
    pull_workers = PullWorkers()
    pull_workers.seen("p", "", ["default"])
    await fleet.beat("b", {}, pull_workers)
    assert await fleet.sent(type="mail.sned") == ("default", None), "a pull worker takes every type from there"


async def test_a_server_with_pull_workers_only_warns_of_nothing(fleet: Fleet) -> None:
    pull_workers = PullWorkers()
    pull_workers.seen("p", "", ["images"])
    await fleet.beat("a", {}, pull_workers)
    assert await fleet.sent(type="thumbnail") == ("default", None)


async def test_a_replica_of_an_earlier_version_counts_as_one_that_names_no_queue(fleet: Fleet) -> None:
    old = WorkerReport("old", "process", 4, 0, [], ["default", "mail"], ["mail.send"])
    await fleet.send("old", Description("0.1", 1, ["worker"], [old]))
    assert await fleet.sent() == ("default", None)
    await fleet.beat("new", {"mail.send": "mail"})
    assert await fleet.sent() == ("mail", None)


async def test_a_warning_is_logged_once(rig: Rig) -> None:
    async with api_over(rig.broker) as api:
        fleet = Fleet(api)
        await fleet.beat("a", {"mail.send": "mail"})
        with capture_logs() as lines:
            for _ in range(3):
                await fleet.sent(type="other")
            await api.http.post("/v1/jobs/batch", json=[{"type": "other"}, {"type": "third"}])
    warned = [line for line in lines if line["event"] == "queue_uncertain"]
    assert [(line["type"], line["queue"]) for line in warned[-1:]] == [("third", "default")]
    assert len([line for line in warned if line["type"] == "other"]) == 1


async def test_a_duplicate_has_no_warning(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    assert (await fleet.sent(type="other", dedupe_key="k"))[1] == [UNKNOWN.format("other")]
    assert (await fleet.sent(type="other", dedupe_key="k"))[1] is None


async def test_a_reply_with_the_whole_job_has_the_warning(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    response = await fleet.post({"type": "other"}, params={"wait": 0})
    job = msgspec.json.decode(response.content, type=Job)
    assert (job.queue, job.warnings) == ("default", [UNKNOWN.format("other")])
    assert "warnings" not in await fleet.api.job(job.id)


# --- access and repeats --------------------------------------------------------------------------------------------


@pytest.fixture
async def locked(rig: Rig) -> AsyncIterator[Fleet]:
    credentials = keys(mail="submit@mail+read@mail", default="submit@default+read@default")
    async with api_over(rig.broker, credentials) as api:
        yield Fleet(api)


async def test_the_grant_is_that_of_the_queue_that_the_job_goes_to(locked: Fleet) -> None:
    await locked.beat("a", {"mail.send": "mail"})
    for body in ({"type": "mail.send"}, {"type": "mail.send", "delay": 60}):
        assert (await locked.post(body, headers={"x-api-key": "mail"})).status_code == 200
        refused = await locked.post(body, headers={"x-api-key": "default"})
        assert refused.status_code == 403
        assert refused.json()["detail"] == "The API key lacks the scope submit over the queue mail."
    await locked.beat("b", {"mail.send": "bulk"})
    refused = await locked.post(headers={"x-api-key": "mail"})
    assert refused.json()["detail"] == "The API key lacks the scope submit over the queue default."
    assert (await locked.post(headers={"x-api-key": "default"})).json()["warnings"] == [DIFFER.format("mail.send")]


async def test_a_wait_needs_the_right_to_read_that_queue(locked: Fleet) -> None:
    await locked.beat("a", {"mail.send": "mail"})
    assert (await locked.post(headers={"x-api-key": "mail"}, params={"wait": 0})).json()["queue"] == "mail"


async def test_an_idempotency_key_is_of_the_body_as_sent(fleet: Fleet) -> None:
    once = {"Idempotency-Key": "k1"}
    await fleet.beat("a", {"mail.send": "mail"})
    first = await fleet.post(headers=once)
    assert (await fleet.api.job(first.json()["job_id"]))["queue"] == "mail"
    await fleet.leave("a")
    await fleet.beat("b", {"mail.send": "bulk"})
    again = await fleet.post(headers=once)
    assert again.json() == {"job_id": first.json()["job_id"], "deduplicated": True}
    await fleet.beat("c", {"mail.send": "mail"})
    again = await fleet.post(headers=once)
    assert again.json() == {"job_id": first.json()["job_id"], "deduplicated": True}, "and no warning: it is in mail"
    other = await fleet.post({"type": "mail.send", "queue": "mail"}, headers=once)
    assert other.status_code == 422, "that is another body"


# --- batches and handlers ------------------------------------------------------------------------------------------

ITEMS = [
    {"type": "mail.send"},
    {"type": "mail.send", "queue": "default"},
    {"type": "other"},
    {"type": "mail.send", "delay": 60},
    {"type": "no name"},
    {"type": "torn"},
    {"type": "mail.send", "payload": 1},
]


async def mixed(fleet: Fleet, reader: str | None = None, **request: Any) -> list[Any]:
    """What becomes of each item of a batch: its queue and warnings, or the status and text of its error."""
    await fleet.beat("a", {"mail.send": "mail", "torn": "x"})
    await fleet.beat("b", {"mail.send": "mail", "torn": "y"})
    response = await fleet.api.http.post("/v1/jobs/batch", json=ITEMS, **request)
    found: list[Any] = []
    for item in response.json()["results"]:
        if "error" in item:
            found.append((item["error"]["status"], item["error"]["detail"]))
            continue
        shown = await fleet.api.http.get(f"/v1/jobs/{item['job_id']}", headers={"x-api-key": reader} if reader else {})
        found.append((shown.json()["queue"], item.get("warnings")))
    return found


@pytest.mark.parametrize("span", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
async def test_each_job_of_a_batch_goes_to_the_queue_of_its_type(fleet: Fleet, span: str | None) -> None:
    found = await mixed(fleet, headers={"traceparent": span} if span else {})
    assert found.pop(4)[0] == 422
    assert found == [
        ("mail", None),
        ("default", None),
        ("default", [UNKNOWN.format("other")]),
        ("mail", None),
        ("default", [DIFFER.format("torn")]),
        ("mail", None),
    ]


async def test_a_batch_that_is_certain_is_answered_as_ever(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    response = await fleet.api.http.post("/v1/jobs/batch", json=[{"type": "mail.send"}] * 2)
    ids = [item["job_id"] for item in response.json()["results"]]
    item = '{{"job_id":"{}","deduplicated":false}}'.format
    assert response.text == '{"results":[' + ",".join(map(item, ids)) + "]}"


async def test_the_grant_of_each_job_of_a_batch_is_that_of_its_queue(rig: Rig) -> None:
    async with api_over(rig.broker, keys(default="submit@default", all="admin")) as api:
        found = await mixed(Fleet(api), "all", headers={"x-api-key": "default"})
    refused = (403, "The API key lacks the scope submit over the queue mail.")
    assert found.pop(4)[0] == 422
    assert found == [
        refused,
        ("default", None),
        ("default", [UNKNOWN.format("other")]),
        refused,
        ("default", [DIFFER.format("torn")]),
        refused,
    ]


async def test_the_job_of_a_handler_goes_the_same_way(fleet: Fleet) -> None:
    await fleet.beat("a", {"mail.send": "mail"})
    settings = SubmissionSettings.of(fleet.api.settings)
    sending = Sending(Submission(settings, lambda _: None, queues=fleet.api.queues), fleet.api.producer)
    reply = await sending.send(JobRequest("mail.send"))
    assert (await fleet.api.job(reply.job_id))["queue"] == "mail"
    reply = await sending.send(JobRequest("other"))
    assert reply.warnings == [UNKNOWN.format("other")]


# --- the watch -----------------------------------------------------------------------------------------------------


async def test_nothing_is_learned_again_while_all_report_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api_over(rig.broker) as api:
        fleet = Fleet(api)
        await fleet.beat("a", {"mail.send": "mail"})
        learned: list[int] = []
        monkeypatch.setattr(api.queues, "learn", lambda reports: learned.append(len(list(reports))))
        for replica in "aabb":
            await fleet.beat(replica, {"mail.send": "mail"})
        assert learned == []
        await fleet.beat("b", {"mail.send": "bulk"})
        assert learned == [2]


async def test_a_job_costs_no_call_but_the_enqueue(rig: Rig) -> None:
    async with api_over(rig.broker) as api:
        fleet = Fleet(api)
        await fleet.beat("a", {"mail.send": "mail"})
        await fleet.post()
        before = await rig.client.info("commandstats")
        for job_type in ("mail.send", "other"):
            await fleet.post({"type": job_type})
        after = await rig.client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 2


async def test_what_is_not_a_description_is_left_out(fleet: Fleet) -> None:
    await fleet.api.broker.replicas.heartbeat(0, "odd", '{"workers":5,"types_mark":"ab"}')
    await fleet.beat("a", {"mail.send": "mail"})
    assert await fleet.sent() == ("mail", None)
