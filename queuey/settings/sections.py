"""Every setting of the server, section by section: its name, default, bounds and help.

The annotation of a field is all that `--help`, the error messages and docs/configuration.md know about it. Durations
are float seconds and sizes int bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from queuey.protocol.credentials import KEY_PATTERN, KEY_RULE, ApiKey, Grant, Principal
from queuey.settings.data_dir import data_dir
from queuey.settings.kinds import (
    api_keys,
    choice,
    choices,
    count,
    directory,
    duration,
    factor,
    grants,
    optional_size,
    queue_list,
    redis_url,
    size,
    text,
)
from queuey.settings.page_kinds import networks, origins, people
from queuey.settings.units import DAY, HOUR, MINUTE

SERVER: Final = "Server"
ACCESS: Final = "Access"
STORE: Final = "Store"
WORKERS: Final = "Workers"
JOBS: Final = "Job defaults"
LIMITS: Final = "Request limits"
RETENTION: Final = "Retention"
MAINTENANCE: Final = "Maintenance"
LOGGING: Final = "Logging"

YEAR: Final = 365 * DAY
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "json", "console")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `Settings`. Their order is that of `--help` and docs/configuration.md."""

    host: Annotated[
        str,
        text(
            SERVER,
            "Address to listen on. An address other than loopback requires an API key.",
            "HOST",
            r"[A-Za-z0-9.:%_-]{1,255}",
            "an IP address or a host name, without a port",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, count(SERVER, "TCP port to listen on. 0 picks a free one.", 0, 65535)] = 8000
    roles: Annotated[
        tuple[str, ...],
        choices(
            SERVER,
            "Roles to run: `api` (HTTP), `worker` (handlers), `reaper` (expired leases).",
            "api",
            "worker",
            "reaper",
        ),
    ] = ("api", "worker", "reaper")
    processes: Annotated[
        int, count(SERVER, "Number of replicas on this port. A replica that exits is restarted.", 1, 64)
    ] = 1
    drain_timeout: Annotated[
        float, duration(SERVER, "Time for running jobs to finish after SIGTERM. The rest is released.", 0, HOUR)
    ] = 25.0
    drain_delay: Annotated[
        float, duration(SERVER, "Minimum time to keep answering after SIGTERM, while /readyz fails.", 0, 10 * MINUTE)
    ] = 0.0
    direct: Annotated[
        Literal["yes", "no"],
        choice(SERVER, "Direct path for POST /v1/jobs. `no` sends every request through ASGI.", "yes", "no"),
    ] = "yes"

    api_key: Annotated[
        str | None,
        text(
            ACCESS,
            "API key with every scope. Without keys, only loopback is allowed.",
            "KEY",
            KEY_PATTERN,
            KEY_RULE,
            secret=True,
        ),
    ] = None
    api_keys: Annotated[
        tuple[ApiKey, ...], api_keys(ACCESS, "Further API keys: the name, scopes and hash of each.")
    ] = ()
    anonymous: Annotated[
        tuple[Grant, ...],
        grants(
            ACCESS, "Scopes that need no key, for all queues or one (read@emails).", scopes=("submit", "read", "work")
        ),
    ] = ()
    ui: Annotated[
        Literal["full", "read-only", "off"],
        choice(ACCESS, "Rights of sessions of the page at /ui/. `off`: no page.", "full", "read-only", "off"),
    ] = "full"
    ui_https: Annotated[
        Literal["yes", "no"],
        choice(ACCESS, "`yes`: browsers reach the page by HTTPS only, through a proxy.", "yes", "no"),
    ] = "no"
    ui_frame_ancestors: Annotated[
        tuple[str, ...], origins(ACCESS, "Origins whose pages may show the page in a frame.")
    ] = ()
    ui_header: Annotated[
        str | None,
        text(
            ACCESS,
            "Header in which a trusted proxy names the person.",
            "HEADER",
            r"[A-Za-z0-9][A-Za-z0-9-]{0,63}",
            "the name of a header, as in x-forwarded-user",
        ),
    ] = None
    ui_header_grants: Annotated[
        tuple[Principal, ...], people(ACCESS, "People whom that header names, and scopes.")
    ] = ()
    ui_trusted: Annotated[tuple[str, ...], networks(ACCESS, "Addresses of proxies whose header is believed.")] = ()

    redis: Annotated[
        str | None,
        redis_url(
            STORE,
            "URL of the Redis or Valkey. With a password, set QUEUEY_REDIS instead.",
            none="a private Valkey, started in the data directory",
        ),
    ] = None
    data_dir: Annotated[
        Path,
        directory(
            STORE,
            "Directory for the private Valkey's files and socket.",
            default_text=".queuey in the project, else $XDG_DATA_HOME/queuey or ~/.local/share/queuey",
        ),
    ] = msgspec.field(default_factory=data_dir)
    fsync: Annotated[
        Literal["always", "everysec", "no"],
        choice(
            STORE,
            "When the private Valkey syncs to disk. Only `always` survives power cuts.",
            "always",
            "everysec",
            "no",
        ),
    ] = "always"
    maxmemory: Annotated[
        int | None,
        optional_size(
            STORE,
            "Memory limit of the private Valkey. Above 85 % new jobs are refused.",
            16_000_000,
            100 * 10**12,
            none="auto: 60 % of the machine's or the container's memory",
        ),
    ] = None
    shards: Annotated[int, count(STORE, "Number of shards (parts of the store). Fixed once jobs exist.", 1, 1024)] = 1
    prefix: Annotated[
        str,
        text(
            STORE,
            "Prefix of every store key. Installations that share a store need different ones.",
            "PREFIX",
            r"[A-Za-z0-9_.-]{1,32}",
            "1 to 32 letters, digits, '.', '_' and '-'",
        ),
    ] = "queuey"
    wait_replicas: Annotated[int, count(STORE, "Number of store replicas that must confirm a new job.", 0, 5)] = 0
    store_timeout: Annotated[
        float, duration(STORE, "Timeout of one call to the store, while a client waits.", 0.05, MINUTE)
    ] = 0.7

    app: Annotated[
        str | None,
        text(
            WORKERS,
            "Your job handlers: a module and the name of its App.",
            "MODULE:NAME",
            r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
            "module:name, for example thumbnails:app",
            none="the built-in text.reverse and math.square",
        ),
    ] = None
    queues: Annotated[
        tuple[str, ...] | None,
        queue_list(
            WORKERS,
            "Queues to claim jobs from. mail:10 runs at most 10 jobs of mail at a time.",
            none='those that the App names, else "default"',
        ),
    ] = None
    concurrency: Annotated[int, count(WORKERS, "Maximum number of running jobs per process.", 1, 10_000)] = 100
    thread_slots: Annotated[
        int, count(WORKERS, "Maximum number of running jobs in threads (handlers that are plain functions).", 1, 1024)
    ] = 32
    process_slots: Annotated[
        int,
        count(
            WORKERS,
            "Maximum number of running jobs in child processes (run_in='process').",
            1,
            1024,
            default_text="the number of cores, divided by `processes`",
        ),
    ] = msgspec.field(default_factory=cores)
    lease: Annotated[
        float, duration(WORKERS, "Duration of a lease. Workers renew it after a third of this.", 0.5, HOUR)
    ] = 30.0
    grace: Annotated[float, duration(WORKERS, "Time for a timed-out or cancelled handler to stop.", 0, 5 * MINUTE)] = (
        5.0
    )
    handler_loop: Annotated[
        Literal["shared", "own"],
        choice(WORKERS, "Event loop of handlers. `shared`: the server's. `own`: in another thread.", "shared", "own"),
    ] = "shared"
    blocked_after: Annotated[
        float, duration(WORKERS, "Time after which a handler that blocks the event loop is logged. 0: never.", 0, HOUR)
    ] = 1.0
    schedules: Annotated[
        Literal["report", "managed", "off"],
        choice(
            WORKERS,
            "Schedules that the App no longer declares. `managed` deletes them; `off` declares none.",
            "report",
            "managed",
            "off",
        ),
    ] = "report"
    max_starve: Annotated[
        float, duration(WORKERS, "Maximum wait of lower-priority jobs. Then one starts per second.", 1, YEAR)
    ] = 5 * MINUTE

    max_attempts: Annotated[int, count(JOBS, "Maximum number of attempts.", 1, 1000)] = 5
    job_timeout: Annotated[
        float, duration(JOBS, "Timeout of one attempt, from the start of its handler.", 0.01, DAY)
    ] = MINUTE
    backoff_base: Annotated[
        float, duration(JOBS, "Wait after the first failed attempt. Jitter shortens waits by up to half.", 0.001, DAY)
    ] = 2.0
    backoff_factor: Annotated[
        float, factor(JOBS, "Factor by which the wait grows after each further failed attempt.", 1, 100)
    ] = 15.0
    backoff_cap: Annotated[float, duration(JOBS, "Maximum wait before the next attempt.", 0.001, DAY)] = 2 * HOUR
    # The four waits of five attempts are 2, 30, 450 and 6,750 s. Half of their sum, the least with jitter, is an hour.
    dedupe_ttl: Annotated[float, duration(JOBS, "Lifetime of a dedupe key, from the time of its enqueue.", 1, YEAR)] = (
        24 * HOUR
    )

    body_limit: Annotated[int, size(LIMITS, "Maximum size of a request body.", 1000, 100_000_000)] = 1_000_000
    payload_limit: Annotated[int, size(LIMITS, "Maximum size of a job's payload.", 100, 900_000)] = 256_000
    result_limit: Annotated[int, size(LIMITS, "Maximum size of a job's result.", 100, 900_000)] = 256_000
    json_depth: Annotated[int, count(LIMITS, "Maximum nesting depth of a payload or result.", 1, 256)] = 64
    check_payloads: Annotated[
        Literal["no", "yes"],
        choice(LIMITS, "Answer 422 if a payload does not fit its handler.", "no", "yes"),
    ] = "no"
    batch_limit: Annotated[int, count(LIMITS, "Maximum number of jobs in one batch request.", 1, 10_000)] = 1000
    max_delay: Annotated[float, duration(LIMITS, "Maximum delay of a job.", 1, YEAR)] = YEAR
    request_deadline: Annotated[
        float, duration(LIMITS, "Time to repeat a failing store call. Then the answer is 503.", 0.1, MINUTE)
    ] = 1.5

    request_head_timeout: Annotated[
        float, duration(LIMITS, "Time for a client to send the headers of a request.", 0.1, HOUR)
    ] = 10.0
    request_body_timeout: Annotated[
        float, duration(LIMITS, "Time for a client to send the body of a request.", 0.1, HOUR)
    ] = MINUTE
    reply_timeout: Annotated[float, duration(LIMITS, "Time for a client to read a reply.", 0.1, HOUR)] = MINUTE
    http_connections: Annotated[
        int, count(LIMITS, "Maximum number of open HTTP connections. A new one replaces an idle one.", 10, 100_000)
    ] = 5000
    waiters: Annotated[
        int, count(LIMITS, "Maximum number of waiting requests and event streams. Others get 429.", 1, 1_000_000)
    ] = 10_000

    retention: Annotated[float, duration(RETENTION, "How long succeeded and cancelled jobs are kept.", 1, YEAR)] = HOUR
    finished_max: Annotated[
        int,
        count(RETENTION, "Maximum number of succeeded and cancelled jobs per queue.", 0, 100_000_000),
    ] = 100_000
    finished_max_bytes: Annotated[
        int,
        size(RETENTION, "Maximum size of succeeded and cancelled jobs per queue.", 1_000_000, 1_000_000_000_000),
    ] = 1_000_000_000
    finished_min_age: Annotated[
        float, duration(RETENTION, "Minimum age at which finished_max and finished_max_bytes delete a job.", 0, DAY)
    ] = MINUTE
    dlq_retention: Annotated[float, duration(RETENTION, "How long dead jobs are kept.", 1, YEAR)] = 7 * DAY
    dlq_max: Annotated[
        int, count(RETENTION, "Maximum number of dead jobs per queue. The oldest are deleted first.", 1, 100_000_000)
    ] = 100_000
    dlq_max_bytes: Annotated[
        int, size(RETENTION, "Maximum size of the dead jobs per queue.", 1_000_000, 1_000_000_000_000)
    ] = 256_000_000

    unknown_type_ttl: Annotated[
        float,
        duration(RETENTION, "How long jobs of a type that no worker knows wait. 0: for ever.", 0, YEAR),
    ] = DAY

    reap_interval: Annotated[
        float, duration(MAINTENANCE, "Interval between searches for expired leases.", 0.05, HOUR)
    ] = 5.0
    reap_delay_max: Annotated[
        float, duration(MAINTENANCE, "Maximum random delay before a job with an expired lease is retried.", 0, HOUR)
    ] = 5.0
    trim_interval: Annotated[
        float, duration(MAINTENANCE, "Interval between deletions of jobs whose retention has passed.", 0.05, HOUR)
    ] = 30.0
    beat_interval: Annotated[
        float, duration(MAINTENANCE, "Interval between heartbeats of a replica.", 0.05, MINUTE)
    ] = 5.0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        choice(LOGGING, "Lowest log level.", *LEVELS),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        choice(LOGGING, "Log format on stderr. `auto`: `console` on a terminal, else `json`.", *FORMATS),
    ] = "auto"
    log_errors: Annotated[
        Literal["full", "message", "none"],
        choice(
            LOGGING,
            "Parts of a failure in the log. `full`: message and traceback. Both may quote payloads.",
            "full",
            "message",
            "none",
        ),
    ] = "full"
    log_jobs: Annotated[
        Literal["failed", "all"],
        choice(LOGGING, "The jobs that are logged above `debug`.", "failed", "all"),
    ] = "failed"
    tracing: Annotated[
        Literal["link", "child", "off"],
        choice(
            LOGGING, "Spans of handlers: linked to the submitter's span, its children, or none.", "link", "child", "off"
        ),
    ] = "link"
