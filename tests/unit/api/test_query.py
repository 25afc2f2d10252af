"""The query parameters of a request: known ones, each once, and an error that names every fault."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request

from queuey.api.http.operations import refuse_parameters
from queuey.api.http.query import Parameters, parameters_of
from queuey.errors import Invalid, ParameterFault
from queuey.protocol.schema_faults import MAX_FAULTS


def request(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()})


def named(error: Invalid) -> list[str]:
    assert all(isinstance(fault, ParameterFault) for fault in error.faults)
    return [fault.parameter for fault in error.faults]  # type: ignore[union-attr]


def read_all(given: Parameters) -> tuple[object, ...]:
    return (
        given.name("queue"),
        given.one_of("status", ("queued", "running")),
        given.whole_number("limit", least=1, most=9, default=5),
        given.text("cursor", 10),
        given.seconds("older_than", 60, "a number of seconds from 0 to 60"),
        given.form("fingerprint", re.compile("[0-9a-f]{4}"), "4 hexadecimal digits"),
        given.raw("note"),
    )


KNOWN = ("queue", "status", "limit", "cursor", "older_than", "fingerprint", "note")


def test_valid_values_and_defaults() -> None:
    query = "queue=mail&status=running&limit=9&cursor=abc&older_than=1.5&fingerprint=00ff&note="
    with parameters_of(request(query), *KNOWN) as given:
        assert read_all(given) == ("mail", "running", 9, "abc", 1.5, "00ff", "")
    with parameters_of(request(""), *KNOWN) as given:
        assert read_all(given) == (None, None, 5, None, None, None, None)


def test_every_fault_is_named_and_the_first_is_the_message() -> None:
    query = "nope=1&queue=a%20b&status=x&limit=0&cursor=&older_than=61&fingerprint=xx&limit=3&also=1"
    with pytest.raises(Invalid) as caught, parameters_of(request(query), *KNOWN) as given:
        read_all(given)
    assert caught.value.message.startswith("Unknown parameter 'nope'.")
    assert named(caught.value) == ["nope", "limit", "also", "queue", "status", "cursor", "older_than", "fingerprint"]


def refuse_wait(given: Parameters) -> None:
    given.whole_number("limit", least=1, most=9, default=5)
    raise Invalid("wait is wrong.", [ParameterFault("wait", "is wrong")])


def test_what_the_block_raises_is_one_of_the_faults() -> None:
    with pytest.raises(Invalid) as caught, parameters_of(request("nope=1&limit=x"), "limit") as given:
        refuse_wait(given)
    assert named(caught.value) == ["nope", "limit", "wait"]


@pytest.mark.parametrize(
    ("query", "name"), [("limt=1", "limt"), ("limit=1&x", "x"), ("%6Ci", "li"), ("a" * 99, "a" * 64), ("=", "")]
)
def test_unknown_ones_are_named_and_shortened(query: str, name: str) -> None:
    with (
        pytest.raises(Invalid, match=r"Unknown parameter .*\. Allowed: limit\.") as caught,
        parameters_of(request(query), "limit"),
    ):
        pass
    assert named(caught.value) == [name]


def test_an_endpoint_without_parameters_names_each() -> None:
    refuse_parameters(b"")
    with pytest.raises(Invalid, match="This route takes no parameters") as caught:
        refuse_parameters(b"a=1&b=2&" + b"a" * 99)
    assert named(caught.value) == ["a", "b", "a" * 64]


def test_the_number_of_faults_has_a_bound() -> None:
    many = "&".join(f"p{number}=1" for number in range(500))
    with pytest.raises(Invalid) as caught, parameters_of(request(many), "limit"):
        pass
    assert named(caught.value) == [f"p{number}" for number in range(MAX_FAULTS)]
    with pytest.raises(Invalid) as caught:
        refuse_parameters(many.encode())
    assert len(caught.value.faults) == MAX_FAULTS
