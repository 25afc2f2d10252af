"""The list of a server's parts, made in one go: each gets the others that it needs as arguments."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from queuey.lifecycle import Part, StopSignals
from queuey.protocol.credentials import Credentials
from queuey.server.api import http_parts, server_api_parts
from queuey.server.presence import Capacity, Presence
from queuey.server.roles import Common, Membership, Messages, ReaperRole, TypeKnowledge, Watches, WorkerRole
from queuey.services.health import Health
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Decoder, Submission, SubmissionSettings
from queuey.services.jobs.type_queues import OwnHandlers, TypeQueues
from queuey.services.leases.long_polls import LongPolls
from queuey.services.leases.pulling import Pulling
from queuey.services.maintenance.store_watch import StoreWatch
from queuey.services.peers import Place
from queuey.services.schedules.keeping import Schedules
from queuey.store.broker.broker import Broker
from queuey.worker.execution import Execution
from queuey.worker.handlers import builtin
from queuey.worker.handlers.app import App
from queuey.worker.handlers.parameters.schemas import payload_schemas
from queuey.worker.schedules.starting import DeclaredSchedules
from queuey.worker.schedules.syncing import Syncing
from queuey.worker.sender import Sending


@dataclass(frozen=True, kw_only=True)
class Door:
    """The door of a server: what its API needs from outside. `bound`: the socket that it listens on."""

    bound: socket.socket
    credentials: Credentials
    place: Place
    signals: StopSignals


class Assembly:
    """Makes the parts of a server in the roles that its settings ask for.

    `enqueuing` is the Broker of new jobs. Without a `door` the server has no API. `declares`: whether it puts the
    schedules of the App, as one replica of several of one parent does.
    """

    def __init__(self, common: Common, app: App, enqueuing: Broker, door: Door | None, *, declares: bool) -> None:
        self._common = common
        self._app = app
        self._door = door
        self._declares = declares and common.settings.app is not None
        settings, roles = common.settings, common.settings.roles
        self._polls = LongPolls()
        self._worker = WorkerRole(common, app) if "worker" in roles else None
        self._producer = Producer(
            enqueuing,
            metrics=common.metrics,
            resend_for=settings.request_deadline,
            copies=settings.wait_replicas,
            claimers=[*([self._worker.worker] if self._worker else []), self._polls],
        )
        own = OwnHandlers(app.queue_of, run_here=self._worker is not None, name_types=settings.app is not None)
        self._queues = TypeQueues(own, demo_types=builtin.app.handlers)
        self._submission = Submission(
            SubmissionSettings.of(settings), self._max_attempts_of, self._decoder_of, self._queues
        )
        self._health: Health | None = None
        self._watch = StoreWatch(
            common.broker, settings.lease, self._producer.set_full, on_restart=self._check_store_again
        )

    def parts(self) -> list[Part]:
        """Return the parts in the order in which they are started and drained.

        Requests that wait are let go first. HTTP answers until the worker is done; what new jobs and events are still
        under way is stored last.
        """
        common, own = self._common, self._worker
        # An App is made when its module is imported, so it cannot get what takes its handlers' jobs as an argument.
        sender = Sending(self._submission, self._producer, is_traced=self._is_traced)
        self._app.sender = own.execution.reach(sender) if own else sender
        front, http, pulling = self._api()
        presence = Presence(
            common.replica,
            common.settings.roles,
            common.settings.beat_interval,
            worker=own.worker if own else None,
            execution=own.execution if own else None,
            capacity=own.capacity if own else Capacity(),
            pull_workers=pulling.workers if pulling else None,
        )
        reaper = self._reaper()
        hearers = [*([own.worker.asides.hear] if own else []), *([pulling.leasing.heard] if pulling else [])]
        return [
            *front,
            Watches(common, self._watch),
            *([own] if own else []),
            Messages(common, own.worker if own else None, hearers, reaper.hear_ticks if reaper else None),
            *([reaper] if reaper else []),
            Membership(common, presence, own.own_app if own else None, reaper.lost_names if reaper else None),
            *([TypeKnowledge(common, self._queues)] if http else []),
            *self._declared_schedules(),
            *http,
            self._producer,
            common.publisher,
        ]

    def _declared_schedules(self) -> Sequence[Part]:
        policy = self._common.settings.schedules
        if not self._declares or policy == "off":
            return ()
        schedules = Schedules(self._common.broker, self._submission, producer=self._producer)
        syncing = Syncing(self._app, schedules, policy)
        return [DeclaredSchedules(self._app, syncing.run_once, policy)]

    def _reaper(self) -> ReaperRole | None:
        if "reaper" not in self._common.settings.roles:
            return None
        return ReaperRole(self._common, self._watch, self._app, self._submission, lambda: self._producer.full)

    def _api(self) -> tuple[Sequence[Part], Sequence[Part], Pulling | None]:
        if self._door is None:
            return (), (), None
        api = server_api_parts(
            self._common,
            credentials=self._door.credentials,
            submission=self._submission,
            producer=self._producer,
            polls=self._polls,
            place=self._door.place,
            payload_schemas=partial(payload_schemas, self._app.handlers),
        )
        self._health = api.health
        front, http = http_parts(self._common, api, self._door.bound, self._door.signals)
        if self._worker is not None:
            api.health.note = partial(_note, self._worker.execution)
        return [front], [http], api.pulling

    async def _check_store_again(self) -> None:
        """Learn the settings of a store that was started again."""
        durability, note = await self._common.store.check_again(self._common.broker)
        if self._health is not None:
            self._health.durability, self._health.store_note = durability, note

    def _is_traced(self) -> bool:
        return self._worker is not None and self._worker.execution.is_traced

    def _max_attempts_of(self, job_type: str) -> int | None:
        handler = self._app.handlers.get(job_type)
        return handler.max_attempts if handler else None

    def _decoder_of(self, job_type: str) -> Decoder | None:
        handler = self._app.handlers.get(job_type)
        return handler.check if handler else None


def _note(execution: Execution) -> str:
    """Return the note of /readyz. It names no types, since the answer needs no key."""
    return f"All {execution.thread_slots} threads for handlers are stuck." if execution.blocked_types() else ""
