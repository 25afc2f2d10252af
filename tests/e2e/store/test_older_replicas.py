"""Replicas of b7eee1c, which knows no features, beside this version on one store."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from queuey.store.broker.calls import FEATURES
from queuey.store.keys import ShardKeys
from tests.e2e.store.older_code import OLDER, older_code
from tests.support.serving import ROOT, Serving, eventually, queuey
from tests.support.store import Server
from tests.support.stores import StartServer

SHARDS: Final = 2
KEYS: Final = [ShardKeys(shard) for shard in range(SHARDS)]
REFUSED: Final = (
    "queuey: The store's data has format 2 and this version of Queuey reads 1: start the version that wrote it."
)


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return older_code(tmp_path_factory.mktemp(OLDER))


class Fleet:
    """Servers of both versions on one store."""

    def __init__(self, store: Server, folder: Path, older: Path, stack: ExitStack) -> None:
        self.store: Any = stack.enter_context(Redis.from_url(store.url))
        self._folder = folder
        self._older = older
        self._flags = ("--redis", store.url, "--shards", str(SHARDS))
        self._stack = stack

    def start(self, *, old: bool = False) -> Serving:
        flags = (*self._flags, "--beat-interval", "50ms", "--trim-interval", "50ms")
        server = Serving(self._folder, *flags, app=None, root=self._older if old else ROOT)
        self._stack.callback(server.close)
        return server

    def run(self, *command: str, old: bool = False) -> str:
        """Run a command on the store, and return what it printed."""
        done = queuey(*command, *self._flags[:2], root=self._older if old else ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *, old: bool = True) -> str:
        """The last line of a server that does not start."""
        ended = queuey("serve", "--port", "0", *self._flags, root=self._older if old else ROOT)
        assert ended.returncode == 3, ended.stderr
        return ended.stderr.splitlines()[-1]

    def meta(self, field: str) -> list[str]:
        """The field on each shard, '' where it is absent."""
        return [(self.store.hget(keys.meta, field) or b"").decode() for keys in KEYS]

    def let_settle(self) -> None:
        """Have the minute pass in which older replicas may appear."""
        for feature in FEATURES:
            settling = f"settling_{feature}"
            eventually(partial(self.store.hexists, KEYS[0].meta, settling))
            self.store.hset(KEYS[0].meta, settling, 1)
        eventually(lambda: self.open_features() == [set(FEATURES)] * SHARDS, lambda: str(self.meta("features")))

    def open_features(self) -> list[set[str]]:
        """Those of each shard."""
        return [set(words.split()) for words in self.meta("features")]

    def replica(self, server: Serving) -> str:
        return str(server.event("started")["replica"])


@pytest.fixture
def fleet(start_server: StartServer, folder: Path, older: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(start_server("--appendonly", "yes"), folder, older, stack)


def finish(server: Serving, job_ids: list[str]) -> set[str]:
    """Wait until each job has succeeded in one attempt. Returns the names of the workers that ran them."""
    jobs = [server.until(job_id) for job_id in job_ids]
    assert {(job["status"], job["attempts"], job["crashes"]) for job in jobs} == {("succeeded", 0, 0)}
    return {job["worker"] for job in jobs}


def reverse(server: Serving, count: int = 6, **fields: Any) -> list[str]:
    return [server.submit("text.reverse", {"text": "abc"}, **fields) for _ in range(count)]


def set_aside(fleet: Fleet) -> set[str]:
    """The jobs in lists of the type strange.type."""
    lists = [fleet.store.lrange(keys.aside("default", "default", "strange.type"), 0, -1) for keys in KEYS]
    return {job_id.decode() for found in lists for job_id in found}


def test_an_older_version_refuses_a_new_store_and_loses_nothing(fleet: Fleet) -> None:
    server = fleet.start()
    assert (fleet.meta("format"), fleet.meta("features")) == (["2"] * SHARDS, [" ".join(FEATURES)] * SHARDS)
    waiting = reverse(server, delay=3600)
    keys = set(fleet.store.keys("*job:*"))
    assert fleet.refusal() == REFUSED
    assert set(fleet.store.keys("*job:*")) == keys
    assert {server.job(job_id)["status"] for job_id in waiting} == {"scheduled"}
    finish(server, reverse(server))
    assert server.stop() == 0


def test_an_older_version_starts_and_works_beside_until_it_has_left(fleet: Fleet) -> None:
    first = fleet.start(old=True)
    new = fleet.start()
    assert new.event("feature_held")["replicas"] == [fleet.replica(first)]
    second = fleet.start(old=True)
    assert (fleet.meta("format"), fleet.meta("features")) == (["1"] * SHARDS, [""] * SHARDS)
    finish(new, reverse(new) + reverse(first))
    assert (first.stop(), second.stop()) == (0, 0)
    eventually(lambda: fleet.meta("format") == ["2"] * SHARDS)
    assert fleet.meta("features") == [""] * SHARDS
    assert fleet.refusal() == REFUSED, "from here on no older one joins"
    fleet.let_settle()
    assert new.event("feature_open")["feature"] in FEATURES
    assert fleet.refusal() == REFUSED
    finish(new, reverse(new))
    assert new.stop() == 0


@pytest.mark.parametrize("shard", range(SHARDS))
def test_one_shard_is_enough_to_refuse(fleet: Fleet, shard: int) -> None:
    old = fleet.start(old=True)
    assert old.stop() == 0
    fleet.store.hset(KEYS[shard].meta, "format", 2)
    assert fleet.refusal() == REFUSED


def test_an_older_replica_that_was_paused_and_forgotten_claims_no_more_and_loses_nothing(fleet: Fleet) -> None:
    old = fleet.start(old=True)
    new = fleet.start()
    new.event("feature_held")
    waiting = reverse(old, delay=3600)
    os.kill(old.process.pid, signal.SIGSTOP)
    try:
        fleet.store.hdel(KEYS[0].workers, fleet.replica(old))  # as after a minute without a heartbeat
        fleet.let_settle()
    finally:
        os.kill(old.process.pid, signal.SIGCONT)
    assert new.event("older_replicas")["replicas"] == [fleet.replica(old)]
    old.event("worker_quiet")
    assert finish(new, reverse(new, 20)) == {fleet.replica(new)}
    assert {new.job(job_id)["status"] for job_id in waiting} == {"scheduled"}
    assert (old.stop(), new.stop()) == (0, 0)


def test_a_list_whose_name_an_older_replica_forgets_is_claimed_again_without_a_restart(fleet: Fleet) -> None:
    old = fleet.start(old=True)
    new = fleet.start()
    new.event("feature_held")
    os.kill(old.process.pid, signal.SIGSTOP)
    try:
        fleet.store.hdel(KEYS[0].workers, fleet.replica(old))  # as after a minute without a heartbeat
        fleet.let_settle()
        job_ids = {new.submit("strange.type", queue="default") for _ in range(8)}
        eventually(lambda: set_aside(fleet) == job_ids)
    finally:
        os.kill(old.process.pid, signal.SIGCONT)
    new.event("names_found")
    leased: set[str] = set()
    while leased != job_ids:
        reply = new.http.post("/v1/leases", json={"types": ["strange.type"], "max": 8, "wait": 10}, timeout=30)
        assert reply.json()["jobs"], "no more jobs are found"
        leased |= {job["id"] for job in reply.json()["jobs"]}
    assert {new.job(job_id)["attempts"] for job_id in job_ids} == {0}
    assert (old.stop(), new.stop()) == (0, 0)


def test_the_way_back_is_export_and_import(fleet: Fleet, folder: Path) -> None:
    server = fleet.start()
    waiting = reverse(server, delay=3600)
    assert server.stop() == 0
    file = str(folder / "jobs.ndjson")
    fleet.run("export", "-o", file)
    fleet.run("import", file, "--prefix", "back", "--shards", str(SHARDS), old=True)
    names = {key.decode().rpartition(":")[2] for key in fleet.store.keys("back:*:job:*")}
    assert names == set(waiting)
    assert fleet.store.hget(ShardKeys(0, "back").meta, "format") == b"1"


def test_a_replica_that_does_not_know_a_feature_in_use_finishes_its_jobs_and_ends(fleet: Fleet) -> None:
    """A later version has opened a feature while this one was paused."""
    server = fleet.start()
    job_ids = reverse(server)
    finish(server, job_ids)
    fleet.store.hset(KEYS[0].meta, "features", "aside limits")
    assert server.wait() == 1
    assert "uses limits, which this version" in server.event("too_old")["error"]
    assert fleet.store.hlen(KEYS[0].workers) == 0
    for shard in range(SHARDS):
        fleet.store.hset(KEYS[0].meta, "features", "aside")
        fleet.store.hset(KEYS[shard].meta, "features", "aside limits")
        assert "uses limits, which this version of Queuey does not know: start the version" in fleet.refusal(old=False)
