"""Texts that are searched for in jobs: their spellings in the store, and the exact comparison with a job."""

from __future__ import annotations

import json

import msgspec

from queuey.protocol.models import Job, JobError


def spellings(text: str) -> list[str]:
    """Return a text as it may be stored: as it is, and within a text of JSON, with and without other characters."""
    within = msgspec.json.encode(text).decode()[1:-1]
    return list(dict.fromkeys((text, within, json.dumps(text)[1:-1])))


def has_error(job: Job, text: str) -> bool:
    """Return whether one of the job's errors has the text in its kind, message or detail."""
    return any(_is_in(error, text) for error in job.errors)


def has_text(job: Job, text: str) -> bool:
    """Return whether the job has the text in its id, type, payload or errors. A payload may have any spelling of it."""
    if text in job.id or text in job.type or has_error(job, text):
        return True
    payload = bytes(job.payload)
    return any(spelling.encode() in payload for spelling in spellings(text))


def _is_in(error: JobError, text: str) -> bool:
    return text in error.kind or text in error.message or text in (error.detail or "")
