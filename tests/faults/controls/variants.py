"""Queuey with one safeguard taken out, each in its own way, and which invariant must notice."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from queuey.store.scripts import lua_folder
from tests.faults.conductor import Prepare
from tests.faults.system.rig import Setup


@dataclass(frozen=True)
class Control:
    """A fault that is survived by the real system only. `invariant`, `message`: of the violation that must be found."""

    name: str
    fault: str
    variant: Prepare
    invariant: int
    message: str


def everysec(setup: Setup) -> None:
    setup.fsync = "everysec"


def any_token(setup: Setup) -> None:
    setup.lua = changed(setup, "include/state.lua", (" and token_of(state) == token\nend", "\nend"))


def endless_dedupe(setup: Setup) -> None:
    setup.lua = changed(setup, "enqueue.lua", (", id, 'PX', math.max(1, made[id][9]))", ", id)"))


def patched(module: str) -> Prepare:
    """Have the replicas import a module of this folder, which changes them."""

    def prepare(setup: Setup) -> None:
        for number in range(setup.replicas):
            setup.replica_environment.setdefault(number, {})["FAULTS_PATCH"] = f"tests.faults.controls.{module}"

    return prepare


def without_compare(setup: Setup) -> None:
    """Neither the next tick is compared, nor is it looked whether the tick has its job."""
    compare = (
        "  if tonumber(kind == 'pending' and schedule.p or schedule.n or -1) ~= expected then return 'taken' end\n"
    )
    look = "  if has_job(schedule, item) then return settle(schedule, item, 'there') end\n"
    setup.lua = changed(setup, "fire.lua", (compare, ""), (look, ""))
    patched("late_fire")(setup)


def changed(setup: Setup, name: str, *replacements: tuple[str, str]) -> Path:
    """A copy of the Lua scripts. The first text of each replacement stands in the file once, and becomes the second."""
    folder = setup.folder / "lua"
    shutil.copytree(lua_folder(), folder)
    (place,) = folder.rglob(name)
    text = place.read_text()
    for old, new in replacements:
        if text.count(old) != 1:
            raise ValueError(f"{name} has {text.count(old)} places like {old!r}")
        text = text.replace(old, new)
    place.write_text(text)
    return folder


CONTROLS: Final = (
    Control("everysec under power cut", "power-cut", everysec, 1, "was acknowledged and is not in the store"),
    Control("the token check taken out", "stale-result", any_token, 2, "with the result of"),
    Control("a two-step pop", "kill-server", patched("two_step_pop"), 1, "was acknowledged and is waiting"),
    Control("dedupe without TTL", "flush-scripts", endless_dedupe, 5, "is kept for -1 ms"),
    Control("suspects run among others", "poison", patched("not_isolated"), 0, "replicas died of 1 poison jobs"),
    Control("SIGHUP is not taken", "hang-up", patched("no_hangup"), 0, "was to drain"),
    Control("children end at SIGTERM", "terminate-all", patched("obedient_children"), 0, "at its first attempt"),
    Control("copies of children go on", "fork-handler", patched("living_copies"), 0, "have ended"),
    Control("no second registration", "flush-store", patched("never_again"), 0, "has registered"),
    Control("unknown types are only released", "two-apps", patched("released_types"), 0, "was claimed"),
    Control("a tick is fired without comparing", "flush-scripts", without_compare, 15, "was fired 2 times"),
    Control("one claim at a time", "silent-shard", patched("one_claim"), 0, "did not run while one was silent"),
)
