"""Queuey: a job queue that any program can use over HTTP."""

from typing import TYPE_CHECKING, Any

from queuey.protocol.models import Backoff
from queuey.version import __version__
from queuey.worker.handlers.app import App
from queuey.worker.handlers.context import Context, Dead, Retry

if TYPE_CHECKING:
    from queuey.client import Client, SyncClient
    from queuey.worker.testing import Testing

__all__ = ["App", "Backoff", "Client", "Context", "Dead", "Retry", "SyncClient", "Testing", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the clients and `Testing` on first use, because a server does not need them."""
    if name in ("Client", "SyncClient"):
        from queuey import client

        return getattr(client, name)
    if name == "Testing":
        from queuey.worker.testing import Testing

        return Testing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
