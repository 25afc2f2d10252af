"""The tags and the metadata of a job: what is refused, and what is stored."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.errors import Invalid, RequestError
from queuey.protocol.job_requests import job_request
from queuey.protocol.models.labels import MAX_METADATA, MAX_METADATA_BYTES, MAX_TAGS
from queuey.protocol.records import StoredJob, names_of, to_job
from tests.unit.services.test_submission import NOW, submission

SUBMISSION = submission()
FIRST = string.ascii_letters + string.digits
tags = st.builds(str.__add__, st.sampled_from(FIRST), st.text(FIRST + "._:/@=+-", max_size=63))
names = st.builds(str.__add__, st.sampled_from(FIRST), st.text(FIRST + "._-", max_size=20))
values = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=20)


def all_faults(**fields: Any) -> dict[str, str]:
    """The faults of a request, by pointer."""
    text = json.dumps({"type": "t", **fields}).encode()
    with pytest.raises(RequestError) as caught:
        SUBMISSION.new_job(SUBMISSION.parse(text), NOW)
    error = caught.value
    assert isinstance(error, Invalid)
    faults = SUBMISSION.with_all_faults(error, text, NOW).faults
    return {fault.pointer: fault.detail for fault in faults}  # type: ignore[union-attr]


@given(st.lists(tags, max_size=MAX_TAGS, unique=True), st.dictionaries(names, values, max_size=MAX_METADATA))
def test_what_is_given_is_shown(given_tags: list[str], metadata: dict[str, str]) -> None:
    text = json.dumps({"type": "mail", "payload": {"a": 1}, "tags": given_tags, "metadata": metadata}).encode()
    assert SUBMISSION.plain.job(text) is None, "the short way does not know labels"
    new = SUBMISSION.new_job(SUBMISSION.parse(text), NOW)
    definition = f"r={NOW} {new.head}\n{new.body}"
    job = to_job(new.id, StoredJob(definition, "", -1, -1))
    assert (list(job.tags), job.metadata or {}) == (given_tags, metadata)
    assert names_of(definition) == ("mail", "default")
    if not given_tags and not metadata:
        assert new.body == '{"type":"mail","payload":{"a": 1}}', "a plain job costs no byte more"


def test_tags_are_stored_before_the_payload_and_metadata_behind_it() -> None:
    request = job_request("mail", {"a": 1}, {"tags": ("x", "y"), "metadata": {"tenant": "acme"}})
    body = SUBMISSION.new_job(request, NOW).body
    assert body == '{"type":"mail","tags":["x","y"],"payload":{"a":1},"metadata":{"tenant":"acme"}}'


@pytest.mark.parametrize(
    ("field", "value", "faults"),
    [
        ("tags", "a", {"/tags": "must be an array of at most 8 different texts, not a string"}),
        ("tags", list("abcdefghi"), {"/tags": "must be an array of at most 8 different texts"}),
        ("tags", ["a", "b", "a", "b"], dict.fromkeys(("/tags/2", "/tags/3"), "is there twice; leave one out")),
        ("metadata", ["a"], {"/metadata": "an object of at most 8 texts, 1,000 bytes together; its keys are"}),
        ("metadata", {"a b": "c"}, {"/metadata": "its keys are 1 to 64 letters, digits, '.', '_' and '-'"}),
        ("metadata", {"a": 1}, {"/metadata": ". One of its values is a number"}),
        ("metadata", dict.fromkeys("abcdefghi", ""), {"/metadata": "at most 8 texts"}),
        ("metadata", {"a": "\n", "b": "c", "d": "\x1b"}, dict.fromkeys(("/metadata/a", "/metadata/d"), "printable")),
        ("metadata", {"a": "é" * 500}, {"/metadata": "has 1001 bytes with its keys; send at most 1000"}),
    ],
)
def test_a_fault_says_what_to_change(field: str, value: object, faults: dict[str, str]) -> None:
    found = all_faults(**{field: value})
    assert found.keys() == faults.keys()
    assert all(faults[pointer] in found[pointer] for pointer in faults)


@pytest.mark.parametrize("tag", ["", "a" * 65, "a b", "é", "\n", "a\n", '"', "a]", "a,b", ":a", 7, None])
def test_a_tag_that_is_refused(tag: object) -> None:
    found = all_faults(tags=["good", tag, "better", "-"])
    assert found.keys() == {"/tags/1", "/tags/3"}
    assert "1 to 64 letters, digits and '._:/@=+-' (the first is a letter or digit)" in found["/tags/1"]


def test_the_faults_of_all_fields_are_named_together() -> None:
    found = all_faults(tags=["a", "a"], metadata={"a": "\n"}, dedupe_key="", priority="urgent")
    assert found.keys() == {"/priority", "/dedupe_key", "/tags/1", "/metadata/a"}


def test_as_much_metadata_as_is_allowed() -> None:
    metadata = {"k": "x" * (MAX_METADATA_BYTES - 1)}
    assert SUBMISSION.new_job(job_request("t", None, {"metadata": metadata}), NOW).body.endswith('x"}}')


def test_a_client_asks_for_a_list() -> None:
    with pytest.raises(TypeError, match=r"tags must be a list of strings, not 'vip'. Pass \['vip'\]"):
        job_request("t", None, {"tags": "vip"})
