"""examples/outbox: a job for each committed transaction, whatever fails in between."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from examples.outbox.__main__ import open_shop, order
from examples.outbox.outbox import Relay, add, new_id
from queuey.api.http.problems import TYPE_PREFIX
from queuey.errors import UpgradeInProgress
from queuey.protocol.ids import is_id
from tests.e2e.conftest import Serve
from tests.support.serving import PATIENCE, ROOT, Serving, environment

DOCUMENT = ROOT / "docs" / "outbox.md"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    database = open_shop(str(tmp_path / "shop.sqlite3"))
    yield database
    database.close()


def rows(shop: sqlite3.Connection, table: str) -> int:
    return int(shop.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_its_ids_are_those_of_jobs() -> None:
    made = {new_id() for _ in range(200)}
    assert len(made) == 200
    assert all(map(is_id, made))
    assert len({job_id[:2] for job_id in made}) > 100, "they spread over the shards"


def test_a_job_for_each_committed_order_alone(shop: sqlite3.Connection, serve: Serve) -> None:
    server = serve(app=None)
    job_id = order(shop, "Ada")
    with pytest.raises(ValueError, match="did not pay"):
        order(shop, "Bob", paid=False)
    assert (rows(shop, "orders"), rows(shop, "outbox")) == (1, 1)
    relay = Relay(shop, server.url)
    assert relay.run_once() == (1, 0, 0)
    assert relay.run_once() == (0, 0, 0)
    assert server.until(job_id)["result"] == "!adA ,uoy knahT"
    assert rows(shop, "outbox") == 0


class Dying(Relay):
    """Is killed once the server has taken the jobs, before it could note that."""

    def _note(self, positions: Sequence[int], results: Sequence[dict[str, Any]]) -> Any:
        raise SystemExit("killed")


def test_a_relay_that_dies_in_between_makes_no_second_job(shop: sqlite3.Connection, serve: Serve) -> None:
    server = serve(app=None)
    ids = [order(shop, buyer) for buyer in ("Ada", "Bob")]
    with pytest.raises(SystemExit):
        Dying(shop, server.url).run_once()
    assert rows(shop, "outbox") == 2
    for job_id in ids:
        assert server.until(job_id)["status"] == "succeeded"
    assert Relay(shop, server.url).run_once() == (2, 0, 0)
    (queue,) = server.http.get("/v1/queues/metrics").json()["queues"]
    assert (queue["finished"], queue["default"], queue["running"]) == (2, 0, 0)


def test_what_the_server_never_takes_holds_up_nothing(shop: sqlite3.Connection, server: Serving) -> None:
    with shop:
        add(shop, "no such type!", None)
    job_id = order(shop, "Ada")
    assert Relay(shop, server.url).run_once() == (1, 1, 0)
    assert Relay(shop, server.url).run_once() == (0, 0, 0)
    (reason,) = shop.execute("SELECT refused FROM outbox").fetchone()
    assert "type" in reason
    assert server.job(job_id)["id"] == job_id


def test_neither_does_one_that_is_too_large(shop: sqlite3.Connection, server: Serving) -> None:
    ids = [order(shop, "Ada")]
    with shop:
        add(shop, "text.reverse", {"text": "x" * 2_000_000})
        ids += [add(shop, "text.reverse", {"text": "y" * 200_000}) for _ in range(6)]
        shop.execute("INSERT INTO outbox (job) VALUES ('no JSON')")
    ids.append(order(shop, "Bob"))
    sent = [Relay(shop, server.url).run_once() for _ in range(5)]
    assert [sum(counts) for counts in zip(*sent, strict=True)] == [8, 2, 0]
    assert sent[-1] == (0, 0, 0)
    assert [server.job(job_id)["id"] for job_id in ids] == ids


def test_a_row_that_an_upgrade_holds_up_is_sent_later(shop: sqlite3.Connection, server: Serving) -> None:
    """A unique job, for example, is not refused for ever: older replicas run beside the new ones."""
    job_id = order(shop, "Ada")
    relay = Relay(shop, server.url)
    problem = {
        "type": f"{TYPE_PREFIX}{UpgradeInProgress.code}",
        "status": 409,
        "detail": "Send the request again after the upgrade.",
    }
    (position,) = shop.execute("SELECT position FROM outbox").fetchone()
    assert relay._note([position], [{"error": problem}]) == (0, 0, 1)
    assert relay.run_once() == (1, 0, 0)
    assert server.job(job_id)["id"] == job_id


def test_without_a_key_that_counts_nothing_is_given_up(shop: sqlite3.Connection, serve: Serve) -> None:
    server = serve(app=None, variables={"QUEUEY_API_KEY": "secret"})
    order(shop, "Ada")
    with pytest.raises(OSError, match="401"):
        Relay(shop, server.url, "wrong").run_once()
    assert Relay(shop, server.url, "secret").run_once() == (1, 0, 0)


def test_while_the_server_is_away_rows_wait(shop: sqlite3.Connection, tmp_path: Path, serve: Serve) -> None:
    server = serve(app=None)
    url = server.url
    assert server.stop() == 0
    job_id = order(shop, "Ada")
    with pytest.raises(OSError, match="refused"):
        Relay(shop, url).run_once()
    assert rows(shop, "outbox") == 1
    shop.commit()
    again = serve(app=None)
    assert Relay(shop, again.url).run_once() == (1, 0, 0)
    assert again.until(job_id)["status"] == "succeeded"


def test_it_runs_as_a_program(tmp_path: Path, serve: Serve) -> None:
    server = serve(app=None)
    command = [sys.executable, "-m", "examples.outbox", "--once", "--url", server.url]
    command += ["--database", str(tmp_path / "shop.sqlite3"), "--order", "Ada", "--order", "Bob"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    ids = re.findall(r"confirmed by job (\w+)", ran.stdout)
    assert ran.stdout.endswith("2 sent, 0 refused, 0 left for later\n")
    assert [server.until(job_id)["status"] for job_id in ids] == ["succeeded"] * 2


def test_the_sql_of_the_page_works(serve: Serve) -> None:
    """The page's statements for SQLite, in their order, on an empty database."""
    (block,) = re.findall(r"^```sql sqlite\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    database = sqlite3.connect(":memory:")
    database.executescript(block)
    assert database.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    assert database.execute("SELECT count(*) FROM outbox").fetchone() == (1,)
    database.close()
