"""Faults of the processes that use the server: a client that forks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

from tests.faults.evidence.invariants import Evidence
from tests.faults.faults.base import Fault
from tests.faults.load import handlers
from tests.faults.load.calls import Caller
from tests.faults.load.forking import PATIENCE, PROCESSES, TOTAL
from tests.faults.system.rig import ROOT, Rig


class ForkClient(Fault):
    """A program forks while its client enqueues, and the children use the client too; their server may be killed then.

    Each process gets the answers to its own calls, and every job is taken.
    """

    name = "fork-client"

    async def inject(self, rig: Rig, caller: Caller) -> str:
        replica = rig.busiest()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.load.forking", replica.url, str(self.rng.random())),
            cwd=ROOT,
            env=os.environ | {handlers.LEDGER: str(rig.ledger.path)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            await self._process.stdout.readline()
        if killed := self.rng.random() < 0.6:
            replica.send(signal.SIGKILL)
        return f"client of replica {replica.number}{', which was killed' if killed else ''}"

    async def heal(self, rig: Rig) -> None:
        async with asyncio.timeout(PATIENCE):
            self._code = await self._process.wait()

    async def clean_up(self) -> None:
        if hasattr(self, "_process") and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def expect(self, evidence: Evidence) -> Iterator[str]:
        if self._code:
            yield f"the program ended with {self._code}"
        calls = [call for job in evidence.history.jobs.values() for call in job.enqueues if call.sent.call < 0]
        processes = {call.sent.call for call in calls}
        if (len(calls), len(processes)) != (TOTAL, PROCESSES):
            yield f"{len(calls)} jobs came from {len(processes)} processes, not {TOTAL} from {PROCESSES}"
        for sent, answer in ((call.sent, call.answer) for call in calls):
            if answer is None or (answer.outcome, answer.said) != ("ok", sent.job):
                yield f"{sent.job} of process {-sent.call} was answered {answer}"
