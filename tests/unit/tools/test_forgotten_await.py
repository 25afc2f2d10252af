"""mypy reports an enqueue whose `await` was forgotten, without any flag."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import ROOT

PROGRAM = """\
from queuey import App, Client, Context, SyncClient

app = App()


@app.job("ship")
async def ship(number: int) -> None: ...


@app.job("order")
async def order(number: int, ctx: Context) -> None:
    reply = await ship.enqueue(number)
    print(reply.job_id)
    ship.enqueue(number)  # forgotten
    ship.enqueue(number, delay=60)  # forgotten


@app.job("plain")
def plain(number: int) -> None:
    ship.enqueue(number)  # forgotten
    with SyncClient() as client:
        ship.enqueue(number, client=client)
        client.enqueue("ship", number)


async def elsewhere(client: Client) -> None:
    await ship.enqueue(1, client=client)
    await client.enqueue("ship", 1)
    ship.enqueue(1, client=client)  # forgotten
    client.enqueue("ship", 1)  # forgotten
    client.send(ship.request(1))  # forgotten
    client.enqueue_many([ship.request(1)])  # forgotten
    client.cancel("id")  # forgotten
"""


@pytest.mark.timeout(240)
def test_each_forgotten_await_is_an_error(tmp_path: Path) -> None:
    Path(tmp_path, "shop.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--no-incremental", "shop.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stderr == ""
    errors = re.findall(r"^shop\.py:(\d+): error: .*\[unused-coroutine\]$", done.stdout, re.MULTILINE)
    forgotten = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# forgotten")]
    assert [int(number) for number in errors] == forgotten, done.stdout
    assert f"Found {len(forgotten)} errors in 1 file" in done.stdout, "and nothing else is one"
