"""list_jobs: the texts and the times of the end by which jobs are searched, and how much one call reads."""

from __future__ import annotations

import json
from typing import Any

from tests.scripts.jobs.test_list_jobs import READY, SCHEDULED, ids_of, page, pages, place
from tests.support.store import HOUR, NOW, Rig


async def failed(rig: Rig, message: str, *, now: int = NOW, **fields: Any) -> str:
    """A dead job whose error has this message."""
    (held,) = await rig.held(**fields)
    error = json.dumps({"attempt": 1, "kind": "error", "message": message}, separators=(",", ":"), ensure_ascii=False)
    assert await rig.broker.leases.fail(rig.shard, [(*held, error, 0, True)], now=now) == ["dead"]
    return held[0]


async def test_a_text_is_found_in_the_id_the_definition_and_the_errors(rig: Rig) -> None:
    """No character is a pattern. A text of errors is looked for nowhere else."""
    dead = await failed(rig, "50% of [a-z]+ (lost)")
    (paid,) = await rig.add(body='{"type":"mail","payload":{"to":"ada%@[x]"}}')

    async def found(**texts: list[str]) -> list[str]:
        return ids_of(await page(rig, READY, place("dead"), **texts))

    assert await found(in_job=["50% of [a-z]+ (lost)"]) == [dead]
    assert await found(in_job=["ada%@[x]"]) == [paid]
    assert await found(in_job=["nothing", paid[-9:]]) == [paid]
    assert await found(in_job=["a.a"]) == []
    assert await found(in_job=["%a"]) == await found(in_error=["ada%@[x]"]) == []
    assert await found(in_error=["(lost)"], in_job=["50%"]) == [dead]
    assert await found(in_error=["(lost)"], in_job=["ada"]) == []


async def test_a_call_reads_a_bounded_number_of_bytes(rig: Rig) -> None:
    """It ends with the entry that exceeds 128 kB, and the next one goes on behind that."""
    ids = [(await rig.add(body='{"type":"t","payload":"' + "x" * 60_000 + 'end"}'))[0] for _ in range(7)]
    first = await page(rig, READY, in_job=["nowhere"], look=100)
    assert (first.looked, first.ended, first.last[3]) == (1 + 3, False, ids[2])
    assert first.jobs == []
    got = await pages(rig, READY, in_job=["xend"], look=100)
    assert [len(part) for part in got] == [3, 3, 1]
    assert [job_id for part in got for job_id in part] == ids
    assert (await page(rig, READY, type="other", look=100)).looked == 1 + 7, "only a search for texts reads that much"


async def test_only_the_first_part_of_a_large_payload_is_searched(rig: Rig) -> None:
    (job_id,) = await rig.add(body='{"type":"t","payload":"' + "x" * 262_100 + "within" + "x" * 9_000 + 'beyond"}')
    assert ids_of(await page(rig, READY, in_job=["within"])) == [job_id]
    assert ids_of(await page(rig, READY, in_job=["beyond"])) == []


async def test_only_those_that_ended_within_a_time(rig: Rig) -> None:
    """From the first moment on, and before the second. What has not ended is left out."""
    dead = [await failed(rig, "no", now=NOW + moment) for moment in (0, 10, 20)]
    held = await rig.held(2)
    await rig.broker.leases.complete(rig.shard, [(*held[0], "1")], now=NOW + 10)
    (cancelled,) = await rig.add(delay_ms=HOUR)
    await rig.broker.jobs.cancel(rig.shard, [cancelled], now=NOW + 20)

    async def within(first: int, before: int) -> list[str]:
        places = [SCHEDULED, READY, place("running"), place("dead"), place("finished")]
        return ids_of(await page(rig, *places, finished=(first, before)))

    done = [cancelled, held[0][0]]
    assert await within(NOW, NOW + 21) == [*dead[::-1], *done]
    assert await within(NOW + 10, NOW + 20) == [dead[1], done[1]]
    assert await within(NOW + 11, -1) == [dead[2], done[0]]
    assert await within(-1, NOW + 10) == dead[:1]
    assert await within(NOW + 21, -1) == []
    latest = await page(rig, place("dead"), finished=(NOW + 20, NOW + 30))
    assert latest.looked == 1 + 2, "the latest come first: it ends with the first that is too early"
    earliest = await page(rig, place("dead"), finished=(NOW, NOW + 10))
    assert earliest.looked == 1 + 1, "it begins with the first that is early enough"
