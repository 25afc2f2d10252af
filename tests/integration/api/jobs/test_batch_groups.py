"""How many calls a batch of plain jobs costs, and what becomes of a group that fails or finds no room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import pytest

from queuey import log
from queuey.api.routes import batch
from queuey.errors import ScriptFailed, StoreUnavailable
from queuey.metrics import Metrics
from queuey.protocol import ids
from queuey.protocol.models import EnqueueReply
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from tests.support.http import ApiRig
from tests.support.store import Rig

BATCH: Final = "/v1/jobs/batch"
ITEMS: Final = [{"type": "t", "payload": {"n": number}} for number in range(1_000)]
BODIES: Final = {
    "application/json": json.dumps(ITEMS).encode(),
    "application/x-ndjson": "\n".join(map(json.dumps, ITEMS)).encode(),
}


class Calls:
    """Stands before `broker.jobs.enqueue`, and keeps the items of each call."""

    def __init__(self, api: ApiRig | Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items: list[list[NewJob | NewJobs]] = []
        self.began, self.let = asyncio.Event(), asyncio.Event()
        self.let.set()
        self._enqueue = api.broker.jobs.enqueue
        monkeypatch.setattr(api.broker.jobs, "enqueue", self)

    async def __call__(self, shard: int, items: Sequence[NewJob | NewJobs], **options: Any) -> list[str]:
        self.items.append([*items])
        self.began.set()
        await self.let.wait()
        if any(isinstance(item, NewJobs) and item.queue == "bad" for item in items):
            raise ScriptFailed("the call is bad")
        return await self._enqueue(shard, items, **options)


@pytest.mark.parametrize("kind", BODIES)
async def test_a_plain_batch_is_read_at_once_and_sent_in_two_items(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def not_alone(*_: object) -> None:
        raise AssertionError("an item was read alone")

    monkeypatch.setattr(Submission, "parse", not_alone)
    calls = Calls(api, monkeypatch)
    response = await api.http.post(BATCH, content=BODIES[kind], headers={"content-type": kind})
    results = response.json()["results"]
    assert [len(item.ids) for (item,) in calls.items if isinstance(item, NewJobs)] == [512, 488]
    assert response.text == json.dumps({"results": results}, separators=(",", ":"))
    for number in (0, 511, 512, 999):
        assert results[number]["deduplicated"] is False
        assert (await api.job(results[number]["job_id"]))["payload"] == {"n": number}


async def test_one_odd_item_leaves_the_others_in_groups(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(api, monkeypatch)
    items = [*ITEMS[:5], {"type": "t", "delay": 60}, *ITEMS[5:9], {"typ": "t"}, *ITEMS[9:12]]
    results = (await api.http.post(BATCH, json=items)).json()["results"]
    (sent,) = calls.items
    assert [len(item.ids) if isinstance(item, NewJobs) else 0 for item in sent] == [5, 0, 7]
    assert [place for place, item in enumerate(results) if "error" in item] == [10]


async def test_a_group_for_which_the_script_fails_is_sent_again_one_by_one(
    api: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(api, monkeypatch)
    items = [{"type": "t", "queue": queue} for queue in ("good", "bad", "good", "bad")]
    results = (await api.http.post(BATCH, json=items)).json()["results"]
    assert [len(sent) for sent in calls.items] == [2, 1, 1, 2]
    bad = calls.items[-1]
    assert [item.id for item in bad if isinstance(item, NewJob)] == [results[1]["job_id"], results[3]["job_id"]]
    assert [item["deduplicated"] for item in results] == [False] * 4


async def test_only_as_many_jobs_of_a_group_wait_as_there_is_room_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(rig, monkeypatch)
    calls.let.clear()
    producer = Producer(rig.broker, metrics=Metrics(), resend_for=30)
    monkeypatch.setattr(producer._batchers[0], "_max_waiting", 5)
    groups = [
        NewJobs("default", "default", "", [ids.new_id() for _ in range(count)], ['{"type":"t"}'] * count, 100)
        for count in (3, 4)
    ]
    sending = asyncio.create_task(producer.enqueue_groups(groups))
    await calls.began.wait()
    calls.let.set()
    first, second = await sending
    assert first is None
    assert second is not None
    assert second[:2] == [EnqueueReply(job_id, False) for job_id in groups[1].ids[:2]]
    assert [type(refused) for refused in second[2:]] == [StoreUnavailable] * 2


async def test_a_batch_is_logged_with_its_counts(api: ApiRig, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[int, int]] = []

    class Log:
        def debug(self, event: str, *, jobs: int, refused: int) -> None:
            assert event == "batch_enqueued"
            lines.append((jobs, refused))

    monkeypatch.setattr(batch, "_log", Log())
    monkeypatch.setattr(log, "debug_enabled", lambda: True)
    for items in ([{"type": "t"}] * 3, [{"type": "t"}, {"typ": "t"}], [{"type": "t", "dedupe_key": "k"}] * 2, []):
        assert (await api.http.post(BATCH, json=items)).status_code == 200
    assert lines == [(3, 0), (1, 1), (2, 0), (0, 0)]
