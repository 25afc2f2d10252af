"""The answers about access: who the caller is, and who operated the server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Via = Literal["key", "session", "proxy", "none"]
"""The proof of a caller: a key, the cookie of a session, the header of a trusted proxy, or none."""
UiMode = Literal["full", "read-only", "off"]
AuditOutcome = Literal["begun", "done", "refused", "failed", "unknown"]


class Bounds(Struct):
    """The limits of requests: bytes of a payload, a result, a body; jobs of a batch; the depth of JSON."""

    payload_bytes: int
    result_bytes: int
    body_bytes: int
    batch_jobs: int
    json_depth: int


class Me(Struct):
    """The answer to `GET /v1/me`: who the caller is, and what this server is.

    `open`: the server has no keys. `via`: what the caller showed, which is a key, a session, the header of a proxy, or
    nothing. `grants` are scopes, over one queue as `read@mail`. `features` are those that this version knows. `at` is
    the server's time.
    """

    name: str
    open: bool
    via: Via
    grants: list[str]
    version: str
    features: list[str]
    ui: UiMode
    limits: Bounds
    at: datetime


class AuditEntry(Struct):
    """One action of `GET /v1/audit`.

    `name` is that of the key or the person, and `via` says how it was known. `number` is how many jobs were changed.
    `outcome` is `begun` until the action ends; an action whose replica was killed stays so. `unknown`: the store did
    not say whether it was carried out. `detail` says why it was refused or failed.
    """

    id: str
    at: datetime
    name: str
    via: Via
    action: str
    target: str | None
    filter: dict[str, Any] | None
    number: int | None
    outcome: AuditOutcome
    detail: str | UnsetType = UNSET


class AuditPage(Struct):
    """The answer to `GET /v1/audit`, newest first. `next`: the cursor of the next page; None at the end."""

    entries: list[AuditEntry]
    next: str | None


class Login(Struct, forbid_unknown_fields=True):
    """The body of `POST /ui/session`."""

    key: Annotated[str, Meta(min_length=1, max_length=200)]
