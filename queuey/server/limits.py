"""The limits of a server's parts, made from its settings."""

from __future__ import annotations

from queuey.protocol.renewal import renewal_of
from queuey.server.http.connections import Limits
from queuey.server.http.listener import KEEP_ALIVE_SECONDS
from queuey.server.store import STORE_TIMEOUT
from queuey.settings.settings import Settings
from queuey.store.replies import Caps


def store_timeout(lease: float) -> float:
    """Return the seconds that the store may take for a call that no HTTP request waits for.

    They are no more than those between two renewals, so that a reply which never comes costs no worker its leases.
    """
    return min(STORE_TIMEOUT, renewal_of(lease))


def caps(settings: Settings) -> Caps:
    """Return what the Trimmer keeps."""
    return Caps(
        dead_age_ms=round(settings.dlq_retention * 1000),
        dead_count=settings.dlq_max,
        dead_bytes=settings.dlq_max_bytes,
        finished_count=settings.finished_max,
        finished_bytes=settings.finished_max_bytes,
        finished_min_age_ms=round(settings.finished_min_age * 1000),
    )


def connection_limits(settings: Settings) -> Limits:
    """Return the limits of HTTP connections."""
    return Limits(
        idle=KEEP_ALIVE_SECONDS,
        head=settings.request_head_timeout,
        body=settings.request_body_timeout,
        reply=settings.reply_timeout,
        connections=settings.http_connections,
    )
