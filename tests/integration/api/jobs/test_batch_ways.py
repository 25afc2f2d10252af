"""A batch has the same replies and leaves the same store in groups as one by one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuey.protocol import ids
from queuey.protocol.records import NewJobs
from queuey.store.scripts import Scripts
from tests.integration.api.jobs.batch_ways import POISON, Masks, Way, contents, counters
from tests.support.store import Server, client_for

EXAMPLES: Final = 150
SPAN: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OWN: Final = [f"{bucket}01M8MB88WSKGGRMPSZPW4V74{number:02}" for number, bucket in enumerate(("00", "01", "02", "0Z"))]

PLAIN: Final = [
    f'{{"type":"{job_type}"{rest}}}'
    for job_type in ("t", "u", "patient", "typed")
    for rest in (
        "",
        ',"payload":{"to":"x"}',
        ', "payload" : [1, "é"] ',
        ',"queue":"a"',
        ',"queue":"b","priority":"low"',
    )
]
BAD_PAYLOADS: Final = [f'"{"x" * 199}"', f'"{"é" * 100}"', "[[[[]]]]", "1e999", '"\\ud800"', "01"]
ODD: Final = [
    *('{"type":"no name"}', '{"type":"t","queue":"no name"}'),
    *(f'{{"type":"t","payload":{payload}}}' for payload in BAD_PAYLOADS),
    *("7", "null", "[]", "{}", '{"type":"t"', '{"type":"t"} {"type":"t"}', '"\ud800"', '"payload":1}'),
    *('{"type":"t","dedupe_key":"k"}', '{"type":"u","dedupe_key":"k"}', '{"type":"t","delay":60}'),
    *('{"type":"no name","type":"t"}', '{"type":"t","queue":"no name","queue":"a"}', '{"type":"t","queue":"secret"}'),
    *('{"type":"t","payload":[[[[1]]]],"payload":1}', f'{{"type":"{POISON}"}}', '{"type":"typed","payload":{"to":1}}'),
    *(f'{{"type":"t","id":"{own}"}}' for own in OWN),
    *(f'{{"type":"u","id":"{own}","queue":"a"}}' for own in OWN),
    *(f'{{"type":"t","id":"{own}","delay":60}}' for own in OWN[:2]),
    *('{"\\u0074ype":"no name","type":"t"}', '{"type":"t","id":"J9"}', '{"type":"typed"}'),
]
PAYLOADS: Final = [
    *("1", "null", '"text"', '"é \\u00e9"', "[[1]]", '{"a":{"b":1}}', ' { "a" : 1 } ', '{"to":"x"}', '{"to":1}'),
    *('{"type":"t","queue":7}', '{"payload":{}}', '"\\"type\\":"', '"\\\\u00"', '"x\\u2028"'),
    *("[[[1]]]", "[[[[1]]]]", '"[[[[[["', "1e999", "-", "01", "9" * 100, "1" * 4400, '"\\ud800"', '"\\ud83d\\ude00"'),
    *(f'"{"x" * 197}"', f'"{"x" * 198}"', f'"{"x" * 199}"', f'"{"é" * 99}"', f'"{"é" * 100}"', "nul", "", '"\\x"'),
]
FIELDS: Final = {
    "type": ['"t"', '"patient"', '"typed"', '"no name"', "null", '"t\\n"'],
    "payload": PAYLOADS,
    "queue": ['"a"', '"b"', '"default"', '"secret"', '"no name"', '""', "null", "7"],
    "priority": ['"high"', '"low"', '"default"', '"urgent"', "null"],
    "id": [*(f'"{own}"' for own in OWN), "null", '""', '"J9"', "7"],
    "dedupe_key": ['"k"', '"l"', "null"],
    "delay": ["60", "1e99"],
    "run_at": ['"2001-01-01T00:00:00Z"', "7"],
    "traceparent": [f'"{SPAN}"', '"bad"'],
    "backoff": ['{"base":1}'],
    "tags": ['["a","b"]', '["a","a"]', "[]", "null", '["\\n"]'],
    "metadata": ['{"k":"é"}', '{"k":"\\n"}', "{}", "null", '{"k":1}'],
    **{name: ["9"] for name in ("dedupe_ttl", "max_attempts", "timeout", "retention", "expires_in")},
    **{name: ['"no name"'] for name in ("typ", "ty\\u0070e", "\\u0070ayload")},
}
STORES: Final = ["well"] * 6 + ["full", "out of memory", "poisoned", "away", "unknown"]
Step = tuple[str, bytes, dict[str, str]]


def an_item(random: Random, odd: Sequence[str]) -> str:
    """Return an item of a batch: a plain one, one of these, or any. A field may come twice."""
    if not odd or random.random() < 0.7:
        return random.choice(PLAIN)
    if random.random() < 0.6:
        return random.choice(odd)
    fields = [("type", '"t"'), *((name, random.choice(FIELDS[name])) for name in random.choices([*FIELDS], k=2))]
    random.shuffle(fields)
    space = random.choice(["", "", " ", "\t"])
    return "{" + ",".join(f'{space}"{name}"{space}:{space}{value}{space}' for name, value in fields) + "}"


def a_step(random: Random, stores: list[str]) -> Step:
    """Return a state of the store, a body and its headers."""
    lines, odd = random.random() < 0.5, random.choices(ODD, k=random.choice([0, 1, 1, 2, 5]))
    texts = [an_item(random, odd) for _ in range(random.choice([0, 1, 3, 6, 9, 12, 13]))]
    text = "\n".join(texts) if lines else f"[{','.join(texts)}]"
    body = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        at = random.randint(0, len(body))
        body = body[:at] + random.choice([b"", b"\xff", b"[", b'"', b"\n", b"\x0b", b","]) + body[at + 1 :]
    headers = {"content-type": "application/x-ndjson" if lines else "application/json"}
    span: dict[str, str] = random.choice([{}, {}, {"traceparent": SPAN}, {"traceparent": "bad"}])
    return random.choice(stores), body, headers | span


@pytest.mark.timeout(600)  # a failure is shrunk, which takes minutes
@pytest.mark.parametrize("shards", [1, 4])
def test_both_ways_give_the_same_replies_and_leave_the_same_store(
    server: Server, scripts: Scripts, shards: int
) -> None:
    seen: set[str] = set()
    sizes: set[int] = set()
    stores = STORES if shards > 1 else [*STORES, "crowded"]  # on several, it depends on the shards of new ids

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=True), st.integers(1, 4))
    def both(random: Random, count: int) -> None:
        steps = [a_step(random, stores) for _ in range(count)]
        grouped = asyncio.run(run(server, scripts, shards, steps, in_groups=True))
        singly = asyncio.run(run(server, scripts, shards, steps, in_groups=False))
        sizes.update(grouped.pop("sent"))
        assert singly.pop("sent") <= {0}
        assert grouped == singly, steps
        seen.update(re.findall(r'urn:queuey:problem:[a-z-]+|"deduplicated":[a-z]+', str(grouped["replies"])))

    both()
    assert sizes >= {0, 1, 2}
    problems = ("too-large", "forbidden", "malformed", "full", "invalid", "store-unavailable", "outcome-unknown")
    assert seen >= {'"deduplicated":true', '"deduplicated":false', *map("urn:queuey:problem:{}".format, problems)}


async def run(server: Server, scripts: Scripts, shards: int, steps: list[Step], *, in_groups: bool) -> dict[str, Any]:
    """Send the requests in one way. Returns what can be observed: replies, store, metrics, moves."""
    client: Any = client_for(server.url)
    await client.flushall()
    way, masks = Way(client, scripts, shards, in_groups=in_groups), Masks()
    observed: dict[str, Any] = {"replies": []}
    async with way.http:
        for store, body, headers in steps:
            await way.be(store)
            response = await way.post(body, headers)
            shown = dict(response.headers)
            observed["replies"].append((response.status_code, shown, masks(response.text)))
    stores = {store for store, _, _ in steps}
    observed["store"] = await contents(way, masks, in_order="poisoned" not in stores)
    observed["metrics"] = counters(way)
    observed["moves"] = sorted((masks(job_id), status) for job_id, status in way.moves)
    observed["expected"] = None if "poisoned" in stores else way.expected
    await client.aclose()
    observed["sent"] = {len(item.ids) if isinstance(item, NewJobs) else 0 for item in way.sent}
    return observed


def test_the_ids_of_the_examples_are_ids() -> None:
    assert all(map(ids.is_id, OWN))
