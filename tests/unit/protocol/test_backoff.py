from random import Random

import pytest

from queuey.protocol import backoff as retry
from queuey.protocol.backoff import delay_ms, full_delay
from queuey.protocol.models import Backoff


class Lowest(Random):
    def random(self) -> float:
        return 0.0


class Highest(Random):
    def random(self) -> float:
        return 1.0


@pytest.mark.parametrize(("failed", "seconds"), [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (7, 60), (1000, 60)])
def test_the_default_doubles_from_two_seconds_to_a_minute(failed: int, seconds: float) -> None:
    assert full_delay(retry.DEFAULT, failed) == seconds


def test_jitter_takes_at_most_half() -> None:
    assert delay_ms(retry.DEFAULT, 1, Lowest()) == 1000
    assert delay_ms(retry.DEFAULT, 1, Highest()) == 2000


def test_a_factor_of_one_keeps_the_delay() -> None:
    assert [full_delay(Backoff(base=3, factor=1, cap=60), n) for n in (1, 2, 1000)] == [3, 3, 3]


def test_a_base_above_the_cap_is_capped() -> None:
    assert full_delay(Backoff(base=100, factor=2, cap=10), 1) == 10


def test_growth_past_the_largest_float_is_capped() -> None:
    assert full_delay(Backoff(base=1, factor=100, cap=86400), 1000) == 86400
