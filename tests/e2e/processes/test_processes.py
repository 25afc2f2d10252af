"""`--processes 2`: two replicas on one port and one store, under a parent that puts another in a dead one's place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Serve
from tests.support.gate import Gate, Visitor
from tests.support.serving import PATIENCE, ROOT, Serving, environment, eventually, queuey
from tests.support.store_users import alive

TWO = ("--processes", "2", "--concurrency", "1")
QUICK_LEASES = ("--lease", "500ms", "--reap-interval", "50ms", "--reap-delay-max", "0s")
CONNECTIONS = 64
"""So many that chance leaves no replica without one."""


def pids(server: Serving) -> list[int]:
    """The replicas that it began with."""
    return list(server.event("started")["pids"])


async def one_job_each(server: Serving, gate: Gate) -> tuple[list[str], list[Visitor]]:
    """As many jobs as replicas, which have one slot each: their ids, and the visitors at the gate."""
    jobs = [server.submit("gate.loop", gate.path) for _ in range(2)]
    return jobs, [await gate.visitor() for _ in jobs]


def connections(url: str, stack: ExitStack) -> list[httpx.Client]:
    """Open connections, each of which has been answered."""
    clients = [stack.enter_context(httpx.Client(base_url=url)) for _ in range(CONNECTIONS)]
    assert {client.get("/healthz").status_code for client in clients} == {200}
    return clients


def established(pid: int, port: int) -> int:
    """How many open connections to our port that process holds."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    return sum(os.readlink(file) in ours for file in Path(f"/proc/{pid}/fd").iterdir())


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def port_of(server: Serving) -> int:
    assert server.url is not None
    return int(server.url.rpartition(":")[2])


def nothing_is_left(server: Serving, folder: Path) -> None:
    assert not any(alive(pid) for pid in [*pids(server), server.store_pid])
    assert [file.name for file in folder.rglob("*.sock")] == []


def asked_again(server: Serving) -> bool:
    """SIGTERM once more. Returns whether it has ended."""
    server.terminate()
    return server.process.poll() is not None


# --- running -----------------------------------------------------------------------------------------------------


async def test_each_replica_runs_jobs_and_the_last_line_says_that_all_are_there(serve: Serve, gate: Gate) -> None:
    server = serve(*TWO)
    one, other = pids(server)
    jobs, visitors = await one_job_each(server, gate)
    assert {visitor.pid for visitor in visitors} == {one, other}
    for visitor in visitors:
        visitor.let_go("done")
    names = {event["replica"] for event in server.events("replica_started")}
    assert {server.until(job_id)["worker"] for job_id in jobs} == names
    assert len(names) == 2
    events = [line for line in server.lines if "started" in line or "joined" in line]
    assert '"event": "started"' in events[-1]
    assert server.event("started")["processes"] == 2
    assert [len(server.events(name)) for name in ("store_started", "store_joined")] == [1, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the replicas share one socket; and /proc")
def test_each_replica_answers_http(serve: Serve) -> None:
    server = serve("--processes", "2")
    with ExitStack() as stack:
        connections(str(server.url), stack)
        for pid in pids(server):
            assert established(pid, port_of(server))


def test_each_line_of_a_replica_names_it(serve: Serve) -> None:
    server = serve("--processes", "2", "--log-level", "debug")
    for job_type in ("log", "echo.thread"):
        server.until(server.submit(job_type, "said"))
    assert server.stop() == 0
    names = {event["replica"] for event in server.events("replica_started")}
    said = server.event("said_by_handler")
    assert said["replica"] in names
    for line in server.lines:
        assert any(name in line for name in names) == ('"queuey.server.processes.supervisor"' not in line), line


def test_roles_are_those_of_each_replica(serve: Serve) -> None:
    workers = serve("--processes", "2", "--roles", "worker")
    assert workers.url is None
    api = serve("--roles", "api")
    assert api.until(api.submit("echo", 1))["worker"] in {
        event["replica"] for event in workers.events("replica_started")
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_key_reaches_the_replicas_and_no_command_line(serve: Serve) -> None:
    key = "a-secret-that-nobody-sees"
    server = serve("--processes", "2", variables={"QUEUEY_API_KEY": key}, key=key)
    assert server.until(server.submit("echo", 1))["result"] == 1
    assert httpx.get(f"{server.url}/v1/queues/metrics").status_code == 401
    for pid in pids(server):
        assert key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not any(key in line for line in server.lines)


# --- dying -------------------------------------------------------------------------------------------------------


async def test_a_killed_replica_is_replaced_and_its_job_run_again(serve: Serve, gate: Gate) -> None:
    server = serve(*TWO, *QUICK_LEASES)
    jobs, (victim, survivor) = await one_job_each(server, gate)
    os.kill(victim.pid, signal.SIGKILL)
    assert server.event("process_ended")["exit_code"] == -signal.SIGKILL
    assert server.event("process_ended")["pid"] == victim.pid
    newcomer = server.event("process_started")["pid"]
    assert newcomer not in pids(server)
    again = await gate.visitor()
    assert again.pid == newcomer  # the survivor has no slot free
    for visitor in (survivor, again):
        visitor.let_go("done")
    assert sorted(server.until(job_id)["crashes"] for job_id in jobs) == [0, 1]
    assert server.stop() == 0
    assert not alive(newcomer)


async def test_a_replica_that_cannot_start_keeps_no_connection_waiting(serve: Serve, folder: Path) -> None:
    module = folder / "brittle.py"
    module.write_text("from tests.support.jobs import app\n")
    server = serve("--processes", "2", app="brittle:app", variables={"PYTHONPATH": str(folder)})
    module.write_text("raise RuntimeError('broken since')\n")
    os.kill(pids(server)[0], signal.SIGKILL)
    assert "broken since" in server.event("process_ended", exit_code=3)["error"]
    with ExitStack() as stack:
        connections(str(server.url), stack)
    assert server.process.poll() is None
    module.write_text("from tests.support.jobs import app\n")
    newcomer = server.event("process_started")["pid"]
    with ExitStack() as stack:
        connections(str(server.url), stack)
        if sys.platform == "linux":
            assert established(newcomer, port_of(server))


def test_a_killed_store_is_started_once_and_joined_by_the_other(serve: Serve) -> None:
    server = serve("--processes", "2")
    job_id = server.until(server.submit("echo", 1))["id"]
    store = server.store_pid
    os.kill(store, signal.SIGKILL)
    eventually(lambda: len(server.events("store_started") + server.events("store_joined")) == 4)
    assert [len(server.events(name)) for name in ("store_lost", "store_started", "store_joined")] == [2, 2, 2]
    assert server.store_pid != store
    assert server.until(job_id)["result"] == 1


async def test_replicas_whose_parent_was_killed_free_the_port_finish_their_jobs_and_end(
    serve: Serve, gate: Gate
) -> None:
    server = serve(*TWO)
    jobs, visitors = await one_job_each(server, gate)
    server.process.kill()
    eventually(lambda: free(port_of(server)))
    other = serve("--concurrency", "1")
    assert other.store_pid == server.store_pid
    for visitor in visitors:
        visitor.let_go("finished")
    for job_id in jobs:
        job = other.until(job_id)
        assert (job["result"], job["crashes"]) == ("finished", 0)
        assert job["worker"] != other.event("started")["replica"]
    eventually(lambda: not any(map(alive, pids(server))))
    assert other.stop() == 0
    assert not alive(server.store_pid)


# --- stopping ----------------------------------------------------------------------------------------------------


async def test_a_signal_drains_every_replica_and_nothing_is_left(serve: Serve, gate: Gate, folder: Path) -> None:
    server = serve(*TWO)
    jobs, visitors = await one_job_each(server, gate)
    watching = serve("--roles", "api")
    server.terminate()
    eventually(lambda: len(server.events("draining", running=1)) == 2)
    for visitor in visitors:
        visitor.let_go("finished")
    assert server.wait() == 0
    assert [watching.job(job_id)["result"] for job_id in jobs] == ["finished", "finished"]
    assert watching.stop() == 0
    nothing_is_left(server, folder)
    assert '"event": "stopped"' in server.lines[-1]
    assert '"processes": 2' in server.lines[-1]


async def test_while_one_drains_it_answers_alone(serve: Serve, gate: Gate) -> None:
    server = serve(*TWO)
    server.submit("gate.loop", gate.path)
    visitor = await gate.visitor()
    server.terminate()
    idle = server.event("draining", running=0)["replica"]
    server.event("stopped", replica=idle)
    with ExitStack() as stack:
        connections(str(server.url), stack)
        visitor.let_go("finished")
        assert server.wait() == 0


async def test_ctrl_c_in_a_terminal_is_one_signal(serve: Serve, gate: Gate, folder: Path) -> None:
    server = serve(*TWO, own_group=True)
    _, visitors = await one_job_each(server, gate)
    os.killpg(server.process.pid, signal.SIGINT)
    eventually(lambda: len(server.events("draining", running=1)) == 2)
    for visitor in visitors:
        visitor.let_go("finished")
    assert server.wait() == 0
    assert not server.events("forced_exit")
    nothing_is_left(server, folder)


async def test_sigterm_to_every_process_is_one_signal_however_often(serve: Serve, gate: Gate) -> None:
    """As a service manager does it: no replica ends at once as long as the parent was told once."""
    server = serve(*TWO)
    _, visitors = await one_job_each(server, gate)
    server.terminate()
    eventually(lambda: len(server.events("draining", running=1)) == 2)
    for pid in pids(server) * 3:
        os.kill(pid, signal.SIGTERM)
    for visitor in visitors:
        visitor.let_go("finished")
    assert server.wait() == 0
    assert not server.events("forced_exit")


async def test_a_second_signal_ends_all_at_once_and_gives_the_jobs_back(serve: Serve, gate: Gate, folder: Path) -> None:
    server = serve(*TWO)
    jobs, _ = await one_job_each(server, gate)
    server.terminate()
    eventually(lambda: len(server.events("draining", running=1)) == 2)
    eventually(lambda: asked_again(server))
    assert server.wait() == 1
    assert len(server.events("forced_exit", logger="queuey.server.server")) == 2
    nothing_is_left(server, folder)
    other = serve("--roles", "api")
    assert [other.job(job_id)["status"] for job_id in jobs] == ["queued", "queued"]


def test_a_second_signal_ends_a_replica_that_no_longer_listens(serve: Serve) -> None:
    server = serve("--processes", "2")
    stopped = pids(server)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        server.terminate()
        server.event("draining")
        eventually(lambda: asked_again(server))
        assert server.wait() == 1
        assert not any(alive(pid) for pid in pids(server))
    finally:
        if alive(stopped):
            os.kill(stopped, signal.SIGKILL)


# --- not starting ------------------------------------------------------------------------------------------------


def refused(folder: Path, *flags: str) -> tuple[int, list[str]]:
    """The exit code and what is said on stderr by a server that does not start."""
    ended = queuey("serve", "--processes", "3", "--data-dir", str(folder / "data"), "--log-format", "json", *flags)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.splitlines()


def test_a_port_in_use_is_told_once_and_no_store_is_started(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, (line,) = refused(folder, "--port", str(port))
    assert code == 3
    assert line == f"queuey: Cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another --port."
    assert not (folder / "data").exists()


def test_the_port_of_several_replicas_is_in_use(serve: Serve, folder: Path) -> None:
    port = str(port_of(serve("--processes", "2")))
    code, (line,) = refused(folder / "other", "--port", port)
    assert (code, f"port {port}: Address already in use" in line) == (3, True)


def test_an_app_that_cannot_be_loaded_is_told_once(folder: Path) -> None:
    code, lines = refused(folder, "--port", "0", "--app", "no_such_module:app")
    assert code == 3
    assert [line for line in lines if "no_such_module" in line] == [lines[0]]
    assert lines[0].startswith("queuey: --app 'no_such_module:app'")


def test_a_host_that_wants_a_key_is_told_once(folder: Path) -> None:
    code, lines = refused(folder, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert sum("without an API key" in line for line in lines) == 1


def test_a_process_that_dies_before_it_has_started_ends_the_start(folder: Path) -> None:
    (folder / "deadly.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    arguments = ("serve", "--processes", "2", "--port", "0", "--app", "deadly:app")
    ended = queuey(*arguments, "--data-dir", str(folder / "data"), PYTHONPATH=str(folder))
    assert ended.returncode == 3
    assert ended.stderr == "queuey: A process of this server ended with exit code -9 before it had started.\n"


@pytest.mark.parametrize("count", ["0", "65", "auto"])
def test_a_count_that_cannot_be_is_refused(folder: Path, count: str) -> None:
    ended = queuey("serve", "--processes", count, "--data-dir", str(folder / "data"))
    assert ended.returncode == 2
    assert f"--processes: '{count}'" in ended.stderr
    assert "Allowed: 1 to 64" in ended.stderr


async def test_the_first_starts_alone_and_a_signal_during_the_start_ends_all(folder: Path, gate: Gate) -> None:
    """While the second replica imports an App that takes its time."""
    lines = (
        "from tests.support.handlers import wait_at",
        "from tests.support.jobs import app",
        f"wait_at({gate.path!r})",
    )
    (folder / "gated.py").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuey", "serve", "--processes", "2", "--port", "0", "--app", "gated:app"),
        *("--data-dir", str(folder / "data")),
        cwd=ROOT,
        env=environment(PYTHONPATH=str(folder)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        first = await gate.visitor()
        if (children := Path(f"/proc/{process.pid}/task/{process.pid}/children")).exists():
            assert children.read_text().split() == [str(first.pid)]  # the first starts alone
        first.let_go("")
        second = await gate.visitor()
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert not alive(second.pid)
    assert b'"store_stopped"' in log
    assert b"Traceback" not in log


async def test_a_replica_that_died_before_does_not_spoil_the_exit_code(serve: Serve, folder: Path) -> None:
    module = folder / "brittle.py"
    module.write_text("from tests.support.jobs import app\n")
    server = serve("--processes", "2", app="brittle:app", variables={"PYTHONPATH": str(folder)})
    module.write_text("raise RuntimeError('broken since')\n")
    os.kill(pids(server)[0], signal.SIGKILL)
    server.event("process_ended", exit_code=3)
    assert server.stop() == 0


async def test_a_replica_that_is_killed_while_it_drains_is_a_failure(serve: Serve, gate: Gate) -> None:
    server = serve(*TWO)
    _, visitors = await one_job_each(server, gate)
    server.terminate()
    eventually(lambda: len(server.events("draining", running=1)) == 2)
    os.kill(visitors[0].pid, signal.SIGKILL)
    visitors[1].let_go("")
    assert server.wait() == 1
