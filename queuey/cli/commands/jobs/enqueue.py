"""`queuey job enqueue`: one job, from flags."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from msgspec import Raw

from queuey.cli.exits import OK, code_of_jobs
from queuey.cli.options import HERE, Output, Server, count, duration, interrupted_at_once
from queuey.cli.output import show
from queuey.errors import SettingsError
from queuey.protocol.models import NULL, Priority

MAX_PAYLOAD: Final = 100_000_000
"""Bytes that are read from stdin; servers take far less."""

PayloadText = Annotated[str, Parameter(allow_leading_hyphen=True, help="Its payload as JSON; - reads it from stdin.")]


async def enqueue(
    type: Annotated[str, Parameter(metavar="TYPE", help="The type of the job, which names its handler.")],
    payload: PayloadText | None = None,
    /,
    *,
    queue: Annotated[str, Parameter(metavar="QUEUE", help="Its queue.")] = "default",
    priority: Annotated[Priority, Parameter(help="Its lane; the higher goes first.")] = "default",
    dedupe_key: Annotated[str | None, Parameter(metavar="KEY", help="The same key finds the same job.")] = None,
    dedupe_ttl: Annotated[float | None, duration("How long the dedupe key holds. Default: the server's.")] = None,
    delay: Annotated[float | None, duration("Run it so much later.")] = None,
    run_at: Annotated[
        datetime | None, Parameter(metavar="TIME", help="Run it at this time, such as 2030-01-31T12:00:00Z.")
    ] = None,
    expires_in: Annotated[float | None, duration("Cancel it when it has not started by then.")] = None,
    max_attempts: Annotated[int | None, count("How often it may fail before it is dead.", 1000)] = None,
    timeout: Annotated[float | None, duration("How long one attempt may take.")] = None,
    retention: Annotated[float | None, duration("How long it is kept once it has succeeded.")] = None,
    id: Annotated[str | None, Parameter(metavar="ID", help="Its id, when you have made one.")] = None,
    wait: Annotated[float | None, duration("Wait so long for its end, and show the job.")] = None,
    output: Output = "table",
    server: Server = HERE,
) -> int:
    """Put a job into a queue, and show its id.

    With --wait the exit code is 0 when it succeeded, 1 when it did not, and 7 when the time is over.
    """
    if run_at is not None and run_at.tzinfo is None:
        raise SettingsError("--run-at: lacks a time zone; end it with Z for UTC.")
    fields: dict[str, Any] = {
        "queue": queue,
        "priority": priority,
        "dedupe_key": dedupe_key,
        "dedupe_ttl": dedupe_ttl,
        "delay": delay,
        "run_at": run_at,
        "expires_in": expires_in,
        "max_attempts": max_attempts,
        "timeout": timeout,
        "retention": retention,
        "id": id,
    }
    async with server.client() as client:
        given = {name: value for name, value in fields.items() if value is not None}
        reply = await client.enqueue(type, NULL if payload is None else read_payload(payload), **given)
        if wait is None:
            show(reply, output)
            return OK
        job = await client.wait(reply.job_id, timeout=wait)
    show(job, output)
    return code_of_jobs([job])


def read_payload(given: str) -> Raw:
    """The JSON as it was given. Raises SettingsError when it is none."""
    with interrupted_at_once():
        document = sys.stdin.buffer.read(MAX_PAYLOAD) if given == "-" else given.encode()
    try:
        msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        place = "The payload on stdin" if given == "-" else f"The payload {given[:40]!r}"
        raise SettingsError(f"""{place} is not JSON: {error}. Text needs quotes of its own: '"text"'.""") from None
    return Raw(document)
