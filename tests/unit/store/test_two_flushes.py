"""A second flush begins while one is under way, if many items wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from queuey.errors import OutcomeUnknown
from queuey.store.batching import Batcher
from tests.support.virtual_time import in_virtual_time

PATIENCE = 1.0


class Gated:
    """Answers each batch when its gate is set."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.gates: list[asyncio.Future[None]] = []

    async def send(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append("".join(items))
        self.gates.append(asyncio.get_running_loop().create_future())
        await self.gates[-1]
        return [item.upper() for item in items]


@in_virtual_time
async def test_a_second_flush_begins_when_many_wait_and_a_third_does_not() -> None:
    store = Gated()
    batcher = Batcher(store.send, resend_for=PATIENCE, ahead=3)
    answers: dict[str, asyncio.Future[str]] = {}
    for items in ("a", "bc", "d", "efg"):
        answers |= {item: batcher.submit(item) for item in items}
        await asyncio.sleep(0.01)
    assert store.batches == ["a", "bcd"]
    store.gates[1].set_result(None)
    await answers["d"]
    await asyncio.sleep(0.01)
    assert store.batches == ["a", "bcd", "efg"]
    store.gates[0].set_result(None)
    drained = asyncio.ensure_future(batcher.drain())
    await asyncio.sleep(0.01)
    assert answers["a"].result() == "A"
    assert not drained.done()
    store.gates[2].set_result(None)
    await drained
    assert [answer.result() for answer in answers.values()] == [*"ABCDEFG"]


@in_virtual_time
async def test_few_that_wait_go_out_once_the_flush_before_them_is_answered() -> None:
    store = Gated()
    batcher = Batcher(store.send, resend_for=PATIENCE, ahead=3)
    first = batcher.submit("a")
    await asyncio.sleep(0.01)
    later = [batcher.submit("b"), batcher.submit("c")]
    await asyncio.sleep(0.01)
    assert store.batches == ["a"]
    store.gates[0].set_result(None)
    await first
    await asyncio.sleep(0.01)
    assert store.batches == ["a", "bc"]
    store.gates[1].set_result(None)
    await asyncio.gather(*later)


@in_virtual_time
async def test_what_is_overdue_in_either_flush_is_given_up() -> None:
    store = Gated()
    batcher = Batcher(store.send, resend_for=PATIENCE, ahead=1)
    first = batcher.submit("a")
    await asyncio.sleep(0.01)
    second = batcher.submit("b")
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert store.batches == ["a", "b"]
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, OutcomeUnknown]
    for gate in store.gates:
        gate.set_result(None)
    await batcher.drain()
