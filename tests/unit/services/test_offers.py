"""When an offer goes with an enqueue, and what comes of it, without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from queuey.errors import Full, ScriptFailed, StoreUnavailable
from queuey.protocol.records import NewJob, NewJobs
from queuey.services.jobs.offers import PATIENCE, Offering, Settled, ShardOffers, Types
from queuey.store.offers import Offer
from queuey.store.replies import Claimed
from tests.support.virtual_time import in_virtual_time

DOWN = StoreUnavailable("down")
LOST = StoreUnavailable("lost", maybe_done=True)


def job(queue: str = "a", *, delay_ms: int = 0, dedupe: str = "", type: str = "t") -> NewJob:
    return NewJob("0" * 28, queue, "default", "", f'{{"type":"{type}"}}', delay_ms, 0, dedupe)


def group(count: int) -> NewJobs:
    return NewJobs("a", "default", "", ["0" * 28] * count, ["{}"] * count, 0)


class Idle:
    """A claimer of the queue `a` that is idle so many times."""

    def __init__(self, times: int = 1, *, limit: int = 2, lease_ms: int = 30_000) -> None:
        self.lease_ms = lease_ms
        self.times = times
        self.limit = limit
        self.asked: list[str] = []
        self.types: Collection[str] = ()
        self.expected = 0
        self.settled: asyncio.Queue[Settled] = asyncio.Queue()

    def offer(self, shard: int, queue: str, types: Types) -> Offering | None:
        self.asked.append(queue)
        self.types = types()
        if not self.times or queue != "a":
            return None
        self.times -= 1
        offer = Offer(claim_id=f"c{self.times}", worker="w", lease_ms=self.lease_ms, limit=self.limit, queues=["a"])
        return Offering(offer, self.settled.put_nowait)

    def expect(self, shard: int, items: Sequence[NewJob | NewJobs]) -> None:
        self.expected += 1


async def test_a_claimer_can_read_the_types_of_all_jobs_before_it_offers() -> None:
    claimer, bodies = Idle(), ['{"type":"t"}', '{"type":"send.mail","payload":"\\"type\\":"}']
    group = NewJobs("a", "default", "", ["0" * 28] * 2, bodies, 0)
    ShardOffers(0, [claimer]).next([job(type="u"), group], new=True)
    assert claimer.types == {"t", "u", "send.mail"}


async def test_the_first_idle_claimer_makes_the_offer_and_no_other_expects_the_job() -> None:
    busy, first, second = Idle(0), Idle(), Idle()
    one = ShardOffers(0, [busy, first, second])
    offer = one.next([job()], new=True)
    assert offer is not None
    assert (busy.asked, first.asked, second.asked) == (["a"], ["a"], [])
    assert (busy.expected, first.expected, second.expected) == (0, 0, 0)
    offer.claimed = Claimed([], -1, False)
    one.answered(offer)
    assert first.settled.get_nowait() is Settled.TAKEN


async def test_the_end_of_an_enqueue_without_the_offer_does_not_settle_it() -> None:
    claimer = Idle()
    one = ShardOffers(0, [claimer])
    offer = one.next([job()], new=True)
    assert one.next([job("b")], new=True) is None
    one.answered(None)
    one.failed(None, LOST)
    assert claimer.settled.empty()
    one.answered(offer)
    assert claimer.settled.get_nowait() is Settled.DECLINED


async def test_without_an_offer_all_expect_the_jobs() -> None:
    claimers = [Idle(0), Idle(0)]
    one = ShardOffers(0, claimers)
    assert one.next([job()], new=True) is None
    assert [claimer.expected for claimer in claimers] == [1, 1]
    one.answered(None)
    one.failed(None, LOST)


async def test_jobs_beyond_the_limit_are_expected_by_all() -> None:
    cases: list[tuple[list[NewJob | NewJobs], int]]
    cases = [([job(), job()], 0), ([job()] * 3, 1), ([group(2)], 0), ([group(2), job()], 1)]
    for items, expected in cases:
        claimer = Idle(limit=2)
        assert ShardOffers(0, [claimer]).next(items, new=True) is not None
        assert claimer.expected == expected


@pytest.mark.parametrize(
    "items", [[job(), job("b")], [job(delay_ms=1)], [job(), job(dedupe="k")]], ids=["queues", "later", "dedupe"]
)
async def test_no_claimer_is_asked_for_jobs_that_cannot_be_claimed_at_once(items: list[NewJob]) -> None:
    claimer = Idle()
    assert ShardOffers(0, [claimer]).next(items, new=True) is None
    assert claimer.asked == []


async def test_an_answer_without_a_claim_declines_the_offer() -> None:
    claimer = Idle(2)
    one = ShardOffers(0, [claimer])
    first = offer = one.next([job()], new=True)
    one.answered(offer)
    assert claimer.settled.get_nowait() is Settled.DECLINED
    assert one.next([job()], new=True) is not first


@pytest.mark.parametrize(
    ("error", "settled"),
    [(DOWN, Settled.DECLINED), (Full("full"), Settled.UNKNOWN), (ScriptFailed("failed"), Settled.UNKNOWN)],
    ids=["down", "full", "failed"],
)
async def test_an_error_after_which_no_copy_is_under_way_ends_the_offer(error: Exception, settled: Settled) -> None:
    claimer = Idle()
    one = ShardOffers(0, [claimer])
    offer = one.next([job()], new=True)
    one.failed(offer, error)
    assert claimer.settled.get_nowait() is settled
    assert one.next([job()], new=True) is None


@pytest.mark.parametrize("later", [LOST, DOWN])
async def test_after_a_lost_reply_each_enqueue_carries_the_same_offer(later: Exception) -> None:
    claimer = Idle(2)
    one = ShardOffers(0, [claimer])
    first = offer = one.next([job()], new=True)
    one.failed(offer, LOST)
    assert one.next([job("b", delay_ms=1)], new=False) is first
    assert claimer.expected == 1
    one.failed(offer, later)
    assert one.next([job()], new=True) is first
    one.answered(offer)
    assert claimer.settled.get_nowait() is Settled.UNKNOWN
    assert claimer.settled.empty()


async def test_a_resend_that_claims_settles_the_offer() -> None:
    claimer = Idle()
    one = ShardOffers(0, [claimer])
    offer = one.next([job()], new=True)
    one.failed(offer, LOST)
    offer = one.next([job()], new=True)
    assert offer is not None
    offer.claimed = Claimed([], -1, False)
    one.answered(offer)
    assert claimer.settled.get_nowait() is Settled.TAKEN


@in_virtual_time
async def test_if_no_enqueue_follows_the_claimer_asks() -> None:
    assert await asked_after(Idle(), sends_again=False) == pytest.approx(PATIENCE)


@in_virtual_time
async def test_jobs_with_a_short_lease_are_asked_for_before_it_ends() -> None:
    assert await asked_after(Idle(lease_ms=1_500), sends_again=False) == pytest.approx(0.5)


@in_virtual_time
async def test_resends_put_the_question_off_within_the_lease() -> None:
    assert await asked_after(Idle(lease_ms=6_000), sends_again=True) == pytest.approx(4.0)


async def asked_after(claimer: Idle, *, sends_again: bool) -> float:
    """Lose the reply to an enqueue, and perhaps to ten more a second. Returns the seconds until the offer's end."""
    one, loop = ShardOffers(0, [claimer]), asyncio.get_running_loop()
    offer = one.next([job()], new=True)
    one.failed(offer, LOST)
    while sends_again and claimer.settled.empty() and loop.time() < 60:
        await asyncio.sleep(0.1)
        offer = one.next([job()], new=False)
        one.failed(offer, LOST)
    assert await claimer.settled.get() is Settled.UNKNOWN
    return loop.time()


@in_virtual_time
async def test_an_enqueue_under_way_is_waited_for() -> None:
    claimer = Idle()
    one = ShardOffers(0, [claimer])
    offer = one.next([job()], new=True)
    one.failed(offer, LOST)
    offer = one.next([job()], new=True)
    await asyncio.sleep(60)
    assert claimer.settled.empty()
