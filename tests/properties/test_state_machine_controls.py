"""The state machine sees what it is there for: each of these faults, put into a copy of the scripts, turns it red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from queuey.store.scripts import Scripts
from tests.properties.machine import BrokerMachine
from tests.properties.running import run_machine
from tests.properties.schedule_rules import ScheduleMachine
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server

SEEDS = (7, 18, 21, 17, 11, 8, 9, 10, *range(12, 17))
"""The first one meets nearly all faults at once, which saves time."""
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
        "    if holder == id then\n      del(key)\n",
        "    if true then\n      del(key)\n",
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
    "a snooze spends an attempt": (
        "fail.lua",
        "if not snoozes then",
        "if true then",
    ),
    "replay keeps the snoozes": (
        "replay.lua",
        "state.S = nil",
        "",
    ),
    "a stale worker overwrites a checkpoint": (
        "checkpoint.lua",
        "holds(state, token) and 'ok'",
        "state and state.s == 'r' and 'ok'",
    ),
    "a late checkpoint replaces a newer one": (
        "checkpoint.lua",
        "number < tonumber(last)",
        "false",
    ),
    "a lease that has ended leaves the number of its checkpoint": (
        "include/transitions.lua",
        "state.A, state.N = token_of(state), outcome, nil, nil, nil",
        "state.A = token_of(state), outcome, nil, nil",
    ),
    "a claim brings no checkpoint": (
        "claim.lua",
        "state.K and state.result or nil",
        "nil",
    ),
    "a success keeps the letter of the checkpoint": (
        "complete.lua",
        "state.result, state.K = result, nil",
        "state.result = result",
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
        "include/cancelling.lua",
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
        "  free_dedupe(now, id, fields)\n",
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

SCHEDULE_FAULTS = {
    "a tick is fired without compare-and-set": (
        "fire.lua",
        "~= expected then return 'taken' end",
        "== -2 then return 'taken' end",
    ),
    "a tick is fired without compare-and-set, and twice": (
        "fire.lua",
        "schedule.n or -1) ~= expected then return 'taken' end",
        "schedule.n or -1) ~= expected then schedule.t = nil end",
    ),
    "a schedule that was replaced since is fired": (
        "fire.lua",
        "if mark_of(schedule) ~= mark then",
        "if false then",
    ),
    "a paused schedule is fired": (
        "fire.lua",
        "if schedule.pause ~= '' then return 'paused' end",
        "",
    ),
    "a tick is early": (
        "fire.lua",
        "return (tick > now or tonumber(schedule.d or 0) > now) and 'early' or nil\nend",
        "return nil\nend",
    ),
    "a tick is fired before its jitter is over": (
        "fire.lua",
        "return (tick > now or tonumber(schedule.d or 0) > now) and 'early' or nil\nend",
        "return tick > now and 'early' or nil\nend",
    ),
    "a schedule has its place by its tick": (
        "include/schedules.lua",
        "schedule.d or schedule.n, name",
        "schedule.n, name",
    ),
    "a next tick keeps the due time of the one before": (
        "include/schedules.lua",
        "and due > next and whole(due) or nil",
        "and due > next and whole(due) or schedule.d",
    ),
    "the next tick goes back": (
        "fire.lua",
        "or next >= 0 and next <= tick then return 'not_later' end",
        "then return 'not_later' end",
    ),
    "a tick that was decided is fired again": (
        "fire.lua",
        "tick <= tonumber(schedule.t) then return true end",
        "false then return true end",
    ),
    "a backfill looks only for the job": (
        "fire.lua",
        " or kind ~= 'tick' and had_run(name, job[1])",
        "",
    ),
    "a job between two attempts counts as ended": (
        "fire.lua",
        "(state.s == 'w' or state.s == 'r') and state or nil",
        "state.s == 'r' and state or nil",
    ),
    "a newer tick takes the place of the one that waits": (
        "fire.lua",
        "if schedule.p or schedule.pause ~= '' then return nil end",
        "if schedule.pause ~= '' then return nil end",
    ),
    "the last job is cancelled though nothing takes its place": (
        "fire.lua",
        "  if full then return note_full(item) end\n",
        "  if last then cancel_last(schedule, last) end\n  if full then return note_full(item) end\n",
    ),
    "a running job is not flagged": (
        "fire.lua",
        "if state.s == 'r' then return flag_running(schedule.j, state) end",
        "if state.s == 'r' then return end",
    ),
    "a full store is noted each time": (
        "fire.lua",
        "~= whole(item[4]) then record",
        "~= '' then record",
    ),
    "a paused schedule keeps its tick": (
        "include/schedules.lua",
        "if active and schedule.n then",
        "if schedule.n then",
    ),
    "a pause keeps the tick that waits": (
        "set_paused.lua",
        "  drop_pending(schedule)\n",
        "",
    ),
    "a put ignores the mark": (
        "put_schedules.lua",
        "if not fits(schedule, mark) then return 'conflict' end",
        "",
    ),
    "a put before the gate is open": (
        "put_schedules.lua",
        "local may_write = is_open('schedules')",
        "local may_write = true",
    ),
    "a deleted schedule keeps its history": (
        "delete_schedules.lua",
        " del(runs_key(name))",
        "",
    ),
}


@pytest.mark.timeout(300)  # a seed takes 3 to 12 seconds
@pytest.mark.parametrize("fault", FAULTS)
def test_the_state_machine_sees(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        run_seeds(server.url, scripts)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", SCHEDULE_FAULTS)
def test_the_state_machine_sees_of_schedules(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, *SCHEDULE_FAULTS[fault])
    with pytest.raises(AssertionError):
        run_seeds(server.url, scripts, ScheduleMachine, (201, 202, 7, *SEEDS))


def run_seeds(
    url: str, scripts: Scripts, kind: type[BrokerMachine] = BrokerMachine, seeds: Sequence[int] = SEEDS
) -> None:
    for seed in seeds:
        run_machine(url, 1, scripts, seed, kind=kind, shrink=False)
