"""`queuey serve`: the server, with a flag for each setting that is not secret."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from cyclopts import Group, Parameter

from queuey.settings.sections import SERVER
from queuey.settings.settings import SETTINGS, Settings, default, load_without_store
from queuey.settings.sources import flag


def serve(**flags: str | None) -> int:
    """Run the server. The help of this command is in `app`."""
    from queuey.cli.default_store import settings_for_store

    settings = settings_for_store(*split(flags))
    if settings.processes > 1:
        from queuey.server.processes.supervisor import supervise

        return supervise(settings)

    from queuey.server.server import serve

    return serve(settings)


def settings_of(flags: Mapping[str, str | None]) -> Settings:
    """Return the settings of a command that opens no store. Raises SettingsError."""
    given, config = split(flags)
    return load_without_store(given, config=config)


def split(flags: Mapping[str, str | None]) -> tuple[dict[str, str], str | None]:
    """Return the flags that are settings, and the path of the file."""
    given = {name: value for name, value in flags.items() if value is not None}
    config = given.pop("config", None)
    return given, config


def settings_signature(defaults: Mapping[str, str] = MappingProxyType({})) -> inspect.Signature:
    """Return a signature with a text parameter for each setting that has a flag; `load` parses the values.

    `defaults`: those that differ from the usual ones, as the help shows them."""
    groups = {setting.group: None for setting in SETTINGS.values()}
    panels = {name: Group(name, sort_key=number) for number, name in enumerate(groups)}
    config = Parameter(name="--config", metavar="FILE", help="TOML file with settings.", group=panels[SERVER])
    parameters = [_flag_parameter("config", config)]
    for name, setting in SETTINGS.items():
        if setting.has_flag:
            shown = Parameter(
                name=flag(name),
                metavar=setting.metavar,
                help=setting.help,
                group=panels[setting.group],
                show_default=defaults.get(name, default(name)),
            )
            parameters.append(_flag_parameter(name, shown))
    return inspect.Signature(parameters)


def _flag_parameter(name: str, shown: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, shown]
    )


serve.__signature__ = settings_signature()  # type: ignore[attr-defined]
