"""The bounds that follow from settings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from queuey.server.limits import caps, store_timeout
from queuey.settings.settings import Settings
from queuey.store.replies import Caps


@pytest.mark.parametrize(("lease", "timeout"), [(30.0, 5.0), (15.0, 5.0), (6.0, 2.0), (0.6, 0.2)])
def test_a_reply_that_never_comes_costs_no_lease(lease: float, timeout: float) -> None:
    assert store_timeout(lease) == pytest.approx(timeout)


def test_each_cap_of_the_trimmer_comes_from_its_setting() -> None:
    settings = Settings(
        data_dir=Path("/unused"),
        dlq_retention=61.5,
        dlq_max=62,
        dlq_max_bytes=6_300_000,
        finished_max=64,
        finished_max_bytes=6_500_000,
        finished_min_age=66.5,
    )
    assert msgspec.structs.asdict(caps(settings)) == {
        "dead_age_ms": 61_500,
        "dead_count": 62,
        "dead_bytes": 6_300_000,
        "finished_count": 64,
        "finished_bytes": 6_500_000,
        "finished_min_age_ms": 66_500,
    }
    assert caps(Settings(data_dir=Path("/unused"))) == Caps()
