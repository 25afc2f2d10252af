"""`queuey export` and `queuey import`: from one server to another, with real stores."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import queuey


async def test_a_server_moves_to_another_data_directory_and_more_shards(serve: Serve, folder: Path, gate: Gate) -> None:
    """The store is exported while servers use it. A running job runs again in the new store."""
    old = serve()
    done = old.submit("echo", {"n": 1}, dedupe_key="once")
    assert old.until(done)["status"] == "succeeded"
    dead = old.submit("fail", 9, max_attempts=1)
    old.until(dead, "dead_letter")
    later = old.submit("echo", "later", delay=3600)
    running = old.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    file = folder / "store.ndjson"
    exported = queuey("export", "--data-dir", str(old.data_dir), "-o", str(file))
    assert (exported.returncode, exported.stdout) == (0, "")
    assert "servers are using this store (" in exported.stderr
    assert f"{file} has 4 jobs, 1 dedupe key and 1 queue." in exported.stderr
    visitor.let_go("first")
    assert old.until(running)["status"] == "succeeded"
    assert old.stop() == 0

    new = folder / "new"
    imported = queuey("import", str(file), "--data-dir", str(new), "--shards", "3")
    assert (imported.returncode, imported.stdout) == (0, "")
    assert "4 jobs restored, 0 already existed." in imported.stderr
    assert "servers are using" not in imported.stderr
    again = queuey("import", str(file), "--data-dir", str(new), "--shards", "3")
    assert "0 jobs restored, 0 already existed." in again.stderr

    server = serve("--shards", "3", data_dir=new)
    (await gate.visitor()).let_go("second")
    assert server.until(running)["result"] == "second"
    assert server.job(done)["result"] == {"n": 1}
    assert server.submit("echo", {"n": 1}, dedupe_key="once") == done
    assert server.job(later)["status"] == "scheduled"
    assert server.job(dead)["last_error"] == "ValueError: attempt 1"
    assert server.stop() == 0


def test_exit_codes_say_what_is_wrong(folder: Path) -> None:
    nowhere = queuey("export", "--data-dir", str(folder / "nowhere"), "-o", str(folder / "x"))
    assert (nowhere.returncode, nowhere.stdout) == (3, "")
    assert "There is no data directory" in nowhere.stderr
    assert not (folder / "nowhere").exists()
    assert not (folder / "x").exists()
    both = queuey("export", "--data-dir", str(folder), "--redis", "redis://localhost:1", "-o", str(folder / "x"))
    assert (both.returncode, both.stderr) == (
        2,
        "queuey: --redis and --data-dir are two different stores. Pass only one of them.\n",
    )
    away = queuey("export", "--redis", "redis://127.0.0.1:1", "-o", str(folder / "x"))
    assert away.returncode == 3
    assert "cannot be reached" in away.stderr
    missing = queuey("import", str(folder / "x"), "--data-dir", str(folder / "new"))
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No such file" in missing.stderr
    newer = folder / "newer"
    newer.write_text('{"kind":"header","format":99}\n')
    refused = queuey("import", str(newer), "--data-dir", str(folder / "new"))
    assert refused.returncode == 1
    assert "has format 99" in refused.stderr
    assert not (folder / "new").exists(), "nothing was begun"


def test_a_data_dir_that_a_flag_names_wins_over_a_redis_of_the_environment(folder: Path) -> None:
    result = queuey("export", "--data-dir", str(folder / "none"), "-o", "x", QUEUEY_REDIS="redis://127.0.0.1:1")
    assert "There is no data directory" in result.stderr
