"""The child process of an executor, at the end of its parent."""

from __future__ import annotations

import socket
import subprocess
import sys

from queuey.worker.executors.child import Init, pack


def test_a_child_whose_parent_is_gone_ends_without_a_word() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_RD)  # what the child sends now finds nobody, as when the parent was killed
        ours.sendall(pack(Init("queuey.worker.handlers.builtin:app", sys.path, 1000, "info", "json", False), 0))
        code = f"from queuey.worker.executors.child import main; main({theirs.fileno()})"
        child = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
