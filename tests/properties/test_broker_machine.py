"""The Broker does what the model says, whatever is asked in whatever order: see machine.py.

    HYPOTHESIS_PROFILE=long pytest -o session_timeout=7200 tests/properties/test_broker_machine.py

looks at 2,000 examples, of other seeds each time. A test's name ends in its seed: HYPOTHESIS_SEED begins with that one.
"""

from __future__ import annotations

import os
import secrets

import pytest

from queuey.store.scripts import Scripts
from tests.properties.running import run_machine
from tests.support.store import Server

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
FIRST_SEED = int(os.environ.get("HYPOTHESIS_SEED", secrets.randbelow(2**32) if LONG else 0))
RUNS = {1: 100, 3: 100} if LONG else {1: 10, 3: 6}


@pytest.mark.timeout(600)  # a failure is shrunk, which takes minutes
@pytest.mark.parametrize(("shards", "seed"), [(shards, FIRST_SEED + i) for shards in RUNS for i in range(RUNS[shards])])
def test_the_broker_does_what_the_model_says(server: Server, shards: int, seed: int) -> None:
    run_machine(server.url, shards, Scripts(), seed)
