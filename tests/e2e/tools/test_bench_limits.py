"""Every limit of `make bench-limits` can be taken, and the bare servers answer as Queuey does."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bench import servers
from bench.figures import filling
from bench.limits import disk, store, web
from bench.limits.bare import ENQUEUE, serving
from queuey.store.broker.calls import MAX_BATCH
from queuey.store.connections.pipelined import connect

FEW = 20


def answer(port: int) -> tuple[list[str], int]:
    """To the request of the measurements: the names of its headers, and the size of its body."""
    body = ENQUEUE.partition(b"\r\n\r\n")[2]
    reply = httpx.post(
        f"http://127.0.0.1:{port}/v1/jobs", content=body, headers={"content-type": "application/json"}, trust_env=False
    )
    assert reply.status_code == 200
    return sorted(reply.headers), len(reply.content)


def test_bare_servers_answer_with_the_headers_and_the_size_of_ours(folder: Path) -> None:
    answers = {}
    for kind in ("uvicorn", "starlette"):
        with serving(kind, folder) as port:
            answers[kind] = answer(port)
    with servers.server(folder / "data", "--roles", "api") as served:
        ours = answer(served.port)
    assert answers == {"uvicorn": ours, "starlette": ours}


async def test_what_a_bare_server_can_do(folder: Path) -> None:
    rate, waited = await web.rate_and_half_load("uvicorn", folder, FEW, 2)
    assert rate > 0
    assert len(waited) == FEW // 2
    assert len(await web.way_in(folder, FEW)) == FEW


async def test_what_the_store_can_do(folder: Path) -> None:
    with servers.store(folder / "store") as url:
        client = connect(url, timeout=30)
        try:
            assert len(await store.one_at_a_time(await store.empty_script(client), FEW)) == FEW
            assert await store.at_once(client.ping, 4, FEW) > 0
        finally:
            await client.aclose()
        assert store.piped_sets(url, 2) > 0
        async with filling.broker_at(url) as broker:
            assert await store.enqueues(broker, 2 * MAX_BATCH, in_flight=2) > 0
            assert await store.claims_and_completes(broker, 2 * store.CLAIMED) > 0
            with pytest.raises(RuntimeError, match="a claim brought"):
                await store.claims_and_completes(broker, 2 * MAX_BATCH)


def test_what_the_disk_can_do(folder: Path) -> None:
    assert min(disk.syncs(folder, FEW)) > 0
