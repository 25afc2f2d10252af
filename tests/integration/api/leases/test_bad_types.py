"""What a request for leases may not say of its types and its room, and what the answer says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http import ApiRig, problem
from tests.support.stores import one_of

shards = one_of(1)


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
            "types/0 must be 1 to 64 letters, digits, '.', '_' and '-', starting with a letter or digit.",
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
    ],
)
async def test_what_is_refused(api: ApiRig, asked: dict[str, Any], detail: str) -> None:
    response = await api.http.post("/v1/leases", json=asked)
    assert problem(response, 422, "invalid")["detail"] == detail
