"""`queuey top`: queues and workers, live."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Struct

from queuey.cli.commands import queues, workers
from queuey.cli.exits import OK
from queuey.cli.options import DEFAULT_SERVER, Output, Server, duration, switch
from queuey.cli.output import console, table, write
from queuey.client import Client, ClientError, NotFound
from queuey.protocol.allowed import counted
from queuey.protocol.models import Queue, WorkerInfo

MOST_QUEUES: Final = 40
MOST_WORKERS: Final = 40
LEAST_PAUSE: Final = 0.2
KEYS: Final = 64
"""The most bytes of input that are read at once."""


class Frame(Struct):
    """The queues and workers at one moment."""

    at: datetime
    queues: list[Queue]
    workers: list[WorkerInfo]


async def top(
    *,
    every: Annotated[float, duration("Interval between updates, at least 200ms.", 1.0)] = 1.0,
    once: Annotated[bool, switch("Print once and exit.")] = False,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Show queues and workers. The help of this command is in `app`."""
    endless = not once and (output == "jsonl" or (output == "table" and sys.stdout.isatty()))
    async with server.client() as client:
        if not endless:
            _print(await _frame(client), output)
            return OK
        try:
            await _watch(client, max(every, LEAST_PAUSE), output)
        except asyncio.CancelledError:
            return OK  # by Ctrl-C or q
    return OK


async def _frame(client: Client) -> Frame:
    """Return what the page at /ui/ shows too. A server of an earlier version has the two lists only."""
    try:
        pulse = await client.pulse()
    except NotFound:
        return Frame(datetime.now(UTC), await client.queues(), await client.workers())
    return Frame(pulse.at, pulse.queues, pulse.workers)


async def _watch(client: Client, pause: float, form: str) -> None:
    if form == "jsonl":
        while True:
            write(msgspec.json.encode(await _frame(client)))
            sys.stdout.flush()
            await asyncio.sleep(pause)

    from rich.live import Live  # late: only this command draws one

    screen = console(sys.stdout)
    before: Frame | None = None
    task = asyncio.current_task()
    assert task is not None
    with _key_to_quit(task.cancel), Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            try:
                frame = await _frame(client)
            except ClientError as error:
                if before is None:
                    raise
                live.update(drawn(before, None, screen.width, f"{error} Showing the last known state."), refresh=True)
            else:
                live.update(drawn(frame, before, screen.width), refresh=True)
                before = frame
            await asyncio.sleep(pause)


@contextmanager
def _key_to_quit(quit: Callable[[], object]) -> Iterator[None]:
    """Call `quit` when the key q is pressed, if stdin is a terminal."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios  # late: only this screen reads keys
    import tty

    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def read() -> None:
        keys = os.read(keyboard, KEYS)
        if not keys or b"q" in keys.lower():
            loop.remove_reader(keyboard)  # an end of the input would be reported again and again
            quit()

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _print(frame: Frame, form: str) -> None:
    if form == "table":
        screen = console(sys.stdout)
        screen.print(drawn(frame, None, screen.width))
    else:
        document = msgspec.json.encode(frame)
        write(msgspec.json.format(document, indent=2) if form == "json" else document)


def drawn(frame: Frame, before: Frame | None, width: int, trouble: str = "") -> Any:
    """Return the screen for a frame. The rate of finished jobs needs the frame before it."""
    from rich.console import Group
    from rich.text import Text

    busiest = sorted(frame.queues, key=lambda queue: -_waiting(queue) - queue.running)
    parts = [
        Text(_headline(frame, before), style="bold"),
        Text(trouble, style="red"),
        table(busiest[:MOST_QUEUES], queues.COLUMNS, width),
        *_more(len(busiest) - MOST_QUEUES, "queue"),
        Text(""),
        table(frame.workers[:MOST_WORKERS], workers.COLUMNS, width),
        *_more(len(frame.workers) - MOST_WORKERS, "worker"),
    ]
    return Group(*parts)


def _headline(frame: Frame, before: Frame | None) -> str:
    total = {place: sum(getattr(queue, place) for queue in frame.queues) for place in ("scheduled", "running")}
    live = [worker for worker in frame.workers if not worker.gone]
    busy, slots = (sum(getattr(worker, name) for worker in live) for name in ("busy", "slots"))
    rate = "" if before is None else f", {finished_rate(before, frame):.0f} finished a second"
    return (
        f"{frame.at:%H:%M:%S}Z  {sum(map(_waiting, frame.queues)):,} waiting, {total['scheduled']:,} scheduled, "
        f"{total['running']:,} running{rate}; {busy:,} of {slots:,} slots busy"
    )


def finished_rate(before: Frame, after: Frame) -> float:
    """Return the finished jobs per second between two frames. A queue that was trimmed meanwhile counts as 0."""
    were = {queue.name: queue.finished + queue.dead_letter for queue in before.queues}
    seconds = (after.at - before.at).total_seconds()
    ended = sum(max(0, queue.finished + queue.dead_letter - were.get(queue.name, 0)) for queue in after.queues)
    return ended / seconds if seconds > 0 else 0.0


def _waiting(queue: Queue) -> int:
    return queue.high + queue.default + queue.low


def _more(count: int, what: str) -> Sequence[Any]:
    from rich.text import Text

    return [Text(f"and {counted(count, f'more {what}')}")] if count > 0 else []
