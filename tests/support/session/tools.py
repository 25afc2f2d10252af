"""Programs that some tests need. Where one is missing the test is skipped, but where CI is set it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.store import debian_redis


def missing(*programs: str) -> list[str]:
    """Return those that are not on the PATH."""
    return [program for program in programs if shutil.which(program) is None]


def need(*programs: str) -> None:
    """End the test unless all of these programs are on the PATH. A mark does it too: `@pytest.mark.needs("node")`."""
    if absent := missing(*programs):
        lacking(f"{', '.join(absent)} must be installed")


def old_redis() -> Path:
    """Return Debian's redis-server, or end the test."""
    return debian_redis() or lacking("redis-server 7.0 or newer must be installed")


def lacking(what: str) -> NoReturn:
    """End the test for want of a tool: skip it, or let it fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} where CI is set", pytrace=False)
    pytest.skip(what)
