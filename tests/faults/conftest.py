"""Rounds that take long run only when they are asked for: `make faults`, or `pytest -m faults tests/faults`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: a round of the fault suite that `make test` leaves to `make faults`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    asked_for = [item for item in items if item.get_closest_marker("faults") is None]
    if len(asked_for) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in asked_for])
        items[:] = asked_for
