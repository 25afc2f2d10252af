"""What a field allows, in words that are made of its type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Raw, Struct

from queuey.protocol.allowed import counted, form_of, in_words
from queuey.protocol.models import NAME_RULE, Amount, JobId, Name, Rate, Seconds, Timeout


class Inner(Struct):
    wait: Seconds
    note: str | None = None


class Outer(Struct):
    names: Annotated[list[Name], Meta(min_length=1, max_length=9)]
    inner: str | Inner
    id: JobId


@pytest.mark.parametrize(
    ("annotation", "what", "words"),
    [
        (Name, "", NAME_RULE),
        (Name | None, "", NAME_RULE),
        (bool, "", "true or false"),
        (Raw, "", "any JSON value"),
        (Literal["a", "b", "c"], "", "a, b or c"),
        (Annotated[int, Meta(ge=1, le=3600)], "", "a whole number from 1 to 3600"),
        (Annotated[float, Meta(ge=1, le=100)], "", "a number from 1 to 100"),
        (Timeout, "seconds", "a number of seconds above 0 and up to 86400 (1 day)"),
        (Seconds, "seconds", "a number of seconds from 0 to 31536000 (1 year)"),
        (Rate, "jobs a second", "a number of jobs a second from 0.01 to 100000"),
        (Amount, "", "a number from 0 to 1e15"),
        (Annotated[str, Meta(max_length=200)], "", "a text of at most 200 characters"),
        (Annotated[list[Name], Meta(min_length=1, max_length=9)], "", "an array of 1 to 9 items"),
        (Inner, "", "an object of wait and note"),
    ],
)
def test_a_type_in_words(annotation: Any, what: str, words: str) -> None:
    assert in_words(annotation, what) == words


def test_a_form_has_every_field_at_every_depth() -> None:
    form = form_of(Outer, "The body", {"/id": "the id of a job"})
    assert form.allowed == {
        "": "a JSON object",
        "/names": "an array of 1 to 9 items",
        "/names/*": NAME_RULE,
        "/inner": "a text, or an object of wait and note",
        "/inner/wait": "a number of seconds from 0 to 31536000 (1 year)",
        "/inner/note": "a text",
        "/id": "the id of a job",
    }
    assert form.fields == {"": ("names", "inner", "id"), "/inner": ("wait", "note")}


def test_a_pattern_needs_words_of_its_own() -> None:
    with pytest.raises(TypeError, match="needs words of its own"):
        form_of(Outer, "The body")


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1200, "1,200 jobs")])
def test_a_number_has_its_noun(number: int, text: str) -> None:
    assert counted(number, "job") == text
