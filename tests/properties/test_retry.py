from random import Random

from hypothesis import given
from hypothesis import strategies as st

from queuey.protocol.backoff import delay_ms, full_delay
from queuey.protocol.models import Backoff

DAY = 24 * 3600
backoffs = st.builds(
    Backoff,
    base=st.floats(min_value=0, max_value=DAY, exclude_min=True),
    factor=st.floats(min_value=1, max_value=100) | st.integers(min_value=1, max_value=100),
    cap=st.floats(min_value=0, max_value=DAY, exclude_min=True),
)
attempts = st.integers(min_value=1, max_value=1000)


@given(backoffs, attempts, st.integers())
def test_a_delay_lies_in_the_upper_half_of_the_full_one(backoff: Backoff, failed: int, seed: int) -> None:
    full = full_delay(backoff, failed) * 1000
    assert full / 2 - 0.5 <= delay_ms(backoff, failed, Random(seed)) <= full + 0.5


@given(backoffs, attempts)
def test_delays_never_shrink_and_never_pass_the_cap(backoff: Backoff, failed: int) -> None:
    assert min(backoff.base, backoff.cap) <= full_delay(backoff, failed) <= full_delay(backoff, failed + 1)
    assert full_delay(backoff, failed) <= backoff.cap
