"""The text of `log:<id>`: the lines that the attempts of a job have logged.

Each is `<claim>.<attempt> <at ms> <level> <text as JSON>` and a newline. `claim` is the number of the claim, by which
the script keep_log tells the attempts apart. The text has no control characters but line breaks and tabs.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from queuey.protocol.models.logs import MAX_LOG_LINES, LogLevel, LogLine

MAX_LINES: Final = MAX_LOG_LINES
MAX_BYTES: Final = 4_096
"""The bytes of text, as JSON in UTF-8, that are kept of all lines together."""
MAX_LINE: Final = 1_000
"""The bytes of text in one line. A longer one is cut, and says so."""

_LINE = re.compile(r"\d{1,16}\.(\d{1,16}) (\d{1,16}) (debug|info|warning|error|critical) (\".*\")")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(str).decode


def encode_line(token: str, attempt: int, at_ms: int, level: LogLevel, text: str) -> str:
    """Return a line that an attempt under this token has logged, without the newline."""
    return f"{token.partition('.')[0]}.{attempt} {at_ms} {level} {_encode(_fitting(text)).decode()}"


def _fitting(text: str) -> str:
    """Return the text without control characters. Of a long one, the start and the end make MAX_LINE bytes of JSON."""
    if len(text) <= MAX_LINE:
        clean = _printable(text)
        if len(_encode(clean)) <= MAX_LINE:
            return clean
    note = f" …{len(text):,} characters, cut… "
    half = MAX_LINE // 2
    start, end = _printable(text[:half])[:half], _printable(text[-half:])[-half:]
    while (over := len(_encode(start + note + end)) - MAX_LINE) > 0:
        fewer = 1 + over // 16  # of each half, with up to 6 bytes for a character
        start, end = start[:-fewer], end[fewer:]
    return start + note + end


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text)


def bytes_of(line: str) -> int:
    """Return the bytes of a line that count: those of its text."""
    return len(line.split(" ", 3)[3].encode())


def cut(lines: deque[str], size: int) -> int:
    """Remove the oldest lines of an attempt that are more than is kept. Return the bytes of text that are left."""
    while len(lines) > MAX_LINES or size > MAX_BYTES:
        size -= bytes_of(lines.popleft())
    return size


def joined(lines: Iterable[str]) -> str:
    """Return the text of these lines."""
    return "".join(f"{line}\n" for line in lines)


def is_log(text: str) -> bool:
    """Return whether a text has such lines only, each with its newline."""
    *lines, rest = text.split("\n")
    return not rest and all(_read(line) for line in lines)


def parse(text: str) -> list[LogLine]:
    """Return the lines of a text. Those that cannot be read are left out."""
    return [line for line in map(_read, text.split("\n")) if line is not None]


def _read(line: str) -> LogLine | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    try:
        at = datetime.fromtimestamp(int(match[2]) / 1000, UTC)
        return LogLine(int(match[1]), at, cast(LogLevel, match[3]), _decode(match[4]))
    except (msgspec.DecodeError, ValueError, OverflowError):
        return None
