"""What is kept of a handler's error: the frames that a reader needs, and its causes."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from queuey.worker.handlers.error_text import CAUSE, CONTEXT, HEAD, MEMBER, TRACE_BYTES, describe, traceback_of


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def dive(depth: int) -> None:
    if depth:
        dive(depth - 1)
    raise ValueError("deep")


def load() -> None:
    json.loads("{")


def wrap(function: Callable[[], object]) -> None:
    try:
        function()
    except ValueError as error:
        raise RuntimeError("wrapped") from error


def stumble() -> None:
    try:
        load()
    except ValueError:
        raise KeyError("other")  # noqa: B904 - Python adds the context


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def gather() -> None:
    raise BaseExceptionGroup("all", [caught(lambda: dive(0)), ValueError("second")])


def deny() -> None:
    try:
        load()
    except ValueError:
        raise KeyError("other") from None


def paragraphs(function: Callable[[], object]) -> list[str]:
    text = traceback_of(caught(function))
    assert text is not None
    return text.split("\n\n")


def test_a_short_traceback_is_as_python_prints_it() -> None:
    error = caught(lambda: dive(2))
    plain = "".join(traceback.format_exception(error))
    assert [line for line in plain.splitlines() if "^^" not in line] == (traceback_of(error) or "").splitlines()


def test_the_users_line_stays_though_a_library_raises_far_below() -> None:
    def library() -> None:
        scope: dict[str, Any] = {}
        source = "def dive(depth):\n  if depth: dive(depth - 1)\n  else: 1 / 0\n"
        exec(compile(source, "/x/site-packages/lib.py", "exec"), scope)
        scope["dive"](40)

    [text] = paragraphs(library)
    assert f'File "{__file__}", line {library.__code__.co_firstlineno + 4}, in library\n    scope["dive"](40)' in text
    assert "[33 more frames]" in text
    assert text.count("/x/site-packages/lib.py") == 8
    assert text.endswith("\nZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("function", "link", "first", "last"),
    [
        (lambda: wrap(load), CAUSE, "JSONDecodeError: ", "RuntimeError: wrapped"),
        (stumble, CONTEXT, "JSONDecodeError: ", "KeyError: 'other'"),
        (gather, MEMBER, "ValueError: deep", "ExceptionGroup: all (2 sub-exceptions)"),
    ],
)
def test_what_led_to_an_error_comes_before_it(function: Callable[[], object], link: str, first: str, last: str) -> None:
    cause, between, error = paragraphs(function)
    assert cause.startswith(HEAD)
    assert cause.splitlines()[-1].startswith(first)
    assert between == link
    assert error.splitlines()[-1] == last


def test_a_context_that_was_denied_is_left_out() -> None:
    [text] = paragraphs(deny)
    assert text.endswith("KeyError: 'other'")


def test_of_a_long_chain_both_ends_are_kept() -> None:
    error: BaseException = ValueError("root")
    for number in range(100):
        outer = RuntimeError(number)
        outer.__cause__ = error
        error = outer
    *others, last = (traceback_of(caught(lambda: (_ for _ in ()).throw(error))) or "").split("\n\n")
    assert "[46 more exceptions]" in others
    assert last.endswith("RuntimeError: 99")


def test_a_chain_that_leads_to_itself_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert (traceback_of(caught(lambda: (_ for _ in ()).throw(first))) or "").count(CAUSE) == 1


def test_the_text_is_limited() -> None:
    def long() -> None:
        try:
            dive(900)
        except ValueError as error:
            raise RuntimeError("é" * 50_000) from error

    text = traceback_of(caught(lambda: wrap(lambda: dive(900))))
    assert text is not None
    assert re.search(r"\[89\d more frames\]", text)
    wide = traceback_of(caught(long))
    assert wide is not None
    assert "in long\n" in wide
    assert len(wide.encode()) <= TRACE_BYTES


def test_a_module_that_is_no_python() -> None:
    text = traceback_of(caught(lambda: compile("x = = 1", "/srv/app.py", "exec")))
    assert text is not None
    assert '  File "/srv/app.py", line 1\n    x = = 1\n' in text


def test_an_error_without_frames_has_no_traceback() -> None:
    assert traceback_of(ValueError("never raised")) is None


def test_what_cannot_be_printed() -> None:
    error = caught(lambda: (_ for _ in ()).throw(Mute()))
    assert describe(error) == "Mute: (the exception cannot be printed)"
    assert (traceback_of(error) or "").endswith("Mute: (the exception cannot be printed)")
