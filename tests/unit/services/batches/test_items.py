"""Items of batches as they are read from requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from queuey.errors import Fault, Invalid
from queuey.protocol import ids
from queuey.protocol.records import NewJob
from queuey.protocol.stored.items import NewItem
from queuey.services.batches.reading import REMEMBERED_MS, job_or_item
from queuey.services.jobs.submission import Submission, SubmissionSettings
from queuey.settings.settings import Settings

HOUR = 3_600_000


class Row(msgspec.Struct):
    id: int


DECODERS = {
    "rows": msgspec.json.Decoder(list[Row]).decode,
    "sequence": msgspec.json.Decoder(Sequence[Row]).decode,
    "one": msgspec.json.Decoder(Row).decode,
    "number": msgspec.json.Decoder(int).decode,
}
SUBMISSION = Submission(
    SubmissionSettings.of(Settings(data_dir=Path("/unused"), check_payloads="yes")), lambda _: None, DECODERS.get
)


def read(payload: object = None, job_type: str = "t", **fields: Any) -> NewItem:
    batch = {"key": "k", "max_size": 3, "max_wait": 2}
    body = {"type": job_type, "payload": payload, "batch": batch, **fields}
    item = job_or_item(SUBMISSION, SUBMISSION.parse(msgspec.json.encode(body)), 0)
    assert isinstance(item, NewItem)
    return item


def refused(payload: object, job_type: str) -> Fault:
    with pytest.raises(Invalid) as caught:
        read(payload, job_type)
    (fault,) = caught.value.faults
    assert isinstance(fault, Fault)
    return fault


def test_a_request_without_a_batch_is_a_job() -> None:
    request = SUBMISSION.parse(b'{"type":"t"}')
    assert isinstance(job_or_item(SUBMISSION, request, 0), NewJob)


def test_the_job_ends_where_the_items_begin() -> None:
    item = read({"a": 1}, tags=["x"], timeout=5)
    assert item.job.body == '{"type":"t","tags":["x"],"timeout":5.0,"batch_key":"k","payload":['
    assert (item.payload, item.max_items, item.wait_ms) == ('{"a":1}', 3, 2000)
    assert item.name == "default:default:t:aw"
    assert ids.bucket_of(item.job.id) == ids.bucket_of_key("k")


def test_an_item_without_a_payload_is_null() -> None:
    assert read().payload == "null"


def test_an_id_of_the_client_is_remembered_for_the_retention() -> None:
    given = ids.new_id()
    assert (read(id=given).id, read(id=given).remember_ms) == (given, 2000 + HOUR)
    assert read(id=given, retention=2 * 3600).remember_ms == 2000 + 2 * HOUR
    assert read(id=given, retention=0).remember_ms == 2000 + REMEMBERED_MS
    assert read(retention=2 * 3600).remember_ms == 2000 + REMEMBERED_MS, "the server made its id"


@pytest.mark.parametrize("job_type", ["rows", "sequence"])
def test_an_item_has_to_fit_what_the_list_has(job_type: str) -> None:
    assert read({"id": 1}, job_type).payload == '{"id":1}'
    fault = refused({"id": "x"}, job_type)
    assert fault.pointer == "/payload/id"
    assert fault.detail.startswith(f"does not fit jobs of the type {job_type}: expected `int`")
    assert refused(7, job_type).pointer == "/payload"


@pytest.mark.parametrize(("job_type", "payload"), [("one", {"id": 1}), ("number", 7)])
def test_a_type_that_takes_no_list_takes_no_batch(job_type: str, payload: object) -> None:
    fault = refused(payload, job_type)
    assert fault.pointer == "/batch"
    assert fault.detail.startswith(f"is for types whose payload is a list, not for the type {job_type}: expected")
