"""The jobs that handlers enqueue, taken by the server that runs the handlers."""

from __future__ import annotations

import time
from collections.abc import Callable

from queuey.protocol import traceparent
from queuey.protocol.job_requests import request_json
from queuey.protocol.models import EnqueueReply, JobRequest
from queuey.services.batches.reading import job_or_item
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission


class Sending:
    """Takes jobs for `App.sender`, as `POST /v1/jobs` does but without HTTP.

    `is_traced` returns whether handlers run in spans. The jobs then store the span.
    """

    def __init__(
        self, submission: Submission, producer: Producer, *, is_traced: Callable[[], bool] = lambda: False
    ) -> None:
        self._submission = submission
        self._producer = producer
        self._is_traced = is_traced

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Enqueue one job. Raises QueueyError, as the route does: Invalid, Full, OutcomeUnknown ..."""
        if self._is_traced() and request.traceparent is None:
            request.traceparent = traceparent.current()
        checked = self._submission.parse(request_json(request))
        _, warning = self._submission.address(checked)
        reply = await self._producer.enqueue(job_or_item(self._submission, checked, time.time_ns() // 1_000_000))
        self._submission.queues.warn(reply, checked.type, warning)
        return reply
