"""The jobs that handlers enqueue, taken by the server that runs the handlers."""

from __future__ import annotations

import time

from queuey.protocol import traceparent
from queuey.protocol.job_requests import request_json
from queuey.protocol.models import EnqueueReply, JobRequest
from queuey.services.jobs.producer import Producer
from queuey.services.jobs.submission import Submission


class Sending:
    """Takes jobs for `App.sender`, as `POST /v1/jobs` does but without HTTP."""

    def __init__(self, submission: Submission, producer: Producer) -> None:
        self._submission = submission
        self._producer = producer
        self.is_traced = False
        """Whether handlers run in spans, which the jobs have to keep."""

    async def send(self, request: JobRequest) -> EnqueueReply:
        """Enqueue one job. Raises QueueyError, as the route does: Invalid, Full, OutcomeUnknown ..."""
        if self.is_traced and request.traceparent is None:
            request.traceparent = traceparent.current()
        checked = self._submission.parse(request_json(request))
        return await self._producer.enqueue(self._submission.new_job(checked, time.time_ns() // 1_000_000))
