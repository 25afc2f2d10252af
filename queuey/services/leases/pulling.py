"""The services of a replica for workers that pull jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from queuey.metrics import Metrics
from queuey.protocol.models import Backoff, ProgressReport
from queuey.services.leases.acks import Acks
from queuey.services.leases.leasing import Leasing
from queuey.services.leases.long_polls import LongPolls
from queuey.services.leases.outcomes import LeaseOutcomes
from queuey.services.leases.pull_workers import PullWorkers
from queuey.services.reports.progress import ProgressRecorder
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.connections.pipelined import StoreClient
from queuey.store.wakeups import SharedWaker, wake_groups

RETURN_SECONDS: Final = 60.0
"""The seconds for which the release of a job whose client has disconnected is sent again."""


class PullSettings(Struct, frozen=True):
    """The settings of pull workers' requests, in seconds. `backoff` is for jobs that have none of their own."""

    request_deadline: float
    max_starve: float
    backoff: Backoff

    @classmethod
    def of(cls, settings: Settings) -> PullSettings:
        """Return them, taken from the settings of a server."""
        backoff = Backoff(settings.backoff_base, settings.backoff_factor, settings.backoff_cap)
        return cls(settings.request_deadline, settings.max_starve, backoff)


class Pulling:
    """The services for pull workers. Make it inside the running loop.

    `broker` sends the calls of HTTP requests. `polls` are the requests that wait, and `wakers` wake them. Without
    wakers they claim again when their time is over. `on_progress` is called with each progress report that is stored.
    """

    def __init__(
        self,
        broker: Broker,
        settings: PullSettings,
        *,
        metrics: Metrics,
        polls: LongPolls,
        wakers: Sequence[SharedWaker] = (),
        on_progress: Callable[[str, str, ProgressReport], None],
    ) -> None:
        self.workers = PullWorkers()
        self.wakers = wakers
        self.progress = ProgressRecorder(broker, on_progress)
        self.leasing = Leasing(
            broker,
            Acks(broker, RETURN_SECONDS),
            self.workers,
            polls=polls,
            wakers=wakers,
            request_deadline=settings.request_deadline,
            max_starve=settings.max_starve,
        )
        self.outcomes = LeaseOutcomes(
            broker,
            self.workers,
            self.progress,
            metrics=metrics,
            request_deadline=settings.request_deadline,
            backoff=settings.backoff,
        )


def pull_wakers(
    broker: Broker, polls: LongPolls, open_client: Callable[[], StoreClient], replica: str, *, cluster: bool
) -> list[SharedWaker]:
    """Return the chores that wake `polls`. `open_client` opens a connection that may be blocked."""
    shards = broker.shards
    return [SharedWaker(open_client(), shards, group, polls, replica) for group in wake_groups(shards, cluster=cluster)]
