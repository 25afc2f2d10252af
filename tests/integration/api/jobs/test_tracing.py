"""A job remembers the span in which it was submitted, from the request's header or its own field, and shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from opentelemetry import trace

from queuey.client import Client
from queuey.protocol import traceparent
from queuey.protocol.job_requests import job_request
from queuey.protocol.records import names_of
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.settings.settings import Settings
from queuey.worker.sender import Sending
from tests.support.http import HOST, ApiRig, problem
from tests.support.store import Rig

HEADER: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FIELD: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
pytestmark = pytest.mark.usefixtures("both_ways")


async def submit(api: ApiRig, header: str | None = None, **fields: Any) -> str:
    headers = {} if header is None else {"traceparent": header}
    response = await api.http.post("/v1/jobs", json={"type": "t", **fields}, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["job_id"])


@pytest.mark.parametrize(
    ("header", "field", "kept"),
    [
        (None, None, None),
        (HEADER, None, HEADER),
        (None, FIELD, FIELD),
        (HEADER, FIELD, FIELD),
        ("none that could be read", None, None),
        ("none that could be read", FIELD, FIELD),
    ],
)
async def test_the_field_goes_before_the_header(
    rig: Rig, api: ApiRig, header: str | None, field: str | None, kept: str | None
) -> None:
    job_id = await submit(api, header, **({} if field is None else {"traceparent": field}))
    assert (await api.job(job_id))["traceparent"] == kept
    definition = (await rig.stored(job_id)).definition
    assert ("traceparent" in definition) == (kept is not None)
    assert names_of(definition) == ("t", "default")


@pytest.mark.parametrize(
    "bad", ["", "00", HEADER.upper(), f"ff{HEADER[2:]}", HEADER + "\n", f"00-{'0' * 32}{HEADER[35:]}"]
)
async def test_a_bad_field_is_refused(api: ApiRig, bad: str) -> None:
    response = await api.http.post("/v1/jobs", json={"type": "t", "traceparent": bad})
    (fault,) = problem(response, 422, "invalid")["errors"]
    assert fault["pointer"] == "/traceparent"
    assert "00-<32 hex digits>-<16 hex digits>-01" in fault["detail"]


async def test_the_header_of_a_batch_is_for_all_that_say_none(api: ApiRig) -> None:
    jobs = [{"type": "t"}, {"type": "t", "traceparent": FIELD}, {"type": "t", "traceparent": "bad"}]
    response = await api.http.post("/v1/jobs/batch", json=jobs, headers={"traceparent": HEADER})
    first, second, third = response.json()["results"]
    assert (await api.job(first["job_id"]))["traceparent"] == HEADER
    assert (await api.job(second["job_id"]))["traceparent"] == FIELD
    assert third["error"]["status"] == 422


async def test_the_same_request_may_be_sent_again_in_another_span(api: ApiRig) -> None:
    """The key stands for the body."""
    sent = [
        await api.http.post("/v1/jobs", json={"type": "t"}, headers={"idempotency-key": "k", "traceparent": span})
        for span in (HEADER, FIELD)
    ]
    assert [response.status_code for response in sent] == [200, 200]
    assert len({response.json()["job_id"] for response in sent}) == 1
    assert (await api.job(sent[0].json()["job_id"]))["traceparent"] == HEADER


async def test_a_pull_worker_gets_it_also_after_an_edit(api: ApiRig) -> None:
    job_id = await submit(api, HEADER)
    plain = await submit(api)
    (job, without) = (await api.http.post("/v1/leases", json={"max": 2})).json()["jobs"]
    assert (job["id"], job["traceparent"]) == (job_id, HEADER)
    assert without["id"] == plain
    assert "traceparent" not in without
    failure = {"id": job_id, "token": job["token"], "error": "no", "dead": True}
    assert (await api.http.post("/v1/leases/fail", json=failure)).json()["status"] == "dead_letter"
    edited = await api.http.put(f"/v1/jobs/{job_id}/payload?requeue=true", json=1, headers={"x-api-key": "dev"})
    assert edited.status_code == 200, edited.text
    (again,) = (await api.http.post("/v1/leases", json={})).json()["jobs"]
    assert (again["payload"], again["traceparent"]) == (1, HEADER)


def in_span(text: str) -> Any:
    context = traceparent.read(text)
    assert context is not None
    return trace.use_span(trace.NonRecordingSpan(context))


async def test_what_a_handler_enqueues_remembers_its_span(api: ApiRig) -> None:
    settings, traced = SubmissionSettings.of(Settings(data_dir=Path("/unused"))), asyncio.Event()
    sending = Sending(Submission(settings, lambda _: None), api.producer, is_traced=traced.is_set)
    with in_span(HEADER):
        before = await sending.send(job_request("t", 1, {}))
        traced.set()
        during = await sending.send(job_request("t", 1, {}))
        its_own = await sending.send(job_request("t", 1, {"traceparent": FIELD}))
    after = await sending.send(job_request("t", 1, {}))
    seen = [(await api.job(reply.job_id))["traceparent"] for reply in (before, during, its_own, after)]
    assert seen == [None, HEADER, FIELD, None]


async def test_the_client_tells_the_span_that_it_is_called_in(api: ApiRig) -> None:
    client = Client(f"http://{HOST}", transport=httpx.ASGITransport(api.app))
    async with client:
        with in_span(HEADER):
            one = await client.enqueue("t", 1)
            many = await client.enqueue_many([job_request("t", 2, {})])
        outside = await client.enqueue("t", 3)
        seen = [(await client.get(id)).traceparent for id in (one.job_id, str(many[0].job_id), outside.job_id)]
    assert seen == [HEADER, HEADER, None]
