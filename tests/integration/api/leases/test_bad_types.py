"""What a request for leases may not say of its types and its room, and what the answer says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http import ApiRig, problem
from tests.support.stores import one_of

shards = one_of(1)
TYPE_QUEUES = "type_queues must be an object that has, for each queue, an array of 1 to 1000 types."


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"types": []}, "types must be an array of 1 to 1000 types (leave it out to take every type)."),
        (
            {"types": [f"t{i}" for i in range(1001)]},
            "types must be an array of 1 to 1000 types (leave it out to take every type).",
        ),
        (
            {"types": ["a b"]},
            "types/0 must be 1 to 64 letters, digits, '.', '_' and '-' (the first is a letter or digit).",
        ),
        ({"room": [{"jobs": -1, "types": ["a"]}]}, "room/0/jobs must be a whole number from 0 to 500."),
        ({"room": [{"jobs": 1}]}, "room/0/types is missing. It must be an array of 1 to 1000 types."),
        ({"room": [{"jobs": 1, "typs": ["a"]}]}, "Unknown field 'typs'. Did you mean types?"),
        (
            {"room": [{"jobs": 1, "types": ["a"]}, {"jobs": 0, "types": ["b", "a"]}]},
            "room/1/types has 'a', which another entry has too; name each type once.",
        ),
        (
            {"types": [f"t{i}" for i in range(1000)], "room": [{"jobs": 1, "types": ["u"]}]},
            "room and types name 1001 types; name at most 1000.",
        ),
        ({"app": "a b"}, "app must be 1 to 64 letters, digits, '.', '_' and '-' (the first is a letter or digit)."),
        ({"types": ["a"], "type_queues": {"default": []}}, TYPE_QUEUES),
        ({"types": ["a"], "type_queues": {"a b": ["a"]}}, TYPE_QUEUES),
        ({"types": ["a"], "type_queues": {"default": "a"}}, TYPE_QUEUES + " One of its values is a string."),
        (
            {"types": ["a"], "type_queues": {"default": ["a", 5]}},
            TYPE_QUEUES + " One of its values has an item that is a number.",
        ),
        ({"types": ["a"], "type_queues": ["a"]}, TYPE_QUEUES.replace(".", ", not an array.")),
        (
            {"types": ["a"], "type_queues": {"mail": ["a"]}},
            "type_queues has the queue 'mail', which is not in queues.",
        ),
        (
            {"types": ["a"], "type_queues": {"default": ["b"]}},
            "type_queues has the type 'b' twice, or it is neither in types nor in room.",
        ),
        (
            {"queues": ["x", "y"], "types": ["a"], "type_queues": {"x": ["a"], "y": ["a"]}},
            "type_queues has the type 'a' twice, or it is neither in types nor in room.",
        ),
        (
            {
                "queues": [f"q{i}" for i in range(256)],
                "types": ["a"],
                "type_queues": {f"q{i}": ["a"] for i in range(257)},
            },
            TYPE_QUEUES,
        ),
    ],
)
async def test_what_is_refused(api: ApiRig, asked: dict[str, Any], detail: str) -> None:
    response = await api.http.post("/v1/leases", json=asked)
    assert problem(response, 422, "invalid")["detail"] == detail
