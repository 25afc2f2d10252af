"""The spec of a stored schedule, as JSON, and the jobs that it makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from queuey.errors import UpgradeInProgress
from queuey.protocol.models import JobRequest, ScheduledJob, ScheduleRequest
from queuey.protocol.models.labels import MAX_METADATA, MAX_METADATA_BYTES
from queuey.protocol.records import NewJob, from_ms
from queuey.services.jobs.submission import Submission

SCHEDULE: Final = "schedule.name"
"""The entry of a job's metadata that has the name of its schedule."""
TICK: Final = "schedule.tick"
"""The entry of a job's metadata that has the tick it was made for, or the time of its trigger."""


class Spec(ScheduleRequest, kw_only=True, forbid_unknown_fields=False):
    """The spec of a schedule. `app`: the App whose code declares it; '' = it was put over HTTP.

    A field that this version does not know is ignored: a newer one may have written it.
    """

    job: ScheduledJob
    app: str = ""


_decode: Final = msgspec.json.Decoder(Spec).decode
_encode: Final = msgspec.json.Encoder().encode


def to_text(request: ScheduleRequest, app: str = "") -> str:
    """Return the text of a spec. Two requests that mean the same have the same text.

    All fields of the schedule itself are in it, so that a later version with other defaults does not change it. Of its
    job there are those that are set: the defaults of the others are settings of the server.
    """
    plain = _decode(_encode(request))  # as if it had come over HTTP, so that the number 60 is 60.0
    fields = _given(plain)
    if plain.at is not None:
        fields["at"] = _in_utc(plain.at)
    fields["exclude"] = sorted(set(plain.exclude))
    fields["job"] = job = {name: value for name, value in _given(plain.job).items() if name != "id"}
    if bytes(job.pop("payload")) != b"null":
        job["payload"] = Raw(msgspec.json.format(bytes(plain.job.payload), indent=-1))
    if plain.job.metadata is not None:
        job["metadata"] = dict(sorted(plain.job.metadata.items()))
    fields.pop("app")
    return _encode({**fields, "app": app} if app else fields).decode()


def read_spec(text: str) -> Spec:
    """Return the spec of a stored schedule. Raises UpgradeInProgress for one that only a newer version can read."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise UpgradeInProgress(
            "A newer version of Queuey stored this schedule, and this version cannot read it. Upgrade all servers."
        ) from None


def queue_of(spec: Spec, submission: Submission) -> str:
    """Return the queue to which the jobs of a schedule go now."""
    return submission.queue_of(spec.job)[0]


def job_for(name: str, spec: Spec, job_id: str, tick_ms: int, submission: Submission) -> NewJob:
    """Return the job of a tick, which has the name of the schedule and the tick in its metadata, if there is room."""
    metadata = metadata_of(name, spec.job, tick_ms)
    job = msgspec.structs.replace(spec.job, id=job_id, queue=queue_of(spec, submission), metadata=metadata)
    return submission.new_job(job, tick_ms)


def metadata_of(name: str, job: JobRequest, tick_ms: int) -> dict[str, str]:
    """Return the metadata of the job of a tick: its own, and if there is room the schedule's name and the tick."""
    own = dict(job.metadata or {})
    metadata = {**own, SCHEDULE: name, TICK: _shown(tick_ms)}
    size = sum(len(key) + len(value.encode()) for key, value in metadata.items())
    return own if len(metadata) > MAX_METADATA or size > MAX_METADATA_BYTES else metadata


def _given(struct: Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:  # in the year 1 or 9999, so it never fires
        return time


def _shown(time_ms: int) -> str:
    digits = "milliseconds" if time_ms % 1000 else "seconds"
    return f"{from_ms(time_ms).replace(tzinfo=None).isoformat(timespec=digits)}Z"
