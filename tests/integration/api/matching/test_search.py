"""GET /v1/jobs with texts and times of the end: what is found, what one request looks at, and brief jobs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from queuey.services.jobs import listing
from tests.integration.api.jobs.test_labels import listed
from tests.integration.api.jobs.test_list import page, pages
from tests.support.http import ApiRig, moment, problem
from tests.support.stores import one_of

shards = one_of(1, 3)


async def dead(api: ApiRig, message: str, detail: str | None = None, **fields: Any) -> str:
    """A job that died of this error."""
    job_id = await api.submit(queue="dead", **fields)
    shard = api.broker.shards.of_job(job_id)
    (job,) = (
        await api.broker.leases.claim(
            shard, claim_id=f"c{job_id}", worker="w", lease_ms=30_000, limit=1, queues=["dead"]
        )
    ).jobs
    error = json.dumps({"attempt": 1, "kind": "error", "message": message, "detail": detail}, ensure_ascii=False)
    await api.broker.leases.fail(shard, [(job.id, job.token, error, 0, True)])
    return job_id


async def test_a_text_is_searched_in_the_id_the_type_the_payload_and_the_errors(api: ApiRig) -> None:
    """In no other field, and no character of it is a pattern."""
    mail = await api.submit(type="mail.send", payload={"to": 'ada "[x]" %d'}, tags=["needle"], dedupe_key="needle")
    other = await api.submit(type="report", payload=None, metadata={"needle": "needle"})
    lost = await dead(api, "50% (lost)", "Traceback: line 7", type="report")
    assert await listed(api, q=mail) == [mail]
    assert await listed(api, q="mail.s") == [mail]
    assert await listed(api, q='ada "[x]" %d') == [mail]
    assert await listed(api, q="50% (lost)") == [lost]
    assert await listed(api, q="line 7", error="(lost)") == [lost]
    assert sorted(await listed(api, q="report")) == sorted([other, lost])
    assert await listed(api, error="report") == await listed(api, error="ada") == []
    assert await listed(api, q="needle") == await listed(api, q="message") == await listed(api, q="mail_send") == []
    assert await listed(api, q="50%", type="mail.send") == await listed(api, q="50%", status="queued") == []


@pytest.mark.parametrize(
    "text", ["Zürich", "שלום\u202e", "zero\u200bwidth", 'a\n"b"\\c', "nul\x00", "👩‍👩‍👧", "\ufeff"]
)
async def test_any_character_is_found_however_it_was_written(api: ApiRig, text: str) -> None:
    found = [await dead(api, f"no {text}!")]
    for document in (json.dumps({"t": f"-{text}-"}), json.dumps({"t": f"-{text}-"}, ensure_ascii=False)):
        answer = await api.http.post(
            "/v1/jobs",
            content=f'{{"type":"t","payload":{document}}}'.encode(),
            headers={"content-type": "application/json"},
        )
        found.append(answer.json()["job_id"])
    await api.submit(payload={"t": "plain"})
    assert sorted(await listed(api, q=text)) == sorted(found)
    assert await listed(api, error=text) == found[:1]


async def test_those_that_ended_within_a_time(api: ApiRig) -> None:
    waiting, lost = await api.submit(), await dead(api, "no")
    cancelled = await api.submit()
    await api.http.post(f"/v1/jobs/{cancelled}/cancel")
    at = moment((await api.job(lost))["finished_at"])
    before, after = ((at + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    assert sorted(await listed(api, finished_after=before)) == sorted([lost, cancelled])
    assert await listed(api, finished_after=at.isoformat(), finished_before=after, status="dead_letter") == [lost]
    assert await listed(api, finished_before=at.isoformat(), status="dead_letter") == []
    assert await listed(api, finished_after=after) == await listed(api, finished_before=before) == []
    assert await listed(api, finished_after="0001-01-01T00:00:00Z", status="queued") == []
    assert waiting not in await listed(api, finished_before="9999-12-31T23:59:59Z")


async def test_brief_jobs_have_neither_payload_nor_result_and_short_errors(api: ApiRig) -> None:
    job_id = await dead(api, "long " * 100, "detail " * 100, payload="p" * 5_000)
    whole = (await page(api))["jobs"][0]
    (brief,) = (await page(api, fields="brief"))["jobs"]
    assert whole.keys() - brief.keys() == {"payload", "result"}
    assert (brief["id"], brief["type"], brief["finished_at"]) == (job_id, "t", whole["finished_at"])
    texts = [brief["last_error"], brief["errors"][0]["message"], brief["errors"][0]["detail"]]
    texts += [attempt["error"] for attempt in brief["attempts_log"]]
    assert {len(text) for text in texts} == {200}
    assert all(text.endswith("…") for text in texts)
    assert len((await api.http.get("/v1/jobs?fields=brief")).content) < 2_500
    assert (await page(api, fields="all"))["jobs"][0] == whole


async def test_a_request_ends_after_its_time_and_goes_on_by_the_cursor(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many entries it looked at. Each request looks at some."""
    wanted = [await api.submit(payload={"n": number, "to": "ada"}) for number in range(3)]
    for _ in range(20):
        await api.submit(payload="other")
    whole = await page(api, q="ada")
    assert whole["next"] is None
    assert whole["looked_at"] >= 23
    monkeypatch.setattr(listing, "PAGE_SECONDS", 0.0)
    monkeypatch.setattr(listing, "LOOK", 8)
    first = await page(api, q="ada", limit=500)
    assert first["next"] is not None
    assert 1 <= first["looked_at"] <= 8
    assert sorted(job["id"] for job in await pages(api, q="ada")) == sorted(wanted)


async def test_no_call_looks_at_more_than_100_entries_or_reads_many_bytes(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no call holds the store for long, whatever the filter."""
    for number in range(3):
        jobs = [{"type": "t", "payload": "x" * (1 + number * 40_000)} for _ in range(10 if number else 75)]
        for _ in range(4):
            assert (await api.http.post("/v1/jobs/batch", json=jobs)).status_code == 200
    looked, read = [], []
    look, get = api.broker.jobs.list_jobs, api.broker.jobs.get

    async def counted_look(*args: Any, **options: Any) -> Any:
        got = await look(*args, **options)
        looked.append(got.looked)
        return got

    async def counted_get(shard: int, job_ids: Any) -> Any:
        got = await get(shard, job_ids)
        read.append(sum(len(one.definition) + len(one.state) for one in got))
        return got

    monkeypatch.setattr(api.broker.jobs, "list_jobs", counted_look)
    monkeypatch.setattr(api.broker.jobs, "get", counted_get)
    for filters in ({"type": "other"}, {"q": "y"}, {"tag": "a"}, {"older_than": 3600}, {"dedupe_key": "k"}, {}):
        looked.clear()
        found = await pages(api, **filters, limit=500)
        assert len(found) == (0 if filters else 380)
        assert 0 < max(looked) <= 100
    assert 500_000 < max(read) <= 500_000 + 81_000


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ("q=", "must have 1 to 200 characters"),
        ("error=", "must have 1 to 200 characters"),
        ("q=" + "a" * 4096, "must have 1 to 200 characters"),
        ("q=" + quote("\u202e" * 201), "must have 1 to 200 characters"),
        ("finished_after=yesterday", "a time zone: Z for UTC"),
        ("finished_after=2026-11-01T00:00:00", "a time zone: Z for UTC"),
        ("finished_after=2026-11-01T00:00:00+01:00", "whose + is written %2B"),
        ("finished_before=%00", "a time zone: Z for UTC"),
        ("fields=short", "must be one of all, brief"),
    ],
)
async def test_what_is_refused(api: ApiRig, query: str, rule: str) -> None:
    refused = problem(await api.http.get(f"/v1/jobs?{query}"), 422, "invalid")
    assert rule in refused["detail"]
    assert [fault["parameter"] for fault in refused["errors"]] == [query.partition("=")[0]]


async def test_a_cursor_of_another_search_says_so(api: ApiRig) -> None:
    for _ in range(3):
        await api.submit(payload="ada")
    cursor = (await page(api, q="ada", limit=1))["next"]
    assert len((await page(api, q="ada", cursor=cursor, fields="brief"))["jobs"]) == 2
    for other in ({}, {"q": "bob"}, {"error": "ada"}, {"q": "ada", "finished_after": "2026-01-01T00:00:00Z"}):
        refused = await api.http.get("/v1/jobs", params={**other, "cursor": cursor})
        assert "another list" in problem(refused, 422, "invalid")["detail"]
