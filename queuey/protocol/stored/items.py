"""Items of batches, as the script add_items takes them, and the text of a job whose payload is a list of items.

The definition of such a job ends in its payload, so that the script can add to it without reading it.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from queuey.protocol.models import Priority
from queuey.protocol.records import NewJob, encode_key

MAX_ITEMS: Final = 10_000
"""The most items of a batch."""
MAX_BATCH_BYTES: Final = 4_000_000
"""The most bytes of a job with items. So a claim of them stays below 8 MB, and a line of an export below 10 MB."""

_encode = msgspec.json.Encoder().encode


class NewItem(Struct, array_like=True):
    """An item of a batch. `job`: for a new batch, with a body from `open_body`. Times are in ms."""

    name: str
    id: str
    payload: str
    remember_ms: int
    max_items: int
    wait_ms: int
    job: NewJob

    @property
    def queue(self) -> str:
        """The queue of the batch."""
        return self.job.queue

    @property
    def size(self) -> int:
        """The approximate number of bytes in a call."""
        payload = len(self.payload) if self.payload.isascii() else len(self.payload.encode())
        return 200 + len(self.name) + payload + self.job.size


def batch_name(queue: str, priority: Priority, job_type: str, key: str) -> str:
    """Return the name of a batch in the store: items with the same one share a job."""
    return f"{queue}:{priority}:{job_type}:{encode_key(key)}"


def open_body(body: str, key: str) -> str:
    """Return the JSON of a definition, up to where the items begin, from that of one without a payload."""
    return f'{body[:-1]},"batch_key":{_encode(key).decode()},"payload":['
