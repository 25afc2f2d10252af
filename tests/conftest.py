"""Tests that take minutes run only when they are asked for: `make stress`, or `pytest -m stress`."""

from __future__ import annotations

import pytest

from tests.support.stores import rig, scripts, server, servers, start_server

__all__ = ["rig", "scripts", "server", "servers", "start_server"]
"""Fixtures for all tests on a real store."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stress: the heavy version of a test, which `make test` leaves to `make stress`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    asked_for = [item for item in items if item.get_closest_marker("stress") is None]
    if len(asked_for) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in asked_for])
        items[:] = asked_for
