"""The Python client: Client for asyncio, SyncClient for other programs, and their errors. See docs/client.md."""

from queuey.client.client import Client
from queuey.client.errors import (
    BadAnswer,
    ClientError,
    Forbidden,
    Full,
    Invalid,
    LostLease,
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
from queuey.protocol.job_requests import JobOptions

__all__ = [
    "BadAnswer",
    "Client",
    "ClientError",
    "Event",
    "Forbidden",
    "Full",
    "Invalid",
    "JobOptions",
    "LostLease",
    "NotFound",
    "Refused",
    "SyncClient",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WrongState",
    "new_id",
]
