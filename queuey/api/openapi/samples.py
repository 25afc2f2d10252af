"""Sample answers for the description of the API. A test checks each against its schema."""

from __future__ import annotations

from typing import Any, Final

JOB_ID: Final = "4C01M85WK1F481TEH724WFD9NG9Z"
JOB: Final[dict[str, Any]] = {
    "id": JOB_ID,
    "type": "text.reverse",
    "queue": "default",
    "priority": "default",
    "status": "succeeded",
    "payload": {"text": "hello"},
    "dedupe_key": "greeting:1",
    "attempts": 0,
    "max_attempts": 5,
    "crashes": 0,
    "timeout": None,
    "created_at": "2026-11-24T04:21:26.124000Z",
    "run_at": None,
    "started_at": "2026-11-24T04:21:26.128000Z",
    "finished_at": "2026-11-24T04:21:26.136000Z",
    "lease_expires_at": None,
    "last_error": None,
    "errors": [],
    "result": "olleh",
    "attempt": 1,
    "last_error_attempt": None,
    "progress": None,
    "worker": "host-5657-e21e",
    "expires_at": None,
    "attempts_log": [
        {
            "attempt": 1,
            "started_at": "2026-11-24T04:21:26.128000Z",
            "ended_at": "2026-11-24T04:21:26.136000Z",
            "worker": "host-5657-e21e",
            "error": None,
        }
    ],
    "traceparent": None,
    "released": 0,
    "checkpoint": None,
    "snoozed": 0,
    "tags": [],
    "metadata": None,
    "unique": None,
    "batch_key": None,
}
JOB_LOG: Final = {
    "job_id": JOB_ID,
    "lines": [{"attempt": 1, "at": "2026-11-24T04:21:26.130000Z", "level": "info", "text": "page 3 of 12"}],
}
PAGE: Final = {"jobs": [JOB], "next": None, "looked_at": 6}
OUTCOMES: Final = {
    "results": [
        {"job_id": JOB_ID, "deduplicated": False},
        {
            "error": {
                "type": "urn:queuey:problem:invalid",
                "title": "The request does not fit the schema",
                "status": 422,
                "detail": "Unknown field 'priorty'. Did you mean priority?",
                "errors": [{"pointer": "/priorty", "detail": "is unknown. Did you mean priority?"}],
            }
        },
    ]
}
LEASED: Final = {
    "jobs": [
        {
            "id": JOB_ID,
            "token": "1.J9TQ2M7RXKD4",
            "type": "text.reverse",
            "payload": {"text": "hello"},
            "attempt": 1,
            "lease_expires_at": "2026-11-24T04:21:56.128000Z",
        }
    ]
}
_LENGTHS: Final[dict[str, Any]] = {
    "name": "default",
    "paused": False,
    "high": 0,
    "default": 2,
    "low": 0,
    "scheduled": 0,
    "running": 0,
    "dead_letter": 1,
    "finished": 4,
    "claimable": 2,
}
LENGTHS: Final = {
    "queue_high_length": 0,
    "queue_default_length": 2,
    "queue_low_length": 0,
    "queue_dlq_length": 1,
    "queues": [_LENGTHS],
}
QUEUE: Final = {
    **_LENGTHS,
    "paused_by": None,
    "pause_reason": None,
    "paused_at": None,
    "oldest_age": 0.25,
    "workers": ["host-5657-e21e"],
    "claimable_age": 0.25,
    "waiting_for_handler": {"invoices.send": 37},
}
PAUSED_QUEUE: Final = {
    **QUEUE,
    "paused": True,
    "paused_by": "ops",
    "pause_reason": "the mail relay is down",
    "paused_at": "2026-11-24T04:21:26.124000Z",
}
WORKER: Final = {
    "name": "host-5657-e21e",
    "replica": "host-5657-e21e",
    "kind": "process",
    "slots": 10,
    "busy": 1,
    "jobs": [JOB_ID],
    "queues": ["default"],
    "types": ["math.square", "text.reverse"],
    "last_seen": "2026-11-24T04:21:26.124000Z",
    "quiet": False,
    "started_at": "2026-11-24T04:20:00.000000Z",
    "version": "0.1.0",
    "key": "",
    "app": "queuey",
    "stuck_threads": [],
    "blocked_types": [],
    "gone": False,
}
SCHEDULE_REQUEST: Final[dict[str, Any]] = {
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "job": {"type": "reports.nightly", "queue": "reports"},
}
SCHEDULE: Final[dict[str, Any]] = {
    "name": "nightly-report",
    "status": "active",
    "detail": "It fires next at 2027-03-25 01:30:00Z.",
    "every": None,
    "at": None,
    **SCHEDULE_REQUEST,
    "queue": "reports",
    "overlap": "skip",
    "catch_up": "last",
    "catch_up_window": 3600.0,
    "jitter": 0.0,
    "exclude": [],
    "next": [f"2027-03-{day}T{time}:00Z" for day, time in ((25, "01:30"), (26, "01:30"), (27, "01:30"), (28, "01:00"))]
    + ["2027-03-29T00:30:00Z"],
    "due_at": "2027-03-25T01:30:00Z",
    "last_tick": "2027-03-24T01:30:00Z",
    "last_job_id": JOB_ID,
    "waiting_tick": None,
    "paused_at": None,
    "paused_by": None,
    "pause_reason": None,
    "created_at": "2027-03-01T09:00:00Z",
    "replaced_at": None,
    "version": 1,
    "app": None,
}
