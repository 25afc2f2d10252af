"""Every setting of the server, and where each comes from: flags, then QUEUEY_* variables, then a TOML file.

The field `max_attempts` is the flag `--max-attempts`, the variable `QUEUEY_MAX_ATTEMPTS` and the TOML key
`max_attempts`. Its annotation holds its meaning and bounds, from which `--help` is made and against which a
test holds docs/configuration.md. Durations are float seconds and sizes int bytes. This is the only module
that reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec

from queuey.errors import SettingsError
from queuey.protocol.credentials import ApiKey, Grant
from queuey.protocol.renewal import renewal_of
from queuey.settings.client_access import Access, read_access
from queuey.settings.kinds import (
    Setting,
    api_keys,
    choice,
    choices,
    count,
    directory,
    duration,
    factor,
    grants,
    names,
    optional_size,
    redis_url,
    size,
    text,
)
from queuey.settings.sources import CONFIG_VARIABLE, Sources
from queuey.settings.units import DAY, HOUR, MINUTE

SERVER: Final = "Server"
ACCESS: Final = "Access"
STORE: Final = "Store"
WORKERS: Final = "Workers"
JOBS: Final = "Jobs that do not say otherwise"
LIMITS: Final = "Limits of requests"
KEEPING: Final = "What is kept, and for how long"
LOOPS: Final = "Loops"
LOGGING: Final = "Logging"

YEAR: Final = 365 * DAY
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "json", "console")

_ORDERED: Final = (
    ("payload_limit", "body_limit"),
    ("backoff_base", "backoff_cap"),
    ("store_timeout", "request_deadline"),
)
"""Pairs of settings of which the first may not exceed the second."""


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    base = environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative paths ignored
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "share")
    return Path(base, "queuey")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `queuey serve` runs with. `repr` shows no secret."""

    host: Annotated[
        str,
        text(
            SERVER,
            "Address to listen on. Other machines reach only a server that has an API key.",
            "HOST",
            r"[A-Za-z0-9.:%_-]{1,255}",
            "an IP address or a host name, without a port",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, count(SERVER, "TCP port to listen on; 0 takes a free one.", 0, 65535)] = 8000
    roles: Annotated[
        tuple[str, ...],
        choices(
            SERVER,
            "What this process does: answer HTTP, run jobs, give lapsed and due jobs back.",
            "api",
            "worker",
            "reaper",
        ),
    ] = ("api", "worker", "reaper")
    processes: Annotated[
        int,
        count(
            SERVER,
            "Replicas to run on the one port, each a process with slots of its own; one that dies is started anew.",
            1,
            64,
        ),
    ] = 1
    drain_timeout: Annotated[
        float,
        duration(SERVER, "After SIGTERM, how long running jobs may still take before they are released.", 0, HOUR),
    ] = 25.0
    drain_delay: Annotated[
        float,
        duration(
            SERVER,
            "After SIGTERM, how long at least requests are still answered, for a balancer to see that /readyz is red.",
            0,
            10 * MINUTE,
        ),
    ] = 0.0

    api_key: Annotated[
        str | None,
        text(
            ACCESS,
            "One API key with every right. With no key at all the server is open, on loopback alone.",
            "KEY",
            r"[!-~]{1,200}",
            "1 to 200 printable ASCII characters without spaces",
            secret=True,
        ),
    ] = None
    api_keys: Annotated[
        tuple[ApiKey, ...], api_keys(ACCESS, "More API keys, each with its name, its scopes and its hash.")
    ] = ()
    anonymous: Annotated[
        tuple[Grant, ...],
        grants(
            ACCESS,
            "Scopes that need no key: submit, read or work, over all queues or over one (read@emails).",
            scopes=("submit", "read", "work"),
        ),
    ] = ()

    redis: Annotated[
        str | None,
        redis_url(
            STORE,
            "Redis or Valkey to keep the jobs in. Other users see command lines: give a password by the variable.",
            none="a private Valkey, started in the data directory",
        ),
    ] = None
    data_dir: Annotated[
        Path,
        directory(
            STORE,
            "Where the private Valkey keeps its files and its socket.",
            default_text="$XDG_DATA_HOME/queuey, or ~/.local/share/queuey",
        ),
    ] = msgspec.field(default_factory=_data_dir)
    fsync: Annotated[
        Literal["always", "everysec", "no"],
        choice(
            STORE,
            "When the private Valkey syncs to disk: before each reply, once a second, or when the "
            "system likes. Only with `always` does an acknowledged job survive a power cut.",
            "always",
            "everysec",
            "no",
        ),
    ] = "always"
    maxmemory: Annotated[
        int | None,
        optional_size(
            STORE,
            "Memory of the private Valkey. Above 85 % of it new jobs are refused.",
            16_000_000,
            100 * 10**12,
            none="auto: 60 % of the machine's or the container's memory",
        ),
    ] = None
    shards: Annotated[
        int,
        count(STORE, "Parts that the keys are spread over, for a Cluster. Fixed once the store holds jobs.", 1, 1024),
    ] = 1
    prefix: Annotated[
        str,
        text(
            STORE,
            "Start of every key in the store, so that several installations can share one.",
            "PREFIX",
            r"[A-Za-z0-9_.-]{1,32}",
            "1 to 32 letters, digits, '.', '_' and '-'",
        ),
    ] = "queuey"
    wait_replicas: Annotated[
        int,
        count(
            STORE,
            "Replicas of the store that must have a new job before it is acknowledged. For stores that do not sync to "
            "disk, or whose replicas take over; 0: none.",
            0,
            5,
        ),
    ] = 0
    store_timeout: Annotated[
        float,
        duration(STORE, "How long the store may take to answer a call that an HTTP request waits for.", 0.05, MINUTE),
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
        names(WORKERS, "Queues to take jobs from.", none='those that the App names, else "default"'),
    ] = None
    concurrency: Annotated[int, count(WORKERS, "Jobs that one process runs at a time.", 1, 10_000)] = 100
    thread_slots: Annotated[
        int,
        count(WORKERS, "Of these, how many may run in threads (handlers that are plain functions).", 1, 1024),
    ] = 32
    process_slots: Annotated[
        int,
        count(
            WORKERS,
            "Of these, how many may run in processes of their own (run_in='process').",
            1,
            1024,
            default_text="the number of cores, divided by `processes`",
        ),
    ] = msgspec.field(default_factory=_cores)
    lease: Annotated[
        float,
        duration(
            WORKERS, "How long a job stays a worker's without a sign of life; renewed three times as often.", 0.5, HOUR
        ),
    ] = 30.0
    grace: Annotated[
        float,
        duration(WORKERS, "How long a timed-out or cancelled job may take to stop.", 0, 5 * MINUTE),
    ] = 5.0
    max_starve: Annotated[
        float,
        duration(
            WORKERS,
            "After its first job has waited this long, a lane of lower priority gets one job a second ahead of "
            "the others.",
            1,
            YEAR,
        ),
    ] = 5 * MINUTE

    max_attempts: Annotated[int, count(JOBS, "Failed attempts until a job is given up.", 1, 1000)] = 5
    job_timeout: Annotated[
        float, duration(JOBS, "How long one attempt may take, from the start of its handler.", 0.01, DAY)
    ] = MINUTE
    backoff_base: Annotated[
        float,
        duration(JOBS, "Wait after the first failed attempt; up to a half of every wait is cut at random.", 0.001, DAY),
    ] = 2.0
    backoff_factor: Annotated[
        float, factor(JOBS, "By how much the wait grows with each further failed attempt.", 1, 100)
    ] = 2.0
    backoff_cap: Annotated[float, duration(JOBS, "The longest wait between two attempts.", 0.001, DAY)] = MINUTE
    dedupe_ttl: Annotated[
        float, duration(JOBS, "How long a dedupe key holds its job, from when it was accepted.", 1, YEAR)
    ] = 24 * HOUR

    body_limit: Annotated[int, size(LIMITS, "The largest body of a request.", 1000, 100_000_000)] = 1_000_000
    payload_limit: Annotated[int, size(LIMITS, "The largest payload of a job.", 100, 900_000)] = 256_000
    result_limit: Annotated[int, size(LIMITS, "The largest result of a job.", 100, 900_000)] = 256_000
    json_depth: Annotated[
        int, count(LIMITS, "How deep arrays and objects may be nested in a payload or result.", 1, 256)
    ] = 64
    check_payloads: Annotated[
        Literal["no", "yes"],
        choice(
            LIMITS,
            "Whether a payload that the handler of its type cannot take is refused at once, with 422. Otherwise, and "
            "for types that this replica has no handler of, the job is taken and dies when it is run.",
            "no",
            "yes",
        ),
    ] = "no"
    batch_limit: Annotated[int, count(LIMITS, "The most jobs in one request.", 1, 10_000)] = 1000
    max_delay: Annotated[float, duration(LIMITS, "The longest delay of a job.", 1, YEAR)] = YEAR
    request_deadline: Annotated[
        float,
        duration(
            LIMITS,
            "How long after a request came a call that the store left unanswered is sent once more; "
            "then the answer is 503.",
            0.1,
            MINUTE,
        ),
    ] = 1.5

    request_head_timeout: Annotated[
        float, duration(LIMITS, "How long a client may take to send the headers of a request.", 0.1, HOUR)
    ] = 10.0
    request_body_timeout: Annotated[
        float, duration(LIMITS, "How long a client may take to send the body of a request.", 0.1, HOUR)
    ] = MINUTE
    reply_timeout: Annotated[float, duration(LIMITS, "How long a client may take to read a reply.", 0.1, HOUR)] = MINUTE
    http_connections: Annotated[
        int,
        count(LIMITS, "The most open HTTP connections. A further one takes the place of one that waits.", 10, 100_000),
    ] = 5000
    waiters: Annotated[
        int,
        count(LIMITS, "The most requests that wait for jobs, and that follow events; more get 429.", 1, 1_000_000),
    ] = 10_000

    retention: Annotated[
        float, duration(KEEPING, "How long a job that succeeded or was cancelled is kept.", 1, YEAR)
    ] = HOUR
    finished_max: Annotated[
        int, count(KEEPING, "The most finished jobs kept of one queue; the oldest go first.", 0, 100_000_000)
    ] = 100_000
    finished_max_bytes: Annotated[
        int, size(KEEPING, "The most bytes of finished jobs kept of one queue.", 1_000_000, 1_000_000_000_000)
    ] = 1_000_000_000
    finished_min_age: Annotated[
        float, duration(KEEPING, "No finished job younger than this goes for one of these two reasons.", 0, DAY)
    ] = MINUTE
    dlq_retention: Annotated[float, duration(KEEPING, "How long a job stays in the dead-letter queue.", 1, YEAR)] = (
        7 * DAY
    )
    dlq_max: Annotated[
        int,
        count(KEEPING, "The most jobs in the dead-letter queue of one queue; the oldest go first.", 1, 100_000_000),
    ] = 100_000
    dlq_max_bytes: Annotated[
        int,
        size(KEEPING, "The most bytes in the dead-letter queue of one queue.", 1_000_000, 1_000_000_000_000),
    ] = 256_000_000

    reap_interval: Annotated[float, duration(LOOPS, "Time between two looks for lapsed leases.", 0.05, HOUR)] = 5.0
    reap_delay_max: Annotated[
        float,
        duration(LOOPS, "A job given back for its lapsed lease waits a random time up to this.", 0, HOUR),
    ] = 5.0
    trim_interval: Annotated[
        float, duration(LOOPS, "Time between two looks for jobs that need not be kept.", 0.05, HOUR)
    ] = 30.0
    beat_interval: Annotated[float, duration(LOOPS, "Time between two signs of life of a process.", 0.05, MINUTE)] = 5.0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        choice(LOGGING, "The least important events that are logged; success is `debug`.", *LEVELS),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        choice(LOGGING, "How events are written to stderr; `auto` is console on a terminal, else json.", *FORMATS),
    ] = "auto"
    tracing: Annotated[
        Literal["link", "child", "off"],
        choice(
            LOGGING,
            "With an OpenTelemetry SDK: the span of a handler is in a trace of its own and linked to the submitter's, "
            "or is that one's child, or there is none.",
            "link",
            "child",
            "off",
        ),
    ] = "link"

    @property
    def renewal(self) -> float:
        """Seconds between two renewals of a lease."""
        return renewal_of(self.lease)

    def shown(self) -> dict[str, str]:
        """Every setting as a person would write it, without secrets."""
        return {name: setting.display(getattr(self, name)) for name, setting in SETTINGS.items()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self.shown().items())


def _declared() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in Settings.__struct_fields__}


SETTINGS: Final[Mapping[str, Setting]] = _declared()
"""Each field of `Settings`, in order, with what is known about it."""


def default(name: str) -> str:
    """The default as `--help` and the documentation show it."""
    setting = SETTINGS[name]
    return setting.default_text or setting.display(getattr(Settings(), name))


def load(flags: Mapping[str, str], environ: Mapping[str, str] = os.environ, config: str | None = None) -> Settings:
    """The settings from flags by field name, variables, and the TOML file named by `config` or QUEUEY_CONFIG.

    Raises SettingsError with a line for each fault: where it stands, the value unless it is secret, and what
    is allowed there.
    """
    sources = Sources(SETTINGS)
    path = config or environ.get(CONFIG_VARIABLE)
    if path:
        sources.take_file(path)
    sources.take_environment(environ)
    sources.take_flags(flags)
    values = sources.values()
    values.setdefault("data_dir", _data_dir(environ))
    values.setdefault("process_slots", max(1, _cores() // values.get("processes", 1)))
    settings = Settings(**values)
    _check_together(settings)
    return settings


def client_access(url: str | None = None, environ: Mapping[str, str] = os.environ) -> Access:
    """Where a client finds the server, and its key; see `read_access`."""
    return read_access(url, environ)


def sends_spans(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the variables of OpenTelemetry's SDK name a collector for spans."""
    return any(environ.get(f"OTEL_EXPORTER_OTLP_{which}") for which in ("ENDPOINT", "TRACES_ENDPOINT"))


def _check_together(settings: Settings) -> None:
    """Find faults that lie between two settings."""
    shown = settings.shown()
    faults = [
        f"{small} ({shown[small]}) may not be larger than {large} ({shown[large]})."
        for small, large in _ORDERED
        if getattr(settings, small) > getattr(settings, large)
    ]
    if settings.redis is None and not settings.data_dir.is_absolute():
        faults.append("data_dir: must be given, since your home directory is unknown.")
    if faults:
        raise SettingsError("\n".join(faults))
