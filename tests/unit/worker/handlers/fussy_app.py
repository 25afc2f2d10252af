"""An App whose handlers decide by exception: the same policy in the loop, in a thread and in a child process."""

from __future__ import annotations

from typing import Final

from queuey.worker.handlers.app import App
from queuey.worker.handlers.retry_policy import Exceptions, Wait

PATH: Final = "tests.unit.worker.handlers.fussy_app:app"
app = App()


def wait(attempt: int, error: BaseException) -> float:
    if isinstance(error, KeyError):
        raise RuntimeError("no such wait")
    return -1.0 if isinstance(error, IndexError) else attempt * 100.0


def fail(name: str) -> None:
    errors: dict[str, BaseException] = {
        "lookup": LookupError("a"),
        "key": KeyError("b"),
        "index": IndexError("c"),
        "value": ValueError("d"),
        "group": ExceptionGroup("e", [OSError("f"), ExceptionGroup("g", [KeyError("h")])]),
        "os": OSError("i"),
    }
    raise errors[name]


async def fail_in_loop(name: str) -> None:
    fail(name)


RETRIED: Final[Exceptions] = (LookupError, OSError)
DEAD: Final[Exceptions] = KeyError
WAIT: Final[Wait] = wait

for policy, options in {
    "plain": {},
    "retry": {"retry_on": RETRIED},
    "dead": {"dead_on": DEAD},
    "both": {"retry_on": [LookupError], "dead_on": [KeyError]},
    "wait": {"backoff": WAIT},
}.items():
    app.job(f"{policy}.loop", **options)(fail_in_loop)  # type: ignore[arg-type]
    app.job(f"{policy}.thread", **options)(fail)  # type: ignore[arg-type]
    app.job(f"{policy}.process", run_in="process", **options)(fail)  # type: ignore[arg-type]
