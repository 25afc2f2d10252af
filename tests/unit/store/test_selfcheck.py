"""Which stores the self-test takes for what, by what their INFO says."""

from __future__ import annotations

from typing import Any

import pytest

from queuey.errors import StartupError
from queuey.store.selfcheck import _check_server


@pytest.mark.parametrize(
    ("info", "server", "version"),
    [
        ({"redis_version": "7.0.0"}, "redis", "7.0.0"),
        ({"redis_version": "8.2.1"}, "redis", "8.2.1"),
        ({"redis_version": "10.0"}, "redis", "10.0"),
        ({"redis_version": 7.4}, "redis", "7.4"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "7.2.5"}, "valkey", "7.2.5"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "valkey", "9.1.2"),
    ],
)
def test_supported_stores(info: dict[str, Any], server: str, version: str) -> None:
    assert _check_server(info) == (server, version)


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14"),
        ({"redis_version": "6.3.4", "mvcc_depth": 0}, "Redis 6.3.4"),  # KeyDB
        ({"redis_version": "5.0.7"}, "Redis 5.0.7"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.0"}, "Valkey 7.1.0"),
        ({"redis_version": "7.4.0", "dragonfly_version": "df-v1.27.1"}, "Dragonfly"),
        ({}, "Redis unknown"),
    ],
)
def test_others_are_refused_with_what_to_use_instead(info: dict[str, Any], named: str) -> None:
    with pytest.raises(StartupError, match=r"needs Redis 7.0 or newer, or Valkey 7.2 or newer") as caught:
        _check_server(info)
    assert named in caught.value.message
