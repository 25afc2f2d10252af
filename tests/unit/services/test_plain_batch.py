"""Which batches go in groups, and what the groups are.

That both ways do the same is tested in tests/integration/api/jobs/test_batch_ways.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from queuey.errors import Invalid
from queuey.protocol import ids
from queuey.protocol.models import JobRequest, Priority
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.jobs import plain
from queuey.services.jobs.plain import PlainItem
from queuey.services.jobs.plain_batch import Batch, CheckedItem, PlainBatches, read
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.settings.settings import Settings
from queuey.store.broker.calls import MAX_BATCH, MAX_BYTES
from queuey.store.shards import Shards

LIMIT = 10_000
ONE_SHARD = Shards(cast(Any, None))


def submission(**settings: Any) -> Submission:
    return Submission(SubmissionSettings.of(Settings(data_dir=Path("/unused"), **settings)), {"patient": 9}.get)


def no_check(place: int) -> NewJob:
    raise AssertionError(f"the item at {place} is plain")


def everywhere(queue: str) -> bool:
    return True


def grouped(items: list[Any], shards: int = 1, check: Callable[[int], Any] = no_check) -> Batch:
    body = json.dumps(items).encode()
    batches = PlainBatches(submission())
    found = read(body, None, LIMIT)
    if found is None:
        found = batches.read_each(msgspec.json.decode(body, type=list[msgspec.Raw]))
    return batches.group(found, Shards(cast(Any, None), shards), everywhere, None, check)


def job(place: int) -> NewJob:
    return NewJob(ids.new_id(), "default", "default", "", "{}", delay_ms=1)


def sizes(batch: Batch) -> list[int]:
    return [len(item.ids) if isinstance(item, NewJobs) else 0 for item in batch.items]


def test_a_plain_batch_makes_as_few_groups_as_calls_allow() -> None:
    batch = grouped([{"type": "t", "payload": number} for number in range(1_300)])
    assert sizes(batch) == [MAX_BATCH, MAX_BATCH, 1_300 - 2 * MAX_BATCH]
    assert [place for places in batch.places for place in places] == list(range(1_300))
    assert [body for item in batch.items for body in cast(NewJobs, item).bodies] == [
        f'{{"type":"t","payload":{number}}}' for number in range(1_300)
    ]
    assert [job_id for item in batch.items for job_id in cast(NewJobs, item).ids] == batch.ids
    assert len(set(batch.ids)) == 1_300


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_group_is_no_larger_than_a_call_may_be(letter: str) -> None:
    items = [{"type": "t", "payload": letter * 40_000} for _ in range(100)]
    body = json.dumps(items, ensure_ascii=False).encode()
    batches = PlainBatches(submission(body_limit=10_000_000))
    batch = batches.group(read(body, None, LIMIT) or [], ONE_SHARD, everywhere, None, no_check)
    assert sum(sizes(batch)) == 100
    assert [place for places in batch.places for place in places] == list(range(100))
    for item in batch.items:
        encoded = sum(len(body.encode()) for body in cast(NewJobs, item).bodies)
        assert encoded < cast(NewJobs, item).size <= MAX_BYTES


def test_a_job_that_is_too_large_for_a_call_with_others_is_a_group_of_its_own() -> None:
    body = json.dumps([{"type": "t"}, {"type": "t", "payload": "x" * 890_000}, {"type": "t", "payload": "x" * 890_000}])
    batches = PlainBatches(submission(payload_limit=900_000))
    batch = batches.group(read(body.encode(), None, LIMIT) or [], ONE_SHARD, everywhere, None, no_check)
    assert sum(sizes(batch)) == 3
    assert all(cast(NewJobs, item).size <= MAX_BYTES for item in batch.items)


def test_types_share_a_group_unless_their_headers_differ() -> None:
    types = ["t", "u", "t", "patient", "patient", "t"]
    assert sizes(grouped([{"type": each} for each in types])) == [3, 2, 1]
    assert sizes(grouped([{"type": each, "queue": each} for each in types])) == [3, 1, 2]


def test_a_job_that_is_sent_alone_parts_the_groups() -> None:
    plain, late = {"type": "t"}, {"type": "t", "delay": 1}
    batch = grouped([plain, plain, late, plain, late], check=job)
    assert sizes(batch) == [2, 0, 1, 0]
    assert batch.places == [[0, 1], [2], [3], [4]]


def test_a_repeated_id_is_sent_alone_behind_the_first() -> None:
    own = {"type": "t", "id": ids.new_id()}
    batch = grouped([own, {"type": "t"}, own], check=job)
    assert batch.places == [[0, 1], [2]]
    assert sizes(batch) == [2, 0]


def test_each_group_is_of_one_shard() -> None:
    shards = Shards(cast(Any, None), 3)
    batch = grouped([{"type": "t"} for _ in range(30)], shards=3)
    assert sizes(batch) == [10, 10, 10]
    for item in batch.items:
        assert len({shards.of_job(job_id) for job_id in cast(NewJobs, item).ids}) == 1


@pytest.mark.parametrize(
    ("text", "is_quick"),
    [
        (b'[{"type":"t"},{"payload":1,"type":"t","queue":"a","priority":"low","id":null}]', True),
        (b'[{"type":"t","payload":{"n":"\\u0431 \\n"}}]', True),
        (b"[]", True),
        (b'[{"type":"t","payload":{"type":1}}]', False),
        (b'[{"type":"no name","type":"t"}]', False),
        (b'[{"type":"t","queue":"no name","queue":""}]', False),
        (b'[{"type":"t","payload":[[1]],"payload":1}]', False),
        (b'[{"type":"t","\\u0074ype":"t"}]', False),
        (b'[{"type":"t","delay":1}]', False),
        (b'[{"type":"t","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", False),
        (b'[{"type":"t","payload":"\xff"}]', False),
        (b'[{"type":"t"}]' * 2, False),
        (b'{"type":"t"}', False),
    ],
)
def test_what_is_read_quickly(text: bytes, is_quick: bool) -> None:
    assert (read(text, None, LIMIT) is not None) == is_quick


def test_a_batch_above_the_limit_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.services.jobs.plain_batch._decode_all", no_check)
    assert read(b'[{"type":"t"},{"type":"t"}]', None, 1) is None


def test_plain_jobs_with_a_key_named_like_a_field_are_in_groups_too() -> None:
    assert sizes(grouped([{"type": "t", "payload": {"type": 1, "queue": 2}}] * 3)) == [3]


def test_a_plain_job_is_a_request_without_its_rarer_fields() -> None:
    fields = {field.name: field for field in msgspec.structs.fields(JobRequest)}
    for own in (*msgspec.structs.fields(PlainItem), *msgspec.structs.fields(CheckedItem)):
        assert own.name in fields
        assert own.required == fields[own.name].required
    checked = {field.name: field for field in msgspec.structs.fields(CheckedItem)}
    for name in ("type", "id", "queue", "priority"):
        assert (checked[name].type, checked[name].default) == (fields[name].type, fields[name].default)


def test_a_frame_makes_the_definitions_of_the_reference() -> None:
    reference = submission()
    span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for traceparent in (None, span):
        frame = reference.frame("patient", "mail", "low", traceparent)
        assert frame is not None
        for payload in ("1", "null", ' {"a" : [1]} ', '"é"'):
            request = JobRequest("patient", msgspec.Raw(payload.encode()), None, "mail", "low", traceparent=traceparent)
            one = reference.new_job(request, 0)
            body = frame.bare if payload == "null" else f"{frame.before}{payload}{frame.after}"
            assert (one.queue, one.priority, one.head, one.body) == (*frame.lane, body)


def test_handlers_that_are_registered_later_count_from_then_on() -> None:
    attempts: dict[str, int] = {}
    decoders: dict[str, Any] = {}
    settings = SubmissionSettings.of(Settings(data_dir=Path("/unused"), check_payloads="yes"))
    late = Submission(settings, attempts.get, decoders.get)
    text = b'{"type":"late","payload":"1"}'

    def heads() -> list[str]:
        found = read(b"[" + text + b"]", None, LIMIT) or []
        batch = PlainBatches(late).group(found, ONE_SHARD, everywhere, None, lambda place: Invalid("does not fit"))
        single = late.plain.job(text)
        assert single is not None
        return [single[1].head, *(item.head for item in batch.items)]

    assert heads() == ["", ""]
    attempts["late"] = 7
    assert heads() == ["m=7", "m=7"]
    decoders["late"] = msgspec.json.Decoder(int).decode
    with pytest.raises(Invalid):
        late.plain.job(text)
    found = read(b"[" + text + b"]", None, LIMIT) or []
    batch = PlainBatches(late).group(found, ONE_SHARD, everywhere, None, lambda place: Invalid("does not fit"))
    assert (batch.items, [*batch.errors]) == ([], [0])


def test_frames_are_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_KEPT", 3)
    made: list[str] = []

    def make(job_type: str, queue: str, priority: Priority) -> plain.Frame:
        made.append(job_type)
        return plain.Frame(plain.Lane(queue, priority, ""), "", "", "")

    frames = plain.Frames(make)
    for job_type in ("a", "a", "b", "c", "no name", "a"):
        frames[job_type, "q", "default", 3]
    assert frames["a", "", "default", 3] is None
    assert (made, len(frames)) == (["a", "b", "c"], 3)
    frames["d", "q", "default", 3]
    assert [*frames] == [("d", "q", "default", 3)]
