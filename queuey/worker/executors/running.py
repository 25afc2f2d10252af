"""Running an event loop in which handlers run: what their tasks raise does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from queuey import forks, log
from queuey.worker.handlers.error_text import describe

ADVICE: Final = "A handler stopped the loop, or a task that it made raised this: catch it there. The loop goes on."

Result = TypeVar("Result")

logger = log.get(__name__)


def run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine until it has ended, although other tasks raise SystemExit or stop the event loop.

    asyncio lets SystemExit and KeyboardInterrupt of any task out of the loop. It can go on where it was. One handler
    would end the server otherwise, and all jobs that run in it.
    """
    here = forks.count()
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:  # RuntimeError: a handler has stopped the loop
            if forks.count() != here:
                forks.end_copy("unknown")
            if task.done():
                return task.result()
            if loop.is_closed():
                raise
            logger.error("event_loop_left", error=describe(error), advice=ADVICE)
