"""What the scripts of the Python schedulers share. Standard library only, since each runs in an environment of its own.

Variables: BENCH_URL is the store, BENCH_SCHEDULES the number of schedules, BENCH_TICK the second since the epoch at
which all are due, and BENCH_OUT the file to which each job adds a line when its handler begins: the ms since the tick.
"""

from __future__ import annotations

import os
import time

URL = os.environ.get("BENCH_URL", "")
SCHEDULES = int(os.environ.get("BENCH_SCHEDULES", "0"))
TICK = int(os.environ.get("BENCH_TICK", "0"))
HOUR, MINUTE = time.gmtime(TICK)[3:5]
CONCURRENCY = 100

_file = os.open(os.environ.get("BENCH_OUT", os.devnull), os.O_WRONLY | os.O_APPEND)


def ran() -> None:
    """What every handler does."""
    os.write(_file, b"%.3f\n" % (1e3 * (time.time() - TICK)))
