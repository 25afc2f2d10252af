"""`queuey work`: the handlers of an App, for a server elsewhere."""

from __future__ import annotations

import inspect
from typing import Annotated, Final

from cyclopts import Parameter

from queuey.cli.commands.serve import settings_of, settings_signature
from queuey.errors import SettingsError
from queuey.settings.client_access import LOCAL_URL
from queuey.settings.settings import client_access

FLAGS: Final = (
    *("config", "app", "queues", "concurrency", "thread_slots", "process_slots", "lease", "grace", "job_timeout"),
    *("drain_timeout", "result_limit", "log_level", "log_format", "tracing"),
)
"""Those of serve that say how handlers run."""


def work(*, url: str | None = None, name: str | None = None, **flags: str | None) -> int:
    settings, access = settings_of(flags), client_access(url)
    if settings.app is None:
        raise SettingsError("--app: which handlers to run, as module:name, for example thumbnails:app.")

    from queuey.worker.remote.remote_worker import work
    from queuey.worker.settings import RemoteSettings

    return work(RemoteSettings.of(settings, access, name))


def _signature() -> inspect.Signature:
    url = Parameter(name="--url", metavar="URL", help=f"The server. Default: QUEUEY_URL, else {LOCAL_URL}.")
    name = Parameter(name="--name", metavar="NAME", help="What lists of workers call it. Default: host, pid, chance.")
    own = [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, shown])
        for field, shown in (("url", url), ("name", name))
    ]
    known = settings_signature().parameters
    return inspect.Signature([*own, *(known[flag] for flag in FLAGS)])


work.__signature__ = _signature()  # type: ignore[attr-defined]
