"""Fixtures for tests of the worker."""

from __future__ import annotations

import pytest

from tests.support.working import Stage


@pytest.fixture
def stage() -> Stage:
    """An App whose jobs the test lets end."""
    return Stage()
