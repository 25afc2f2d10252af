"""The sources of settings: flags, variables and a TOML file. All faults in them are reported at once."""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from queuey.errors import SettingsError
from queuey.protocol.server_url import URL_VARIABLE
from queuey.settings.kinds import Setting

PREFIX: Final = "QUEUEY_"
CONFIG_VARIABLE: Final = "QUEUEY_CONFIG"
UNPACK_VARIABLE: Final = "QUEUEY_UNPACK_DIR"
"""The folder in which the binary unpacks itself. Its launcher reads it (scripts/binary)."""
"""The URL of the server, for clients. It is not a setting of the server."""

MAX_CONFIG_BYTES: Final = 1_000_000

_SET_BY_KUBERNETES: Final = re.compile(
    r"QUEUEY(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def flag(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


class Sources:
    """The raw values so far, by name, with the origin of each. A value that is taken later replaces an earlier one."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = settings
        self._given: dict[str, tuple[object, str]] = {}
        self._faults: list[str] = []

    def take_file(self, path: str) -> None:
        """Take the keys of a TOML file. Raises SettingsError if it is unreadable or not TOML."""
        for key, raw in _read_toml(path).items():
            if key in self._settings:
                self._given[key] = (raw, f"{path}: {key}")
            else:
                self._add_unknown(f"{path}: {key}", "key", key.replace("-", "_").lower(), str)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """Take the QUEUEY_* variables. An empty one counts as unset."""
        known = {variable(name): name for name in self._settings}
        for name, raw in sorted(environ.items()):
            if not name.startswith(PREFIX) or name in (CONFIG_VARIABLE, URL_VARIABLE, UNPACK_VARIABLE):
                continue
            if _is_set_by_kubernetes(name, raw):
                continue
            if name not in known:
                self._add_unknown(name, "variable", name.removeprefix(PREFIX).lower(), variable)
            elif not is_text(raw):
                self._faults.append(f"{name}: The value {not_text()}")
            elif raw.strip():
                self._given[known[name]] = (raw, name)

    def take_flags(self, flags: Mapping[str, str]) -> None:
        """Take flags, by the names of their settings."""
        for name, raw in flags.items():
            self._given[name] = (raw, flag(name))

    def values(self) -> dict[str, Any]:
        """Return the values by name. Raises SettingsError with a line for each fault."""
        values: dict[str, Any] = {}
        for name, (raw, origin) in self._given.items():
            setting = self._settings[name]
            try:
                values[name] = setting.read(raw)
            except ValueError as error:
                shown = "the value" if setting.is_secret else _quoted(raw)
                self._faults.append(f"{origin}: {shown} {error}. Allowed: {setting.allowed}.")
        if self._faults:
            raise SettingsError("\n".join(self._faults))
        return values

    def _add_unknown(self, origin: str, what: str, name: str, spell: Callable[[str], str]) -> None:
        close = difflib.get_close_matches(name, self._settings, n=1)
        hint = f"Did you mean {spell(close[0])}?" if close else "See `queuey serve --help` for the settings."
        self._faults.append(f"{origin}: unknown {what}. {hint}")


def _is_set_by_kubernetes(name: str, raw: str) -> bool:
    """Kubernetes sets variables for each service in the namespace: one named `queuey` sets QUEUEY_PORT=tcp://..."""
    is_link = name.endswith("_PORT") and raw.startswith(("tcp://", "udp://", "sctp://"))
    return is_link or _SET_BY_KUBERNETES.fullmatch(name) is not None


def _quoted(raw: object) -> str:
    shown = repr(raw)
    return shown if len(shown) <= 80 else shown[:80] + "..."


def read_text(path: str | Path, most: int) -> str:
    """Return the text of a file of at most so many bytes. Raises SettingsError, which says what to change."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}. Check the path and its permissions.") from None
    if len(content) > most:
        raise SettingsError(f"{path}: is larger than {most} bytes. Check that it is the right file.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text. Save it as UTF-8.") from None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, MAX_CONFIG_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}.") from None


def is_text(value: str) -> bool:
    """Return whether all bytes of an argument, a variable or a path could be decoded.

    Python keeps the other bytes as lone surrogates, which cannot be encoded.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_text() -> str:
    """Return the end of a message about a value that is not text."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return "is not valid UTF-8. Use UTF-8."
    return f"is not valid in the encoding of the locale, {encoding}. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1."
