"""What holds for every test: its marks, its turn beside the tests of other processes, and stores to run on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.session.tools import need
from tests.support.session.turns import Turns
from tests.support.stores import rig, scripts, server, servers, start_server

__all__ = ["rig", "scripts", "server", "servers", "start_server"]
"""Fixtures for all tests on a real store."""

MARKS = (
    "serial: no other test runs while this one does, also with pytest-xdist",
    "needs(*programs): skip the test where one of these programs is missing, or let it fail where CI is set",
    "stress: the heavy version of a test, which `make test` leaves to `make stress`",
)
NO_DATA = "/nonexistent"
TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    os.environ["XDG_DATA_HOME"] = NO_DATA  # so that no test finds a store of whoever runs it
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    if given := getattr(config, "workerinput", {}).get("turns"):
        config.stash[TURNS] = Turns(Path(given))
    elif config.getoption("numprocesses", None):
        folder = tempfile.TemporaryDirectory(prefix="queuey-turns-")
        config.add_cleanup(folder.cleanup)
        config.stash[TURNS] = Turns(Path(folder.name))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the folder of the turns, before it starts."""
    node.workerinput["turns"] = str(node.config.stash[TURNS].folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: a worker for each core that this process may use, and at least two, as tests wait a lot."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(2, cores or 1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the test's turn before its time limit begins to run."""
    turns = item.config.stash.get(TURNS, None)
    if turns is None:
        return (yield)
    with turns.take(alone=item.get_closest_marker("serial") is not None):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        need(*mark.args)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes run only when they are asked for: `make stress`, or `pytest -m stress`."""
    if config.getoption("-m"):
        return
    asked_for = [item for item in items if item.get_closest_marker("stress") is None]
    if len(asked_for) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in asked_for])
        items[:] = asked_for


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short name, since a socket's path is limited to about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as name:
        yield Path(name)
