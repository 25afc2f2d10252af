"""The ASGI application: the table of routes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from queuey.api.http.auth import Gate
from queuey.api.http.endpoints import Endpoint, Guarded, Resource, Timed, no_route
from queuey.api.http.waiting import Awaited
from queuey.api.openapi.description import DESCRIPTION, Description
from queuey.api.openapi.swagger import docs_endpoints
from queuey.api.routes import dlq, workers
from queuey.api.routes import queues as queue_admin
from queuey.api.routes.batch import BATCH, SubmitBatch
from queuey.api.routes.events import EVENTS, JOB_EVENTS, EventRoutes
from queuey.api.routes.health import HEALTHZ, READYZ, OpsRoutes
from queuey.api.routes.jobs import CANCEL, DELETE, EXPLAIN, LIST, RETRY, SHOW, JobRoutes
from queuey.api.routes.leases import COMPLETE, EXTEND, FAIL, LEASE, RELEASE, LeaseRoutes
from queuey.api.routes.metrics import SCRAPE, MetricsRoutes
from queuey.api.routes.queues import METRICS, REPLAY, QueueRoutes
from queuey.api.routes.submit import SubmitJob
from queuey.metrics import Metrics
from queuey.protocol.credentials import Credentials
from queuey.services.events.subscribers import EventSubscribers
from queuey.services.health import Health
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission
from queuey.services.jobs.waiters import Waiters
from queuey.services.leases.pulling import Pulling
from queuey.services.peers import Peers
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker


class Api:
    """Routes requests. A fixed path is found without the router, which alone takes longer than most answers."""

    def __init__(self, endpoints: Sequence[Endpoint], metrics: Metrics) -> None:
        self.endpoints = tuple(endpoints)
        by_path: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, []).append(endpoint)
        routes = [Route(path, Resource([Timed(one, metrics) for one in group])) for path, group in by_path.items()]
        self.router = Router(routes, redirect_slashes=False, default=no_route)
        self._fixed = {
            (endpoint.method, endpoint.path): Timed(endpoint, metrics)
            for endpoint in endpoints
            if "{" not in endpoint.path
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._fixed.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or self.router)(scope, receive, send)


def create_app(
    settings: Settings,
    broker: Broker,
    producer: Producer,
    credentials: Credentials,
    health: Health,
    submission: Submission,
    waiters: Waiters,
    pulling: Pulling,
    followers: EventSubscribers,
    siblings: Peers | None = None,
    *,
    metrics: Metrics,
) -> Api:
    """The whole API. `siblings`: this replica and the others of its parent, if there is one."""
    gate = Gate(credentials)
    awaited = Awaited(broker, waiters, settings.request_deadline)
    jobs = JobRoutes(broker, producer, waiters, settings.request_deadline, metrics=metrics)
    events = EventRoutes(broker, waiters, followers, settings.request_deadline)
    queues = QueueRoutes(broker, producer, settings.request_deadline, metrics=metrics)
    leases = LeaseRoutes(pulling, settings)
    admin = queue_admin.QueueAdminRoutes(broker, settings.request_deadline, settings.body_limit)
    dead = dlq.DeadLetterRoutes(broker, producer, submission, settings, metrics=metrics)
    staff = workers.WorkerRoutes(broker, settings.request_deadline)
    ops = OpsRoutes(health)
    scrapes = MetricsRoutes(broker, settings.request_deadline, siblings or Peers(), metrics=metrics)
    batch = SubmitBatch(submission, producer, body_limit=settings.body_limit, batch_limit=settings.batch_limit)
    description = Description()
    api = Api(
        [
            SubmitJob(gate, submission, producer, awaited, settings.body_limit),
            Guarded("GET", "/v1/jobs", "read", gate, jobs.list, LIST),
            Guarded("POST", "/v1/jobs/batch", "submit", gate, batch, BATCH),
            Guarded("GET", "/v1/jobs/{id}", "read", gate, jobs.show, SHOW),
            Guarded("POST", "/v1/jobs/{id}/cancel", "submit", gate, jobs.cancel, CANCEL),
            Guarded("GET", "/v1/jobs/{id}/explain", "read", gate, jobs.explain, EXPLAIN),
            Guarded("POST", "/v1/jobs/{id}/retry", "submit", gate, jobs.retry, RETRY),
            Guarded("DELETE", "/v1/jobs/{id}", "admin", gate, jobs.delete, DELETE),
            Guarded("POST", "/v1/leases", "work", gate, leases.lease, LEASE),
            Guarded("POST", "/v1/leases/complete", "work", gate, leases.complete, COMPLETE),
            Guarded("POST", "/v1/leases/fail", "work", gate, leases.fail, FAIL),
            Guarded("POST", "/v1/leases/extend", "work", gate, leases.extend, EXTEND),
            Guarded("POST", "/v1/leases/release", "work", gate, leases.release, RELEASE),
            Guarded("GET", "/v1/queues", "read", gate, admin.list, queue_admin.LIST),
            Guarded("GET", "/v1/jobs/{id}/events", "read", gate, events.of_job, JOB_EVENTS),
            Guarded("GET", "/v1/events", "read", gate, events.of_all, EVENTS),
            Guarded("GET", "/v1/queues/metrics", "read", gate, queues.metrics, METRICS),
            Guarded("GET", "/v1/queues/{name}", "read", gate, admin.show, queue_admin.SHOW),
            Guarded("POST", "/v1/queues/{name}/pause", "admin", gate, admin.pause, queue_admin.PAUSE),
            Guarded("POST", "/v1/queues/{name}/resume", "admin", gate, admin.resume, queue_admin.RESUME),
            Guarded("POST", "/v1/queues/{name}/purge", "admin", gate, admin.purge, queue_admin.PURGE),
            Guarded("GET", "/v1/workers", "read", gate, staff.list, workers.LIST),
            Guarded("POST", "/v1/workers/{name}/quiet", "admin", gate, staff.quiet, workers.QUIET),
            Guarded("GET", "/v1/dlq", "read", gate, dead.list, dlq.LIST),
            Guarded("GET", "/v1/dlq/groups", "read", gate, dead.groups, dlq.GROUPS),
            Guarded("POST", "/v1/dlq/replay", "admin", gate, dead.replay, dlq.REPLAY),
            Guarded("POST", "/v1/dlq/delete", "admin", gate, dead.delete, dlq.DELETE),
            Guarded("PUT", "/v1/jobs/{id}/payload", "admin", gate, dead.edit, dlq.EDIT),
            Guarded("POST", "/v1/replay-dlq", "admin", gate, queues.replay, REPLAY),
            Guarded("GET", "/healthz", None, gate, ops.healthz, HEALTHZ),
            Guarded("GET", "/readyz", None, gate, ops.readyz, READYZ),
            Guarded("GET", "/metrics", "read", gate, scrapes.show, SCRAPE),
            Guarded("GET", "/v1/openapi.json", None, gate, description.show, DESCRIPTION),
            *docs_endpoints(gate, description),
        ],
        metrics,
    )
    description.endpoints = api.endpoints
    return api
