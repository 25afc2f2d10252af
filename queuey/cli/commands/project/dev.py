"""`queuey dev`: a server for development, which reloads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from queuey import log
from queuey.cli.commands.serve import settings_signature, split
from queuey.cli.exits import explain
from queuey.errors import SettingsError
from queuey.settings.settings import DEVELOPMENT, ENV_FILE, SETTINGS, Settings, load_for_development

WITHOUT: Final = ("processes", "drain_delay")
"""The flags of serve that are for production only."""


def dev(**flags: Any) -> int:
    """Run the development server. The help of this command is in `app`."""
    folders = [Path(folder).resolve() for folder in flags.pop("watch", None) or ["."]]
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(f"--watch: {folder} is not a directory. Pass a directory with Python files.")
    given, config = split(flags)

    def load() -> tuple[Settings, Mapping[str, str]]:
        settings, variables = load_for_development(given, config=config)
        if settings.app is None:
            raise SettingsError("--app: is missing. Pass the handlers as module:name, for example thumbnails:app.")
        return settings, variables

    from queuey.server.processes.development import develop

    settings, _ = load()
    files = [Path(name).resolve() for name in (ENV_FILE, config) if name]

    def on_started(facts: Mapping[str, Any]) -> None:
        if settings.log_format == "console":
            explain(banner(facts, settings, folders))
        else:
            log.get(__name__).info("started", **facts)

    return develop(load, folders, files, on_started)


def banner(facts: Mapping[str, Any], settings: Settings, folders: list[Path]) -> str:
    """Return the text that says where everything is."""
    url = facts["url"]
    places = {} if url is None else {"API": f"{url}/v1", "docs": f"{url}/docs", "metrics": f"{url}/metrics"}
    places["store"] = facts["store"] if settings.redis else str(settings.data_dir)
    places["reloads"] = "when Python code changes in " + ", ".join(map(str, folders))
    lines = [f"Queuey {facts['version']} runs {settings.app}. Press Ctrl-C to stop.", ""]
    return "\n".join(["", *lines, *(f"  {name:<8} {value}" for name, value in places.items()), ""])


def _signature() -> inspect.Signature:
    shown = Parameter(
        name="--watch", metavar="DIR", help="Directory with Python files to watch. Repeatable.", negative_iterable=()
    )
    own = inspect.Parameter(
        "watch", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, shown]
    )
    texts = {name: SETTINGS[name].display(value) for name, value in DEVELOPMENT.items()}
    parameters = settings_signature(texts | {"data_dir": ".queuey-dev in the project"}).parameters
    return inspect.Signature([own, *(found for name, found in parameters.items() if name not in WITHOUT)])


dev.__signature__ = _signature()  # type: ignore[attr-defined]
