"""`queuey job enqueue-many`: many jobs, from NDJSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
from cyclopts import Parameter
from msgspec import UNSET, Struct, UnsetType

from queuey.cli.exits import FAILED, OK, explain
from queuey.cli.options import DEFAULT_SERVER, Output, Server, interrupted_at_once
from queuey.cli.output import Format, show, write
from queuey.cli.progress import progress
from queuey.client import Client, ClientError
from queuey.client.batches import BYTES
from queuey.errors import SettingsError
from queuey.protocol.json.checks import is_deeper
from queuey.protocol.models import BatchItem, JobRequest
from queuey.protocol.schema_faults import explain as schema_fault

AT_ONCE: Final = 500
"""The number of lines in one call."""
BYTES_AT_ONCE: Final = 1_000_000
MAX_LINE: Final = BYTES
"""The longest line, in bytes. The server would refuse the whole call of a line that is longer or nested deeper."""
MAX_NESTING: Final = 400
SHOWN_FAULTS: Final = 20


class Outcome(Struct, omit_defaults=True):
    """The outcome of one line: a job id, or an error."""

    line: int
    job_id: str | UnsetType = UNSET
    deduplicated: bool | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Summary(Struct):
    """The numbers of lines that were enqueued, were deduplicated, and were refused."""

    enqueued: int = 0
    deduplicated: int = 0
    refused: int = 0


async def enqueue_many(
    file: Annotated[
        Path, Parameter(metavar="FILE", help="File with one job per line, as for POST /v1/jobs. Use - for stdin.")
    ] = Path("-"),
    /,
    *,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Enqueue many jobs, and print their number.

    With -o jsonl it prints the outcome of each line instead.

    Refused lines and warnings are also reported on stderr. If a line is refused, the exit code is 1.

    Lines with an id or a dedupe_key are safe to send again.
    """
    summary = Summary()
    warned: set[str] = set()
    with interrupted_at_once(), _opened(file) as lines, progress("Enqueueing", _size(lines)) as advance:
        async with server.client() as client:
            sent = 0
            for chunk in _chunks(lines):
                try:
                    outcomes = await _enqueue(client, sent + 1, chunk)
                except ClientError:
                    explain(f"queuey: the first {sent} lines were sent; the next {len(chunk)} may have been sent.")
                    if sent and output != "jsonl":
                        show(summary, output)
                    raise
                sent += len(chunk)
                _count(outcomes, summary, output)
                _warn(outcomes, warned)
                advance(sum(map(len, chunk)))
    if output != "jsonl":
        show(summary, output)
    return FAILED if summary.refused else OK


async def _enqueue(client: Client, first: int, lines: list[bytes]) -> list[Outcome]:
    """Enqueue the valid lines. `first` is the number of the first line."""
    outcomes: dict[int, Outcome] = {}
    requests: dict[int, JobRequest] = {}
    for number, line in enumerate(lines, first):
        if line.isspace():
            continue
        request = _read(line)
        if isinstance(request, str):
            outcomes[number] = Outcome(number, error=request)
        else:
            requests[number] = request
    items = await client.enqueue_many(list(requests.values())) if requests else []
    for number, item in zip(requests, items, strict=True):
        outcomes[number] = _outcome(number, item)
    return [outcomes[number] for number in sorted(outcomes)]


def _read(line: bytes) -> JobRequest | str:
    """Return the job, or the reason why the line is not one."""
    if len(line) > MAX_LINE:
        return f"It is longer than {MAX_LINE:,} bytes."
    if is_deeper(line, MAX_NESTING):
        return f"It is nested too deep: {MAX_NESTING} levels are allowed."
    try:
        line.decode()  # the JSON decoder does not check the strings of a payload
        return _decode(line)
    except UnicodeDecodeError as error:
        return f"It is not UTF-8: byte {error.start} does not begin a character."
    except msgspec.ValidationError as error:
        return schema_fault(error).message
    except msgspec.DecodeError as error:
        return f"It is not JSON: {error}."


_decode = msgspec.json.Decoder(JobRequest).decode


def _outcome(line: int, item: BatchItem) -> Outcome:
    if item.error is not UNSET:
        return Outcome(line, error=item.error.detail)
    return Outcome(line, item.job_id, item.deduplicated, item.warnings)


def _count(outcomes: list[Outcome], summary: Summary, form: Format) -> None:
    for outcome in outcomes:
        if form == "jsonl":
            write(msgspec.json.encode(outcome))
        if outcome.error is not UNSET:
            summary.refused += 1
            if summary.refused <= SHOWN_FAULTS:
                explain(f"queuey: line {outcome.line}: {outcome.error}")
        elif outcome.deduplicated:
            summary.deduplicated += 1
        else:
            summary.enqueued += 1
    if summary.refused > SHOWN_FAULTS >= summary.refused - len(outcomes):
        explain("queuey: more lines were refused. Use -o jsonl to see each.")


def _warn(outcomes: list[Outcome], warned: set[str]) -> None:
    """Report each warning once, at its first line. `warned`: those that were reported."""
    for outcome in outcomes:
        for warning in outcome.warnings or ():
            if warning not in warned and len(warned) < SHOWN_FAULTS:
                warned.add(warning)
                explain(f"queuey: line {outcome.line}: warning: {warning}")


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}. Check the path and its permissions.") from None


def _size(file: BinaryIO) -> int | None:
    """Return the size in bytes of a plain file, else None."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None


def _chunks(file: BinaryIO) -> Iterator[list[bytes]]:
    """Yield lists of lines, each small enough for one call. A line that is too long is cut to MAX_LINE + 1 bytes."""
    chunk: list[bytes] = []
    size = 0
    most = MAX_LINE + 1
    while line := file.readline(most):
        chunk.append(line)
        size += len(line)
        while len(line) == most and not line.endswith(b"\n"):
            line = file.readline(most)
        if len(chunk) == AT_ONCE or size >= BYTES_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
