"""The requests, which the web server answers: flask --app examples.with_flask.web run"""

from __future__ import annotations

import atexit

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue

from examples.with_flask.handlers import Report, build_report
from queuey import Fields, SyncClient
from queuey.client import NotFound

MAX_WAIT = 30.0


def create_app(queue: SyncClient | None = None) -> Flask:
    """Make the application. All its threads share one client, which may be made before gunicorn and the like fork."""
    if queue is None:
        queue = SyncClient()  # the server of QUEUEY_URL, with the key QUEUEY_API_KEY
        atexit.register(queue.close)
    web = Flask(__name__)

    @web.post("/reports")
    def order_report() -> ResponseReturnValue:
        try:
            reply = build_report.enqueue(Fields(**request.get_json()), client=queue)
        except TypeError as error:  # a field is unknown or missing
            abort(422, str(error))
        return {"id": reply.job_id}, 202

    @web.get("/reports/<job_id>")
    def read_report(job_id: str) -> ResponseReturnValue:
        wait = min(request.args.get("wait", 0.0, type=float), MAX_WAIT)
        try:
            job = queue.wait(job_id, timeout=wait) if wait else queue.get(job_id)
        except NotFound:
            abort(404)
        if job.type != build_report.type:  # a job of another kind is no business of this page
            abort(404)
        return {"status": job.status, "report": job.value(Report) if job.status == "succeeded" else None}

    return web
