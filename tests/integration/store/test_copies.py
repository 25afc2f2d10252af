"""Jobs that are acknowledged once replicas of the store have them too (`wait_replicas`), with real ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from queuey.errors import OutcomeUnknown, QueueyError, StoreUnavailable
from queuey.metrics import Metrics
from queuey.services.jobs.producer import Producer
from queuey.store.scripts import Scripts
from tests.support.replicated import Pair
from tests.support.session.tools import old_redis
from tests.support.store import Rig, client_for, free_port, valkey_binary
from tests.support.stores import KINDS, one_of
from tests.support.working import eventually, until_blocked

kind = one_of(*KINDS)

SHORT = 0.4
"""Seconds for a reply where none is expected: replicas have half of it."""


@pytest.fixture(scope="module", params=["valkey", "redis"])
def of_module(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(valkey_binary() if request.param == "valkey" else old_redis())
    yield pair
    pair.stop()


@pytest.fixture
def pair(of_module: Pair) -> Iterator[Pair]:
    of_module.until_copied()
    yield of_module
    of_module.go_on()


@pytest.fixture
async def rig(pair: Pair, scripts: Scripts) -> AsyncIterator[Rig]:
    client = client_for(pair.first.url)
    await client.flushall()
    await scripts.load(client)
    yield Rig(client, 1, scripts)
    await client.aclose()


@pytest.fixture
async def hasty(pair: Pair, rig: Rig, scripts: Scripts) -> AsyncIterator[Rig]:
    """Another connection to the same, which soon gives up."""
    client = client_for(pair.first.url, timeout=SHORT)
    yield Rig(client, 1, scripts)
    await client.aclose()


async def test_what_is_acknowledged_is_with_the_replica(rig: Rig, pair: Pair) -> None:
    jobs = [rig.job() for _ in range(100)]
    for job in jobs:
        assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
        assert pair.has(job.id)


async def test_one_that_lags_is_told_of_and_the_job_may_be_there(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    job = rig.job()
    with pytest.raises(StoreUnavailable, match="The job is on 0 of the store's replicas and must be on 1") as caught:
        await hasty.broker.jobs.enqueue(rig.shard, [job], copies=1)
    assert caught.value.maybe_done
    assert (await rig.stored(job.id)).definition
    assert await rig.broker.jobs.enqueue(rig.shard, [rig.job()]) == ["new"]  # who asks for no copies does not wait


async def test_a_store_that_is_demoted_while_it_waits_may_have_the_job(rig: Rig, pair: Pair) -> None:
    """It answers WAIT with UNBLOCKED, after which no call that was sent by itself has run. The script has."""
    pair.halt()
    job = rig.job()
    sent = asyncio.ensure_future(rig.broker.jobs.enqueue(rig.shard, [job], copies=1))
    await until_blocked(rig.client, 1)
    await rig.client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable, match="UNBLOCKED") as caught:
            await sent
    finally:
        await rig.client.replicaof("NO", "ONE")
    assert caught.value.maybe_done
    assert (await rig.stored(job.id)).definition
    pair.go_on()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]


async def test_a_script_that_did_not_run_is_told_though_wait_was_answered(rig: Rig, pair: Pair) -> None:
    """WAIT goes out with the script, and its answer says nothing of that."""
    await rig.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueyError) as caught:
            await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], copies=0)
        with pytest.raises(type(caught.value), match=re.escape(str(caught.value))):
            await rig.broker.jobs.enqueue(rig.shard, [rig.job(key="k")], copies=1)
    finally:
        await rig.client.config_set("maxmemory", 0)


async def test_a_resend_waits_too_though_the_job_is_there(rig: Rig, hasty: Rig, pair: Pair) -> None:
    """On another connection, which has written nothing that the store would wait for."""
    pair.halt()
    job = rig.job()
    await rig.broker.jobs.enqueue(rig.shard, [job])
    with pytest.raises(StoreUnavailable):
        await hasty.broker.jobs.enqueue(rig.shard, [job], copies=1)
    pair.go_on()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
    assert pair.has(job.id)


async def test_more_replicas_than_there_are(rig: Rig, hasty: Rig) -> None:
    with pytest.raises(StoreUnavailable, match="on 1 of the store's replicas and must be on 2"):
        await hasty.broker.jobs.enqueue(rig.shard, [rig.job()], copies=2)


async def test_a_store_that_has_lost_the_scripts(rig: Rig, pair: Pair) -> None:
    await rig.client.script_flush()
    job = rig.job()
    assert await rig.broker.jobs.enqueue(rig.shard, [job], copies=1) == ["new"]
    assert pair.has(job.id)


async def test_a_producer_sends_again_until_the_replica_has_it(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    sent = asyncio.ensure_future(
        Producer(hasty.broker, metrics=Metrics(), resend_for=30, copies=1).enqueue(job := rig.job())
    )

    async def there() -> bool:
        return bool((await rig.stored(job.id)).definition)

    await eventually(there)
    assert not sent.done()
    pair.go_on()
    assert (await sent).job_id == job.id
    assert pair.has(job.id)


async def test_a_producer_that_gives_up_says_that_it_may_be_done(rig: Rig, hasty: Rig, pair: Pair) -> None:
    pair.halt()
    with pytest.raises(OutcomeUnknown, match="It may have been done") as caught:
        await Producer(hasty.broker, metrics=Metrics(), resend_for=0, copies=1).enqueue(job := rig.job())
    assert caught.value.job_ids == (job.id,)
