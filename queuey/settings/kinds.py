"""The kinds of settings: how each is read, bounded, explained and shown.

The annotation of each field of `Settings` is a `Setting`. `--help`, the error messages and docs/configuration.md are
made from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from queuey.protocol.allowed import counted
from queuey.protocol.credentials import SCOPES, ApiKey, Grant, parse_api_keys, parse_grant, redact_urls
from queuey.protocol.models import NAME_PATTERN
from queuey.settings import store_url
from queuey.settings.units import format_duration, format_size, parse_duration, parse_size

MAX_TEXT: Final = 1000
MAX_ITEMS: Final = 256
MAX_LIMIT: Final = 10_000
"""The highest limit of a queue: that of `concurrency`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A `Setting` defines how one setting is read, bounded, explained and shown."""

    group: str
    help: str
    metavar: str
    allowed: str
    """The allowed values: the end of an error message, and a column of the documentation."""
    parse: Callable[[Any], object]
    """The parser of stripped text, or of a list of texts if `is_list`. It raises ValueError that says what is wrong."""
    show: Callable[[Any], str] = str
    """The spelling of a value other than None, without its secret part."""
    none: str = "none"
    """The meaning of None, shown as the default."""
    default_text: str | None = None
    """The text to show instead of a default that depends on the machine."""
    is_list: bool = False
    is_secret: bool = False
    """The value is never shown, not even in errors."""
    has_flag: bool = True
    """False for keys: every user of a machine can see its command lines."""

    def read(self, raw: object) -> object:
        """Return the value that a flag, a variable or a TOML value stands for. Raises ValueError."""
        if self.is_list:
            return self.parse(_items(raw))
        text = _text(raw)
        if not text:
            raise ValueError("is empty")
        return self.parse(text)

    def display(self, value: object) -> str:
        """Return the value as a person would write it."""
        return self.none if value is None else self.show(value)


def _text(raw: object) -> str:
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        raise ValueError("is neither text nor a number")
    return str(raw).strip()


def _items(raw: object) -> list[str]:
    parts: Sequence[object] = raw if isinstance(raw, list) else _text(raw).split(",")
    items = [text for text in map(_text, parts) if text]
    if len(items) > MAX_ITEMS:
        raise ValueError(f"has more than {MAX_ITEMS} items")
    return items


def _bounded(parse: Callable[[str], float], show: Callable[[Any], str], low: float, high: float) -> dict[str, Any]:
    """Return the fields that all quantities share. Both bounds are allowed."""

    def parse_within(text: str) -> float:
        value = parse(text)
        if value < low:
            raise ValueError("is too small")
        if value > high:
            raise ValueError("is too large")
        return value

    return {"parse": parse_within, "show": show, "allowed": f"{show(low)} to {show(high)}"}


def count(group: str, help: str, low: int, high: int, *, default_text: str | None = None) -> Setting:
    """Define a whole number."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        return int(text)

    quantity = _bounded(parse, lambda value: f"{value:,}".replace(",", ""), low, high)
    return Setting(group=group, help=help, metavar="NUMBER", default_text=default_text, **quantity)


def factor(group: str, help: str, low: float, high: float) -> Setting:
    """Define a number that may have decimals."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise ValueError("is not a number")
        return float(text)

    return Setting(group=group, help=help, metavar="NUMBER", **_bounded(parse, "{:g}".format, low, high))


def duration(group: str, help: str, low: float, high: float) -> Setting:
    """Define a duration. Its value is seconds as a float."""
    quantity = _bounded(parse_duration, format_duration, low, high)
    return Setting(group=group, help=help, metavar="DURATION", **quantity)


def size(group: str, help: str, low: int, high: int) -> Setting:
    """Define a size in bytes."""
    return Setting(group=group, help=help, metavar="SIZE", **_bounded(parse_size, format_size, low, high))


def optional_size(group: str, help: str, low: int, high: int, *, none: str) -> Setting:
    """Define a size in bytes, or the word `auto`, which is None."""
    quantity = _bounded(parse_size, format_size, low, high)
    parse_bytes = quantity["parse"]
    quantity["parse"] = lambda text: None if text == "auto" else parse_bytes(text)
    quantity["allowed"] = f"auto, or {quantity['allowed']}"
    return Setting(group=group, help=help, metavar="SIZE", none=none, **quantity)


def choice(group: str, help: str, *choices: str) -> Setting:
    """Define a choice of one word."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("is not one of the choices")
        return text

    return Setting(group=group, help=help, metavar="|".join(choices), allowed=", ".join(choices), parse=parse)


def choices(group: str, help: str, *allowed: str) -> Setting:
    """Define a choice of one or more words, in any order."""

    def parse(items: list[str]) -> tuple[str, ...]:
        if not items:
            raise ValueError("is empty")
        for item in items:
            if item not in allowed:
                raise ValueError(f"contains {item[:40]!r}, which is not one of the choices")
        return tuple(dict.fromkeys(items))

    shown = f"one or more of {', '.join(allowed)}, separated by commas"
    return Setting(group=group, help=help, metavar="WORDS", allowed=shown, parse=parse, show=",".join, is_list=True)


def name_and_limit(queue: str) -> tuple[str, int | None]:
    """Return the name and the limit of a queue such as `mail:10`; None if it has no limit. Raises ValueError."""
    name, colon, limit = queue.partition(":")
    if not re.match(NAME_PATTERN, name):
        raise ValueError(f"contains {name[:70]!r}, which is not a valid queue name")
    if not colon:
        return name, None
    if not re.fullmatch("[0-9]{1,5}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise ValueError(f"contains {queue[:80]!r}: its limit must be a whole number from 1 to {MAX_LIMIT}")
    return name, int(limit)


def queue_list(group: str, help: str, *, none: str) -> Setting:
    """Define a list of queue names, each perhaps with a limit, as `mail:10`. An empty list is None."""

    def parse(items: list[str]) -> tuple[str, ...] | None:
        given: dict[str, str] = {}
        for name, limit in map(name_and_limit, items):
            queue = name if limit is None else f"{name}:{limit}"
            if given.setdefault(name, queue) != queue:
                raise ValueError(f"has the queue {name!r} twice, with different limits")
        return tuple(given.values()) or None

    allowed = (
        f"up to {MAX_ITEMS} names, separated by commas; a name is 1 to 64 letters, digits, '.', '_' and '-', "
        f"and starts with a letter or digit; `name:10` is a name with a limit, from 1 to {MAX_LIMIT}"
    )
    return Setting(
        group=group,
        help=help,
        metavar="NAMES",
        allowed=allowed,
        parse=parse,
        show=",".join,
        none=none,
        is_list=True,
    )


def text(
    group: str,
    help: str,
    metavar: str,
    pattern: str,
    allowed: str,
    *,
    none: str = "none",
    secret: bool = False,
) -> Setting:
    """Define a text that matches a regular expression as a whole."""
    expression = re.compile(pattern)

    def parse(value: str) -> str:
        if len(value) > MAX_TEXT or not expression.fullmatch(value):
            raise ValueError("has the wrong form")
        return value

    return Setting(
        group=group,
        help=help,
        metavar=metavar,
        allowed=allowed,
        parse=parse,
        show=(lambda _: "***") if secret else str,
        none=none,
        is_secret=secret,
        has_flag=not secret,
    )


def directory(group: str, help: str, *, default_text: str) -> Setting:
    """Define a directory. Its value is an absolute path."""

    def parse(value: str) -> Path:
        if "\0" in value:
            raise ValueError("contains a NUL character")
        return Path(os.path.abspath(os.path.expanduser(value)))

    return Setting(
        group=group,
        help=help,
        metavar="DIRECTORY",
        allowed="a path; ~ is your home directory",
        parse=parse,
        default_text=default_text,
    )


def redis_url(group: str, help: str, *, none: str) -> Setting:
    """Define the URL of a store, which may contain a password."""
    return Setting(
        group=group,
        help=help,
        metavar="URL",
        allowed=store_url.ALLOWED,
        parse=store_url.check,
        show=redact_urls,
        none=none,
        is_secret=True,
    )


def grants(group: str, help: str, *, scopes: Sequence[str]) -> Setting:
    """Define a list of scopes, each for all queues or for one."""

    def parse(items: list[str]) -> tuple[Grant, ...]:
        return tuple(dict.fromkeys(parse_grant(item, scopes) for item in items))

    return Setting(
        group=group,
        help=help,
        metavar="SCOPES",
        allowed=f"scope or scope@queue, separated by commas; the scopes are {', '.join(scopes)}",
        parse=parse,
        show=lambda value: ",".join(map(str, value)) or "none",
        is_list=True,
    )


def api_keys(group: str, help: str) -> Setting:
    """Define a list of API keys, as `queuey key new` prints them."""

    def parse(items: list[str]) -> tuple[ApiKey, ...]:
        try:
            return parse_api_keys(items)
        except ValueError as error:
            raise ValueError(f"is not valid: {error}") from None

    def show(value: tuple[ApiKey, ...]) -> str:
        return counted(len(value), "key") if value else "none"

    return Setting(
        group=group,
        help=help,
        metavar="KEYS",
        allowed=(
            "name:scope[@queue][+scope[@queue]...]:sha256hex, separated by commas, as `queuey key new` "
            f"prints; the scopes are {', '.join(SCOPES)}"
        ),
        parse=parse,
        show=show,
        is_list=True,
        is_secret=True,
        has_flag=False,
    )
