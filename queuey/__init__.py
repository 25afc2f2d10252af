"""Queuey: a job queue that any program can use over HTTP."""

from typing import TYPE_CHECKING, Any

from queuey.models import Backoff
from queuey.registry import App, Context, Dead, Retry

if TYPE_CHECKING:
    from queuey.client import Client, SyncClient

__version__ = "0.1.0"

__all__ = ["App", "Backoff", "Client", "Context", "Dead", "Retry", "SyncClient"]


def __getattr__(name: str) -> Any:
    """The clients, when they are asked for: a server does without them and what they import."""
    if name in ("Client", "SyncClient"):
        from queuey import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
