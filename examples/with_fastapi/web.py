"""The requests, which the web server answers: fastapi run examples/with_fastapi/web.py"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel

from examples.with_fastapi.handlers import Report, ReportOrder, build_report
from queuey import Client
from queuey.client import NotFound


class State(TypedDict):
    queue: Client


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[State]:
    async with Client() as queue:  # the server of QUEUEY_URL, with the key QUEUEY_API_KEY
        yield {"queue": queue}


def queue_of(request: Request) -> Client:
    queue: Client = request.state.queue
    return queue


Queue = Annotated[Client, Depends(queue_of)]
web = FastAPI(lifespan=lifespan)


class Ordered(BaseModel):
    id: str


class Progress(BaseModel):
    status: str
    report: Report | None = None


@web.post("/reports", status_code=202)
async def order_report(order: ReportOrder, queue: Queue) -> Ordered:
    reply = await build_report.enqueue(order, client=queue)
    return Ordered(id=reply.job_id)


@web.get("/reports/{job_id}")
async def read_report(job_id: str, queue: Queue, wait: Annotated[float, Query(ge=0, le=30)] = 0) -> Progress:
    """Answer at once, or when the job has finished, after `wait` seconds at the latest."""
    try:
        job = await queue.wait(job_id, timeout=wait) if wait else await queue.get(job_id)
    except NotFound:
        raise HTTPException(404, "no such report") from None
    if job.type != build_report.type:  # a job of another kind is no business of this page
        raise HTTPException(404, "no such report")
    return Progress(status=job.status, report=job.value(Report) if job.status == "succeeded" else None)
