"""A worker's reports to the store: jobs completed, failed or released, in one batch per shard (group commit)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from queuey.store.batching import Answer, Batcher
from queuey.store.broker.broker import Broker
from queuey.store.broker.calls import Held, SetAside, Unextended, divide
from queuey.store.broker.leases import Failure, KeptValue, Results

Item = TypeVar("Item")
Word = TypeVar("Word", str, Sequence[str])
"""The answer of a script to an item: a status word, or one for each job of a group."""


class Acks:
    """Sends each report until the store answers it with a status word, for at most `resend_for` seconds.

    Sending again is safe, so this time should outlast a restart of the store. A job whose report is given up is reaped
    later, as a crash. A report is answered `answer_after` passes of the event loop after the reply of the store.
    """

    def __init__(self, broker: Broker, resend_for: float, *, answer_after: int = 0) -> None:
        def batchers(
            send: Callable[[int, Sequence[Item]], Awaitable[Sequence[Word]]],
        ) -> list[Batcher[Item, Word]]:
            return [
                Batcher(partial(send, shard), resend_for=resend_for, answer_after=answer_after)
                for shard in range(broker.shards.count)
            ]

        self._complete: list[Batcher[tuple[str, str, str], str]] = batchers(broker.leases.complete)
        self._checkpoint: list[Batcher[KeptValue, str]] = batchers(broker.leases.checkpoint)
        self._complete_group: list[Batcher[Results, Sequence[str]]] = batchers(partial(_complete_groups, broker))
        self._fail: list[Batcher[Failure, str]] = batchers(broker.leases.fail)
        self._release: list[Batcher[Held | Unextended | SetAside, str]] = batchers(partial(_release_last_first, broker))

    @contextmanager
    def corked(self, shard: int) -> Iterator[None]:
        """Gather outcomes within this context. At its end they are sent, just before the next call to the shard."""
        with self._complete[shard].corked(), self._fail[shard].corked():
            yield

    def complete(self, shard: int, job_id: str, token: str, result: str, answer: Answer[str]) -> None:
        """Report a success. `result` is JSON on one line, or '' if there is none. The answer is `ok` or `lost`."""
        self._complete[shard].tell((job_id, token, result), 80 + len(result), answer)

    def fail(self, shard: int, failure: Failure, answer: Answer[str]) -> None:
        """Report a failure. The answer is `retry`, `snoozed`, `dead`, `cancelled` or `lost`."""
        self._fail[shard].tell(failure, 100 + len(failure[2]), answer)

    def checkpoint(self, shard: int, item: KeptValue, answer: Answer[str]) -> None:
        """Keep a value for the next attempts: JSON on one line, or '' for none any more. The answer: `ok` or `lost`."""
        self._checkpoint[shard].tell(item, 80 + len(item[2]), answer)

    def submit_checkpoint(self, shard: int, item: KeptValue) -> asyncio.Future[str]:
        """Keep a value as `checkpoint` does, and return a future of the status word."""
        return self._checkpoint[shard].submit(item, 80 + len(item[2]))

    def submit_complete(self, shard: int, job_id: str, token: str, result: str) -> asyncio.Future[str]:
        """Complete a job as `complete` does, and return a future of the status word."""
        return self._complete[shard].submit((job_id, token, result), 80 + len(result))

    def submit_complete_group(self, shard: int, group: Results) -> asyncio.Future[Sequence[str]]:
        """Complete jobs in one item of a batch, and return a future of the status word for each."""
        count = len(group.ids)
        return self._complete_group[shard].submit(group, 80 * count + sum(map(len, group.results)), count)

    def submit_fail(self, shard: int, failure: Failure) -> asyncio.Future[str]:
        """Fail a job as `fail` does, and return a future of the status word."""
        return self._fail[shard].submit(failure, 100 + len(failure[2]))

    def release(self, shard: int, job_id: str, token: str, unextended: int | None = None) -> asyncio.Future[str]:
        """Give a job back. The answer is `ok` or `lost`. In each lane the job that was given back last is the first.

        `unextended` is the time in ms for which it was claimed. A job whose lease was extended since then stays as it
        is, and the answer is `lost`.
        """
        item = (job_id, token) if unextended is None else (job_id, token, unextended)
        return self._release[shard].submit(item, 80)

    def set_aside(self, shard: int, job_id: str, token: str, type_name: str, answer: Answer[str]) -> None:
        """Give back a job of a type that the worker does not know. It goes to the head of the list of its type."""
        self._release[shard].tell((job_id, token, None, type_name), 80 + len(type_name), answer)


async def _complete_groups(broker: Broker, shard: int, groups: Sequence[Results]) -> list[Sequence[str]]:
    return divide(await broker.leases.complete(shard, groups), [len(group.ids) for group in groups])


async def _release_last_first(
    broker: Broker, shard: int, held: Sequence[Held | Unextended | SetAside]
) -> Sequence[str]:
    """Reverse the batch: the script puts the first of a batch first, but across batches the last must be first."""
    return (await broker.leases.release(shard, held[::-1]))[::-1]
