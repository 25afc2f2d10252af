"""Lets a control change the child processes of a replica, which are interpreters of their own."""

from __future__ import annotations

import subprocess
import sys

from queuey.worker.executors import processes


def change_children(code: str) -> None:
    """Have each child process of this replica run the code before it serves."""

    def spawn(descriptor: int) -> subprocess.Popen[bytes]:
        serve = f"from queuey.worker.executors.child import main; main({descriptor})"
        command = [sys.executable, "-c", f"{code}\n{serve}"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(descriptor,), process_group=0)

    processes._spawn = spawn
