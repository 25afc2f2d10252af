"""The checks of a job's tags and metadata that the schema cannot make."""

from __future__ import annotations

from queuey.errors import Fault, Invalid
from queuey.protocol.models import JobRequest
from queuey.protocol.models.labels import MAX_METADATA_BYTES
from queuey.protocol.schema_faults import invalid


def check_tags(request: JobRequest) -> tuple[str, ...]:
    """Return the tags of a job. Raises Invalid if one is there twice."""
    tags = request.tags
    if not tags:
        return ()
    if len(set(tags)) < len(tags):
        places = [place for place, tag in enumerate(tags) if tag in tags[:place]]
        faults = [Fault(f"/tags/{place}", "is there twice; leave one out") for place in places]
        raise Invalid(f"The tag {tags[places[0]]!r} is there twice. Leave one out.", faults)
    return tuple(tags)


def check_metadata(request: JobRequest) -> dict[str, str] | None:
    """Return the metadata of a job. Raises Invalid if it is too long, or has control characters."""
    metadata = request.metadata
    if not metadata:
        return None
    unprintable = [key for key, value in metadata.items() if not value.isprintable()]
    if unprintable:
        detail = "must be printable text, without line breaks and control characters"
        faults = [Fault(f"/metadata/{key}", detail) for key in unprintable]
        raise Invalid(f"metadata/{unprintable[0]} {detail}.", faults)
    size = sum(len(key) + len(value.encode()) for key, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise invalid("/metadata", f"has {size} bytes with its keys; send at most {MAX_METADATA_BYTES}")
    return dict(metadata)
