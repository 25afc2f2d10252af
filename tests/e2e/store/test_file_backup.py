"""A copy of the store's own files, made while it writes: what was acknowledged before is there (docs/operations.md)."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import redis

from tests.e2e.conftest import Serve
from tests.support.serving import Serving

SUBMITTED = 50


class Load(threading.Thread):
    """Submits job after job until it is told to end; `acknowledged` are the ids of those that were taken."""

    def __init__(self, server: Serving) -> None:
        super().__init__()
        self._server = server
        self._ends = threading.Event()
        self._news = threading.Condition()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        while not self._ends.is_set():
            job_id = self._server.submit("by-hand", {"text": "x" * 1000}, queue="kept")
            with self._news:
                self.acknowledged.append(job_id)
                self._news.notify_all()

    def until(self, number: int) -> list[str]:
        """What has been acknowledged, once it is so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.acknowledged) >= number, timeout=20)
            return list(self.acknowledged)

    def end(self) -> None:
        self._ends.set()
        self.join(20)


def copy_files(data_dir: Path, target: Path) -> None:
    """As the page has it: no rewrite meanwhile, and none that was under way."""
    with redis.Redis(unix_socket_path=str(data_dir / "valkey.sock"), decode_responses=True) as store:
        store.config_set("auto-aof-rewrite-percentage", 0)
        while store.info("persistence")["aof_rewrite_in_progress"]:
            pass
        shutil.copytree(data_dir / "appendonlydir", target / "appendonlydir")
        store.config_set("auto-aof-rewrite-percentage", 100)


def test_a_copy_made_under_load_has_all_that_was_acknowledged_before(serve: Serve, folder: Path) -> None:
    """Also in a new base file, which a rewrite has made just before."""
    server = serve()
    done = server.submit("echo", {"n": 1})
    assert server.until(done)["status"] == "succeeded"
    load = Load(server)
    load.start()
    try:
        load.until(SUBMITTED)
        with redis.Redis(unix_socket_path=str(server.data_dir / "valkey.sock")) as store:
            store.bgrewriteaof()
        before = load.until(2 * SUBMITTED)
        copy_files(server.data_dir, folder / "copy")
        load.until(len(before) + SUBMITTED)
    finally:
        load.end()
    later = server.submit("echo", {"n": 2})
    files = {file.name for file in (folder / "copy/appendonlydir").iterdir()}
    assert "appendonly.aof.2.base.rdb" in files, files

    restored = serve(data_dir=folder / "copy")
    assert restored.job(done)["result"] == {"n": 1}
    assert [job_id for job_id in before if restored.job(job_id)["status"] != "queued"] == []
    assert restored.http.get(f"/v1/jobs/{later}").status_code == 404
    assert restored.stop() == 0
