"""What a worker tells the store of its jobs: completed, failed, released. Group-committed, one batch per shard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from queuey.store.batching import Answer, Batcher
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import Held, Unextended

Item = TypeVar("Item")


class Acks:
    """Each call answers with the script's status word. `resend_for`: how long, in seconds, one is sent again.

    A resend is safe, so that should outlast a restart of the store: what is given up is reaped later, as a crash.
    """

    def __init__(self, broker: Broker, resend_for: float) -> None:
        def batchers(
            send: Callable[[int, Sequence[Item]], Awaitable[Sequence[str]]],
        ) -> list[Batcher[Item, str]]:
            return [Batcher(partial(send, shard), resend_for=resend_for) for shard in range(broker.shards.count)]

        self._complete: list[Batcher[tuple[str, str, str], str]] = batchers(broker.leases.complete)
        self._fail: list[Batcher[tuple[str, str, str, int, bool], str]] = batchers(broker.leases.fail)
        self._release: list[Batcher[Held | Unextended, str]] = batchers(partial(_release_last_first, broker))

    @contextmanager
    def corked(self, shard: int) -> Iterator[None]:
        """Within it outcomes are gathered. Once it is left they go out, beside what else is said to the shard then."""
        with self._complete[shard].corked(), self._fail[shard].corked():
            yield

    def complete(self, shard: int, job_id: str, token: str, result: str, answer: Answer[str]) -> None:
        """`result`: JSON on one line, '' for none. Answers `ok` or `lost`."""
        self._complete[shard].tell((job_id, token, result), 80 + len(result), answer)

    def fail(
        self, shard: int, job_id: str, token: str, error: str, delay_ms: int, dead: bool, answer: Answer[str]
    ) -> None:
        """`error`: JSON on one line. Answers `retry`, `dead`, `cancelled` or `lost`."""
        self._fail[shard].tell((job_id, token, error, delay_ms, dead), 100 + len(error), answer)

    def submit_complete(self, shard: int, job_id: str, token: str, result: str) -> asyncio.Future[str]:
        """Complete a job as `complete` does, and return a future of the status word."""
        return self._complete[shard].submit((job_id, token, result), 80 + len(result))

    def submit_fail(
        self, shard: int, job_id: str, token: str, error: str, delay_ms: int, dead: bool
    ) -> asyncio.Future[str]:
        """Fail a job as `fail` does, and return a future of the status word."""
        return self._fail[shard].submit((job_id, token, error, delay_ms, dead), 100 + len(error))

    def release(self, shard: int, job_id: str, token: str, unextended: int | None = None) -> asyncio.Future[str]:
        """Answers `ok` or `lost`. Of jobs in one lane the one that was submitted last comes to stand first.

        `unextended`: ms for which it was claimed; one whose lease has been extended since is left alone, as `lost`."""
        item = (job_id, token) if unextended is None else (job_id, token, unextended)
        return self._release[shard].submit(item, 80)


async def _release_last_first(broker: Broker, shard: int, held: Sequence[Held | Unextended]) -> Sequence[str]:
    """The script has the first of a batch stand first; turned round, that holds across batches too."""
    return (await broker.leases.release(shard, held[::-1]))[::-1]
