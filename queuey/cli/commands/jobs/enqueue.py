"""`queuey job enqueue`: one job, from flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Final, Literal, cast

import msgspec
from cyclopts import Parameter
from msgspec import UNSET, Raw

from queuey.cli.exits import OK, TIMED_OUT, code_of_jobs
from queuey.cli.exits import explain as complain
from queuey.cli.failures import report
from queuey.cli.options import (
    DEFAULT_SERVER,
    ExpiresIn,
    MaxAttempts,
    MetadataEntries,
    Output,
    PriorityOfJob,
    QueueOfJob,
    Retention,
    Server,
    Tags,
    Timeout,
    count,
    duration,
    interrupted_at_once,
)
from queuey.cli.output import Format, show
from queuey.client import Client, ClientError
from queuey.errors import SettingsError
from queuey.protocol.allowed import SOON
from queuey.protocol.job_requests import JobOptions
from queuey.protocol.models import NULL, Batch, Debounce, Throttle, Unique, Until

MAX_PAYLOAD: Final = 100_000_000
"""The most bytes that are read from stdin. Servers accept far less."""

_OF_UNIQUE: Final = ("unique_key", "until", "on_conflict", "unique_ttl", "debounce", "max_wait", "throttle")
_OF_BATCH: Final = ("batch_key", "batch_size", "batch_wait")

PayloadText = Annotated[str, Parameter(allow_leading_hyphen=True, help="Payload as JSON. Use - to read stdin.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """The options of a job."""

    queue: QueueOfJob = None
    priority: PriorityOfJob = "default"
    dedupe_key: Annotated[
        str | None, Parameter(metavar="KEY", help="Key against duplicates: the same key finds the same job.")
    ] = None
    dedupe_ttl: Annotated[float | None, duration("Lifetime of the dedupe key. Default: the server's.")] = None
    delay: Annotated[float | None, duration("Delay before the job may start.")] = None
    run_at: Annotated[datetime | None, Parameter(metavar="TIME", help=f"Earliest start, such as {SOON}.")] = None
    expires_in: ExpiresIn = None
    max_attempts: MaxAttempts = None
    timeout: Timeout = None
    retention: Retention = None
    tags: Tags = None
    metadata: MetadataEntries = None
    unique_key: Annotated[
        str | None, Parameter(metavar="KEY", help="Key of a unique job: one job at a time has it.")
    ] = None
    until: Annotated[Until | None, Parameter(help="Until when the job holds its key. Default: finished.")] = None
    on_conflict: Annotated[
        Literal["return", "reject", "replace"] | None,
        Parameter(help="What to do if another job holds the key. Default: return."),
    ] = None
    unique_ttl: Annotated[float | None, duration("The key is free after this time in any case.")] = None
    debounce: Annotated[float | None, duration("Run after this time without another enqueue of the key.")] = None
    max_wait: Annotated[float | None, duration("Longest wait with --debounce. Default: 10 times as long.")] = None
    throttle: Annotated[float | None, duration("Enqueue one job of the key within this time.")] = None
    batch_key: Annotated[str | None, Parameter(metavar="KEY", help="Make it an item of the batch with this key.")] = (
        None
    )
    batch_size: Annotated[int | None, count("Number of items that fill the batch.", 10_000)] = None
    batch_wait: Annotated[float | None, duration("Time from the first item until the batch is due.")] = None
    id: Annotated[str | None, Parameter(metavar="ID", help="Id of the new job. Default: a generated id.")] = None

    def given(self) -> JobOptions:
        """Return the options that have a value. Raises SettingsError."""
        if self.run_at is not None and self.run_at.tzinfo is None:
            raise SettingsError("--run-at: has no time zone. Append Z for UTC.")
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.metadata is not None:
            given["metadata"] = entries_of(self.metadata)
        for name in (*_OF_UNIQUE, *_OF_BATCH):
            given.pop(name, None)
        return cast("JobOptions", given | self._unique())

    def _unique(self) -> dict[str, Unique | Debounce | Throttle]:
        """Return what makes the job unique, by the name of its option. Raises SettingsError."""
        given = [f"--{name.replace('_', '-')}" for name in _OF_UNIQUE if getattr(self, name) is not None]
        if self.unique_key is None:
            if given:
                raise SettingsError(f"{given[0]}: there is no key. Add --unique-key KEY.")
            return {}
        if self.debounce is not None:
            _allow_only(given, "--debounce", "--max-wait")
            return {"debounce": Debounce(self.unique_key, self.debounce, self.max_wait)}
        if self.throttle is not None:
            _allow_only(given, "--throttle")
            return {"throttle": Throttle(self.unique_key, self.throttle)}
        if self.max_wait is not None:
            raise SettingsError("--max-wait: there is no wait. Add --debounce, or leave it out.")
        until, on_conflict = self.until or "finished", self.on_conflict or "return"
        return {"unique": Unique(self.unique_key, until, on_conflict, self.unique_ttl)}

    def batch(self) -> Batch | None:
        """Return the batch that the job is an item of, or None. Raises SettingsError."""
        parts = {"--batch-key": self.batch_key, "--batch-size": self.batch_size, "--batch-wait": self.batch_wait}
        missing = [flag for flag, value in parts.items() if value is None]
        if len(missing) == len(parts):
            return None
        if missing:
            raise SettingsError(f"{missing[0]}: is missing. A batch needs {', '.join(parts)}.")
        assert self.batch_key is not None
        assert self.batch_size is not None
        assert self.batch_wait is not None
        return Batch(self.batch_key, self.batch_size, self.batch_wait)


def _allow_only(given: Sequence[str], *flags: str) -> None:
    """Raise SettingsError if other flags for unique jobs are given beside these."""
    others = [flag for flag in given if flag not in ("--unique-key", *flags)]
    if others:
        raise SettingsError(f"{others[0]}: has no effect with {flags[0]}. Leave one of them out.")


def entries_of(given: Sequence[str]) -> dict[str, str]:
    """Return the entries of the flag --metadata. Raises SettingsError."""
    entries: dict[str, str] = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        if not equals:
            raise SettingsError(f"--metadata: {entry!r} has no value. Write KEY=VALUE.")
        if key in entries:
            raise SettingsError(f"--metadata: {key!r} is given twice. Leave one out.")
        entries[key] = value
    return entries


DEFAULTS: Final = Options()


async def enqueue(
    type: Annotated[str, Parameter(metavar="TYPE", help="Job type, which selects the handler.")],
    payload: PayloadText | None = None,
    /,
    *,
    options: Options = DEFAULTS,
    wait: Annotated[float | None, duration("Maximum time to wait for the job to finish. Then print it.")] = None,
    output: Output = "table",
    server: Server = DEFAULT_SERVER,
) -> int:
    """Enqueue a job, and print its id.

    With --wait the exit code is 0 if the job succeeded, 1 if it did not, and 7 after the timeout.

    After the timeout, stderr explains why the job has not finished.
    """
    given, batch = options.given(), options.batch()
    async with server.client() as client:
        reply = await client.enqueue(type, NULL if payload is None else read_payload(payload), batch=batch, **given)
        for warning in reply.warnings or ():
            complain(f"queuey: warning: {warning}")
        if wait is None:
            if output == "table":
                reply.warnings = UNSET  # stderr has them
            show(reply, output)
            return OK
        job = await client.wait(reply.job_id, timeout=wait)
        show(job, output)
        code = code_of_jobs([job])
        if code == TIMED_OUT:
            await _explain(client, job.id, output)
    return code


async def _explain(client: Client, job_id: str, output: Format) -> None:
    """Explain on stderr why a job has not finished, as `queuey job explain` does on stdout."""
    try:
        explanation = await client.explain(job_id)
    except ClientError as error:
        report(error, f"{job_id}: ")
    else:
        show(explanation, output, sys.stderr)


def read_payload(given: str) -> Raw:
    """Return the JSON unchanged, from the argument or from stdin. Raises SettingsError if it is not JSON."""
    with interrupted_at_once():
        document = sys.stdin.buffer.read(MAX_PAYLOAD) if given == "-" else given.encode()
    try:
        msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        source = "The payload on stdin" if given == "-" else f"The payload {given[:40]!r}"
        raise SettingsError(f"""{source} is not JSON: {error}. A text needs quotes inside: '"text"'.""") from None
    return Raw(document)
