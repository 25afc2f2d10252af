"""The labels of a job: its tags, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta

MAX_TAGS: Final = 8
TAG_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,63}\Z"
"""Nothing in a tag is escaped in JSON, so that the store's scripts can compare tags (lua/jobs/list_jobs.lua)."""
TAG_RULE: Final = "1 to 64 letters, digits and '._:/@=+-' (the first is a letter or digit)"
"""TAG_PATTERN in words, to be read after "must be"."""
MAX_METADATA: Final = 8
MAX_METADATA_BYTES: Final = 1000

LOGGED: Final = ("request_id", "tenant")
"""The entries of metadata that log lines about a job have."""

Tag = Annotated[str, Meta(pattern=TAG_PATTERN)]
Tags = Annotated[Sequence[Tag], Meta(max_length=MAX_TAGS)]
MetadataText = Annotated[str, Meta(max_length=MAX_METADATA_BYTES)]


def logged(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the entries of a job's metadata that log lines have."""
    return {key: metadata[key] for key in LOGGED if key in metadata} if metadata else {}
