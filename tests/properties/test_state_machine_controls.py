"""The state machine sees what it is there for: each of these faults, put into a copy of the scripts, turns it red."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.store.scripts import Scripts
from tests.properties.running import run_machine
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server

FAULTS = {
    "complete does not check the token": (
        "complete.lua",
        "if not holds(state, token) then",
        "if not state or state.s ~= 'r' then",
    ),
    "a resend is not answered as before": (
        "include/state.lua",
        "return state ~= nil and state.p == token and",
        "return false and",
    ),
    "a claim that is sent again gets jobs of others": (
        "claim.lua",
        "state.s == 'r' and state.h == claim_id and",
        "state.s == 'r' and",
    ),
    "a dedupe key is freed whichever job holds it": (
        "include/transitions.lua",
        "fields.k and redis.call('GET', dedupe_key(fields.k)) == id then",
        "fields.k then",
    ),
    "replay takes a dedupe key from another job": (
        "replay.lua",
        "if holder and holder ~= id then",
        "if false then",
    ),
    "replay keeps the attempts": (
        "replay.lua",
        "state.s, state.a, state.x, state.f, state.z, state.r, state.y = 'w', nil, nil, nil, nil, due, replay_id",
        "state.s, state.x, state.f, state.z, state.r, state.y = 'w', nil, nil, nil, due, replay_id",
    ),
    "a crash is not counted": (
        "reap.lua",
        "state.x = number_of(state, 'x') + 1",
        "state.x = number_of(state, 'x')",
    ),
    "a lease expires one ms early": (
        "reap.lua",
        "'-inf', now, 'LIMIT'",
        "'-inf', now + 1, 'LIMIT'",
    ),
    "release forgets the flag for cancel": (
        "release.lua",
        "if state.z then",
        "if false then",
    ),
    "a released job goes to the tail": (
        "release.lua",
        "lpush(type and",
        "rpush(type and",
    ),
    "what is due comes in reverse": (
        "include/promote.lua",
        "'RPUSH'",
        "'LPUSH'",
    ),
    "a tombstone is not counted": (
        "cancel.lua",
        "hincr(queue_key(queue_of(state)), 'tombstones_' .. lane_of(state), 1)",
        "",
    ),
    "the bytes of a trimmed job stay counted": (
        "trim.lua",
        "if freed > 0 then",
        "if false then",
    ),
    "a claim that leaves jobs wakes nobody": (
        "claim.lua",
        "      more = true\n      wake(queue)\n",
        "      more = true\n",
    ),
    "a job that has expired runs": (
        "claim.lua",
        "if has_expired(now, state, definition) then",
        "if false then",
    ),
    "a deleted job keeps its dedupe key": (
        "delete.lua",
        "  free_dedupe(id, fields)\n",
        "",
    ),
    "a job that is hastened stays scheduled": (
        "run_now.lua",
        "      zrem(scheduled_key(queue, lane), id)\n",
        "",
    ),
    "a plain release goes to the lane though its type has a list": (
        "release.lua",
        "else type = named_type(id, state) end",
        "end",
    ),
    "a job is released instead of set aside": (
        "release.lua",
        "types[id] = item[4]",
        "",
    ),
    "a purge forgets the lists": (
        "purge.lua",
        "for _, list in ipairs(lists[lane]) do purge_list(list[1], lane) end",
        "purge_list(ready_key(queue, lane), lane)",
    ),
    "a queue is forgotten though it has lists": (
        "trim.lua",
        "for _, list in ipairs(lists[lane]) do keys",
        "for _, list in ipairs({lists[lane][1]}) do keys",
    ),
    "a name goes before its list": (
        "tidy_asides.lua",
        "if length > 0 then",
        "if length > 1 then",
    ),
    "a job does not go behind those of its type": (
        "include/typed.lua",
        "local is_first = not record.named or",
        "local is_first = true or",
    ),
    "what was claimed counts against no room": (
        "claim.lua",
        "  entry[1] = entry[1] - 1\n",
        "",
    ),
    "an id that was used again is claimed from the list of another type": (
        "include/typed.lua",
        "known_type(definition) ~= source.type then",
        "false then",
    ),
    "jobs are set aside before the gate is open": (
        "include/naming.lua",
        "gate_is_open = is_open('aside')",
        "gate_is_open = true",
    ),
    "the marker of a type is not put back": (
        "include/idle.lua",
        "if redis.call('EXISTS', unpack(lists)) > 0 then redis.call('ZADD'",
        "if false then redis.call('ZADD'",
    ),
    "a suspect that had neighbours dies at its third crash": (
        "reap.lua",
        "state.A == 'a' and",
        "",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_state_machine_sees(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        run_seeds(server.url, scripts)


def run_seeds(url: str, scripts: Scripts) -> None:
    for seed in (7, 11, 8, 9, 10, *range(12, 17)):  # 7 meets nearly all of them at once, which saves time
        run_machine(url, 1, scripts, seed, shrink=False)
