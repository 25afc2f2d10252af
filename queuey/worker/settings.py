"""The settings of a worker and of its handlers: the few that each part needs, taken from those of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from queuey.errors import StartupError
from queuey.protocol import backoff
from queuey.protocol.models import Backoff
from queuey.services.workers import process_name
from queuey.settings.client_access import Access
from queuey.settings.settings import Settings, sends_spans
from queuey.worker.handlers.tracing import Tracing


class ExecutionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says how handlers run.

    thread_slots, process_slots   handlers that run at a time in threads, and in processes
    default_timeout, grace        seconds
    result_limit                  bytes of JSON
    log_level, log_format         those of log.configure, for child processes
    tracing                       which spans to make, where there is an SDK for them
    sends_spans                   whether to set up an SDK where the App does not do it
    """

    thread_slots: int
    process_slots: int
    default_timeout: float
    grace: float
    result_limit: int
    default_backoff: Backoff = backoff.DEFAULT
    log_level: str = "info"
    log_format: str = "auto"
    tracing: Tracing = "link"
    sends_spans: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take them from the settings of the process."""
        return cls(
            thread_slots=settings.thread_slots,
            process_slots=settings.process_slots,
            default_timeout=settings.job_timeout,
            default_backoff=Backoff(settings.backoff_base, settings.backoff_factor, settings.backoff_cap),
            grace=settings.grace,
            result_limit=settings.result_limit,
            log_level=settings.log_level,
            log_format=settings.log_format,
            tracing=settings.tracing,
            sends_spans=sends_spans(),
        )


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says what a worker claims, and how it ends. Times are in seconds.

    name              what lists of workers call it
    queues            where it claims
    concurrency       jobs that it runs at a time
    lease             how long a claim or a renewal lasts
    grace             how long a handler may take to stop
    max_starve        how long jobs of a lower priority may wait for those of a higher one
    claim_seconds     how long a drain waits for the answer to a claim
    release_seconds   how long the last jobs of a drain may take to go back
    abandon_seconds   the same when the process has to end at once
    """

    name: str
    queues: tuple[str, ...]
    concurrency: int
    lease: float
    grace: float
    max_starve: float
    claim_seconds: float = 5.0
    release_seconds: float = 5.0
    abandon_seconds: float = 0.5

    @classmethod
    def of(cls, settings: Settings, name: str, queues: Sequence[str]) -> Self:
        """Take them from the settings of the process."""
        return cls(
            name=name,
            queues=tuple(queues),
            concurrency=settings.concurrency,
            lease=settings.lease,
            grace=settings.grace,
            max_starve=settings.max_starve,
        )


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says what `queuey work` needs: the path of its App, the server, and the settings of its parts.

    `api_key` may be None. `worker.queues` are empty where the App is to name them. `drain_timeout` is in seconds.
    """

    app: str
    url: str
    api_key: str | None
    drain_timeout: float
    worker: WorkerSettings
    execution: ExecutionSettings

    @classmethod
    def of(cls, settings: Settings, access: Access, name: str | None) -> Self:
        """Take them from the settings of the process. Raises StartupError when no App is named."""
        if settings.app is None:
            raise StartupError("--app is missing. Name the handlers to run as module:name, for example thumbnails:app.")
        worker = WorkerSettings.of(settings, name or process_name(), settings.queues or ())
        return cls(
            app=settings.app,
            url=access.url,
            api_key=access.api_key,
            drain_timeout=settings.drain_timeout,
            worker=msgspec.structs.replace(worker, abandon_seconds=worker.release_seconds),
            execution=ExecutionSettings.of(settings),
        )

    def __repr__(self) -> str:
        """Show no secret."""
        return f"RemoteSettings({self.url!r})"
