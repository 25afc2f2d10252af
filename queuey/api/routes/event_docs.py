"""What the routes of events take and give."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from queuey.api.http.operations import Media, Operation, Parameter, QueueName
from queuey.api.routes.events import MAX_SECONDS, MEDIA_TYPE
from queuey.errors import Full
from queuey.protocol.models import ServerSentEvent, Status

_SECONDS: Final = Parameter(
    "seconds", Annotated[int, Meta(ge=0, le=MAX_SECONDS)], "Ends the stream after so many seconds", example=10
)

EVENTS: Final = Operation(
    "follow_events",
    "What happens to jobs, as it happens",
    {200: Media(MEDIA_TYPE, "`status`, `progress`, and `reset` where events before it are missing", ServerSentEvent)},
    description="Server-Sent Events of the queues that the key may read, without an end.",
    query=(
        Parameter("queue", QueueName, "Only of jobs in this queue", example="mail"),
        Parameter("type", QueueName, "Only of jobs of this type", example="text.reverse"),
        Parameter("status", Status, "Only changes to this status, and no progress", example="dead_letter"),
        _SECONDS,
    ),
    headers=(Parameter("Last-Event-ID", str, "Begins after this event; `reset` comes first when it is forgotten"),),
    errors=(Full,),
    group="Events",
)
JOB_EVENTS: Final = Operation(
    "follow_job",
    "What happens to one job, to its end",
    {200: Media(MEDIA_TYPE, "`status`, the first as it is now, and `progress`", ServerSentEvent)},
    description="Server-Sent Events. The stream ends after the final status.",
    query=(_SECONDS,),
    errors=(Full,),
    group="Events",
)
