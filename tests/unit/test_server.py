"""What the composition root decides by itself."""

from __future__ import annotations

import pytest

from queuey.server import store_timeout


@pytest.mark.parametrize(("lease", "timeout"), [(30.0, 5.0), (15.0, 5.0), (6.0, 2.0), (0.6, 0.2)])
def test_a_reply_that_never_comes_costs_no_lease(lease: float, timeout: float) -> None:
    assert store_timeout(lease) == pytest.approx(timeout)
