"""The ASGI application: all routes, and the parts that they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from queuey.api.http.auditing import Auditor, is_audited
from queuey.api.http.auth import Gate
from queuey.api.http.endpoints import Endpoint, Guarded, Resource, Timed, no_route
from queuey.api.http.waiting import Awaited
from queuey.api.openapi.description import DESCRIPTION, Description, PayloadSchemas
from queuey.api.openapi.swagger import docs_endpoints
from queuey.api.routes import dlq, schedules, workers
from queuey.api.routes import queues as queue_admin
from queuey.api.routes.batch import BATCH, SubmitBatch
from queuey.api.routes.events import EVENTS, JOB_EVENTS, EventRoutes
from queuey.api.routes.health import HEALTHZ, READYZ, OpsRoutes
from queuey.api.routes.jobs import CANCEL, DELETE, EXPLAIN, LIST, RETRY, SHOW, SHOW_LOG, JobRoutes
from queuey.api.routes.leases import CHECKPOINT, COMPLETE, EXTEND, FAIL, LEASE, LOG, RELEASE, LeaseRoutes
from queuey.api.routes.metrics import SCRAPE, MetricsRoutes, ReplicaMetrics
from queuey.api.routes.queues import METRICS, REPLAY, QueueRoutes
from queuey.api.routes.submit import SubmitJob
from queuey.api.routes.watching import audit, me, pulse
from queuey.api.routes.watching.matching import CANCEL_MATCHING, DELETE_MATCHING, RETRY_MATCHING, MatchingRoutes
from queuey.api.ui import sessions
from queuey.api.ui.files import PATH, leads_to_page, page_endpoint
from queuey.api.ui.headers import Covered
from queuey.api.ui.settings import PLAIN_UI, UiSettings
from queuey.api.ui.visitors import Visitors
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials
from queuey.protocol.models import Bounds
from queuey.services.access.audit import AuditLog
from queuey.services.access.session_secret import SessionSecret
from queuey.services.events.subscribers import EventSubscribers
from queuey.services.health import Health
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from queuey.services.jobs.waiters import Waiters
from queuey.services.leases.pulling import Pulling
from queuey.services.peers import Peers
from queuey.services.pulse import Pulses
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker

_UI: Final = "/ui/"


class Api:
    """Passes requests to their endpoints.

    Fixed paths are looked up without the router, which takes longer than most answers.
    """

    def __init__(self, endpoints: Sequence[Endpoint], metrics: Metrics, frame_ancestors: Sequence[str] = ()) -> None:
        self.endpoints = tuple(endpoints)
        by_path: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, []).append(endpoint)
        routes = [Route(path, Resource([Timed(one, metrics) for one in group])) for path, group in by_path.items()]
        default = leads_to_page if PATH in by_path else no_route
        self.router = Router(routes, redirect_slashes=False, default=default)
        self._fixed = {
            (endpoint.method, endpoint.path): Timed(endpoint, metrics)
            for endpoint in endpoints
            if "{" not in endpoint.path and not endpoint.path.startswith(_UI)
        }
        self._ui = Covered(self.router, frame_ancestors)

    @property
    def submit_job(self) -> SubmitJob:
        """The endpoint that the connections may also use without ASGI."""
        return next(endpoint for endpoint in self.endpoints if isinstance(endpoint, SubmitJob))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint: ASGIApp | None = (
            self._fixed.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        )
        if endpoint is None:
            endpoint = self._ui if scope.get("path", "").startswith(_UI) else self.router
        await endpoint(scope, receive, send)


class ApiSettings(Struct, frozen=True):
    """The settings of the endpoints. `request_deadline` and `unknown_type_ttl` are in seconds, limits are in bytes."""

    request_deadline: float
    body_limit: int
    batch_limit: int
    payload_limit: int
    result_limit: int
    json_depth: int
    unknown_type_ttl: float

    @classmethod
    def of(cls, settings: Settings) -> ApiSettings:
        """Return them, taken from the settings of a server."""
        return cls(
            request_deadline=settings.request_deadline,
            body_limit=settings.body_limit,
            batch_limit=settings.batch_limit,
            payload_limit=settings.payload_limit,
            result_limit=settings.result_limit,
            json_depth=settings.json_depth,
            unknown_type_ttl=settings.unknown_type_ttl,
        )


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """The parts that the endpoints need. `own`: the metrics of this replica; `peers`: the others of its parent.

    `payload_schemas` makes the schemas of the payloads that the App of this server knows.
    """

    settings: ApiSettings
    credentials: Credentials
    broker: Broker
    metrics: Metrics
    health: Health
    submission: Submission
    producer: Producer
    waiters: Waiters
    followers: EventSubscribers
    pulses: Pulses
    pulling: Pulling
    own: ReplicaMetrics
    peers: Peers
    payload_schemas: PayloadSchemas = dict
    ui: UiSettings = PLAIN_UI


def create_app(parts: ApiParts) -> Api:
    """Return the API with all its routes."""
    secret, audit_log = SessionSecret(parts.broker), AuditLog(parts.broker)
    visitors = None if parts.ui.mode == "off" else Visitors(parts.ui, parts.credentials, secret)
    gate = Gate(parts.credentials, visitors)
    endpoints: list[Endpoint] = []
    description = Description(endpoints, parts.payload_schemas)
    endpoints += _jobs(parts, gate)
    endpoints += _schedules(parts, gate)
    endpoints += _leases(parts, gate)
    endpoints += _queues(parts, gate)
    endpoints += _dead_letters(parts, gate)
    endpoints += _operation(parts, gate)
    endpoints += _access(parts, gate, audit_log, visitors)
    endpoints.append(Guarded("GET", "/v1/openapi.json", None, gate, description.show, DESCRIPTION))
    endpoints += docs_endpoints(gate, description)
    if parts.ui.mode != "off":
        endpoints.append(page_endpoint(gate, parts.ui.frame_ancestors))
    auditor = Auditor(audit_log, parts.settings.body_limit)
    for endpoint in endpoints:
        if isinstance(endpoint, Guarded) and is_audited(endpoint):
            auditor.surround(endpoint)
    return Api(endpoints, parts.metrics, parts.ui.frame_ancestors)


def _jobs(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    settings, broker = parts.settings, parts.broker
    awaited = Awaited(broker, parts.waiters, settings.request_deadline)
    batch = SubmitBatch(
        parts.submission, parts.producer, body_limit=settings.body_limit, batch_limit=settings.batch_limit
    )
    jobs = JobRoutes(
        broker,
        parts.producer,
        parts.waiters,
        metrics=parts.metrics,
        request_deadline=settings.request_deadline,
        unknown_type_ttl=settings.unknown_type_ttl,
    )
    yield SubmitJob(gate, parts.submission, parts.producer, awaited, settings.body_limit)
    yield Guarded("GET", "/v1/jobs", "read", gate, jobs.list, LIST)
    yield Guarded("POST", "/v1/jobs/batch", "submit", gate, batch, BATCH)
    yield from _matching(parts, gate)
    yield Guarded("GET", "/v1/jobs/{id}", "read", gate, jobs.show, SHOW)
    yield Guarded("POST", "/v1/jobs/{id}/cancel", "submit", gate, jobs.cancel, CANCEL)
    yield Guarded("GET", "/v1/jobs/{id}/explain", "read", gate, jobs.explain, EXPLAIN)
    yield Guarded("GET", "/v1/jobs/{id}/log", "read", gate, jobs.log, SHOW_LOG)
    yield Guarded("POST", "/v1/jobs/{id}/retry", "submit", gate, jobs.retry, RETRY)
    yield Guarded("DELETE", "/v1/jobs/{id}", "admin", gate, jobs.delete, DELETE)


def _matching(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    settings = parts.settings
    matching = MatchingRoutes(
        parts.broker,
        parts.producer,
        metrics=parts.metrics,
        request_deadline=settings.request_deadline,
        body_limit=settings.body_limit,
    )
    yield Guarded("POST", "/v1/jobs/cancel", "submit", gate, matching.cancel, CANCEL_MATCHING)
    yield Guarded("POST", "/v1/jobs/retry", "admin", gate, matching.retry, RETRY_MATCHING)
    yield Guarded("POST", "/v1/jobs/delete", "admin", gate, matching.delete, DELETE_MATCHING)


def _schedules(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    settings = parts.settings
    routes = schedules.ScheduleRoutes(
        parts.broker,
        parts.submission,
        parts.producer,
        body_limit=settings.body_limit,
        request_deadline=settings.request_deadline,
    )
    yield Guarded("POST", "/v1/schedules/preview", "submit", gate, routes.preview, schedules.PREVIEW)
    yield Guarded("GET", "/v1/schedules", "read", gate, routes.list, schedules.LIST)
    yield Guarded("PUT", "/v1/schedules/{name}", "submit", gate, routes.put, schedules.PUT)
    yield Guarded("GET", "/v1/schedules/{name}", "read", gate, routes.show, schedules.SHOW)
    yield Guarded("DELETE", "/v1/schedules/{name}", "submit", gate, routes.delete, schedules.DELETE)
    yield Guarded("POST", "/v1/schedules/{name}/pause", "submit", gate, routes.pause, schedules.PAUSE)
    yield Guarded("POST", "/v1/schedules/{name}/resume", "submit", gate, routes.resume, schedules.RESUME)
    yield Guarded("POST", "/v1/schedules/{name}/trigger", "submit", gate, routes.trigger, schedules.TRIGGER)
    yield Guarded("POST", "/v1/schedules/{name}/backfill", "submit", gate, routes.backfill, schedules.BACKFILL)


def _leases(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    settings = parts.settings
    leases = LeaseRoutes(
        parts.pulling,
        json_depth=settings.json_depth,
        result_limit=settings.result_limit,
        body_limit=settings.body_limit,
    )
    yield Guarded("POST", "/v1/leases", "work", gate, leases.lease, LEASE)
    yield Guarded("POST", "/v1/leases/complete", "work", gate, leases.complete, COMPLETE)
    yield Guarded("POST", "/v1/leases/fail", "work", gate, leases.fail, FAIL)
    yield Guarded("POST", "/v1/leases/extend", "work", gate, leases.extend, EXTEND)
    yield Guarded("POST", "/v1/leases/checkpoint", "work", gate, leases.checkpoint, CHECKPOINT)
    yield Guarded("POST", "/v1/leases/log", "work", gate, leases.log, LOG)
    yield Guarded("POST", "/v1/leases/release", "work", gate, leases.release, RELEASE)


def _queues(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    broker, deadline, ttl = parts.broker, parts.settings.request_deadline, parts.settings.unknown_type_ttl
    admin = queue_admin.QueueAdminRoutes(broker, deadline, parts.settings.body_limit, unknown_type_ttl=ttl)
    queues = QueueRoutes(broker, parts.producer, metrics=parts.metrics, request_deadline=deadline)
    events = EventRoutes(broker, parts.waiters, parts.followers, deadline)
    staff = workers.WorkerRoutes(broker, deadline)
    yield Guarded("GET", "/v1/queues", "read", gate, admin.list, queue_admin.LIST)
    yield Guarded("GET", "/v1/jobs/{id}/events", "read", gate, events.of_job, JOB_EVENTS)
    yield Guarded("GET", "/v1/events", "read", gate, events.of_all, EVENTS)
    yield Guarded("GET", "/v1/pulse", "read", gate, pulse.PulseRoutes(parts.pulses).follow, pulse.PULSE)
    yield Guarded("GET", "/v1/queues/metrics", "read", gate, queues.metrics, METRICS)
    yield Guarded("GET", "/v1/queues/{name}", "read", gate, admin.show, queue_admin.SHOW)
    yield Guarded("POST", "/v1/queues/{name}/pause", "admin", gate, admin.pause, queue_admin.PAUSE)
    yield Guarded("POST", "/v1/queues/{name}/resume", "admin", gate, admin.resume, queue_admin.RESUME)
    yield Guarded("POST", "/v1/queues/{name}/purge", "admin", gate, admin.purge, queue_admin.PURGE)
    yield Guarded("GET", "/v1/workers", "read", gate, staff.list, workers.LIST)
    yield Guarded("POST", "/v1/workers/{name}/quiet", "admin", gate, staff.quiet, workers.QUIET)


def _dead_letters(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    settings, broker = parts.settings, parts.broker
    dead = dlq.DeadLetterRoutes(
        broker,
        parts.producer,
        parts.submission,
        metrics=parts.metrics,
        request_deadline=settings.request_deadline,
        body_limit=settings.body_limit,
        payload_limit=settings.payload_limit,
        json_depth=settings.json_depth,
    )
    queues = QueueRoutes(broker, parts.producer, metrics=parts.metrics, request_deadline=settings.request_deadline)
    yield Guarded("GET", "/v1/dlq", "read", gate, dead.list, dlq.LIST)
    yield Guarded("GET", "/v1/dlq/groups", "read", gate, dead.groups, dlq.GROUPS)
    yield Guarded("POST", "/v1/dlq/replay", "admin", gate, dead.replay, dlq.REPLAY)
    yield Guarded("POST", "/v1/dlq/delete", "admin", gate, dead.delete, dlq.DELETE)
    yield Guarded("PUT", "/v1/jobs/{id}/payload", "admin", gate, dead.edit, dlq.EDIT)
    yield Guarded("POST", "/v1/replay-dlq", "admin", gate, queues.replay, REPLAY)


def _access(parts: ApiParts, gate: Gate, audit_log: AuditLog, visitors: Visitors | None) -> Iterator[Endpoint]:
    settings = parts.settings
    bounds = Bounds(
        payload_bytes=settings.payload_limit,
        result_bytes=settings.result_limit,
        body_bytes=settings.body_limit,
        batch_jobs=settings.batch_limit,
        json_depth=settings.json_depth,
    )
    known = me.MeRoutes(gate, bounds, parts.ui.mode, is_open=parts.credentials.open)
    yield Guarded("GET", "/v1/me", None, gate, known.show, me.SHOW)
    yield Guarded("GET", "/v1/audit", "admin", gate, audit.AuditRoutes(audit_log).list, audit.LIST)
    if visitors is not None:
        logins = sessions.SessionRoutes(visitors, audit_log)
        yield Guarded("POST", "/ui/session", None, gate, logins.log_in, sessions.LOG_IN)
        yield Guarded("DELETE", "/ui/session", None, gate, logins.log_out, sessions.LOG_OUT)
        yield Guarded("DELETE", "/ui/sessions", "admin", gate, logins.log_all_out, sessions.LOG_ALL_OUT)


def _operation(parts: ApiParts, gate: Gate) -> Iterator[Endpoint]:
    ops = OpsRoutes(parts.health)
    scrapes = MetricsRoutes(
        parts.broker,
        parts.own,
        parts.peers,
        request_deadline=parts.settings.request_deadline,
        unknown_type_ttl=parts.settings.unknown_type_ttl,
    )
    yield Guarded("GET", "/healthz", None, gate, ops.healthz, HEALTHZ)
    yield Guarded("GET", "/readyz", None, gate, ops.readyz, READYZ)
    yield Guarded("GET", "/metrics", "read", gate, scrapes.show, SCRAPE)
