"""The strict encoder refuses NaN and infinities wherever they are, and nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import inf, nan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.protocol.json import strict


class Point(msgspec.Struct):
    x: Any
    y: Any = None


@dataclass
class Size:
    width: Any


class Odd(enum.Enum):
    NAN = nan


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (nan, "The value is nan"),
        ({"price": nan}, "/price is nan"),
        ({"a/b": {"c~d": [1.5, {"e": -inf}]}}, "/a~1b/c~0d/1/e is -inf"),
        ((None, (inf,)), "/1/0 is inf"),
        ({inf}, "/0 is inf"),
        (Point(1, Point(Size(-nan))), "/y/x/width is nan"),
        ({1: Odd.NAN}, "/1 is nan"),
        ([2**70, nan], "/1 is nan"),
        ({"raw": msgspec.Raw(b'{"a":null}'), "x": inf}, "/x is inf"),
        ({"null": "null", "x": nan}, "/x is nan"),
    ],
)
def test_no_nan_and_no_infinity_becomes_null(value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        strict.encode(value)


def test_the_error_begins_with_the_place_of_the_value() -> None:
    with pytest.raises(ValueError, match=r"^/payload/rows/2 is nan, and JSON has no such number\. Send null"):
        strict.encode({"rows": [1, None, nan]}, "/payload")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": None, "b": [1.5, -0.0, 1e308, 5e-324]},
        msgspec.Raw(b'{"a": null}'),
        {"raw": msgspec.Raw(b"null"), "when": datetime(2026, 1, 1, tzinfo=UTC), "sum": Decimal("NaN")},
        [None, 0x7FF0CB7FF0CB7FF0, b"\xcb\x7f\xf0\x00", 2**70],
        "null",
    ],
)
def test_all_else_is_written_as_msgspec_writes_it(value: Any) -> None:
    assert strict.encode(value) == msgspec.json.encode(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_is_refused_if_and_only_if_such_a_number_is_in_it(value: Any) -> None:
    text = msgspec.json.encode(value)
    try:
        assert strict.encode(value) == text
        assert has_odd(value) is False
    except ValueError:
        assert has_odd(value)


def has_odd(value: Any) -> bool:
    if isinstance(value, float):
        return value - value != 0
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(has_odd, inside))


def test_the_numbers_of_a_query_are_checked_too() -> None:
    strict.check_finite({"limit": 5, "older_than": 1.5, "queue": "nan", "type": None})
    with pytest.raises(ValueError, match="older_than is inf"):
        strict.check_finite({"limit": 5, "older_than": inf})
