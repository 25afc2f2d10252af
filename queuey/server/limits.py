"""The bounds that the parts of a server are held to, out of its settings."""

from __future__ import annotations

from typing import Final

from queuey.server.http.connections import Limits
from queuey.server.http.listener import KEEP_ALIVE_SECONDS
from queuey.settings.settings import Settings
from queuey.store.replies import Caps

STORE_TIMEOUT: Final = 5.0
"""Seconds that the store may take for a call that no HTTP request waits for; see `store_timeout`."""


def store_timeout(lease: float) -> float:
    """At most a third of a lease, so that a reply which never comes costs no worker its leases."""
    return min(STORE_TIMEOUT, lease / 3)


def caps(settings: Settings) -> Caps:
    """What the Trimmer keeps."""
    return Caps(
        dead_age_ms=round(settings.dlq_retention * 1000),
        dead_count=settings.dlq_max,
        dead_bytes=settings.dlq_max_bytes,
        finished_count=settings.finished_max,
        finished_bytes=settings.finished_max_bytes,
        finished_min_age_ms=round(settings.finished_min_age * 1000),
    )


def connection_limits(settings: Settings) -> Limits:
    """What the listener holds its connections to."""
    return Limits(
        idle=KEEP_ALIVE_SECONDS,
        head=settings.request_head_timeout,
        body=settings.request_body_timeout,
        reply=settings.reply_timeout,
        connections=settings.http_connections,
    )
