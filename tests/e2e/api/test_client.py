"""The clients against a real server."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec
import pytest

import queuey
from queuey import Client, SyncClient
from queuey.client import NotFound, Unreachable
from queuey.protocol.models import JobRequest, StatusEvent
from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import PATIENCE, ROOT, Serving


@pytest.fixture
def client(server: Serving) -> Iterator[SyncClient]:
    with SyncClient(server.url, "dev") as client:
        yield client


def test_a_job_is_run_and_awaited(client: SyncClient) -> None:
    job = client.run("echo", {"a": [1, None, "ü"]})
    assert (job.status, bytes(job.result).decode()) == ("succeeded", '{"a":[1,null,"ü"]}')
    assert client.get(job.id) == job
    assert client.run("dead", "no such user", max_attempts=1).last_error == "no such user"


def test_many_jobs_are_enqueued_awaited_and_listed(client: SyncClient) -> None:
    requests = [JobRequest("echo", queue="default") for _ in range(1200)]
    ids = [item.job_id for item in client.enqueue_many(requests)]
    assert all(client.wait(str(job_id)).status == "succeeded" for job_id in ids[:20])
    assert client.wait(str(ids[-1])).status == "succeeded"
    listed = client.jobs(status="succeeded", type="echo")
    assert next(listed).type == "echo"
    listed.close()


def test_a_handler_enqueues_without_a_client(client: SyncClient) -> None:
    other = msgspec.json.decode(client.run("forward", [1, 2]).result)
    assert bytes(client.wait(other).result) == b"[1,2]"


async def test_a_job_is_followed_to_its_end(server: Serving, gate: Gate) -> None:
    async with Client(server.url) as client:
        reply = await client.enqueue("gate.loop", gate.path)
        visitor = await gate.visitor()
        statuses = []
        async for event in client.follow(reply.job_id):
            if isinstance(event.data, StatusEvent):
                statuses.append(event.data.status)
            if len(statuses) == 1:
                visitor.let_go("")
    assert (statuses[0], statuses[-1]) == ("running", "succeeded")


def test_errors_come_out_of_the_other_thread(client: SyncClient) -> None:
    with pytest.raises(NotFound):
        client.get("no-id")


def test_several_threads_use_one_client(client: SyncClient) -> None:
    results: list[bytes] = []

    def work(number: int) -> None:
        results.append(bytes(client.run("echo", number).result))

    threads = [threading.Thread(target=work, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, results)) == list(range(20))


def test_a_closed_client_says_so(server: Serving) -> None:
    client = SyncClient(server.url)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.metrics()
    assert "queuey-client" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the connections of the first loop, which it left open
@pytest.mark.parametrize("call", ["metrics", "events"])
def test_a_client_in_a_second_event_loop_says_so(server: Serving, call: str) -> None:
    def misuse() -> None:
        client = Client(server.url)

        async def use() -> object:
            async with asyncio.timeout(PATIENCE):
                return await (client.metrics() if call == "metrics" else anext(client.events()))

        asyncio.run(client.metrics())
        with pytest.raises(RuntimeError, match="has connections of another event loop"):
            asyncio.run(use())
        asyncio.run(client.close())

    misuse()
    gc.collect()


async def test_a_hundred_wait_at_once(server: Serving) -> None:
    async with Client(server.url) as client:
        jobs = await asyncio.gather(*(client.run("echo", number) for number in range(100)))
    assert [bytes(job.result) for job in jobs] == [str(number).encode() for number in range(100)]


async def test_a_server_that_is_gone_is_unreachable(serve: Serve) -> None:
    server = serve()
    async with Client(server.url, retries=1) as client:
        await client.enqueue("echo", 1)
        server.stop()
        with pytest.raises(Unreachable, match=server.url) as raised:
            await client.enqueue("echo", 1)
    assert not raised.value.maybe_done
    assert raised.value.status is None


def test_a_server_loads_no_client() -> None:
    code = (
        "import queuey, queuey.server.server, sys; print('httpx' in sys.modules, queuey.Client, 'httpx' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False <class 'queuey.client.client.Client'> True"
    with pytest.raises(AttributeError, match="Klient"):
        queuey.Klient  # noqa: B018
