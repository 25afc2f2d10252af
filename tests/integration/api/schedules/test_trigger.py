"""Pauses, triggers and backfills of schedules."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from queuey.protocol import ids
from queuey.protocol.models import MAX_BACKFILLED
from queuey.store.broker.schedules import Firing
from tests.integration.api.described import named
from tests.integration.api.schedules.conftest import JOB, get, made
from tests.support.http import ApiRig, api_over, moment, problem
from tests.support.store import Rig

PATH = "/v1/schedules/nightly"
YESTERDAY = {"from": "2026-03-27T00:00:00Z", "to": "2026-03-30T12:00:00Z"}
"""Four ticks: 02:30 in Berlin on each day, but 03:00 on the 29th, when the clock is put forward."""
TICKS = ["2026-03-27T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]


async def post(api: ApiRig, what: str, body: Any = None, **headers: str) -> dict[str, Any]:
    response = await api.http.post(f"{PATH}/{what}", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def ms_of(rig: Rig, name: str = "nightly") -> tuple[str, int]:
    """The mark of a schedule, and its next tick."""
    shard = rig.broker.shards.of_schedule(name)
    (schedule,) = [one for one in (await rig.broker.schedules.list_schedules(shard))[0] if one.name == name]
    return schedule.mark, schedule.next_ms


# --- pause and resume ----------------------------------------------------------------------------------------------


async def test_pause_and_resume(rig: Rig, api: ApiRig) -> None:
    next_ticks = (await made(api))["next"]
    paused = await post(api, "pause", {"reason": "holidays"})
    assert (paused["status"], paused["pause_reason"], paused["paused_by"]) == ("paused", "holidays", "anonymous")
    assert (paused["next"], paused["due_at"]) == ([], None)
    assert paused["detail"].startswith("It was paused by anonymous at ")
    assert "holidays" in paused["detail"]
    async with rig.unchanged():
        assert await post(api, "pause", {"reason": "holidays"}) == paused
    assert (await post(api, "pause"))["pause_reason"] == "no reason given"
    resumed = await post(api, "resume")
    assert (resumed["status"], resumed["next"], resumed["pause_reason"]) == ("active", next_ticks, None)
    async with rig.unchanged():
        assert await post(api, "resume") == resumed


@pytest.mark.parametrize("reason", ["", "x" * 257, "a\nb", 5])
async def test_a_reason_that_is_refused(rig: Rig, api: ApiRig, reason: object) -> None:
    await made(api)
    async with rig.unchanged():
        response = await api.http.post(f"{PATH}/pause", json={"reason": reason})
    assert named(problem(response, 422, "invalid")) == ["/reason"]


@pytest.mark.parametrize("what", ["pause", "resume", "trigger", "backfill"])
async def test_of_a_schedule_that_is_unknown(rig: Rig, api: ApiRig, what: str) -> None:
    body = YESTERDAY if what == "backfill" else None
    async with rig.unchanged():
        found = problem(await api.http.post(f"/v1/schedules/other/{what}", json=body), 404, "not-found")
    assert found["detail"] == "There is no schedule 'other'."


async def test_a_change_that_others_always_overtake_ends(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(api)

    async def overtaken(shard: int, items: Any, **_: Any) -> list[str]:
        return ["conflict"]

    for name in ("set_paused", "delete_schedules"):
        monkeypatch.setattr(api.broker.schedules, name, overtaken)
    problem(await api.http.post(f"{PATH}/pause"), 409, "conflict")
    problem(await api.http.post(f"{PATH}/resume"), 409, "conflict")
    problem(await api.http.delete(PATH), 409, "conflict")


# --- trigger -------------------------------------------------------------------------------------------------------


async def test_a_trigger_makes_a_job_now(api: ApiRig) -> None:
    before = await made(api, job={**JOB, "payload": {"n": 1}, "tags": ["t"], "metadata": {"tenant": "7"}})
    answer = await post(api, "trigger")
    assert answer["outcome"] == "fired"
    job = await api.job(answer["job_id"])
    assert (job["status"], job["type"], job["queue"], job["payload"]) == ("queued", "report", "reports", {"n": 1})
    assert job["metadata"].pop("schedule.name") == "nightly"
    run = (await get(api))["runs"][0]
    assert moment(job["metadata"].pop("schedule.tick")) == moment(run["tick"])
    assert job["metadata"] == {"tenant": "7"}
    assert (run["kind"], run["outcome"], run["job_id"], run["count"]) == ("trigger", "fired", answer["job_id"], 1)
    after = await get(api)
    assert after["next"] == before["next"]
    assert after["last_job_id"] == answer["job_id"]
    assert after["last_tick"] is None, "a trigger is not a tick"


async def test_without_room_for_them_the_metadata_of_a_job_stays_as_it_is(api: ApiRig) -> None:
    metadata = {f"key{number}": "x" * 100 for number in range(8)}
    await made(api, job={**JOB, "metadata": metadata})
    assert (await api.job((await post(api, "trigger"))["job_id"]))["metadata"] == metadata


async def test_the_queue_of_a_type_is_that_of_the_moment_of_the_job(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PUT does not pin it, so a schedule follows its type to another queue."""
    assert (await made(api, job={"type": "report"}))["queue"] == "default"
    monkeypatch.setattr(api.queues, "of", lambda _: ("slow", None))
    shown = await get(api)
    assert (shown["queue"], shown["job"]) == ("slow", {"type": "report"})
    assert (await api.job((await post(api, "trigger"))["job_id"]))["queue"] == "slow"


async def test_a_trigger_with_a_key_makes_one_job(rig: Rig, api: ApiRig) -> None:
    await made(api, overlap="allow")
    first = await api.http.post(f"{PATH}/trigger", headers={"idempotency-key": "k"})
    assert "idempotent-replayed" not in first.headers
    async with rig.unchanged():
        again = await api.http.post(f"{PATH}/trigger", headers={"idempotency-key": "k"})
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert (await post(api, "trigger", **{"idempotency-key": "other"}))["job_id"] != first.json()["job_id"]
    assert len({(await post(api, "trigger"))["job_id"] for _ in range(2)}) == 2


@pytest.mark.parametrize("key", ["", "x" * 257, "é"])
async def test_a_key_that_is_refused(api: ApiRig, key: str) -> None:
    await made(api)
    response = await api.http.post(f"{PATH}/trigger", headers={b"idempotency-key": key.encode()})
    assert named(problem(response, 422, "invalid")) == ["Idempotency-Key"]


async def test_the_overlap_rule_holds_for_a_trigger(api: ApiRig) -> None:
    await made(api)
    first = (await post(api, "trigger"))["job_id"]
    assert await post(api, "trigger") == {"outcome": "skipped", "job_id": None}
    await made(api, overlap="queue_one")
    waiting = await post(api, "trigger", **{"idempotency-key": "k"})
    assert waiting["outcome"] == "pending"
    assert await post(api, "trigger", **{"idempotency-key": "k"}) == waiting
    shown = await get(api)
    assert f"waits until the job {first} has ended" in shown["detail"]
    assert shown["waiting_tick"] is not None
    assert (await post(api, "trigger"))["outcome"] == "skipped", "one waits already"
    await made(api, overlap="cancel_previous")
    second = (await post(api, "trigger"))["job_id"]
    assert (await api.job(first))["status"] == "cancelled"
    assert (await api.job(second))["status"] == "queued"


async def test_a_paused_schedule_can_be_triggered(api: ApiRig) -> None:
    await made(api)
    await post(api, "pause")
    assert (await post(api, "trigger"))["outcome"] == "fired"
    assert (await get(api))["status"] == "paused"


async def test_without_room_no_job_is_made(rig: Rig, api: ApiRig) -> None:
    await made(api)
    api.producer.set_full(True)
    for what, body in (("trigger", None), ("backfill", YESTERDAY)):
        problem(await api.http.post(f"{PATH}/{what}", json=body), 429, "full")
    api.producer.set_full(False)
    assert (await post(api, "trigger"))["outcome"] == "fired"


async def test_a_job_that_needs_a_queue_too_many(rig: Rig, api: ApiRig) -> None:
    await made(api)
    for shard in range(rig.broker.shards.count):
        await rig.client.sadd(rig.broker.shards.keys[shard].queues, *(f"q{number}" for number in range(256)))
    async with rig.unchanged():
        response = await api.http.post(f"{PATH}/trigger", headers={"idempotency-key": "k"})
    assert named(problem(response, 422, "invalid")) == ["/queue"]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_server_s_clock_that_is_wrong_changes_no_tick(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Ticks are found with the clock of the store: those of a put and a resume, of a trigger and a backfill."""
    right, began = time.time_ns, datetime.now(UTC)
    monkeypatch.setattr("time.time_ns", lambda: right() + hours * 3_600 * 10**9)
    near = timedelta(minutes=5)
    shown = await made(api, cron=None, every=60)
    assert began - near < moment(shown["next"][0]) < began + near
    await post(api, "pause")
    assert began - near < moment((await post(api, "resume"))["next"][0]) < began + near
    assert (await post(api, "trigger"))["outcome"] == "fired"
    assert began - near < moment((await get(api))["runs"][0]["tick"]) < began + near
    span = {"from": (began - timedelta(hours=2)).isoformat(), "to": began.isoformat(), "dry_run": True}
    await post(api, "backfill", span)
    late = {**span, "to": (began + near).isoformat()}
    problem(await api.http.post(f"{PATH}/backfill", json=late), 422, "invalid")


async def test_one_that_was_replaced_meanwhile_makes_the_new_job(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(api)
    fire, times = api.broker.schedules.fire, 0

    async def late(shard: int, items: list[Firing], **options: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            await made(api, job={**JOB, "type": "other"})
        return await fire(shard, items, **options)

    monkeypatch.setattr(api.broker.schedules, "fire", late)
    assert (await api.job((await post(api, "trigger"))["job_id"]))["type"] == "other"
    assert times == 2


async def test_a_put_beside_a_fire(rig: Rig, api: ApiRig) -> None:
    """What was read before the put does nothing; the new schedule goes on with a tick of its own."""
    await made(api, cron=None, every=1)
    mark, next_ms = await ms_of(rig)
    await made(api, cron=None, every=3600)
    job = rig.job(id=ids.of_tick("nightly", mark.partition(".")[0], next_ms))
    stale = Firing("nightly", mark, "tick", next_ms, next_ms, next_ms + 1000, next_ms + 1000, "skip", 0, job)
    shard = rig.broker.shards.of_schedule("nightly")
    async with rig.unchanged():
        fired = await rig.broker.schedules.fire(shard, [stale], now=next_ms + 1)
    assert fired.answers == ["conflict"]
    assert (await ms_of(rig))[1] > next_ms


# --- backfill ------------------------------------------------------------------------------------------------------


async def test_a_dry_run_lists_the_ticks(rig: Rig, api: ApiRig) -> None:
    await made(api)
    async with rig.unchanged():
        answer = await post(api, "backfill", {**YESTERDAY, "dry_run": True})
    assert [moment(tick) for tick in answer["ticks"]] == [moment(tick) for tick in TICKS]
    assert {name: answer[name] for name in ("fired", "there", "skipped", "pending", "dry_run")} == {
        **dict.fromkeys(("fired", "there", "skipped", "pending"), 0),
        "dry_run": True,
    }


async def test_a_backfill_makes_each_job_once(rig: Rig, api: ApiRig) -> None:
    await made(api)
    answer = await post(api, "backfill", {**YESTERDAY, "overlap": "allow"})
    assert (answer["fired"], answer["there"], answer["skipped"], len(answer["ticks"])) == (4, 0, 0, 4)
    runs = (await get(api))["runs"]
    assert [moment(run["tick"]) for run in reversed(runs)] == [moment(tick) for tick in TICKS]
    assert {run["kind"] for run in runs} == {"backfill"}
    for run in runs:
        job = await api.job(run["job_id"])
        assert moment(job["metadata"]["schedule.tick"]) == moment(run["tick"])
    async with rig.unchanged():
        again = await post(api, "backfill", {**YESTERDAY, "overlap": "allow"})
    assert (again["fired"], again["there"]) == (0, 4)
    more = await post(api, "backfill", {**YESTERDAY, "from": "2026-03-26T00:00:00Z", "overlap": "allow"})
    assert (more["fired"], more["there"]) == (1, 4)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [("skip", (1, 3, 0)), ("queue_one", (1, 2, 1)), ("allow", (4, 0, 0))],
)
async def test_the_overlap_rule_holds_for_a_backfill(api: ApiRig, overlap: str, expected: tuple[int, int, int]) -> None:
    await made(api, overlap=overlap)
    answer = await post(api, "backfill", YESTERDAY)
    assert (answer["fired"], answer["skipped"], answer["pending"]) == expected


async def test_a_backfill_of_one_that_cancels_the_job_before_needs_another_rule(rig: Rig, api: ApiRig) -> None:
    await made(api, overlap="cancel_previous")
    async with rig.unchanged():
        response = await api.http.post(f"{PATH}/backfill", json=YESTERDAY)
    assert named(problem(response, 422, "invalid")) == ["/overlap"]
    assert (await post(api, "backfill", {**YESTERDAY, "overlap": "allow"}))["fired"] == 4


async def test_so_many_ticks_and_no_more(rig: Rig, api: ApiRig) -> None:
    await made(api, cron="* * * * *")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    last = start + timedelta(minutes=MAX_BACKFILLED - 1)
    span = {"from": start.isoformat(), "to": (last + timedelta(minutes=1)).isoformat(), "overlap": "allow"}
    async with rig.unchanged():
        found = problem(await api.http.post(f"{PATH}/backfill", json=span), 422, "invalid")
    assert named(found) == ["/to"]
    assert found["detail"].endswith(f"the last possible time is {last:%Y-%m-%dT%H:%M:%SZ}.")
    answer = await post(api, "backfill", {**span, "to": last.isoformat()})
    assert (answer["fired"], len(answer["ticks"])) == (MAX_BACKFILLED, MAX_BACKFILLED)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/from", "/to"]),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["/from"]),
        ({"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}, ["/to"]),
        ({"from": "0001-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["/from"]),
        ({"from": "2026-01-01T00:00:00", "to": "yesterday"}, ["/from", "/to"]),
        ({**YESTERDAY, "overlap": "cancel_previous"}, ["/overlap"]),
        ({**YESTERDAY, "dry_run": 1, "form": 1}, ["/dry_run", "/form"]),
    ],
)
async def test_faults_of_a_backfill(rig: Rig, api: ApiRig, body: dict[str, Any], expected: list[str]) -> None:
    await made(api)
    async with rig.unchanged():
        response = await api.http.post(f"{PATH}/backfill", json=body)
    found = problem(response, 422, "invalid")
    assert sorted(named(found)) == sorted(expected)
    assert "from_" not in response.text


async def test_a_span_without_ticks(rig: Rig, api: ApiRig) -> None:
    await made(api)
    async with rig.unchanged():
        answer = await post(api, "backfill", {"from": "2026-01-01T02:00:00Z", "to": "2026-01-01T03:00:00Z"})
    assert answer["ticks"] == []


async def test_a_stored_job_that_the_server_would_refuse_now(rig: Rig, api: ApiRig) -> None:
    """Its type takes another payload since, and the limit of payloads is lower."""
    await made(api, job={"type": "typed", "payload": {"to": 5}})
    async with api_over(rig.broker, check_payloads="yes") as strict, rig.unchanged():
        for what, body in (("trigger", None), ("backfill", YESTERDAY)):
            response = await strict.http.post(f"{PATH}/{what}", json=body)
            assert named(problem(response, 422, "invalid")) == ["/job/payload/to"]
    async with api_over(rig.broker, payload_limit=5) as small, rig.unchanged():
        response = await small.http.post(f"{PATH}/trigger")
        assert named(problem(response, 413, "too-large")) == ["/job/payload"]
    assert (await post(api, "trigger"))["outcome"] == "fired"
