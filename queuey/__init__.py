"""Queuey: a job queue that any program can use over HTTP."""

from typing import TYPE_CHECKING, Any

from queuey.protocol.job_requests import job_metadata
from queuey.protocol.json.codecs import Codec, seal, unseal
from queuey.protocol.models import Backoff, Batch, Debounce, Throttle, Unique
from queuey.version import __version__
from queuey.worker.handlers.app import App
from queuey.worker.handlers.attempt import CheckpointFailed
from queuey.worker.handlers.context import Context, Dead, Retry, Snooze
from queuey.worker.handlers.functions import Fields
from queuey.worker.hooks.events import JobEvent
from queuey.worker.hooks.outcome import AsyncMiddleware, HandlerOutcome, Middleware
from queuey.worker.providers.depends import Depends
from queuey.worker.schedules.declaring import Schedule

if TYPE_CHECKING:
    from queuey.client import Client, SyncClient
    from queuey.worker.testing import SyncTesting, Testing

__all__ = [
    "App",
    "AsyncMiddleware",
    "Backoff",
    "Batch",
    "CheckpointFailed",
    "Client",
    "Codec",
    "Context",
    "Dead",
    "Debounce",
    "Depends",
    "Fields",
    "HandlerOutcome",
    "JobEvent",
    "Middleware",
    "Retry",
    "Schedule",
    "Snooze",
    "SyncClient",
    "SyncTesting",
    "Testing",
    "Throttle",
    "Unique",
    "__version__",
    "job_metadata",
    "seal",
    "unseal",
]


def __getattr__(name: str) -> Any:
    """Import the clients and the testing kit on first use, because a server does not need them."""
    if name in ("Client", "SyncClient"):
        from queuey import client

        return getattr(client, name)
    if name in ("SyncTesting", "Testing"):
        from queuey.worker import testing

        return getattr(testing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
