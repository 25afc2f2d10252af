import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuey.protocol.stored.job_errors import ERROR_BYTES
from queuey.worker.handlers.attempt import Failed, error_json

texts = st.text(st.characters(codec="utf-8"), max_size=5000)


@given(texts, texts | st.none(), st.integers(1, 1000))
def test_an_error_entry_is_one_line_of_limited_size(message: str, detail: str | None, attempt: int) -> None:
    text = error_json(Failed("error", message, detail), attempt=attempt, worker="host-1:1234")
    entry = json.loads(text)

    assert len(text.encode()) <= ERROR_BYTES
    assert "\n" not in text
    assert (entry["attempt"], entry["kind"], entry["worker"]) == (attempt, "error", "host-1:1234")
    assert message.startswith(entry["message"].removesuffix("…"))
    assert (detail or "").endswith(entry.get("detail", "").removeprefix("…"))


def test_what_fits_is_kept_whole() -> None:
    entry = json.loads(error_json(Failed("dead", 'no "such" file\n', "line 3"), attempt=2))
    assert entry == {"attempt": 2, "kind": "dead", "message": 'no "such" file\n', "detail": "line 3"}


def test_fields_without_a_value_are_left_out() -> None:
    assert json.loads(error_json(Failed("dead", "gone"), attempt=1)).keys() == {"attempt", "kind", "message"}


@pytest.mark.parametrize("character", ["a", "é", "語", "😀", "\0", '"', "\n"])
def test_a_long_text_is_cut_between_characters_and_uses_the_room(character: str) -> None:
    text = error_json(Failed("error", character * 5000, character * 5000), attempt=1)
    assert ERROR_BYTES - 10 <= len(text.encode()) <= ERROR_BYTES
    entry = json.loads(text)
    assert set(entry["message"]) == set(entry["detail"]) == {character, "…"}


def test_the_head_of_a_message_and_the_tail_of_a_traceback_are_kept() -> None:
    numbers = " ".join(map(str, range(1000)))
    entry = json.loads(error_json(Failed("error", numbers, numbers), attempt=1))
    assert entry["message"].startswith("0 1 2 3")
    assert entry["detail"].endswith("997 998 999")


def test_outcomes_cross_a_pipe() -> None:
    failed = Failed("retry", "later", after=2.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(failed), type=Failed) == failed
