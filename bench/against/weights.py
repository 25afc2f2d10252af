"""Replays a recording to an empty store and weighs it: commands, and bytes in memory and in the append-only file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.against.checkout import Revision
from bench.against.recording import Recording
from bench.against.session import CLAIM_BATCH, COMPLETE_BATCH, ENQUEUE_BATCH
from bench.against.store import Client, store

STATES: Final = {ENQUEUE_BATCH: "a waiting job", CLAIM_BATCH: "a running job", COMPLETE_BATCH: "a finished job"}
"""What the jobs of the batches are after a step, each against the empty store."""
LOOKING: Final = ("info", "scan", "dump", "memory|usage")

_CALLS = re.compile(r"calls=(\d+)")


Figures = dict[str, float]


@dataclass(frozen=True)
class Weights:
    """By step, per request; bytes of a job's keys by the state that it is in."""

    sent: Figures
    """Commands that the server sends."""
    run: Figures
    """Commands that the store runs for them, those inside scripts included."""
    file_bytes: Figures
    """In the append-only file."""
    stored: Figures
    """Bytes of the keys' names and of their values as DUMP has them, which no allocator rounds."""
    memory: Figures
    """Bytes of memory, by MEMORY USAGE."""


def weigh(revision: Revision, recording: Recording, folder: Path) -> Weights:
    """Replay to a new store of the revision. Raises RuntimeError when a command is refused."""
    with store(revision.store, folder / "store") as path, Client(path) as client:
        return _Replay(client, recording).run()


class _Replay:
    def __init__(self, client: Client, recording: Recording) -> None:
        self._client = client
        self._recording = recording
        self._weights = Weights({}, {}, {}, {}, {})

    def run(self) -> Weights:
        self._send(-1)
        stored, memory = self._keys()
        for number, step in enumerate(self._recording.steps):
            run, size = self._commands_run(), self._file_size()
            sent = self._send(number)
            if step.calls:
                self._weights.run[step.name] = (self._commands_run() - run) / step.calls
                self._weights.sent[step.name] = sent / step.calls
                self._weights.file_bytes[step.name] = (self._file_size() - size) / step.calls
            if state := STATES.get(step):
                jobs = step.calls * step.jobs
                now_stored, now_memory = self._keys()
                self._weights.stored[state] = (now_stored - stored) / jobs
                self._weights.memory[state] = (now_memory - memory) / jobs
        return self._weights

    def _send(self, number: int) -> int:
        commands = self._recording.of_step(number)
        for command in commands:
            self._client.ask(command)
        return len(commands)

    def _commands_run(self) -> int:
        """So far, without those by which this is found out."""
        return sum(
            int(match[1])
            for name, text in self._client.info("commandstats").items()
            if (match := _CALLS.search(text)) and name.removeprefix("cmdstat_") not in LOOKING
        )

    def _file_size(self) -> int:
        return int(self._client.info("persistence")["aof_current_size"])

    def _keys(self) -> tuple[int, int]:
        """The bytes of all keys, serialized and in memory."""
        stored = memory = 0
        cursor = b"0"
        while True:
            cursor, keys = self._client.ask((b"SCAN", cursor, b"COUNT", b"1000"))
            for key in keys:
                stored += len(key) + len(self._client.ask((b"DUMP", key)))
                memory += self._client.ask((b"MEMORY", b"USAGE", key, b"SAMPLES", b"0"))
            if cursor == b"0":
                return stored, memory
