"""What a worker keeps of the jobs that it holds."""

from __future__ import annotations

import sys

import msgspec

from queuey.protocol.models import LeaseReply
from queuey.worker.handlers.attempt import Keeping
from queuey.worker.held_job import read_leased


def test_a_job_does_not_keep_the_answer_that_brought_it() -> None:
    """Each of a hundred long jobs may have come with others that are done, in an answer of megabytes."""
    job = {"id": "j", "token": "1.a", "type": "t", "payload": {"n": 1}, "attempt": 1}
    body = msgspec.json.encode({"jobs": [job | {"lease_expires_at": "2030-01-01T00:00:00Z"}]})
    before = sys.getrefcount(body)
    work = read_leased(msgspec.json.decode(body, type=LeaseReply).jobs[0], lambda *_: None, Keeping)
    assert sys.getrefcount(body) == before
    assert bytes(work.payload) == b'{"n":1}'  # type: ignore[arg-type]
