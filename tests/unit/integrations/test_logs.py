"""Log lines of handlers have the id, the type and the attempt of their job."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from queuey import App, Context, Middleware, Testing, log
from queuey.integrations.logs import JobFields, bind_job
from queuey.protocol import ids

plain = logging.getLogger("shop")
app = App()
app.middleware(bind_job)


def say(text: str) -> None:
    plain.warning("%s by logging", text)
    structlog.get_logger("shop").warning(f"{text} by structlog")


@app.job("loop")
async def in_loop(text: str) -> None:
    say(text)


@app.job("thread")
def in_thread(text: str) -> None:
    say(text)


@app.job("parent")
async def parent(text: str) -> None:
    await in_thread.enqueue(text)
    say(text)


def plain_app() -> App:
    """Return an App without hooks."""
    app = App()
    app.job("loop")(in_loop_plain)
    app.job("thread")(in_thread_plain)
    return app


async def in_loop_plain(text: str) -> None: ...


def in_thread_plain(text: str) -> None: ...


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What Queuey's own logging writes, as JSON."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level, lines = root.level, io.StringIO()
    log.configure("info", "json", lines)
    yield lines
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_queueys_own_lines_have_the_fields_within_a_job_only(lines: io.StringIO, type: str) -> None:
    async with Testing(app) as testing:
        await testing.run(type, "in it", attempt=3)
    say("after it")
    written: list[dict[str, Any]] = [json.loads(line) for line in lines.getvalue().splitlines()]
    by_event = {line["event"]: line for line in written}
    for event in ("in it by logging", "in it by structlog"):
        assert (by_event[event]["type"], by_event[event]["attempt"]) == (type, 3)
        assert ids.is_id(by_event[event]["job_id"])
    for event in ("after it by logging", "after it by structlog"):
        assert "job_id" not in by_event[event]


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_after_the_handler_the_fields_are_as_before(type: str) -> None:
    """A middleware further out is in the same context, and sees what is left of them."""
    seen: list[dict[str, Any]] = []
    own = App()

    @own.middleware
    def around(ctx: Context) -> Middleware:
        with structlog.contextvars.bound_contextvars(type="mine"):
            yield
            seen.append(structlog.contextvars.get_contextvars())

    own.middleware(bind_job)
    own.include(plain_app())
    async with Testing(own) as testing:
        await testing.run(type, "x")
    assert seen == [{"type": "mine"}]


async def test_a_formatter_of_ones_own_gets_them_from_the_filter() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(JobFields())
    handler.setFormatter(logging.Formatter("%(message)s %(job_type)s %(job_attempt)s"))
    plain.addHandler(handler)
    try:
        async with Testing(app) as testing:
            await testing.run("thread", "in it", attempt=2)
        plain.warning("after it")
    finally:
        plain.removeHandler(handler)
    assert written.getvalue().splitlines() == ["in it by logging thread 2", "after it - -"]


async def test_the_request_and_the_tenant_go_from_job_to_job_and_into_every_line(lines: io.StringIO) -> None:
    async with Testing(app) as testing:
        await testing.run("parent", "in it", metadata={"request_id": "r-1", "tenant": "acme", "other": "x"})
        await testing.run_all()
        await testing.run("loop", "plain")
        await testing.run_all()
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    carried = [line for line in written if line["event"].startswith("in it")]
    assert [line["type"] for line in carried] == ["parent"] * 2 + ["thread"] * 2
    assert {(line["request_id"], line["tenant"], "other" in line) for line in carried} == {("r-1", "acme", False)}
    plain_lines = [line for line in written if line["event"].startswith("plain")]
    assert len(plain_lines) == 2
    assert not any({"request_id", "tenant"} & line.keys() for line in plain_lines)


async def test_a_filter_names_them_like_the_other_fields_of_a_job() -> None:
    """A program's own field request_id stays as it is."""
    record = logging.makeLogRecord({"request_id": "of the web server"})
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        JobFields().filter(record)
    assert (record.__dict__["job_request_id"], record.__dict__["job_tenant"]) == ("r-1", "-")
    assert record.__dict__["request_id"] == "of the web server"
