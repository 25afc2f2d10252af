"""`make binary-test`: use dist/queuey in a root file system without Python, as its users do.

    python -m scripts.binary.try_it dist/queuey     as root, since it makes mounts and uses chroot

It needs busybox and curl, and the packages of requirements/binary-build.txt. It leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from scripts.binary import places
from scripts.binary.bare_root import BareRoot, mount
from scripts.binary.serving import KEY, PATIENCE, say, serving, until

ROOM: Final = "2g"
APP: Final = """
import asyncio, os, sys, threading
import helper
from queuey import App
app = App()

@app.job("where", run_in="process")
def where(payload):
    return {"pid": os.getpid(), "python": sys.executable, "helped": helper.helped()}

@app.job("thread")
def thread(payload):
    return threading.current_thread().name

@app.job("patient")
async def patient(payload):
    while not os.path.exists("/app/go"):
        await asyncio.sleep(0.05)
    return "done"
"""


def session(root: BareRoot) -> None:
    with serving(root) as server:
        steps = [sys.executable, "-m", "scripts.readme_session", server.url]
        subprocess.run(steps, check=True)
    say("SIGTERM ends it with exit code 0")


def killed(root: BareRoot) -> None:
    with serving(root) as server:
        jobs = [{"type": "text.reverse", "payload": {"text": "abc"}, "delay": 1 + n} for n in range(3)]
        ids = [server.ask("/v1/jobs", job)["job_id"] for job in jobs]
        server.kill()
    with serving(root) as server:
        for job in ids:
            until(lambda job=job: server.status(job) == "succeeded", f"job {job}")  # type: ignore[misc]
    say("kill -9 and start again: acknowledged jobs run")


def drained(root: BareRoot) -> None:
    with serving(root, "--app", "hello:app") as server:
        job = server.ask("/v1/jobs", {"type": "patient", "payload": {}})["job_id"]
        until(lambda: server.status(job) == "running", "the job runs")
        server.process.send_signal(signal.SIGTERM)
        (root.folder / "app" / "go").touch()
        assert server.process.wait(PATIENCE) == 0
    with serving(root, "--app", "hello:app") as server:
        assert server.status(job) == "succeeded"
        assert server.ask(f"/v1/jobs/{job}")["attempt"] == 1
    say("a drain finishes the job that runs")


def several(root: BareRoot) -> None:
    """`--processes 2`, child processes, a killed store, and a new file under the running server."""
    binary = root.folder / "queuey"
    with serving(root, "--app", "hello:app", "--processes", "2") as server:
        assert server.result("thread")
        other = binary.with_name("new")
        other.write_text("#!/bin/sh\nexit 9\n")
        kept = binary.rename(binary.with_name("kept"))
        other.rename(binary)
        answer = server.result("where")
        assert answer["pid"] != server.pid, answer
        assert answer["helped"], answer
        kept.replace(binary)
    say(f"--processes 2, a thread, a child process ({answer['python']}), under a file that was replaced")
    with serving(root) as server:
        os.kill(server.events()["store_started"]["pid"], signal.SIGKILL)
        assert server.result("text.reverse", payload={"text": "abc"}) == "cba"
    say("the store is killed, and started again")


def commands(root: BareRoot) -> None:
    """Every command of the help runs. Those that need a server have one."""
    with serving(root) as server:
        variables = {"QUEUEY_URL": server.url, "QUEUEY_API_KEY": KEY}
        lines = (
            "--version",
            "key new",
            "completion bash",
            "queue list",
            "worker list",
            "dlq list",
            "top --once",
            'job enqueue text.reverse {"text":"abc"} --wait 30',
            "job list",
            "schedule preview --cron @daily --timezone Europe/Berlin",
            "doctor --data-dir /data/other",
        )
        for line in lines:
            done = root.run("/queuey", *line.split(" "), variables=variables)
            assert done.returncode == 0, f"{line}: {done.returncode} {done.stdout} {done.stderr}"
    done = root.run("/queuey", "export", "--output", "/data/all.jsonl", "--data-dir", "/data/serve")
    assert done.returncode == 0, done.stderr
    done = root.run("/queuey", "init", "/data/project")
    assert done.returncode == 0, done.stderr
    for name in offered(root):
        done = root.run("/queuey", name, "--help")
        assert done.returncode == 0, f"{name}: {done.stderr}"
    say(
        f"commands: {', '.join(line.split(' --')[0] for line in lines if line[0] != '-')}, export, init; --help of each"
    )
    with serving(root) as server:
        flags = ("--app", "hello:app", "--url", server.url)
        log = root.folder / "tmp" / "work.log"
        with log.open("w") as output:
            worker = root.start("/queuey", "work", *flags, variables={"QUEUEY_API_KEY": KEY}, stderr=output)
        until(lambda: "started" in log.read_text() or worker.poll() is not None, "queuey work starts")
        assert worker.poll() is None, log.read_text()
        result = server.result("thread")
        worker.terminate()
        assert worker.wait(PATIENCE) == 0, log.read_text()
        assert result
    say("queuey work")


def offered(root: BareRoot) -> list[str]:
    """Return the commands of the help."""
    text = root.run("/queuey", "--help").stdout
    return [line.split()[1] for line in text.splitlines() if line.startswith("│ ") and line[2].isalpha()]


def develop(root: BareRoot) -> None:
    with serving(root, "--app", "hello:app", command="dev") as server:
        assert server.result("thread")
    say("queuey dev")


def main() -> None:
    """Use the file named on the command line, in namespaces of its own: no mount and no process outlives this one."""
    if os.geteuid() != 0:
        sys.exit("This makes mounts and uses chroot: run it as root.")
    if len(sys.argv) == 3:
        return run_steps(Path(sys.argv[1]), Path(sys.argv[2]))
    # The shell is the init of the processes: it waits for those whose parent was killed.
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '"$@"; exit', "sh")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="queuey-root-") as scratch:
        steps = (sys.executable, "-m", "scripts.binary.try_it", sys.argv[1], scratch)
        code = subprocess.run([*alone, *steps], check=False).returncode
    sys.exit(code)


def run_steps(file: Path, scratch: Path) -> None:
    """Use the file in a root file system in the folder."""
    began = time.monotonic()
    mount("-t", "tmpfs", "-o", f"mode=755,size={ROOM}", "none", str(scratch))  # it goes with the namespace
    root = BareRoot(scratch / "root")
    shutil.copy2(file, root.folder / "queuey")
    (root.folder / "app" / "hello.py").write_text(APP)
    (root.folder / "app" / "helper.py").write_text("def helped():\n    return True\n")
    steps = (session, killed, drained, several, commands, develop, places.versions, places.strange, places.interrupted)
    with root.mounted():
        for step in (*steps, places.unpacking):
            step(root)
    print(f"All passed in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
