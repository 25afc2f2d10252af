"""A request enqueues a job, and the job runs. No server is needed: the client is a mock."""

from __future__ import annotations

from unittest.mock import create_autospec

from examples.with_flask.handlers import Report, app, build_report
from examples.with_flask.web import create_app
from queuey import SyncClient, Testing
from queuey.models import EnqueueReply


def test_an_order_enqueues_a_report() -> None:
    queue = create_autospec(SyncClient, instance=True)
    queue.send.return_value = EnqueueReply("the-id", deduplicated=False)
    http = create_app(queue).test_client()
    answer = http.post("/reports", json={"customer": "Ada", "year": 2026})
    assert (answer.status_code, answer.json) == (202, {"id": "the-id"})
    (job,) = queue.send.call_args.args
    assert (job.type, bytes(job.payload)) == ("report", b'{"customer":"Ada","year":2026}')
    assert http.post("/reports", json={"customer": "Ada"}).status_code == 422


async def test_a_report_is_built() -> None:
    async with Testing(app) as testing:
        ran = await testing.run(build_report, build_report.payload("Ada", year=2026))
        assert ran.value(Report) == Report("Ada, 2026", 12)
