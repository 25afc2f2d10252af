"""`queuey work`: a pull worker that runs the handlers of an App."""

from __future__ import annotations

import inspect
from typing import Annotated, Final

from cyclopts import Parameter

from queuey.cli.commands.serve import settings_of, settings_signature
from queuey.errors import SettingsError
from queuey.protocol.server_url import LOCAL_URL
from queuey.settings.settings import client_access

FLAGS: Final = (
    *("config", "app", "queues", "concurrency", "thread_slots", "process_slots", "lease", "grace", "job_timeout"),
    *("handler_loop", "blocked_after", "drain_timeout", "result_limit", "schedules"),
    *("log_level", "log_format", "log_errors", "log_jobs", "tracing"),
)
"""The flags of serve that define how handlers run."""


def work(**flags: str | None) -> int:
    """Run the worker. The help of this command is in `app`."""
    url, name = flags.pop("url", None), flags.pop("name", None)
    settings, access = settings_of(flags), client_access(url)
    if settings.app is None:
        raise SettingsError("--app: is missing. Pass the handlers as module:name, for example thumbnails:app.")

    from queuey.worker.remote.remote_worker import work
    from queuey.worker.settings import RemoteSettings

    return work(RemoteSettings.of(settings, access, name))


def _signature() -> inspect.Signature:
    url = Parameter(name="--url", metavar="URL", help=f"URL of the server. Default: QUEUEY_URL, else {LOCAL_URL}.")
    name = Parameter(
        name="--name", metavar="NAME", help="Worker name. Default: host name, process id and a random part."
    )
    own = [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, shown])
        for field, shown in (("url", url), ("name", name))
    ]
    known = settings_signature().parameters
    return inspect.Signature([*own, *(known[flag] for flag in FLAGS)])


work.__signature__ = _signature()  # type: ignore[attr-defined]
