"""The client of this process. All its threads share it."""

from __future__ import annotations

import atexit
from functools import cache

from queuey import SyncClient


@cache
def queue() -> SyncClient:
    client = SyncClient()  # the server of QUEUEY_URL, with the key QUEUEY_API_KEY
    atexit.register(client.close)
    return client
