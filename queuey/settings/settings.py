"""The settings of a process, from flags, then QUEUEY_* variables, then a TOML file.

The field `max_attempts` is the flag `--max-attempts`, the variable `QUEUEY_MAX_ATTEMPTS` and the TOML key
`max_attempts`; `sections` declares them all. This is the only module that reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

from queuey.errors import SettingsError
from queuey.protocol.renewal import renewal_of
from queuey.settings.client_access import Access, read_access
from queuey.settings.data_dir import default_dir, development_dir
from queuey.settings.env_file import read_env_file
from queuey.settings.kinds import Setting, name_and_limit
from queuey.settings.sections import Sections, cores
from queuey.settings.sources import CONFIG_VARIABLE, Sources, is_text, not_text

_ORDERED: Final = (
    ("payload_limit", "body_limit"),
    ("backoff_base", "backoff_cap"),
    ("store_timeout", "request_deadline"),
)
"""Pairs of settings. The first must not exceed the second."""

ENV_FILE: Final = ".env"
DEVELOPMENT: Final[Mapping[str, Any]] = {"drain_timeout": 2.0, "log_format": "console", "log_jobs": "all"}
"""The defaults of `queuey dev` that differ from those of `queuey serve`."""


class Settings(Sections, frozen=True, kw_only=True):
    """The settings of one process. `repr` shows no secret."""

    @property
    def renewal(self) -> float:
        """The seconds between two renewals of a lease."""
        return renewal_of(self.lease)

    @property
    def queue_names(self) -> tuple[str, ...] | None:
        """The names of the queues to claim from; None if the App names them."""
        return None if self.queues is None else tuple(name_and_limit(queue)[0] for queue in self.queues)

    @property
    def queue_limits(self) -> dict[str, int]:
        """The maximum number of jobs that run at a time, by queue, of the queues that have one."""
        given = map(name_and_limit, self.queues or ())
        return {name: limit for name, limit in given if limit is not None}

    def shown(self) -> dict[str, str]:
        """Return every setting as a person would write it, without secrets."""
        return {name: setting.display(getattr(self, name)) for name, setting in SETTINGS.items()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self.shown().items())


def _declared() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in Settings.__struct_fields__}


SETTINGS: Final[Mapping[str, Setting]] = _declared()
"""The `Setting` of each field of `Settings`, in order."""


def default(name: str) -> str:
    """Return the default as `--help` and the documentation show it."""
    setting = SETTINGS[name]
    if setting.default_text is not None:
        return setting.default_text
    return setting.display(getattr(Settings(data_dir=Path()), name))  # its default would read the file system


def load(flags: Mapping[str, str], environ: Mapping[str, str] = os.environ, config: str | None = None) -> Settings:
    """Return the settings from flags by field name, variables, and the TOML file named by `config` or QUEUEY_CONFIG.

    Raises SettingsError with a line for each fault: its place, the value unless it is secret, and the allowed values.
    """
    return load_for_store(flags, environ, config)[0]


def load_for_store(
    flags: Mapping[str, str], environ: Mapping[str, str] = os.environ, config: str | None = None
) -> tuple[Settings, Path | None]:
    """Return the settings, and the data directory that the default was before there were those of projects.

    The second is None unless the private Valkey is in the default data directory of a project. Raises like `load`.
    """
    values = _values(flags, environ, config)
    default = default_dir(environ)
    is_default = "data_dir" not in values
    settings = _settings(values, default.path)
    return settings, default.before if is_default and settings.redis is None else None


def load_without_store(
    flags: Mapping[str, str], environ: Mapping[str, str] = os.environ, config: str | None = None
) -> Settings:
    """Return the settings of a process that opens no store, and so needs no home directory. Raises like `load`."""
    return _settings(_values(flags, environ, config), Path(os.sep))


def load_for_development(
    flags: Mapping[str, str], environ: Mapping[str, str] = os.environ, config: str | None = None
) -> tuple[Settings, dict[str, str]]:
    """Return the settings of `queuey dev`, and its server's environment: that of this process, then `.env`.

    Raises like `load`.
    """
    variables = {**read_env_file(Path(ENV_FILE)), **environ}
    values = {**DEVELOPMENT, **_values(flags, variables, config), "processes": 1}
    return _settings(values, development_dir(variables)), variables


def _values(flags: Mapping[str, str], environ: Mapping[str, str], config: str | None) -> dict[str, Any]:
    sources = Sources(SETTINGS)
    path = config or environ.get(CONFIG_VARIABLE)
    if path:
        sources.take_file(path)
    sources.take_environment(environ)
    sources.take_flags(flags)
    return sources.values()


def _settings(values: dict[str, Any], data_dir: Path) -> Settings:
    values.setdefault("data_dir", data_dir)
    values.setdefault("process_slots", max(1, cores() // values.get("processes", 1)))
    settings = Settings(**values)
    _check_together(settings)
    return settings


def client_access(url: str | None = None, environ: Mapping[str, str] = os.environ) -> Access:
    """Return the URL of the server and the client's key; see `read_access`."""
    return read_access(url, environ)


def sends_spans(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the variables of OpenTelemetry's SDK name a collector for spans."""
    return any(environ.get(f"OTEL_EXPORTER_OTLP_{which}") for which in ("ENDPOINT", "TRACES_ENDPOINT"))


def notify_socket(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address at which the service manager waits for reports of this process, as systemd gives it."""
    return environ.get("NOTIFY_SOCKET") or None


def _check_together(settings: Settings) -> None:
    """Check the settings that limit each other."""
    shown = settings.shown()
    faults = [
        f"{small} ({shown[small]}) must not be larger than {large} ({shown[large]})."
        for small, large in _ORDERED
        if getattr(settings, small) > getattr(settings, large)
    ]
    faults += _header_faults(settings)
    if settings.redis is None and not settings.data_dir.is_absolute():
        faults.append("data_dir: The home directory is unknown. Set the data directory.")
    if settings.redis is None and not is_text(path := str(settings.data_dir)):
        faults.append(f"data_dir: The path {path!a} {not_text()}")
    if faults:
        raise SettingsError("\n".join(faults))


_JUDGED: Final = frozenset({"authorization", "cookie", "host", "origin", "sec-fetch-site", "x-api-key", "x-queuey-ui"})
"""Headers that cannot name a person, since they decide on other things."""


def _header_faults(settings: Settings) -> list[str]:
    """Return what is wrong with the settings of the header that names people. They go together, or not at all."""
    given = {name: getattr(settings, name) for name in ("ui_header", "ui_header_grants", "ui_trusted")}
    faults = []
    if any(given[name] for name in ("ui_header", "ui_header_grants")) and not all(given.values()):
        missing = ", ".join(name for name, value in given.items() if not value)
        faults.append(
            f"{missing}: must be set too, since a person is known by ui_header, ui_header_grants and ui_trusted."
        )
    if settings.ui_header is not None and settings.ui_header.lower() in _JUDGED:
        faults.append(f"ui_header ({settings.ui_header}) has another use. Let the proxy send x-forwarded-user.")
    keys = {key.name for key in settings.api_keys}
    faults += [
        f"ui_header_grants: {person.name!r} is the name of an API key too. Rename the key."
        for person in settings.ui_header_grants
        if person.name in keys
    ]
    return faults
