"""The call of a handler, shared by all executors: payload in, result out, any exception turned into a Failed.

Handlers may raise anything, also SystemExit and exceptions that cannot be printed; none of it leaves this module.
"""

from __future__ import annotations

import inspect
import json
import traceback
from typing import Any, Final

import msgspec

from queuey import forks
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work
from queuey.worker.handlers.context import Dead, Retry
from queuey.worker.handlers.handler import Handler

MESSAGE_CHARACTERS: Final = 1000
DETAIL_CHARACTERS: Final = 2000
FRAMES: Final = 6
MAX_NESTING: Final = 5
OUR_FRAMES: Final = (__name__, "queuey.worker.executors.loop", "queuey.worker.handlers.handler")

PAYLOAD_ERRORS: Final = (msgspec.DecodeError, RecursionError)
"""The errors of decoding whose cause is the payload."""

_encode = msgspec.json.Encoder().encode
_NULL: Final = Succeeded("null")
_check_syntax = msgspec.json.Decoder(msgspec.Raw).decode


def call(handler: Handler, work: Work, state: object, result_limit: int) -> Outcome:
    """Run a plain handler in the calling thread."""
    returned, failed = _call(handler, work, state)
    return failed or success(returned, result_limit)


async def call_async(handler: Handler, work: Work, state: object, result_limit: int) -> Outcome:
    """Run an async handler in the calling task, which nothing else cancels."""
    coroutine, failed = _call(handler, work, state)
    if failed is not None:
        return failed
    here = forks.count()
    try:
        result = await coroutine
    except BaseException as error:
        return failure(error)
    finally:
        if forks.count() != here:
            forks.end_copy(work.type)
    return success(result, result_limit)


def _call(handler: Handler, work: Work, state: object) -> tuple[Any, Failed | None]:
    """Return what the handler returned, a coroutine if it is async; or the failure of the payload or of the call."""
    try:
        payload = handler.decode(work.payload)
    except PAYLOAD_ERRORS as error:
        return None, bad_payload(error)
    except BaseException as error:
        return None, failure(error)
    here = forks.count()
    try:
        return handler.call(payload, work, state), None
    except BaseException as error:
        return None, failure(error)
    finally:
        if forks.count() != here:
            forks.end_copy(work.type)


def success(result: Any, limit: int) -> Outcome:
    """Return Succeeded, unless the result cannot be written as JSON or takes more than `limit` bytes.

    Both are failures that are retried: a job whose result cannot be kept has not succeeded.
    """
    if result is None:
        return _NULL
    try:
        text = _to_json(result)
    except BaseException as error:
        if inspect.iscoroutine(result):
            result.close()
        return Failed("result_not_json", describe(error))
    if len(text) > limit:
        return Failed("result_too_large", f"the result takes {len(text):,} bytes; the limit is {limit:,}")
    return Succeeded(text.decode())


def _to_json(result: Any) -> bytes:
    """Return the result as JSON on one line, in UTF-8. Raises when that is not possible."""
    text = _encode(result)
    _check_syntax(text)  # A msgspec.Raw in it may contain any text.
    if b"\n" in text:
        text = msgspec.json.format(text, indent=-1)
    if b"null" in text:
        # msgspec writes null for NaN and infinities; the standard library refuses them.
        json.dumps(msgspec.to_builtins(result, str_keys=True, enc_hook=_opaque), allow_nan=False)
    return text


def _opaque(_: object) -> None:
    """Stand for a value that is JSON text already (msgspec.Raw), which cannot contain NaN."""


def bad_payload(error: BaseException) -> Failed:
    """Return a final failure: no retry will make the payload fit the handler's type."""
    return Failed("payload", _bounded(str(error)), dead=True)


def failure(error: BaseException) -> Failed:
    """Return the failure that a handler's exception means for its job."""
    try:
        if isinstance(error, Retry):
            return Failed("retry", _bounded(error.reason), after=error.after)
        if isinstance(error, Dead):
            return Failed("dead", _bounded(error.reason), dead=True)
        return Failed("error", describe(error), _detail(error))
    except BaseException:
        return Failed("error", "the handler failed, and so did the attempt to describe why")


def describe(error: BaseException) -> str:
    """Return an exception's type and its text, shortened. It survives any `__str__`. A group shows its first member."""
    parts = [_type_and_text(error)]
    while isinstance(error, BaseExceptionGroup) and len(parts) < MAX_NESTING:
        error = error.exceptions[0]
        parts.append(_type_and_text(error))
    return _bounded(": ".join(parts))


def _type_and_text(error: BaseException) -> str:
    try:
        text = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:
        text = "(the exception cannot be printed)"
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def _detail(error: BaseException) -> str | None:
    """Return the last frames of the traceback, from the handler on, one on each line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in OUR_FRAMES:
        trace = trace.tb_next
    frames = traceback.extract_tb(trace, limit=-FRAMES)
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return _clean("\n".join(lines)[-DETAIL_CHARACTERS:]) or None


def _bounded(text: object) -> str:
    return _clean(str(text)[:MESSAGE_CHARACTERS])


def _clean(text: str) -> str:
    """Replace lone surrogates, which are not UTF-8."""
    return text.encode(errors="replace").decode()
