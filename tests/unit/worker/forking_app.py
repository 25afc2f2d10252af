"""An App whose handlers fork and let the copy go on, or write to the socket of the child process that runs them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from typing import Any

from queuey import App
from queuey.worker.executors.child import pack
from queuey.worker.handlers.attempt import Succeeded

PATH = f"{__name__}:app"

app = App()


def fork(how: str) -> int:
    """Fork. The copy goes on, or raises; the original returns the exit code of the copy."""
    pid = os.fork()
    if pid == 0 and how == "raises":
        os.execvp("no-such-tool", ["no-such-tool"])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else -1


@app.job("fork.process", run_in="process")
def fork_in_process(how: str) -> int:
    return fork(how)


@app.job("fork.thread")
def fork_in_thread(how: str) -> int:
    return fork(how)


@app.job("fork.async")
async def fork_in_loop(how: str) -> int:
    code = fork(how)
    await asyncio.sleep(0)  # where a copy would go on with the loop of the server
    return code


@app.job("fork.late")
async def fork_after_waiting(how: str) -> int:
    await asyncio.sleep(0)
    return await fork_in_loop(how)


@app.job("daemon")
def leave_a_copy(_: None) -> int:
    """Leave a copy that goes on for as long as it likes. Returns its process id."""
    pid = os.fork()
    if pid == 0:
        os.closerange(1, 3)  # or the log of the server would not end
    while pid == 0:
        signal.pause()
    return pid


@app.job("forge", run_in="process")
def forge(number: int) -> str:
    """Send two answers with that number, before the answer of this handler."""
    for descriptor in range(3, 64):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        except OSError:
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(descriptor)) as one:
                if one.family == socket.AF_UNIX:
                    one.sendall(2 * pack(Succeeded('"forged"'), number))
    return "mine"


@app.job("echo", run_in="process")
def echo(payload: Any) -> Any:
    return payload
