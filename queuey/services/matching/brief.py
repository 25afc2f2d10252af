"""Jobs for lists that people look at: without payloads and results, and with short errors."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from queuey.protocol.models import Job, JobPage
from queuey.protocol.stored.job_errors import ELLIPSIS

MAX_ERROR: Final = 200
"""The maximum number of characters of an error."""
_LEFT_OUT: Final = ("payload", "result")


class BriefPage(Struct):
    """A JobPage whose jobs have the fields that are left."""

    jobs: list[dict[str, Any]]
    next: str | None
    looked_at: int


def brief_page(page: JobPage) -> BriefPage:
    """Return a page with brief jobs."""
    return BriefPage([_brief(job) for job in page.jobs], page.next, page.looked_at)


def _brief(job: Job) -> dict[str, Any]:
    job = replace(
        job,
        last_error=_cut(job.last_error),
        errors=[replace(error, message=_cut(error.message), detail=_cut(error.detail)) for error in job.errors],
        attempts_log=[replace(attempt, error=_cut(attempt.error)) for attempt in job.attempts_log],
    )
    fields = {name: getattr(job, name) for name in job.__struct_fields__ if name not in _LEFT_OUT}
    return {name: value for name, value in fields.items() if value is not UNSET}


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_ERROR else text[: MAX_ERROR - 1] + ELLIPSIS
