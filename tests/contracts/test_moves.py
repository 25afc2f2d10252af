"""No move of a job is left without an event by mistake: each script that can make one has an entry in moves.py.

A script counts when it may write and names the key of a job's state or place, itself or in a function that it includes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping

import pytest

from queuey.store import replies
from queuey.store.broker.moves import MOVES, NO_MOVE, UNREPORTED
from tests.contracts.test_lua import GROUPS, INCLUDES, PLACES, READ_ONLY, TEXTS, code, documented

PLACE_KEY = re.compile(r"\b(?:state|ready|scheduled|leases|dead|done)_key\(")
FUNCTION = re.compile(r"^local function (\w+)\(.*?(?:^end$| end$)", re.DOTALL | re.MULTILINE)


def functions() -> dict[str, str]:
    """The source of each function of include/, but for the names of keys."""
    texts = [code(text) for name, text in INCLUDES.items() if name != "keys"]
    return {found[1]: found[0] for text in texts for found in FUNCTION.finditer(text)}


def called(text: str, known: Collection[str]) -> set[str]:
    return set(re.findall(r"\b(\w+)\(", text)) & set(known)


def touches_jobs(script: str) -> bool:
    """Whether a script names the key of a job's state or place, also in the functions that it calls."""
    known, text = functions(), code(script)
    open_names, seen = called(text, known), set[str]()
    while open_names:
        name = open_names.pop()
        seen.add(name)
        text += known[name]
        open_names |= called(known[name], known) - seen
    return bool(PLACE_KEY.search(text))


def unaccounted(scripts: Mapping[str, str], moves: Collection[str], unreported: Collection[str]) -> set[str]:
    """The scripts that may move a job and have no entry."""
    writing = {name: text for name, text in scripts.items() if "no-writes" not in text.split("\n")[0]}
    return {name for name, text in writing.items() if touches_jobs(text)} - set(moves) - set(unreported)


def test_each_script_that_touches_jobs_reports_its_moves_or_says_why_not() -> None:
    assert not unaccounted(TEXTS, MOVES, UNREPORTED)


@pytest.mark.parametrize("name", [*MOVES, *UNREPORTED])
def test_a_script_that_is_left_out_is_found(name: str) -> None:
    assert unaccounted(TEXTS, MOVES.keys() - {name}, UNREPORTED.keys() - {name}) == {name}


@pytest.mark.parametrize(
    "body",
    [
        "zadd(scheduled_key(queue, lane), due, id)",
        "put(state_key(id), format_state(state))",
        "save(id, state)",
        "finish(now, id, state, 's')",
        "make_cancelled(now, id, state)",
        "dead_letter(now, id, state)",
        "reschedule(id, state, due)",
        "end_lease(id, state, 'l')",
        "promote_due(now, queue, 10)",
    ],
)
def test_a_new_script_is_found(body: str) -> None:
    assert unaccounted({"misplace": f"#!lua flags=allow-oom\n{body}\n"}, MOVES, UNREPORTED) == {"misplace"}


def test_a_script_of_the_tables_is_there_and_in_one_of_them() -> None:
    assert not MOVES.keys() & UNREPORTED.keys()
    assert MOVES.keys() | UNREPORTED.keys() <= TEXTS.keys() - READ_ONLY
    assert NO_MOVE.keys() <= MOVES.keys()
    assert all(UNREPORTED.values())


def fields(name: str) -> set[str]:
    """The fields of the reply to a script, where that is an object."""
    method = getattr(GROUPS[PLACES[name].parent.name], name.removesuffix("_typed"))
    reply = getattr(replies, str(inspect.signature(method).return_annotation), None)
    return set(reply.__struct_fields__) if reply is not None else set()


@pytest.mark.parametrize("name", MOVES)
def test_each_answer_of_a_header_is_a_move_or_named_as_none(name: str) -> None:
    words, none = documented(name), NO_MOVE.get(name, frozenset())
    assert not MOVES[name].keys() & none
    if words:
        assert MOVES[name].keys() | none == words
    else:
        assert not none
        assert MOVES[name].keys() <= fields(name)


@pytest.mark.parametrize("name", MOVES)
def test_the_broker_reports_by_the_table(name: str) -> None:
    source = inspect.getsource(getattr(GROUPS[PLACES[name].parent.name], name.removesuffix("_typed")))
    assert f'MOVES["{name.removesuffix("_typed")}"]' in source
    assert "_observer.on" in source
