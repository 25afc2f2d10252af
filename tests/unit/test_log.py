"""Logs: the shape of a line, one way out for all, nothing secret, nothing forged."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import structlog

from queuey import log

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]")
EVIL = "a\r\nb\x00c\x1b[31md\x9be\u2028f\u202eg\x7f"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was found."""
    names = ["", "uvicorn", "redis", "asyncio", "concurrent", "mine"]
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger("uvicorn.access").disabled = False
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Holder(msgspec.Struct):
    payload: str


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = lines(stream)
    return line


def test_a_line_has_its_time_level_event_and_fields_in_this_order() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.get("queuey.worker.worker").info("job_failed", job_id="j1", type="text.reverse", attempt=2)
    line = only(stream)
    assert list(line) == ["timestamp", "level", "event", "logger", "job_id", "type", "attempt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "job_failed",
        "logger": "queuey.worker.worker",
        "job_id": "j1",
        "type": "text.reverse",
        "attempt": 2,
    }


def test_the_fields_of_a_process_are_in_each_of_its_lines() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream, {"replica": "r1"})
    log.get("x").info("one", answer=42)
    log.get("x").info("two", replica="its own")
    logging.getLogger("mine").warning("three")
    thread = threading.Thread(target=lambda: log.get("x").info("four"))
    thread.start()
    thread.join()
    assert [line["replica"] for line in lines(stream)] == ["r1", "its own", "r1", "r1"]
    log.configure("info", "json", stream)
    log.get("x").info("five")
    assert "replica" not in lines(stream)[-1]


def test_auto_means_json_unless_the_stream_is_a_terminal() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    log.configure("info", "auto", pipe)
    log.get("x").info("started")
    log.configure("info", "auto", terminal)
    log.get("x").info("started")
    assert only(pipe)["event"] == "started"
    assert "\x1b[" in terminal.getvalue()
    assert "started" in terminal.getvalue()


def test_console_without_a_terminal_has_no_colors() -> None:
    stream = io.StringIO()
    log.configure("info", "console", stream)
    log.get("x").warning("store_lost", seconds=1.5)
    assert re.fullmatch(r"\S+Z \[warning  \] store_lost +\[x\] seconds=1.5\n", stream.getvalue())


def in_a_terminal(level: str, **fields: object) -> str:
    terminal = Terminal()
    log.configure("debug", "auto", terminal)
    getattr(log.get("queuey.worker"), level)("job_ended", **fields)
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


def test_in_a_terminal_an_event_fits_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    before = datetime.now(ZoneInfo("Asia/Kolkata"))
    try:
        line = in_a_terminal("info", job_id="00" + "A" * 20 + "Z12345", type="mail.send", ran_ms=12.34, wait_ms=61_000)
    finally:
        monkeypatch.undo()
        time.tzset()
    clock, rest = line.split(" ", 1)
    assert rest == "[info     ] job_ended job_id=…Z12345 type=mail.send ran=12.3ms wait=61s\n"
    assert clock >= before.strftime("%H:%M:%S") or before.hour == 23


@pytest.mark.parametrize(("level", "shown"), [("debug", "…AAAAAA"), ("warning", "A" * 28), ("error", "A" * 28)])
def test_what_went_wrong_has_the_whole_id(level: str, shown: str) -> None:
    assert f"job_id={shown}\n" in in_a_terminal(level, job_id="A" * 28)


def test_the_logger_of_the_user_is_shown_in_a_terminal() -> None:
    terminal = Terminal()
    log.configure("info", "auto", terminal)
    log.get("shop.mail").info("sent")
    assert "shop.mail" in terminal.getvalue()


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels_below_the_one_configured_are_dropped(level: str, written: list[str]) -> None:
    stream = io.StringIO()
    logger = log.get("x")
    log.configure(level, "json", stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("happened")
    assert [line["level"] for line in lines(stream)] == written
    assert log.debug_enabled() is (level == "debug")


def test_the_standard_library_takes_the_same_way_out() -> None:
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    logging.getLogger("mine").info("hello %s", "you\nthere")
    logging.getLogger("mine").debug("too much")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    logging.getLogger("uvicorn.access").error("GET / 200")
    logging.getLogger("redis.cluster").info("chatter")
    logging.getLogger("asyncio").warning("slow callback")
    seen = [(line["logger"], line["level"], line["event"]) for line in lines(stream)]
    assert seen == [
        ("mine", "info", "hello you\nthere"),
        ("uvicorn.error", "error", "Exception in ASGI application"),
        ("asyncio", "warning", "slow callback"),
    ]


def test_a_handlers_own_module_can_ask_for_debug() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    logging.getLogger("mine").setLevel(logging.DEBUG)
    logging.getLogger("mine").debug("detail")
    assert only(stream)["level"] == "debug"


def test_warnings_become_lines() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    line = only(stream)
    assert line["logger"] == "py.warnings"
    assert "old way" in line["event"]


def test_bound_context_is_in_every_line() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(job_id="j1"):
        log.get("x").info("ours")
        logging.getLogger("mine").info("theirs")
    assert [line["job_id"] for line in lines(stream)] == ["j1", "j1"]


def test_configuring_again_replaces_the_first_way_out() -> None:
    first, second = io.StringIO(), io.StringIO()
    log.configure("info", "json", first)
    log.configure("info", "json", second)
    log.get("x").info("ours")
    logging.getLogger("mine").info("theirs")
    assert first.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["ours", "theirs"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_secret_fields_are_replaced_at_any_depth(format: str) -> None:
    stream = io.StringIO()
    log.configure("info", format, stream)
    for name in ("payload", "result", "api_key", "authorization", "x-api-key", "X-Api-Key", "password", "secret"):
        log.get("x").info(
            "seen", **{name: "hidden-value"}, headers={name: ["hidden-value"]}, more=[{name: "hidden-value"}]
        )
    log.get("x").info("seen", url="redis://ann:hidden-value@db/0", urls=["unix:///s?password=hidden-value"])
    log.get("redis://ann:hidden-value@db").info("seen at redis://ann:hidden-value@db")
    logging.getLogger("mine").info("cannot reach redis://ann:hidden-value@db")
    try:
        raise OSError("cannot reach redis://ann:hidden-value@db")
    except OSError as error:
        log.get("x").exception("store_lost", error=error)
    assert "hidden-value" not in stream.getvalue()
    assert "redis://***@db" in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_may_hold_a_payload_is_named_and_not_shown(format: str) -> None:
    stream = io.StringIO()
    log.configure("info", format, stream)
    holder = Holder("hidden-value")
    for value in (holder, msgspec.Raw(b"hidden-value"), b"hidden-value", {"a": {"b": {"payload": "hidden-value"}}}):
        log.get("x").info("seen", value=value, values=[value])
    assert "hidden-value" not in stream.getvalue()
    assert "<Holder>" in stream.getvalue()


def test_a_secret_field_without_a_value_says_so() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.get("x").info("seen", api_key=None)
    assert only(stream)["api_key"] is None


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_value_can_forge_a_line_or_steer_the_terminal(format: str) -> None:
    stream = io.StringIO()
    log.configure("info", format, stream)
    log.get(EVIL).info(
        EVIL, job_id=EVIL, nested={EVIL: [EVIL]}, **{EVIL: EVIL}, other=type(EVIL.replace("\0", ""), (), {})()
    )
    logging.getLogger("mine").info(EVIL)
    assert len(stream.getvalue().splitlines()) == 2
    assert not CONTROL.search(stream.getvalue())


def test_a_traceback_is_one_json_field() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    try:
        raise ValueError("bad")
    except ValueError:
        log.get("x").exception("worker_bug")
    assert only(stream)["exception"].endswith("ValueError: bad")


def test_a_traceback_on_the_console_cannot_pass_for_an_event() -> None:
    stream = io.StringIO()
    log.configure("info", "console", stream)
    try:
        raise ValueError("bad\n2026-01-01T00:00:00Z [info     ] forged\x1b[2J\r")
    except ValueError:
        log.get("x").exception("worker_bug")
    first, *rest = stream.getvalue().splitlines()
    assert "worker_bug" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert not CONTROL.search(stream.getvalue())


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_strange_value_breaks_no_caller(format: str) -> None:
    stream = io.StringIO()
    log.configure("info", format, stream)
    loop: list[object] = []
    loop.append(loop)
    log.get("x").info("odd", a=Unprintable(), b=10**5000, c=float("nan"), d=loop, e="\ud800", f=b"\x00", g={1: {2}})
    text = stream.getvalue()
    assert "Unprintable whose repr raises RuntimeError" in text
    assert len(text.splitlines()) == 1
    if format == "json":
        assert only(stream)["c"] == "nan"
        assert only(stream)["g"] == {"1": [2]}


def test_a_line_is_bounded() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.get("x").info("big", text="x" * 10**6, items=["y" * 10**5] * 10**4, keys=dict.fromkeys(range(10**4), 1))
    line = only(stream)
    assert line["text"].startswith("x" * 2000 + " ...")
    assert len(stream.getvalue()) < 20_000
    assert len(line["keys"]) == len(line["items"]) == 50


def test_a_stream_that_fails_loses_the_line_and_stops_nobody() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log.configure("info", "json", Broken())
    log.get("x").info("lost")
    closed = io.StringIO()
    log.configure("info", "json", closed)
    closed.close()
    log.get("x").info("lost")


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    log.get("x").info("started")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "started"
