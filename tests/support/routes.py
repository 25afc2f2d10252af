"""What the tests that go through the table of routes must know of some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import httpx

from queuey.api.http.endpoints import Endpoint

DOCUMENTATION: Final = {
    "/v1/openapi.json",
    "/docs",
    "/docs/page.js",
    "/docs/openapi.json",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
    "/ui/{path:path}",
}
OPEN: Final = {"/healthz", "/readyz", "/v1/me", *DOCUMENTATION}
"""Routes that need no key: they tell nothing of the jobs."""
LOGINS: Final = {"/ui/session"}
"""Routes that need no key, and refuse whatever the page does not send."""
SCHEDULE: Final = {"every": 60, "overlap": "allow", "job": {"type": "t", "queue": "mail"}}
BODIES: Final[dict[str, object]] = {
    "/v1/queues/{name}/pause": {"reason": "by hand"},
    "/v1/queues/{name}/purge": {},
    "/v1/jobs/cancel": {"queue": "mail"},
    "/v1/jobs/retry": {"queue": "mail"},
    "/v1/jobs/delete": {"queue": "mail"},
    "/v1/dlq/replay": {"queue": "mail"},
    "/v1/dlq/delete": {"queue": "mail"},
    "/v1/jobs/{id}/payload": {"n": 1},
    "/v1/schedules/preview": {"every": 60, "job": {"type": "t", "queue": "mail"}},
    "/v1/schedules/{name}": SCHEDULE,
    "/v1/schedules/{name}/pause": {"reason": "by hand"},
    "/v1/schedules/{name}/backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
}
"""Good bodies of the routes that take one and are about no single job."""
OVER_ALL_QUEUES: Final = {"/v1/replay-dlq", "/metrics", "/v1/audit", "/ui/sessions"}
"""Routes for which a grant over one queue does not do, whichever queue it is."""

FILTERED: Final = {
    ("GET", "/v1/queues/metrics"): ("queues", "name"),
    ("GET", "/v1/queues"): ("queues", "name"),
    ("GET", "/v1/workers"): ("workers", "name"),
    ("GET", "/v1/pulse"): ("queues", "name"),
    ("GET", "/v1/jobs"): ("jobs", "queue"),
    ("GET", "/v1/schedules"): ("schedules", "queue"),
    ("GET", "/v1/dlq"): ("jobs", "queue"),
    ("GET", "/v1/dlq/groups"): ("groups", "type"),
}
"""Routes that answer with what the caller may see: the list in their reply, and what has the queue's name there."""

NEEDS_SCHEDULED: Final = {("POST", "/v1/jobs/{id}/retry")}
NEEDS_CANCELLED: Final = {("DELETE", "/v1/jobs/{id}")}
"""Routes that are good for a job in such a state alone; the others are for one that is queued."""
NEEDS_DEAD: Final = {("GET", "/v1/dlq"), ("GET", "/v1/dlq/groups"), ("PUT", "/v1/jobs/{id}/payload")}
"""Routes that are good for a dead job only; tests/integration makes one."""
NEEDS_WORKER: Final = {("GET", "/v1/workers"), ("POST", "/v1/workers/{name}/quiet")}
"""Routes about a worker of the queue `mail`, which has that name too. A real server has none: tests/integration makes
one."""


NEEDS_SCHEDULE: Final = {
    ("GET", "/v1/schedules"),
    *((method, "/v1/schedules/{name}") for method in ("GET", "DELETE")),
    *(("POST", f"/v1/schedules/{{name}}/{verb}") for verb in ("pause", "resume", "trigger", "backfill")),
}
"""Routes about a schedule of the name `mail`, whose jobs go to the queue `mail`."""
ENDLESS: Final = {"/v1/events": "?seconds=0", "/v1/jobs/{id}/events": "?seconds=0", "/v1/pulse": "?once=1"}
"""Routes whose answer goes on and on, unless it is asked for an end."""


def path_for(endpoint: Endpoint, job_id: str) -> str:
    """A path about this job, or the queue, the worker or the schedule `mail`."""
    path = endpoint.path.replace("{id}", job_id).replace("{name}", "mail").replace("{path:path}", "")
    return path + ENDLESS.get(endpoint.path, "")


def body_for(endpoint: Endpoint, bodies: Mapping[str, Any]) -> Any:
    """The body for an endpoint; None if it takes none, although another method of its path does."""
    return None if endpoint.doc.body is None else bodies.get(endpoint.path)


def is_for(endpoint: Endpoint, routes: Collection[tuple[str, str]]) -> bool:
    return (endpoint.method, endpoint.path) in routes


def seen_queues(endpoint: Endpoint, response: httpx.Response) -> set[str] | None:
    """The queues in the answer of a route that leaves some out; None for other routes."""
    place = FILTERED.get((endpoint.method, endpoint.path))
    return None if place is None else {entry[place[1]] for entry in response.json()[place[0]]}
