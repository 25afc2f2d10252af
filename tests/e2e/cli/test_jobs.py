"""`queuey job` against a real server: its output, its effects and its exit codes."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from queuey.cli import exits
from queuey.cli.commands.jobs.bulk import AT_ONCE
from queuey.client import Client, ClientError
from queuey.protocol.ids import new_id
from tests.e2e.conftest import Serve
from tests.support.command import Run
from tests.support.serving import PATIENCE, ROOT, Serving, environment, eventually

CLOSED = "http://127.0.0.1:1"
"""An address on which no server listens."""


def test_enqueue_shows_the_id(run: Run, server: Serving) -> None:
    ran = run("job", "enqueue", "echo", '{"n": 12345678901234567890}', "--queue", "default", "-o", "json")
    assert (ran.code, ran.err) == (exits.OK, "")
    job = server.until(ran.data["job_id"])
    assert (job["status"], job["result"]) == ("succeeded", {"n": 12345678901234567890})
    assert ran.data["deduplicated"] is False


def test_enqueue_passes_its_flags_on(run: Run, server: Serving) -> None:
    job_id = new_id("cli:1")
    flags = ["--queue", "cli-idle", "--priority", "high", "--dedupe-key", "cli:1", "--delay", "1h", "--id", job_id]
    ran = run(
        "job",
        "enqueue",
        "echo",
        *flags,
        "--max-attempts",
        "7",
        "--timeout",
        "1m",
        "--dedupe-ttl",
        "1h",
        "--retention",
        "2h",
        "-o",
        "jsonl",
    )
    assert ran.lines == [{"job_id": job_id, "deduplicated": False}]
    job = server.job(job_id)
    assert (job["queue"], job["priority"], job["dedupe_key"]) == ("cli-idle", "high", "cli:1")
    assert (job["status"], job["max_attempts"], job["timeout"], job["payload"]) == ("scheduled", 7, 60.0, None)
    again = run("job", "enqueue", "echo", "--queue", "cli-idle", "--dedupe-key", "cli:1")
    assert again.out.split() == ["job_id", job_id, "deduplicated", "yes"]


def test_enqueue_takes_a_time(run: Run, server: Serving) -> None:
    ran = run("job", "enqueue", "echo", "--run-at", "2027-01-31T12:00:00Z", "-o", "json")
    assert server.job(ran.data["job_id"])["run_at"] == "2027-01-31T12:00:00Z"


def test_enqueue_reads_a_payload_from_stdin(run: Run, server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'["from stdin"]')))
    ran = run("job", "enqueue", "echo", "-", "-o", "json")
    assert server.job(ran.data["job_id"])["payload"] == ["from stdin"]


@pytest.mark.parametrize(
    ("job", "code", "status"),
    [
        (("sum", '{"a": 1, "b": 2}'), exits.OK, "succeeded"),
        (("dead", '"broken"'), exits.FAILED, "dead_letter"),
        (("echo", "--delay", "1h"), exits.TIMED_OUT, "scheduled"),
    ],
)
def test_enqueue_waits_for_the_end(run: Run, job: tuple[str, ...], code: int, status: str) -> None:
    wait = "0s" if status == "scheduled" else "20s"
    ran = run("job", "enqueue", *job, "--wait", wait, "-o", "json")
    assert (ran.code, ran.data["status"]) == (code, status)
    if status == "succeeded":
        assert ran.data["result"] == 3


def test_a_wait_that_runs_out_explains_why(run: Run, server: Serving) -> None:
    ran = run("job", "enqueue", "echo", "--queue", "cli-idle", "--wait", "0s", "-o", "json")
    assert (ran.code, ran.data["status"]) == (exits.TIMED_OUT, "queued")
    explained = run("job", "explain", ran.data["id"], "-o", "json").data
    assert json.loads(ran.err) == explained
    assert explained["detail"] == "No worker serves the queue cli-idle."
    ran = run("job", "enqueue", "echo", "--queue", "cli-idle", "--wait", "0s")
    assert ran.code == exits.TIMED_OUT
    assert "detail    No worker serves the queue cli-idle." in ran.err.splitlines()
    assert "No worker" not in ran.out


def test_a_wait_that_runs_out_is_a_timeout_also_if_it_cannot_be_explained(
    run: Run, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(client: Client, job_id: str) -> None:
        raise ClientError("no such route")

    monkeypatch.setattr(Client, "explain", refused)
    ran = run("job", "enqueue", "echo", "--queue", "cli-idle", "--wait", "0s", "-o", "json")
    assert (ran.code, ran.data["status"]) == (exits.TIMED_OUT, "queued")
    assert ran.err == f"queuey: {ran.data['id']}: no such route\n"


def test_a_type_that_no_worker_knows_is_warned_of(run: Run, server: Serving, folder: Path) -> None:
    warning = (
        "No live worker knows the type ehco, so the job went to the queue default. Check the type, or name its queue."
    )
    ran = run("job", "enqueue", "ehco", "-o", "json")
    assert (ran.code, ran.data["warnings"]) == (exits.OK, [warning])
    assert ran.err == f"queuey: warning: {warning}\n"
    file = folder / "jobs.ndjson"
    file.write_text('{"type":"echo"}\n{"type":"ehco"}\n{"type":"ehco"}\n')
    ran = run("job", "enqueue-many", str(file))
    assert ran.code == exits.OK
    assert ran.err == f"queuey: line 2: warning: {warning}\n"
    ran = run("job", "enqueue-many", str(file), "-o", "jsonl")
    assert ["warnings" in line for line in ran.lines] == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["echo", "{oops"], exits.USAGE, "The payload '{oops' is not JSON"),
        (["echo", "--delay", "soon"], exits.USAGE, "is not a duration such as"),
        (["echo", "--run-at", "2030-01-01T00:00:00"], exits.USAGE, "--run-at: has no time zone"),
        (["echo", "--max-attempts", "0"], exits.USAGE, "--max-attempts"),
        (["no such type"], exits.USAGE, "type"),
        (["echo", "--url", "nonsense"], exits.USAGE, "--url: must be http"),
        (["echo", "--url", CLOSED], exits.UNREACHABLE, CLOSED),
        ([], exits.USAGE, "TYPE"),
    ],
)
def test_enqueue_refuses(run: Run, arguments: list[str], code: int, says: str) -> None:
    ran = run("job", "enqueue", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_get_shows_a_job(run: Run, server: Serving) -> None:
    job_id = server.submit("dead", "a reason")
    server.until(job_id)
    shown = dict(line.split(maxsplit=1) for line in run("job", "get", job_id).out.splitlines())
    assert (shown["id"], shown["status"], shown["payload"]) == (job_id, "dead_letter", '"a reason"')
    assert "a reason" in shown["errors"]
    assert "result" not in shown
    assert run("job", "get", job_id, "-o", "json").data == server.job(job_id)


def test_list_filters_and_bounds(run: Run, server: Serving) -> None:
    ids = {server.submit("echo", queue="cli-list", delay=3600) for _ in range(3)}
    server.submit("sum", queue="cli-list", delay=3600)
    ran = run("job", "list", "--queue", "cli-list", "--status", "scheduled", "--type", "echo", "-o", "json")
    assert {job["id"] for job in ran.data} == ids
    assert len(run("job", "list", "--queue", "cli-list", "--limit", "2", "-o", "jsonl").lines) == 2
    table = run("job", "list", "--queue", "cli-list").out.splitlines()
    assert table[0].split()[:4] == ["ID", "TYPE", "QUEUE", "STATUS"]
    assert len(table) == 5
    assert run("job", "list", "--queue", "cli-nothing", "-o", "json").data == []


def test_wait_for_several(run: Run, server: Serving) -> None:
    ids = [server.submit("echo", n) for n in range(3)]
    ran = run("job", "wait", *ids, "--timeout", "20s", "-o", "json")
    assert (ran.code, [job["result"] for job in ran.data]) == (exits.OK, [0, 1, 2])
    failed = run("job", "wait", ids[0], server.submit("dead", "x"), "--timeout", "20s", "-o", "json")
    assert (failed.code, [job["status"] for job in failed.data]) == (exits.FAILED, ["succeeded", "dead_letter"])
    late = run("job", "wait", ids[0], server.submit("echo", delay=3600), "--timeout", "0", "-o", "json")
    assert (late.code, [job["status"] for job in late.data]) == (exits.TIMED_OUT, ["succeeded", "scheduled"])


def test_wait_shows_what_there_is(run: Run, server: Serving) -> None:
    known, unknown = server.submit("echo", 1), new_id()
    ran = run("job", "wait", known, unknown, "--timeout", "20s", "-o", "json")
    assert (ran.code, [(job["id"], job["result"]) for job in ran.data]) == (exits.NOT_FOUND, [(known, 1)])
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()] == [unknown]
    nothing = run("job", "wait", unknown)
    assert (nothing.code, nothing.out) == (exits.NOT_FOUND, "")


def test_wait_reports_a_lost_server_once(run: Run) -> None:
    ids = [new_id() for _ in range(3)]
    ran = run("job", "wait", *ids, "--url", CLOSED)
    assert (ran.code, ran.out) == (exits.UNREACHABLE, "")
    first, rest = ran.err.splitlines()
    assert ids[0] in first
    assert "2 more could not be waited for" in rest


def test_cancel_goes_on_after_one_that_cannot_be(run: Run, server: Serving) -> None:
    waiting = [server.submit("echo", delay=3600) for _ in range(2)]
    ended = server.submit("echo")
    server.until(ended)
    ran = run("job", "cancel", waiting[0], ended, new_id(), waiting[1], "-o", "jsonl")
    assert ran.code == exits.WRONG_STATE
    assert [line["job_id"] for line in ran.lines] == waiting
    assert [server.job(job_id)["status"] for job_id in waiting] == ["cancelled", "cancelled"]
    assert [line.split(":")[1].strip() == ended for line in ran.err.splitlines()] == [True, False]


def test_a_lost_server_ends_it(run: Run, server: Serving) -> None:
    ran = run("job", "cancel", new_id(), new_id(), new_id(), "--url", CLOSED)
    assert (ran.code, ran.out) == (exits.UNREACHABLE, "")
    assert "2 more were not tried" in ran.err


def test_explain(run: Run, server: Serving) -> None:
    later = server.submit("echo", delay=3600)
    ran = run("job", "explain", later)
    shown = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert (ran.code, shown["job_id"], shown["reason"]) == (exits.OK, later, "due_later")
    assert shown["due_at"].endswith("Z")
    waiting = server.submit("echo", queue="cli-unserved")
    explained = run("job", "explain", waiting, "-o", "json").data
    assert (explained["status"], explained["reason"]) == ("queued", "no_worker")
    assert run("job", "explain", new_id()).code == exits.NOT_FOUND


def test_retry(run: Run, server: Serving) -> None:
    dead = server.submit("dead", "x")
    server.until(dead)
    assert run("job", "retry", dead, "-o", "json").data == [{"job_id": dead, "status": "queued"}]
    done = server.submit("echo")
    server.until(done)
    ran = run("job", "retry", done)
    assert (ran.code, ran.out) == (exits.WRONG_STATE, "")
    assert done in ran.err


def test_delete(run: Run, server: Serving) -> None:
    job_id = server.submit("echo")
    server.until(job_id)
    assert run("job", "delete", job_id) == (exits.OK, "", "")
    gone = run("job", "get", job_id)
    assert (gone.code, gone.out) == (exits.NOT_FOUND, "")
    assert job_id in gone.err


def test_what_needs_a_key_says_so(run: Run, server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = server.submit("echo")
    server.until(job_id)
    monkeypatch.delenv("QUEUEY_API_KEY")
    ran = run("job", "delete", job_id)
    assert (ran.code, ran.out) == (exits.REFUSED, "")
    assert "QUEUEY_API_KEY" in ran.err
    monkeypatch.setenv("QUEUEY_API_KEY", "wrong-secret")
    wrong = run("job", "get", job_id)
    assert wrong.code == exits.REFUSED
    assert "wrong-secret" not in wrong.err


NDJSON = """\
{"type": "sum", "payload": {"a": 1, "b": 1}, "dedupe_key": "bulk:1"}
{"type": "sum", "payload": {"a": 1, "b": 2}, "dedupe_key": "bulk:1"}

{"type": "sum", "prio": "high"}
{"type": "sum"
{"type": "sum", "payload": {"a": 1, "b": 3}}
"""


def test_enqueue_many_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text(NDJSON)
    ran = run("job", "enqueue-many", str(file), "-o", "json")
    assert (ran.code, ran.data) == (exits.FAILED, {"enqueued": 2, "deduplicated": 1, "refused": 2})
    faults = ran.err.splitlines()
    assert len(faults) == 2
    assert "line 4: Unknown field 'prio'" in faults[0]
    assert "line 5: It is not JSON" in faults[1]


def test_enqueue_many_reports_the_outcome_of_each_line(
    run: Run, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NDJSON.encode())))
    ran = run("job", "enqueue-many", "-o", "jsonl")
    assert [line["line"] for line in ran.lines] == [1, 2, 4, 5, 6]
    assert [("job_id" in line, "error" in line) for line in ran.lines] == [
        (True, False),
        (True, False),
        (False, True),
        (False, True),
        (True, False),
    ]
    assert server.until(ran.lines[4]["job_id"])["result"] == 4


def test_enqueue_many_sends_more_than_a_call_takes(run: Run, server: Serving, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text('{"type": "echo", "queue": "cli-many"}\n' * 1234)
    ran = run("job", "enqueue-many", str(file))
    assert (ran.code, ran.err) == (exits.OK, "")
    assert ran.out.split() == ["enqueued", "1234", "deduplicated", "0", "refused", "0"]
    assert len(run("job", "list", "--queue", "cli-many", "--limit", "5000", "-o", "jsonl").lines) == 1234


def test_enqueue_many_refuses_a_line_without_end(run: Run, server: Serving, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text('{"type": "echo"}\n{"type": "' + "x" * 4_500_000 + '"}\n{"type": "echo", "payload": 3}\n')
    ran = run("job", "enqueue-many", str(file), "-o", "jsonl")
    assert ran.code == exits.FAILED
    assert [line.get("error") for line in ran.lines] == [None, "It is longer than 900,000 bytes.", None]
    assert server.job(ran.lines[2]["job_id"])["payload"] == 3


def test_enqueue_many_keeps_a_bad_line_from_the_rest(run: Run, server: Serving, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    good = b'{"type": "echo", "payload": 7}\n'
    nested = b'{"type": "echo", "payload": ' + b"[" * 500 + b"]" * 500 + b"}\n"
    large = b'{"type": "echo", "payload": "' + b"x" * 1_200_000 + b'"}\n'
    file.write_bytes(good + b'{"type": "echo", "payload": "\xff"}\n' + nested + large + good)
    ran = run("job", "enqueue-many", str(file), "-o", "jsonl")
    assert ran.code == exits.FAILED
    assert [line.get("error") for line in ran.lines] == [
        None,
        "It is not UTF-8: byte 29 does not begin a character.",
        "It is nested too deep: 400 levels are allowed.",
        "It is longer than 900,000 bytes.",
        None,
    ]
    assert [server.job(line["job_id"])["payload"] for line in ran.lines if "job_id" in line] == [7, 7]


def test_enqueue_many_says_how_far_it_came_before_it_was_refused(
    run: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = serve("--body-limit", "100kB", "--payload-limit", "100kB", key="dev")
    monkeypatch.setenv("QUEUEY_URL", small.url)
    file = tmp_path / "jobs.ndjson"
    wide = '{"type": "echo", "payload": "' + "x" * 120_000 + '"}\n'
    file.write_text('{"type": "echo"}\n' * AT_ONCE + wide + '{"type": "echo"}\n')
    ran = run("job", "enqueue-many", str(file), "-o", "json")
    assert (ran.code, ran.data) == (exits.USAGE, {"enqueued": AT_ONCE, "deduplicated": 0, "refused": 0})
    assert f"the first {AT_ONCE} lines were sent; the next 2 may have been" in ran.err


def test_enqueue_many_says_how_far_it_came(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text('{"type": "echo"}\n' * 3)
    ran = run("job", "enqueue-many", str(file), "--url", CLOSED)
    assert (ran.code, ran.out) == (exits.UNREACHABLE, "")
    assert "the first 0 lines were sent; the next 3 may have been" in ran.err
    missing = run("job", "enqueue-many", str(tmp_path / "none"))
    assert (missing.code, missing.out) == (exits.USAGE, "")
    assert "No such file" in missing.err


def test_an_interrupt_ends_a_read_that_blocks(run: Run, server: Serving) -> None:
    command = [sys.executable, "-m", "queuey", "job", "enqueue-many"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(QUEUEY_URL=server.url), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b'{"type": "echo", "queue": "cli-interrupt"}\n' * AT_ONCE)
    process.stdin.flush()  # and it stays open, so that more is waited for
    eventually(lambda: bool(run("job", "list", "--queue", "cli-interrupt", "-o", "jsonl").lines))
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        out, err = process.communicate()
    assert (code, out, err) == (exits.INTERRUPTED, b"", b"")


def test_a_reader_that_leaves_early_is_no_error(server: Serving) -> None:
    for _ in range(300):
        server.submit("echo", "x" * 1000, queue="cli-pipe", delay=3600)
    command = f"{sys.executable} -m queuey job list --queue cli-pipe --limit 1000 -o jsonl | head -n 1 | wc -l"
    ran = subprocess.run(
        ["bash", "-c", f'{command}; echo "${{PIPESTATUS[0]}}"'],
        cwd=ROOT,
        env=environment(QUEUEY_URL=server.url),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.split()[0] == "1"


def test_the_error_of_a_job_that_succeeded_says_of_which_attempt_it_is(run: Run, server: Serving) -> None:
    job_id = server.submit("fail", 1, max_attempts=3)
    assert server.until(job_id)["attempt"] == 2
    rows = run("job", "get", job_id).out.splitlines()
    assert "last_error          attempt 1: ValueError: attempt 1" in rows
    names = [row.split()[0] for row in rows]
    assert names.index("attempt") == names.index("attempts") - 1
    assert run("job", "get", job_id, "-o", "json").data["last_error"] == "ValueError: attempt 1"
