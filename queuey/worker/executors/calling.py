"""The call of a handler, shared by all executors: payload in, result out, any exception turned into a Failed.

Handlers may raise anything, also SystemExit and exceptions that cannot be printed; none of it leaves this module.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from queuey import forks
from queuey.protocol.json import strict
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work
from queuey.worker.handlers.context import Dead, Retry, Snooze
from queuey.worker.handlers.error_text import bounded, describe, traceback_of
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.parameters.advice import advice

PAYLOAD_ERRORS: Final = (msgspec.DecodeError, RecursionError)
"""The errors of decoding whose cause is the payload."""

_NULL: Final = Succeeded("null")


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
        return failure(error, handler, work)
    finally:
        if forks.count() != here:
            forks.end_copy(work.type)
    return success(result, result_limit)


def _call(handler: Handler, work: Work, state: object) -> tuple[Any, Failed | None]:
    """Return what the handler returned, a coroutine if it is async; or the failure of the payload or of the call."""
    try:
        payload = handler.decode(work.payload)
    except PAYLOAD_ERRORS as error:
        return None, bad_payload(error, handler, work)
    except BaseException as error:
        return None, failure(error, handler, work)
    here = forks.count()
    try:
        return handler.call(payload, work, state), None
    except BaseException as error:
        return None, failure(error, handler, work)
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
        text = strict.encode_line(result, "/result")
    except BaseException as error:
        if inspect.iscoroutine(result):
            result.close()
        return Failed("result_not_json", describe(error))
    if len(text) > limit:
        return Failed("result_too_large", f"the result takes {len(text):,} bytes; the limit is {limit:,}")
    return Succeeded(text.decode())


def bad_payload(error: BaseException, handler: Handler, work: Work) -> Failed:
    """Return a final failure: no retry will make the payload fit the handler's type."""
    hint = advice(handler.fields, work.payload)
    return Failed("payload", bounded(f"{error}. {hint}" if hint else str(error)), dead=True)


def failure(error: BaseException, handler: Handler, work: Work) -> Failed:
    """Return the failure that a handler's exception means for its job."""
    try:
        if isinstance(error, Retry):
            return Failed("retry", bounded(error.reason), _why(error), after=error.after)
        if isinstance(error, Snooze):
            return Failed("snooze", bounded(error.reason), after=error.delay)
        if isinstance(error, Dead):
            return Failed("dead", bounded(error.reason), _why(error), dead=True)
        failed = Failed("error", describe(error), traceback_of(error))
        if handler.policy is not None:
            handler.policy.apply(failed, error, work)
        return failed
    except BaseException:
        return Failed("error", "the handler failed, and so did the attempt to describe why")


def _why(error: Retry | Dead) -> str | None:
    """Return the traceback if another error led to this one. Otherwise the reason says all."""
    led = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return traceback_of(error) if led else None
