"""The text of a handler's error: one line for its message, and a traceback cut to what tells most.

A traceback of 30 frames of a library hides the one line that its reader knows. So of each exception are kept: the first
frame, which is the handler's; the last frame of the user's own code; and the last frames of all. Its causes come before
it, as Python prints them.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

MESSAGE_CHARACTERS: Final = 1000
MAX_NESTING: Final = 5
"""The number of members shown of groups in groups."""
TRACE_BYTES: Final = 3000
"""The maximum size of a traceback. With its message and the escapes of JSON it fits into a job's error."""
LAST_FRAMES: Final = (8, 5, 3, 1, 0)
"""The numbers of last frames to try, until the text fits."""
MAX_FRAMES: Final = 5000
MAX_CHAIN: Final = 50
"""The number of causes that are followed."""
ENDS_OF_CHAIN: Final = 2
"""The number of exceptions that are shown at either end of a longer chain."""
MAX_LINE: Final = 200
MAX_NOTES: Final = 400
"""The maximum length of the notes of an exception."""

HEAD: Final = "Traceback (most recent call last):"
CAUSE: Final = "The above exception was the direct cause of the following exception:"
CONTEXT: Final = "During handling of the above exception, another exception occurred:"
MEMBER: Final = "The above exception is the first one of the following group:"

_OUTER: Final = (
    "concurrent.futures",
    "contextlib",
    "importlib",
    "queuey.worker.executors.calling",
    "queuey.worker.executors.lifespan",
    "queuey.worker.executors.loop",
    "queuey.worker.handlers.app",
    "queuey.worker.hooks.coding",
    "queuey.worker.hooks.middleware",
    "queuey.worker.handlers.handler",
    "queuey.worker.handlers.parameters.payloads",
    "queuey.worker.providers.holding",
    "queuey.worker.providers.kept",
    "queuey.worker.providers.making",
    "queuey.worker.providers.running",
)
"""Modules between the worker and the user's code. Their frames are left out where they come first."""
_PACKAGE: Final = str(Path(__file__).parents[2])
_LIBRARIES: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_Frames = list[tuple[FrameType, int]]


def describe(error: BaseException) -> str:
    """Return an exception's type and its text, shortened. It survives any `__str__`. A group shows its first member."""
    parts = [_type_and_text(error)]
    while isinstance(error, BaseExceptionGroup) and len(parts) < MAX_NESTING:
        error = error.exceptions[0]
        parts.append(_type_and_text(error))
    return bounded(": ".join(parts))


def bounded(text: object) -> str:
    """Return the text, shortened, as UTF-8 can write it."""
    return _clean(str(text)[:MESSAGE_CHARACTERS])


def traceback_of(error: BaseException) -> str | None:
    """Return the traceback of an error and of its causes, in about TRACE_BYTES. None: there are no frames to show."""
    chain = _chain(error)
    text = ""
    for last in LAST_FRAMES:
        text = _clean("\n\n".join(_paragraphs(chain, last)))
        if len(text.encode()) <= TRACE_BYTES:
            break
    return text if HEAD in text or isinstance(error, SyntaxError) else None


def _type_and_text(error: BaseException) -> str:
    try:
        text = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:
        text = "(the exception cannot be printed)"
    name = type(error).__qualname__
    shown = f"{name}: {text}" if text else name
    notes = _notes(error)
    return f"{shown[: MESSAGE_CHARACTERS - len(notes)]}{notes}" if notes else shown


def blame(error: BaseException, label: str) -> None:
    """Note on an exception which hook or provider raised it, once."""
    if label not in getattr(error, "__notes__", ()):
        error.add_note(label)


def _notes(error: BaseException) -> str:
    """Return the notes of an exception in brackets. One names the hook or provider that raised it (`blame`)."""
    try:
        notes = "; ".join(error.__notes__)[:MAX_NOTES]
    except BaseException:
        return ""
    return f" ({notes})" if notes else ""


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return the exception and what led to it, each with the sentence that stands between it and the next."""
    chain, seen, link = [(error, "")], {id(error)}, ""
    while len(chain) < MAX_CHAIN:
        following: BaseException | None
        if isinstance(error, BaseExceptionGroup):
            following, link = error.exceptions[0], MEMBER
        elif error.__cause__ is not None:
            following, link = error.__cause__, CAUSE
        else:
            following, link = None if error.__suppress_context__ else error.__context__, CONTEXT
        if following is None or id(following) in seen:
            break
        seen.add(id(following))
        chain.append((following, link))
        error = following
    return chain


def _paragraphs(chain: list[tuple[BaseException, str]], last: int) -> list[str]:
    """Return the text of each exception, the root cause first, with `last` of its last frames."""
    left_out = len(chain) - 2 * ENDS_OF_CHAIN
    shown = chain
    if left_out > 0:
        shown = [*chain[:ENDS_OF_CHAIN], *chain[-ENDS_OF_CHAIN:]]
    paragraphs = []
    for index, (error, link) in reversed(list(enumerate(shown))):
        paragraphs.append(_one(error, last))
        if left_out > 0 and index == ENDS_OF_CHAIN:
            paragraphs.append(f"[{left_out} more exceptions]")
        if link:
            paragraphs.append(link)
    return paragraphs


def _one(error: BaseException, last: int) -> str:
    frames = _frames(error.__traceback__)
    lines = [HEAD] if frames else []
    before = -1
    for index in _kept(frames, last):
        if index > before + 1:
            lines.append(f"  [{index - before - 1} more frames]")
        lines += _lines(frames[index])
        before = index
    if isinstance(error, SyntaxError):
        lines += "".join(traceback.format_exception_only(error))[: 4 * MAX_LINE].splitlines()
    else:
        lines.append(_type_and_text(error)[: 2 * MAX_LINE])
    return "\n".join(lines)


def _frames(trace: TracebackType | None) -> _Frames:
    """Return the frames from the user's code on."""
    frames = [
        (frame, line)
        for frame, line in islice(traceback.walk_tb(trace), MAX_FRAMES)
        if not frame.f_code.co_filename.startswith("<frozen importlib")
    ]
    for index, (frame, _) in enumerate(frames):
        if frame.f_globals.get("__name__") not in _OUTER:
            return frames[index:]
    return []


def _kept(frames: _Frames, last: int) -> list[int]:
    own = [index for index, (frame, _) in enumerate(frames) if is_own(frame.f_code.co_filename)]
    kept = {0, *own[:1], *own[-1:], *range(max(0, len(frames) - last), len(frames))}
    return sorted(kept) if frames else []


def is_own(filename: str) -> bool:
    """Return whether a file belongs to neither Python, nor an installed package, nor Queuey."""
    foreign = filename.startswith((*_LIBRARIES, _PACKAGE + os.sep, "<frozen"))
    return not foreign and not any(part in filename for part in _INSTALLED)


def _lines(frame: tuple[FrameType, int]) -> list[str]:
    [summary] = traceback.StackSummary.extract(iter([frame]), lookup_lines=True)
    head = f'  File "{summary.filename[-MAX_LINE:]}", line {summary.lineno}, in {summary.name[:MAX_LINE]}'
    return [head, f"    {summary.line[:MAX_LINE]}"] if summary.line else [head]


def _clean(text: str) -> str:
    """Replace lone surrogates, which are not UTF-8."""
    return text.encode(errors="replace").decode()
