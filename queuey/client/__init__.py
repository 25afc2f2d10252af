"""The Python client: Client for asyncio, SyncClient for other programs, and their errors. See docs/client.md."""

from queuey.client.client import Client
from queuey.client.errors import (
    BadAnswer,
    ClientError,
    Closed,
    Conflict,
    Forbidden,
    Full,
    Invalid,
    JobFailed,
    KeyHeld,
    LostLease,
    NotFinished,
    NotFound,
    Refused,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WrongState,
)
from queuey.client.events import Event
from queuey.client.sync import SyncClient
from queuey.protocol.ids import new_id
from queuey.protocol.job_requests import JobOptions, job_metadata

__all__ = [
    "BadAnswer",
    "Client",
    "ClientError",
    "Closed",
    "Conflict",
    "Event",
    "Forbidden",
    "Full",
    "Invalid",
    "JobFailed",
    "JobOptions",
    "KeyHeld",
    "LostLease",
    "NotFinished",
    "NotFound",
    "Refused",
    "SyncClient",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WrongState",
    "job_metadata",
    "new_id",
]
