"""The state machine sees what happens to unique jobs: each of these faults in a script turns it red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.test_state_machine_controls import SEEDS, run_seeds
from tests.properties.unique.rules import UniqueMachine
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server

UNIQUE_FAULTS = {
    "a claim keeps the key of a job that has started": (
        "claim.lua",
        "if string.find(fields_after_r(definition), ' U=s', 1, true) then",
        "if false then",
    ),
    "a second claim frees the key of another job": (
        "include/transitions.lua",
        "    if holder == id then\n      del(key)\n",
        "    if true then\n      del(key)\n",
    ),
    "a success keeps the key": (
        "complete.lua",
        "if state.U == 'f' then",
        "if false then",
    ),
    "the fast path completes unique jobs": (
        "include/fast_path.lua",
        "[^qlmtU]",
        "[^qlmt]",
    ),
    "a plain claim takes unique jobs": (
        "claim.lua",
        "' [xU]='",
        "' x='",
    ),
    "a state that is made before the claim has no letter": (
        "include/state.lua",
        "state.t, state.U, state.j = fields.q, fields.l, fields.m, fields.t, fields.U, bytes",
        "state.t, state.j = fields.q, fields.l, fields.m, fields.t, bytes",
    ),
    "a unique job before the gate is open": (
        "enqueue.lua",
        "may_write = is_open('unique') end",
        "may_write = true end",
    ),
    "a rejected job is enqueued": (
        "enqueue.lua",
        "(on_conflict == 'reject' and 'rejected ' or 'duplicate ') .. holder end",
        "nil end",
    ),
    "a replacement of another type": (
        "enqueue.lua",
        "type_of(record.definition) == type_of('\\n' .. job[5]) and",
        "",
    ),
    "a replacement from another queue": (
        "enqueue.lua",
        "(fields.q or 'default') ~= job[2] or",
        "",
    ),
    "a replacement in a full store": (
        "enqueue.lua",
        "  if full then return 'full' end\n  if status",
        "  if status",
    ),
    "a replacement is not remembered": (
        "enqueue.lua",
        "PX', REPLACED_FOR",
        "PX', 1",
    ),
    "a replaced job has the bytes of before": (
        "enqueue.lua",
        "due or state.r, #record.definition + number_of(state, 'L')",
        "due or state.r, state.j",
    ),
    "a wait has no maximum": (
        "enqueue.lua",
        "math.min(now + job[10][2], created + job[10][3])",
        "now + job[10][2]",
    ),
    "a second body of one call replaces the first one's definition": (
        "enqueue.lua",
        "if not records[id] then",
        "if true then",
    ),
    "the end of a job forgets what follows": (
        "include/transitions.lua",
        "fields.U == 'f' and redis.call('GET', dedupe_key('a:' .. id))",
        "false",
    ),
    "what follows is enqueued again by the next end": (
        "include/transitions.lua",
        "if following then del(dedupe_key('a:' .. id)) end",
        "",
    ),
    "what follows does not hold the key": (
        "include/transitions.lua",
        "if not holder or holder == id then\n",
        "if false then\n",
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", UNIQUE_FAULTS)
def test_the_state_machine_sees(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, *UNIQUE_FAULTS[fault])
    with pytest.raises(AssertionError):
        run_seeds(server.url, scripts, UniqueMachine, (300, 301, 302, *SEEDS))
