"""Reports of results in groups: replies, store, metrics, register and events are as if each job came alone.

`LeaseRoutes.in_groups` switches them off. The time that the scripts use is pinned, so that two stores can be compared.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuey.api.routes.leases import LeaseRoutes
from queuey.errors import ScriptFailed
from queuey.lifecycle import end_tasks
from queuey.metrics import Metrics
from queuey.protocol.models import LeasedJob, LeaseReply
from queuey.protocol.records import NewJob, job_fields, job_head, parse_definition
from queuey.services.leases import outcomes
from queuey.services.leases.acks import Acks
from queuey.services.leases.plain_results import WORTH_A_GROUP
from queuey.store.broker.broker import Broker
from queuey.store.broker.leases import Results
from queuey.store.connections.pipelined import StoreClient
from queuey.store.shards import Shards
from tests.support.http import ApiRig, api_over, keys, problem
from tests.support.pull.leasing import COMPLETE, LEASES, held, lease, report
from tests.support.store import NOW, SECOND, Moves, Rig, Server, client_for
from tests.support.working import FaultyScripts, eventually

JSON: Final = {"content-type": "application/json"}
RESULT_LIMIT: Final = 100
LEASED: Final = 24
"""Jobs that are worth groups, also on four shards."""
WAYS: Final = pytest.mark.parametrize("in_groups", [True, False], ids=["groups", "reference"], indirect=True)


class Pinned(FaultyScripts):
    """Scripts that take NOW for the time. `bad`: the ids of jobs for which `complete` fails."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()

    async def call(
        self, client: StoreClient, name: str, keys: tuple[str, str], argument: bytes, copies: int = 0
    ) -> bytes:
        arguments = msgspec.msgpack.decode(argument)
        if name == "complete" and any(job_id in repr(arguments) for job_id in self.bad):
            self.calls.append((name, arguments))
            if gate := self.gates.get(name):
                self.waiting.put_nowait(name)
                await gate.wait()
            raise ScriptFailed("broken by the test")
        if name in ("enqueue", "claim", "complete", "release"):
            arguments[0] = NOW + SECOND * (name != "enqueue")
        return await super().call(client, name, keys, msgspec.msgpack.encode(arguments), copies)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Results]:
    """The groups that are sent from now on."""
    sent: list[Results] = []
    submit = Acks.submit_complete_group

    def noted(self: Acks, shard: int, group: Results) -> asyncio.Future[Sequence[str]]:
        sent.append(group)
        return submit(self, shard, group)

    monkeypatch.setattr(Acks, "submit_complete_group", noted)
    return sent


@pytest.fixture
def in_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether results are stored in groups, in this test."""
    monkeypatch.setattr(LeaseRoutes, "in_groups", request.param)
    return bool(request.param)


async def leased(api: ApiRig, count: int, **asked: Any) -> list[dict[str, Any]]:
    """Submit so many jobs, and lease them."""
    for _ in range(count):
        await api.submit()
    jobs = await lease(api, max=count, **asked)
    assert len(jobs) == count
    return jobs


# --- both ways, side by side ---------------------------------------------------------------------------------------

RESULTS: Final = (
    *(
        b"null",
        b"1",
        b'{"n":[1,{}]}',
        '"\u00e4"'.encode(),
        b'"[[[["',
        b"12345678901234567890123",
        b'"' + b"x" * 98 + b'"',
    ),
    *(b"[1,\r\n2]", b"1e999", b'"\\ud800"', b"[" * 65 + b"]" * 65, b'"' + b"x" * 99 + b'"', b'"\xff"', b"nul"),
)
TAKEN: Final = 7
"""How many of the RESULTS can be stored as they are."""
FIELDS: Final = (b"", b',"extra":1', b',"result":2', b',"token":"9.foreign"', b',"id":"short"')

numbers = st.integers(0, 11)
items = st.tuples(numbers, st.sampled_from([0, 0, 0, 1]), st.sampled_from(RESULTS[:TAKEN]), st.just(b""))
odd_items = st.tuples(numbers, st.integers(0, 2), st.sampled_from(RESULTS), st.sampled_from(FIELDS))
reports = st.lists(st.lists(items, min_size=4, max_size=12) | st.lists(items | odd_items, max_size=8), max_size=4)


async def outcome_of(server: Server, shards: int, reported: list[list[Any]], *, in_groups: bool) -> list[Any]:
    """Report on twelve jobs of two claims. Returns all that can be seen of it."""
    client = client_for(server.url)
    moves, metrics, seen = Moves(), Metrics(), list[Any]()
    broker = Broker(Shards(client, shards), Pinned(), moves)
    try:
        await client.flushall()
        async with api_over(broker, metrics=metrics, result_limit=RESULT_LIMIT) as api:
            leases = LeaseRoutes.in_groups
            LeaseRoutes.in_groups = in_groups
            try:
                await _enqueue(broker)
                jobs = [
                    job for claim in "ab" for job in await lease(api, max=6, claim_id=claim, queues=["default", "q"])
                ]
                for each in reported:
                    response = await api.http.post(COMPLETE, content=_body(jobs, each), headers=JSON)
                    seen.append((response.status_code, response.content, dict(response.headers)))
            finally:
                LeaseRoutes.in_groups = leases
            rows = [(row.name, row.queues, row.busy, row.jobs) for row in api.pulling.workers.rows()]
            counts = [metrics.pulled.cell((word,))[0] for word in ("ok", "lost", "retry", "dead_letter", "cancelled")]
            return [seen, rows, counts, sorted(moves, key=str), await Rig(client, shards, broker.scripts).snapshot()]
    finally:
        await client.aclose()


async def _enqueue(broker: Broker) -> None:
    for number in range(12):
        queue = "q" if number % 5 == 4 else "default"
        head = job_head(queue=queue, retention_ms=7_000 if number % 4 == 3 else 3_600_000)
        job = NewJob(f"0{number % 4}{number:026}", queue, "default", head, '{"type":"t"}')
        assert await broker.jobs.enqueue(broker.shards.of_job(job.id), [job]) == ["new"]


def _body(jobs: list[dict[str, Any]], reported: list[tuple[int, int, bytes, bytes]]) -> bytes:
    """A batch: each item has the job's number, whose token it has (0 = the right one), its result, and more fields."""
    texts = []
    for number, whose, result, more in reported:
        job = jobs[number]
        token = (job["token"], jobs[number - 6]["token"], "1.foreign")[whose]
        texts.append(b'{"id":"%b","token":"%b","result":%b%b}' % (job["id"].encode(), token.encode(), result, more))
    return b'{"jobs":[%b]}' % b",".join(texts)


@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(reports)
def test_groups_are_stored_and_answered_as_single_jobs_are(
    server: Server, shards: int, monkeypatch: pytest.MonkeyPatch, reported: list[Any]
) -> None:
    monkeypatch.setattr(outcomes, "WORTH_A_GROUP", 1)  # so that few jobs are groups on four shards too
    in_groups = asyncio.run(outcome_of(server, shards, reported, in_groups=True))
    one_by_one = asyncio.run(outcome_of(server, shards, reported, in_groups=False))
    assert in_groups == one_by_one


# --- calls ---------------------------------------------------------------------------------------------------------


async def test_a_plain_batch_is_one_group_for_each_shard_and_token(
    rig: Rig, shards: int, groups: list[Results]
) -> None:
    scripts = FaultyScripts()
    async with api_over(Broker(rig.broker.shards, scripts)) as api:
        for _ in range(480):
            await api.submit()
        jobs = await lease(api, max=240) + await lease(api, max=240)
        told = await report(api, COMPLETE, *(held(job, result=number) for number, job in enumerate(jobs)))
        assert told == [{"id": job["id"], "status": "ok"} for job in jobs]
        wanted = {(rig.broker.shards.of_job(job["id"]), job["token"]) for job in jobs}
        assert {(rig.broker.shards.of_job(group.ids[0]), group.token) for group in groups} == wanted
        assert len(groups) == len(wanted)
        assert len(scripts.arguments("complete")) == shards, "groups share a call"
        for number, job in enumerate(jobs[::60]):
            assert (await api.job(job["id"]))["result"] == 60 * number


async def test_few_jobs_for_each_token_are_sent_one_by_one(api: ApiRig, groups: list[Results]) -> None:
    jobs = [job for _ in range(8) for job in await leased(api, 1)]
    assert [one["status"] for one in await report(api, COMPLETE, *map(held, jobs))] == ["ok"] * 8
    few = await leased(api, WORTH_A_GROUP - 1)
    assert [one["status"] for one in await report(api, COMPLETE, *map(held, few))] == ["ok"] * len(few)
    assert groups == []


async def test_a_key_for_some_queues_gets_each_job_checked(rig: Rig, groups: list[Results]) -> None:
    async with api_over(rig.broker, keys(all="admin", mail="work@mail")) as api:
        api.http.headers["x-api-key"] = "all"
        for number in range(8):
            await api.submit(queue="web" if number % 2 else "mail")
        jobs = await lease(api, queues=["mail", "web"], max=8)
        api.http.headers["x-api-key"] = "mail"
        told = await report(api, COMPLETE, *map(held, jobs))
        assert sorted(one.get("status", "hidden") for one in told) == ["hidden"] * 4 + ["ok"] * 4
        assert groups == []


# --- faults --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def faulty(rig: Rig) -> AsyncIterator[tuple[ApiRig, Pinned, Metrics, list[dict[str, Any]]]]:
    """An API of which LEASED jobs are leased."""
    scripts, metrics = Pinned(), Metrics()
    async with api_over(Broker(rig.broker.shards, scripts), metrics=metrics, request_deadline=60) as api:
        jobs = await leased(api, LEASED, lease=3600)
        yield api, scripts, metrics, jobs


async def posted(api: ApiRig, jobs: list[dict[str, Any]]) -> httpx.Response:
    return await api.http.post(COMPLETE, json={"jobs": [held(job, result=1) for job in jobs]})


@WAYS
async def test_a_store_that_is_down_is_one_problem(rig: Rig, in_groups: bool) -> None:
    async with faulty(rig) as (api, scripts, metrics, jobs):
        scripts.down = True
        async with api_over(api.broker, metrics=metrics, request_deadline=0.1) as impatient:
            found = problem(await posted(impatient, jobs), 503, "store-unavailable")
        assert "job_ids" not in found
        assert metrics.pulled.cell(("ok",))[0] == 0


@WAYS
async def test_an_unknown_outcome_names_all_jobs_and_the_resend_is_taken(rig: Rig, in_groups: bool) -> None:
    async with faulty(rig) as (api, scripts, metrics, jobs):
        scripts.replies_to_drop["complete"] = 1_000
        async with api_over(api.broker, metrics=metrics, request_deadline=0.1) as impatient:
            found = problem(await posted(impatient, jobs), 503, "outcome-unknown")
        assert found["job_ids"] == [job["id"] for job in jobs]
        scripts.replies_to_drop.clear()
        assert [one["status"] for one in (await posted(api, jobs)).json()["results"]] == ["ok"] * LEASED
        assert metrics.pulled.cell(("ok",))[0] == LEASED


@WAYS
async def test_a_lost_reply_is_asked_for_again(rig: Rig, shards: int, groups: list[Results], in_groups: bool) -> None:
    async with faulty(rig) as (api, scripts, metrics, jobs):
        scripts.replies_to_drop["complete"] = 1
        assert [one["status"] for one in (await posted(api, jobs)).json()["results"]] == ["ok"] * LEASED
        assert metrics.pulled.cell(("ok",))[0] == LEASED
        assert len(scripts.arguments("complete")) == shards + 1
        assert bool(groups) is in_groups


@WAYS
async def test_only_the_job_for_which_the_script_fails_is_an_error(rig: Rig, in_groups: bool) -> None:
    async with faulty(rig) as (api, scripts, metrics, jobs):
        scripts.bad = {jobs[5]["id"]}
        told = (await posted(api, jobs)).json()["results"]
        assert [one["id"] for one in told] == [job["id"] for job in jobs]
        assert [one.get("status") for one in told] == ["ok"] * 5 + [None] + ["ok"] * (LEASED - 6)
        assert told[5]["error"]["type"].endswith("script-failed")
        assert metrics.pulled.cell(("ok",))[0] == LEASED - 1


@WAYS
@pytest.mark.parametrize("bad", [0, 1], ids=["good", "one fails"])
async def test_outcomes_count_though_their_request_was_cancelled(rig: Rig, bad: int, in_groups: bool) -> None:
    async with faulty(rig) as (api, scripts, metrics, jobs):
        scripts.gates["complete"] = asyncio.Event()
        scripts.bad = {job["id"] for job in jobs[:bad]}
        request = asyncio.create_task(posted(api, jobs))
        assert await scripts.waiting.get() == "complete"
        await end_tasks([request])
        scripts.gates["complete"].set()

        async def counted() -> bool:
            return bool(metrics.pulled.cell(("ok",))[0] == LEASED - bad)

        await eventually(counted)
        assert [job for row in api.pulling.workers.rows() for job in row.jobs] == [job["id"] for job in jobs[:bad]]
        assert (await api.job(jobs[1]["id"]))["status"] == "succeeded"


# --- claims --------------------------------------------------------------------------------------------------------

BODIES: Final = (
    *('{"type":"t"}', '{"type":"a.b-c","payload":{"a":[1,{}]}}', '{"type":"t","payload":null}'),
    '{ "payload" : [ 1 , "\u00e4\u2028" ] , "type" : "\u00e4\\"\\u0041" }',
    '{"type":"t","payload":1,"timeout":12.5}',
    '{"type":"t","payload":12345678901234567890123,"timeout":3,"traceparent":"00-a-b-01"}',
    '{"type":"t","backoff":{"base":1,"cap":5.0},"unknown":[1]}',
)
HEADS: Final = (
    *("", "m=9", "t=5", "l=high", "x=90000000", "u=1 A=b:c.d-e_f", "m=5", "c=1799999999999 m=2"),
    *(f"k={'k' * 300} m=7", "l=low m=1000 t=9 x=90000000 k=a2V5 e=60000"),
)


async def test_a_claim_is_answered_as_the_reference_reads_and_writes_each_job(rig: Rig, api: ApiRig) -> None:
    stored: dict[str, str] = {}
    for head, body, queue in itertools.product(HEADS, BODIES, ("default", "mail")):
        (job_id,) = await rig.add(body=body, extra=head, now=0, queue=queue)
        stored[job_id] = (await rig.stored(job_id)).definition
    for _ in range(2):  # the second time it is a repeat
        asked = {"max": 500, "claim_id": "c", "queues": ["default", "mail"], "lease": 3600}
        response = await api.http.post(LEASES, json=asked)
        jobs = msgspec.json.decode(response.content, type=LeaseReply).jobs
        assert {job.id for job in jobs} == stored.keys()
        reference = [
            LeasedJob(
                **job_fields(*parse_definition(stored[job.id])),
                id=job.id,
                token=job.token,
                attempt=job.attempt,
                crashes=job.crashes,
                lease_expires_at=job.lease_expires_at,
            )
            for job in jobs
        ]
        assert response.content == msgspec.json.encode(LeaseReply(reference))
