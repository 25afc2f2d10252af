"""A replica that is killed is shown as gone, while another one goes on."""

from __future__ import annotations

from tests.e2e.conftest import Serve
from tests.support.gate import Gate
from tests.support.serving import Serving, eventually, queuey


def gone(server: Serving) -> dict[str, bool]:
    return {worker["name"]: worker["gone"] for worker in server.http.get("/v1/workers").json()["workers"]}


async def test_a_replica_that_is_killed_is_gone(serve: Serve, gate: Gate) -> None:
    server = serve("--roles", "api,reaper")
    worker = serve("--roles", "worker", "--beat-interval", "200ms")
    name = worker.event("started")["replica"]
    server.submit("gate.loop", gate.path)
    await gate.visitor()
    assert gone(server) == {name: False}
    worker.kill()
    eventually(lambda: gone(server)[name])
    assert queuey("worker", "list", QUEUEY_URL=str(server.url)).stdout.splitlines()[1].split()[5:7] == ["no", "yes"]
    exported = queuey("export", "-o", str(server.data_dir / "jobs"), QUEUEY_DATA_DIR=str(server.data_dir))
    assert exported.returncode == 0
    assert name not in exported.stderr, "it uses the store no more"
    assert server.event("started")["replica"] in exported.stderr
