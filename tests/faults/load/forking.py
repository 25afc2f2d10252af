"""A program that uses one client in itself and in children that it forks, all at the same time.

    python -m tests.faults.load.forking URL SEED

It writes "forked" once all of them enqueue. The exit code is 0 when each of them has done its jobs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from queuey import SyncClient
from queuey.client import ClientError, Unreachable
from queuey.models import JobRequest
from queuey.protocol import ids
from tests.faults.evidence.ledger import Answered, Ledger, Outcome, Sent, now
from tests.faults.load.handlers import LEDGER, Deed

CHILDREN: Final = 3
THREADS: Final = 2
JOBS: Final = 30
"""For each child and each thread."""
PROCESSES: Final = 1 + CHILDREN
TOTAL: Final = 1 + JOBS * (CHILDREN + THREADS)
RETRY_FOR: Final = 40.0
"""Seconds. A replica that was killed is back sooner."""
PATIENCE: Final = 60
"""Seconds after which SIGALRM ends a child."""


def enqueue(client: SyncClient, ledger: Ledger, rng: Random) -> None:
    """Enqueue one job, and write down what was asked and answered. The call's number is minus the process id."""
    fields: dict[str, Any] = {"id": ids.new_id(), "type": "loop", "queue": rng.choice(("default", "other"))}
    fields["payload"] = msgspec.to_builtins(Deed(take=round(rng.uniform(0.0, 0.1), 3)))
    ledger.write(Sent(now(), -os.getpid(), "enqueue", fields["id"], fields))
    outcome: Outcome = "ok"
    said, code = "", "200"
    try:
        said = client.send(JobRequest(**fields)).job_id
    except ClientError as error:
        outcome = "unknown" if isinstance(error, Unreachable) and error.maybe_done else "fail"
        code = type(error).__name__
    ledger.write(Answered(now(), -os.getpid(), "enqueue", outcome, code, fields["id"], said))


def enqueue_all(client: SyncClient, ledger: Ledger, seed: str) -> None:
    rng = Random(seed)
    for _ in range(JOBS):
        enqueue(client, ledger, rng)


def fork(client: SyncClient, ledger: Ledger, seed: str) -> int:
    """Fork a child that enqueues, and return its process id."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        code = 1
        try:
            enqueue_all(client, ledger, seed)
            code = 0
        finally:
            os._exit(code)
    return pid


def main() -> int:
    url, seed = sys.argv[1:]
    ledger = Ledger(Path(os.environ[LEDGER]))
    with SyncClient(url, retry_for=RETRY_FOR) as client:
        enqueue(client, ledger, Random(seed))  # so that there are a thread and a connection to inherit
        threads = [
            threading.Thread(target=enqueue_all, args=[client, ledger, f"{seed}.thread{number}"])
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        pids = [fork(client, ledger, f"{seed}.child{number}") for number in range(CHILDREN)]
        print("forked", flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        for thread in threads:
            thread.join()
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
