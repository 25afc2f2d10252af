"""The text fast path of claim and complete leaves the same store, and gives the same replies, as the slow path.

The plain ways of both use it too: `plain` are the scripts as they are, all others have no plain ways.

lua/include/fast_path.lua writes the state of a first attempt as text. Here the same calls are made with copies of the
scripts in which every state is parsed and formatted, and all keys are compared: a state by its fields, whose order has
no meaning.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from queuey.protocol.records import NewJob, parse_fields
from queuey.store.broker.broker import Broker
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.scripts.contents import READ_ALL
from tests.support.scripts.plain_ways import without_plain_ways
from tests.support.store import LEASE, NOW, SECOND, Server, client_for

SLOW_CLAIM: Final = (
    "leases/claim.lua",
    "local function claim_job(queue, id, state, definition)\n",
    """  if not state then
    state = {s = 'w', result = '', errors = ''}
    adopt(state, parse_fields(definition), #definition)
  end
""",
)
SLOW_COMPLETE: Final = (
    "include/fast_path.lua",
    "local function first_attempt(text, token)\n",
    "  do return nil end\n",
)
"""In which script, after which line, these lines go to have it take the slow path."""
PATHS: Final = {
    "fast": (),
    "slow claim": (SLOW_CLAIM,),
    "slow complete": (SLOW_COMPLETE,),
    "slow": (SLOW_CLAIM, SLOW_COMPLETE),
}

HEADERS: Final = {
    "default": "",
    "unique until it has started": "k=u:a2V5 U=s",
    "unique until it has finished": "q=mail k=u:a2V5 e=1000 U=f",
    "queue": "q=mail",
    "lane": "l=high",
    "max_attempts": "m=1",
    "retention": "t=5",
    "all that the state keeps": "q=mail l=low m=2 t=70000",
    "all that it does not keep": "k=a2V5 e=1000 x=60000",
    "created at": "c=1799999999999",
    "kept and not kept in turn": "k=a_-b q=mail e=9 l=low x=99999 m=3 c=1799999999999 t=1",
    "unknown letters": "u=1 A=b:c.d-e_f q=web",
    "long values": f"q={'q' * 64} k={'k' * 300} m=100000 t=31536000000",
}
BODIES: Final = ('{"type":"t"}', '{"type":"t","payload":"' + "x" * 5000 + '"}')

TOKEN: Final = "1.c1"
STARTS: Final = (
    *(f"s={status} n=1 h=c1" for status in "rwsdc"),
    *("s=r n=2 h=c1", "s=r n=1 h=c2", "s=r n=11 h=c1", "s=w n=1 p=1.c1 o=l", "s=w n=1 p=1.c1 o=r"),
    *("s=s n=1 p=1.c1 o=s f=1", "s=s n=1 p=1.c0 o=s f=1", "s=c n=1 p=1.c1 o=c f=1", "s=d n=1 p=1.c1 o=d f=1"),
)
TAILS: Final = (
    "b=1799999999999 w=w1 j=40",
    "b=1 w=host-1.2:w_3 j=1048576",
    "w=w1 b=5 j=40",
    "b=5 w=w1",
    "",
)
EXTRAS: Final = (
    *("", "q=mail", "l=high", "m=1", "t=5", "q=mail l=low m=2 t=70000", f"q={'q' * 64} t=31536000000"),
    *(
        "z=1",
        "v=1",
        "z=1 v=1",
        "a=2",
        "x=1",
        "a=1 x=2 g=5.0",
        "r=7",
        "y=c9",
        "p=0.c c=1",
        "u=1",
        "A=b:c.d-e_f",
        "q=mail z=1",
    ),
)
LINES: Final = ("", '\n\n5 {"attempt":1,"kind":"error","message":"m"}', '\n{"an":"old result"}')
RESULTS: Final = ("", "1", '{"text":"s=r n=1 h=c1"}')


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scripts]:
    """The scripts of each path, and those with the plain ways, which take the fast path too."""
    folders = {path: changed(tmp_path_factory.mktemp("lua"), *changes) for path, changes in PATHS.items()}
    return {"plain": Scripts(), **{path: Scripts(folder) for path, folder in folders.items()}}


def changed(folder: Path, *changes: tuple[str, str, str]) -> Path:
    without_plain_ways(folder)
    for name, line, added in changes:
        place = folder / name
        source = place.read_text(encoding="utf-8")
        assert source.count(line) == 1, f"{name} has changed: put the slow path into it in another way"
        place.write_text(source.replace(line, line + added), encoding="utf-8")
    return folder


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    client: Any = client_for(server.url)
    yield client
    await client.aclose()


async def emptied(client: Any, scripts: Scripts) -> Broker:
    await client.flushall()
    return Broker(Shards(client, 1), scripts)


async def stored(client: Any) -> dict[str, Any]:
    """Each key's value and whether it has a TTL."""
    found = msgspec.msgpack.decode(await client.eval(READ_ALL, 0))
    return {name: (comparable(name, kind, value), ttl >= 0) for name, kind, ttl, value in found}


def comparable(name: str, kind: str, value: Any) -> Any:
    if kind in ("zset", "hash"):
        return dict(zip(value[::2], value[1::2], strict=True))
    if name.split(":")[2] == "state":
        head, *lines = value.split("\n")
        assert len(parse_fields(head)) == len(head.split(" ")), f"a field is there twice: {head}"
        return parse_fields(head), lines
    return value


async def texts(client: Any) -> dict[str, str]:
    """Each state as it is stored."""
    keys = sorted(await client.keys("*state:*"))
    return {key.decode(): text.decode() for key, text in zip(keys, await client.mget(keys), strict=True)}


def ids() -> Any:
    return map("0{:027d}".format, itertools.count())


# --- claim and complete, one after the other -----------------------------------------------------------------------


async def claimed_and_completed(broker: Broker, *, together: bool) -> tuple[list[Any], dict[str, Any], dict[str, str]]:
    """Jobs with each header go through both scripts. Returns all replies, the store, and the states while they ran."""
    client: Any = broker.shards.client
    new_ids, replies = ids(), list[Any]()
    for header, body in itertools.product(HEADERS.values(), BODIES):
        fields = parse_fields(header)
        queue, lane = fields.get("q", "default"), fields.get("l", "default")
        jobs = [NewJob(next(new_ids), queue, lane, header, body, 0, 0, "", 1) for _ in range(5)]  # type: ignore[arg-type]
        assert await broker.jobs.enqueue(0, jobs, now=NOW) == ["new"] * 5
    queues = sorted({parse_fields(header).get("q", "default") for header in HEADERS.values()})
    claim_ids = map("c{}".format, itertools.count(1))
    held = list[tuple[str, str]]()
    more = True
    while more:
        claimed = await broker.leases.claim(
            0,
            claim_id=next(claim_ids),
            worker="host-1.2:w_3",
            lease_ms=LEASE,
            limit=500 if together else 3,
            queues=queues,
            now=NOW + SECOND,
        )
        replies.append(claimed)
        held += [(job.id, job.token) for job in claimed.jobs]
        more = claimed.more
    assert len(held) == 5 * len(HEADERS) * len(BODIES)
    while_running = await texts(client)
    replies.append(await broker.jobs.watch_end(0, [job_id for job_id, _ in held[1::5]]))
    replies.append(await broker.jobs.progress(0, [(*lease, '{"done":1}') for lease in held[2::5]], now=NOW + SECOND))
    replies.append(await broker.jobs.cancel(0, [job_id for job_id, _ in held[3::5]], now=NOW + SECOND))
    results = [(*lease, RESULTS[number % 3]) for number, lease in enumerate(held)]
    step = 200 if together else 1
    for first in range(0, len(results), step):
        batch = results[first : first + step]
        for now in (NOW + 2 * SECOND, NOW + 3 * SECOND):  # the second time it is a repeat
            replies.append(await broker.leases.complete(0, batch, now=now))
    return replies, await stored(client), while_running


@pytest.mark.parametrize("together", [True, False], ids=["in batches", "one by one"])
async def test_fast_and_slow_path_claim_and_complete_alike(
    client: Any, scripts: dict[str, Scripts], together: bool
) -> None:
    replies, store, running = await claimed_and_completed(await emptied(client, scripts["fast"]), together=together)
    completed = await texts(client)
    for path, those in scripts.items():
        other = await claimed_and_completed(await emptied(client, those), together=together)
        assert other[0] == replies, path
        assert other[1] == store, path
        claimed_as_text = path in ("plain", "fast", "slow complete")
        assert (other[2] == running) is claimed_as_text, f"{path}: claim has taken another path"
        completed_as_text = path in ("plain", "fast")
        assert (await texts(client) == completed) is completed_as_text, f"{path}: complete has taken another path"


# --- complete, on states of any kind -------------------------------------------------------------------------------


def states() -> list[str]:
    heads = (" ".join(part for part in parts if part) for parts in itertools.product(STARTS, TAILS, EXTRAS))
    return [head + lines for head in heads if has_no_field_twice(head) for lines in LINES]


def has_no_field_twice(head: str) -> bool:
    return len(parse_fields(head)) == len(head.split(" "))


async def completed(broker: Broker) -> tuple[list[list[str]], dict[str, Any]]:
    client: Any = broker.shards.client
    keys, jobs = broker.shards.keys[0], dict(zip(ids(), states(), strict=False))
    await client.mset({keys.state(job_id): text for job_id, text in jobs.items()})
    await client.mset({keys.job(job_id): 'r=1\n{"type":"t"}' for job_id in jobs})
    for job_id, text in jobs.items():
        if text.startswith("s=r"):
            await client.zadd(keys.leases(parse_fields(text).get("q", "default")), {job_id: NOW + LEASE})
    items = [(job_id, TOKEN, RESULTS[number % 3]) for number, job_id in enumerate(jobs)]
    replies = []
    for first in range(0, len(items), 250):
        batch = items[first : first + 250]
        batch += batch[:9]  # some are there twice
        replies += [await broker.leases.complete(0, batch, now=now) for now in (NOW, NOW + SECOND)]
    return replies, await stored(client)


async def test_fast_and_slow_path_complete_a_job_in_any_state_alike(client: Any, scripts: dict[str, Scripts]) -> None:
    replies, store = await completed(await emptied(client, scripts["fast"]))
    by_text = await texts(client)
    assert await completed(await emptied(client, scripts["plain"])) == (replies, store)
    assert await texts(client) == by_text
    assert await completed(await emptied(client, scripts["slow complete"])) == (replies, store)
    assert await texts(client) != by_text, "both have taken the same path"
    assert {"ok", "lost"} == {word for words in replies for word in words}


# --- claim, of jobs that have a state already ----------------------------------------------------------------------


async def claimed(broker: Broker) -> tuple[list[Any], dict[str, Any]]:
    client: Any = broker.shards.client
    keys, jobs = broker.shards.keys[0], dict(zip(ids(), [None, *states()], strict=False))
    await client.mset({keys.job(job_id): f"r={NOW}\n{{}}" for job_id in jobs})
    await client.mset({keys.state(job_id): text for job_id, text in jobs.items() if text is not None})
    await client.rpush(keys.ready("default", "default"), *jobs)
    replies = list[Any]()
    for number in range(len(jobs) // 500 + 5):
        reply = await broker.leases.claim(
            0,
            claim_id=f"c{number}",
            worker="w1",
            lease_ms=LEASE,
            limit=500,
            queues=["default"],
            suspects=number % 2,
            now=NOW + SECOND,
        )
        replies.append(reply)
    return replies, await stored(client)


async def test_fast_and_slow_path_claim_a_job_in_any_state_alike(client: Any, scripts: dict[str, Scripts]) -> None:
    replies, store = await claimed(await emptied(client, scripts["fast"]))
    for path in ("plain", "slow claim"):
        assert await claimed(await emptied(client, scripts[path])) == (replies, store), path
    assert sum(len(reply.jobs) for reply in replies) > 100
