"""Several servers on one store, and a store in several shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import QUICK, Serve
from tests.support.serving import Serving, eventually, queuey
from tests.support.store_users import alive


def test_servers_on_one_data_directory_share_a_store_and_any_may_leave_first(serve: Serve) -> None:
    first, second = serve(), serve()
    store = first.store_pid
    assert second.store_pid == store
    job_id = first.submit("echo", "shared")
    assert second.until(job_id)["result"] == "shared"
    assert first.stop() == 0  # the one that started it
    assert not first.events("store_stopped")
    assert second.until(second.submit("echo", 1))["status"] == "succeeded"
    third = serve()
    assert third.stop() == 0  # one that joined it
    assert second.until(second.submit("echo", 2))["status"] == "succeeded"
    assert alive(store)
    assert second.stop() == 0  # the last
    assert not alive(store)


def test_a_second_app_on_the_queue_is_warned_of(serve: Serve) -> None:
    """Of two projects that share a store by accident, the one that comes later says so."""
    first = serve()
    eventually(lambda: bool(first.http.get("/v1/workers").json()["workers"]))
    second = serve(app=None)
    warning = second.event("queue_shared_with_another_app")
    assert (warning["app"], warning["other_app"], warning["queues"]) == ("queuey", "tests", ["default"])
    assert warning["only_here"] == ["math.square", "text.reverse"]
    third = serve()
    eventually(lambda: len(third.http.get("/v1/workers").json()["workers"]) == 3)
    apps = [worker["app"] for worker in third.http.get("/v1/workers").json()["workers"]]
    assert sorted(apps) == ["queuey", "tests", "tests"]


# --- shards ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    server = Serving(tmp_path_factory.mktemp("sharded") / "data", *QUICK, "--shards", "4", key="dev")
    yield server
    server.close()


def test_jobs_of_every_shard_live_and_die(sharded: Serving) -> None:
    jobs = [sharded.submit("echo", number) for number in range(16)]
    assert [sharded.until(job_id)["result"] for job_id in jobs] == list(range(16))
    delayed = [sharded.submit("echo", number, delay=0.1) for number in range(8)]
    assert [sharded.until(job_id)["result"] for job_id in delayed] == list(range(8))
    holder = sharded.submit("echo", 1, dedupe_key="key")
    assert sharded.submit("echo", 2, dedupe_key="key") == holder
    dead = [sharded.until(sharded.submit("dead", ""))["id"] for _ in range(8)]
    assert sharded.http.get("/v1/queues/metrics").json()["queue_dlq_length"] == 8
    assert sharded.http.post("/v1/replay-dlq", params={"limit": 8}).json() == {"requeued": 8}
    eventually(lambda: all(len(sharded.job(job_id)["errors"]) == 2 for job_id in dead))
    waiting = [sharded.submit("echo", 1, queue="elsewhere") for _ in range(8)]
    assert sharded.http.get("/v1/queues/metrics").json()["queue_default_length"] == 8
    assert {sharded.cancel(job_id).json()["status"] for job_id in waiting} == {"cancelled"}
    assert sharded.http.get("/v1/queues/metrics").json()["queue_default_length"] == 0


def test_a_server_with_another_count_of_shards_does_not_start(sharded: Serving) -> None:
    ended = queuey("serve", "--port", "0", "--data-dir", str(sharded.data_dir), "--shards", "2")
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1] == (
        "queuey: The store holds its jobs in 4 shards and this process asks for 2: start it with --shards 4."
    )
    assert sharded.until(sharded.submit("echo", 1))["status"] == "succeeded"
    assert Path(sharded.data_dir, "valkey.sock").exists()
