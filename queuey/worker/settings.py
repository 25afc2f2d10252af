"""The settings of a worker and of its handlers, taken from the settings of the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

from queuey.errors import StartupError
from queuey.protocol import backoff
from queuey.protocol.models import Backoff
from queuey.services.workers import process_name
from queuey.settings.client_access import Access
from queuey.settings.settings import Settings, notify_socket, sends_spans
from queuey.worker.handlers.attempt_log import LogErrors, LogJobs
from queuey.worker.handlers.tracing import Tracing
from queuey.worker.schedules.outcome import Policy


class ExecutionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an Execution. `log_level` and `log_format` are those of log.configure, for child processes."""

    thread_slots: int
    """The maximum number of handlers that run in threads at a time."""
    process_slots: int
    """The maximum number of handlers that run in child processes at a time."""
    default_timeout: float
    """The timeout in seconds of jobs and types that have none."""
    grace: float
    """The seconds that a handler has to stop."""
    result_limit: int
    """The maximum size of a result, in bytes of JSON."""
    json_depth: int | None = None
    """The maximum nesting depth of a result; None leaves the check to the server that takes the results."""
    default_backoff: Backoff = backoff.DEFAULT
    log_level: str = "info"
    log_format: str = "auto"
    tracing: Tracing = "link"
    """The spans to make, if there is an SDK for them."""
    sends_spans: bool = False
    """Whether to set up an SDK if the App does not do it."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return them, taken from the settings of the process."""
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
    """The settings of a Worker. Times are in seconds."""

    name: str
    """The name of the worker in lists of workers."""
    queues: tuple[str, ...]
    """The queues from which it claims."""
    concurrency: int
    """The maximum number of jobs that it runs at a time."""
    queue_limits: Mapping[str, int] = {}
    """The maximum number of jobs that it runs at a time, by queue, of some queues."""
    lease: float
    """The time for which a claim or a renewal lasts."""
    grace: float
    """The time that a handler has to stop."""
    max_starve: float
    """The time for which jobs of a higher priority may delay those of a lower one."""
    log_errors: LogErrors = "full"
    log_jobs: LogJobs = "failed"
    claim_seconds: float = 5.0
    """The time for which a drain waits for the answer to a claim."""
    release_seconds: float = 5.0
    """The time in which a drain gives back its last jobs."""
    abandon_seconds: float = 0.5
    """The time in which jobs are given back if the process must end at once."""

    @classmethod
    def of(cls, settings: Settings, name: str, queues: Sequence[str]) -> Self:
        """Return them, taken from the settings of the process."""
        return cls(
            name=name,
            queues=tuple(queues),
            concurrency=settings.concurrency,
            queue_limits=settings.queue_limits,
            lease=settings.lease,
            grace=settings.grace,
            max_starve=settings.max_starve,
            log_errors=settings.log_errors,
            log_jobs=settings.log_jobs,
        )


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of `queuey work`: the path of its App, the server, and the settings of its parts.

    `api_key` may be None. If `worker.queues` is empty, the App names the queues. `drain_timeout` and `blocked_after`
    are in seconds. `own_loop`: whether handlers have an event loop of their own. `notify_socket` is the address for
    reports to the service manager, if there is one.
    """

    app: str
    url: str
    api_key: str | None
    drain_timeout: float
    blocked_after: float
    own_loop: bool
    worker: WorkerSettings
    execution: ExecutionSettings
    schedules: Policy = "off"
    notify_socket: str | None = None

    @classmethod
    def of(cls, settings: Settings, access: Access, name: str | None) -> Self:
        """Return them, taken from the settings of the process. Raises StartupError when no App is named."""
        if settings.app is None:
            raise StartupError("--app is missing. Name the handlers to run as module:name, for example thumbnails:app.")
        worker = WorkerSettings.of(settings, name or process_name(), settings.queue_names or ())
        return cls(
            app=settings.app,
            url=access.url,
            api_key=access.api_key,
            drain_timeout=settings.drain_timeout,
            blocked_after=settings.blocked_after,
            own_loop=settings.handler_loop == "own",
            worker=msgspec.structs.replace(worker, abandon_seconds=worker.release_seconds),
            execution=ExecutionSettings.of(settings),
            schedules=settings.schedules,
            notify_socket=notify_socket(),
        )

    def __repr__(self) -> str:
        """Return the text of the settings without a secret."""
        return f"RemoteSettings({self.url!r})"
