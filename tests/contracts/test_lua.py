"""Each Lua script's header against its use, and the rules that all scripts keep."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from queuey.store import replies
from queuey.store.broker.calls import Group
from queuey.store.broker.dlq import DeadLetterCalls
from queuey.store.broker.events import EventCalls
from queuey.store.broker.jobs import BatchCalls, JobCalls
from queuey.store.broker.leases import LeaseCalls
from queuey.store.broker.maintenance import MaintenanceCalls
from queuey.store.broker.queues import QueueCalls
from queuey.store.broker.replicas import ReplicaCalls
from queuey.store.broker.schedules import ScheduleCalls
from queuey.store.broker.transfer import TransferCalls
from queuey.store.broker.watching.access import AccessCalls
from queuey.store.keys import ShardKeys
from queuey.store.scripts import lua_folder, read_scripts, read_sources

FOLDER = lua_folder()
GROUPS: dict[str, type[Group]] = {
    "jobs": JobCalls,
    "leases": LeaseCalls,
    "dlq": DeadLetterCalls,
    "queues": QueueCalls,
    "maintenance": MaintenanceCalls,
    "replicas": ReplicaCalls,
    "events": EventCalls,
    "schedules": ScheduleCalls,
    "batches": BatchCalls,
    "transfer": TransferCalls,
    "access": AccessCalls,
}
"""By noun: a folder of lua/ and a group of the Broker."""
ROOT = Path(__file__).parents[2]
PLACES = {path.stem: path for path in sorted(FOLDER.rglob("*.lua")) if path.parent.name != "include"}
TEXTS = read_sources(FOLDER)
PLACES |= {name: PLACES[name.removesuffix("_typed")] for name in TEXTS.keys() - PLACES.keys()}
INCLUDES = {path.stem: path.read_text() for path in sorted((FOLDER / "include").glob("*.lua"))}
EXPANDED = read_scripts(FOLDER)
BY_BROKER = sorted(TEXTS.keys() - {"selftest"})
"""`selftest` is called by queuey.store.selfcheck, before there is a Broker."""

KEYS_LINE = "KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created\n"
READ_ONLY = {
    *("store_info", "list_asides", "list_dead", "queue_status", "workers", "type_reports", "dump"),
    *("get", "get_log", "list_by_status", "list_jobs", "position", "stats"),
    *("get_schedules", "list_schedules", "due_schedules"),
    "list_audit",
}
TAKES_MEMORY = {"set_payload", "keep_log", "enqueue", "replay", "restore", "put_schedules", "fire", "restore_schedules"}
TAKES_MEMORY |= {"add_items"}
WRITES = {
    "MSET", "MSETNX", "SET", "DEL", "EXPIRE", "RPUSH", "LPUSH", "LPOP", "SADD", "SREM", "HSET", "HSETNX", "HINCRBY",
    "HDEL", "ZADD", "ZREM", "LTRIM", "SETRANGE", "XADD", "XDEL",
}  # fmt: skip
NO_STATUS = {
    "high", "default", "low", "paused", "paused_by", "paused_at", "guard_", "guard_default", "guard_low", "aside",
    "only_", "draining", "dead_bytes", "done_bytes", "format", "shards", "tombstones_", "tombstones_high",
    "tombstones_default", "tombstones_low", "skipped", "young", "deferred", "expired", "claimed", "moved", "no_room",
    "ready", "scheduled", "running", "dead", "finished", "import", "import_offset", "store_id", "features",
    "settling_", "asked", "unknown", "unknown_at", "schedules", "tick", "trigger", "backfill", "move", "allow",
    "queue_one", "cancel_previous", "unique", "reject", "replace", "session_key",
}  # fmt: skip
"""Words in quotes that name a lane, a field of a hash, a place, a feature or an argument, or that `examine` tells
`take`."""


def header(name: str) -> str:
    match = re.search(r"--\[=\[ (.*?) \]=\]", TEXTS[name], re.DOTALL)
    assert match, f"{name} has no header"
    return match[1]


def section(name: str, title: str) -> str:
    """A section of a header, such as Reply, without the next one."""
    match = re.search(rf"^{re.escape(title)} +(.*?)(?=^[A-Z]|\Z)", header(name), re.DOTALL | re.MULTILINE)
    assert match, f"{name} has no {title}"
    return match[1]


def code(text: str) -> str:
    """A script without its header and its comments."""
    return re.sub(r"--.*", "", re.sub(r"--\[=\[.*?\]=\]", "", text, flags=re.DOTALL))


def commands(text: str) -> set[str]:
    return set(re.findall(r"(?:redis\.call|in_chunks)\('([A-Z]+)'", code(text)))


def documented(name: str) -> set[str]:
    """The status words of a header: those in quotes in what it says of its reply."""
    return set(re.findall(r"'([a-z_]+)(?: <[^>]*>)?'", section(name, "Reply")))


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_the_first_line_says_how_it_may_run(name: str) -> None:
    flags = "" if name in TAKES_MEMORY else " flags=no-writes" if name in READ_ONLY else " flags=allow-oom"
    assert TEXTS[name].split("\n")[0] == f"#!lua{flags}"
    assert bool(commands(EXPANDED[name]) & WRITES) != (name in READ_ONLY) or name == "selftest"


@pytest.mark.parametrize("name", TEXTS)
def test_the_header_has_all_its_parts(name: str) -> None:
    assert TEXTS[name].split("\n")[1].startswith(f"--[=[ {name}: ")
    assert KEYS_LINE in header(name)
    for title in ("ARGV[1]", "Reply", "Errors"):
        assert section(name, title).strip()
    assert section(name, "ARGV[1]").startswith("msgpack [")
    assert section(name, "Reply").startswith("msgpack ")


STATUS_WORDS = {
    "enqueue": {
        *("new", "duplicate", "full", "too_many_queues"),
        *("rejected", "replaced", "follows", "differs", "closed"),
    },
    "add_items": {"opened", "added", "there", "full", "too_many_queues"},
    "extend": {"ok", "lost", "cancelled"},
    "checkpoint": {"ok", "lost"},
    "complete": {"ok", "lost"},
    "fail": {"retry", "snoozed", "dead", "cancelled", "lost"},
    "release": {"ok", "lost"},
    "keep_log": {"ok", "lost"},
    "cancel": {"cancelled", "cancelling", "finished", "missing"},
    "reap": {"retry", "suspect", "dead", "cancelled", "orphan"},
    "watch_end": {"waiting", "finished", "missing"},
    "publish_event": {"ok", "nobody"},
    "subscribe_events": {"begun", "kept", "nobody"},
    "replay": {"ok", "duplicate", "missing"},
    "restore": {"ok", "there", "too_many_queues", "past"},
    "put_schedules": {"new", "replaced", "same", "conflict", "too_many", "closed"},
    "delete_schedules": {"ok", "missing", "conflict"},
    "set_paused": {"ok", "same", "missing", "conflict"},
    "fire": {
        *("fired", "skipped", "pending", "missed", "refused", "moved", "there", "full", "too_many_queues"),
        *("missing", "conflict", "paused", "taken", "early", "not_later"),
    },
    "restore_schedules": {"ok", "there", "too_many", "closed"},
    "run_now": {"ok", "not_scheduled", "missing"},
    "delete": {"ok", "unfinished", "missing"},
    "set_payload": {"ok", "wrong_state", "missing"},
    "pause": {"ok", "too_many_queues"},
    "resume": {"ok", "not_paused"},
    "quiet_worker": {"ok", "too_many"},
    "open_feature": {"open", "ready", "settling", "held"},
}
"""As docs/protocol.md has them; a client may switch on each."""


@pytest.mark.parametrize("name", BY_BROKER)
def test_documented_status_words_are_those_of_the_code(name: str) -> None:
    quoted = set(re.findall(r"'([a-z_]{2,}) ?'", re.sub(r"(count|hincr|answered)\([^)\n]*", "", code(TEXTS[name]))))
    expected = STATUS_WORDS.get(name, set())
    assert expected <= quoted
    assert quoted - NO_STATUS <= expected
    if expected:
        assert documented(name) == expected


@pytest.mark.parametrize("name", STATUS_WORDS)
def test_the_brokers_docstring_names_the_same_words(name: str) -> None:
    method = getattr(GROUPS[PLACES[name].parent.name], name)
    returned = getattr(replies, str(inspect.signature(method).return_annotation), None)
    text = (method.__doc__ or "") + (returned.__doc__ or "" if inspect.isclass(returned) else "")
    named = set(re.findall(r"`([a-z_]+)(?: <[^>]*>)?`", text))
    assert STATUS_WORDS[name] <= set(re.findall(r"[a-z_]+", text))
    assert named - set(inspect.signature(method).parameters) - {"outcomes"} <= STATUS_WORDS[name]


def rows_of_the_protocol_page() -> dict[str, str]:
    """Each script in the table of docs/protocol.md, with the cell of its answers. `pause, resume` have one row."""
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    table = page.split("| script | moves |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines()[2:]]
    found = [(name, row[-1]) for row in rows for name in row[0].removeprefix("| ").split(", ")]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_the_protocol_page_has_each_script() -> None:
    assert rows_of_the_protocol_page().keys() == TEXTS.keys()


@pytest.mark.parametrize("name", STATUS_WORDS)
def test_the_protocol_page_has_the_same_words(name: str) -> None:
    answers = rows_of_the_protocol_page()[name]
    words = set(re.findall(r"`([a-z_]+)(?: <[^>]*>)?`", answers))
    assert STATUS_WORDS[name] <= words
    others = [other for other, cell in rows_of_the_protocol_page().items() if cell == answers]
    assert words == set().union(*(STATUS_WORDS.get(other, set()) for other in others))


# --- one script, one method, one test file -----------------------------------------------------------------------


def methods(group: type[Group]) -> dict[str, str]:
    """The source of each method of a group."""
    return {name: inspect.getsource(value) for name, value in vars(group).items() if inspect.isfunction(value)}


def test_each_folder_of_scripts_is_a_group_of_the_broker() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()} - {"include"}
    assert folders == GROUPS.keys()


@pytest.mark.parametrize("noun", GROUPS)
def test_a_group_has_one_method_for_each_script_of_its_folder(noun: str) -> None:
    sources = methods(GROUPS[noun])
    assert sources.keys() == {path.stem for path in (FOLDER / noun).glob("*.lua")}
    for name, source in sources.items():
        made = [script for script in (name, f"{name}_typed") if script in TEXTS]
        assert re.findall(r'self\._call\(\s*\w+,\s*"(\w+)"', source) == made


def test_the_self_test_is_called_before_there_is_a_broker() -> None:
    assert '"selftest"' in (ROOT / "queuey" / "store" / "selfcheck.py").read_text()


@pytest.mark.parametrize("name", BY_BROKER)
def test_each_script_has_a_test_file(name: str) -> None:
    noun = PLACES[name].parent.name
    text = (ROOT / "tests" / "scripts" / noun / f"test_{name}.py").read_text()
    assert text.startswith(f'"""{name}: ')
    assert f"broker.{noun}.{name}(" in text or f"rig.{name}(" in text


# --- keys --------------------------------------------------------------------------------------------------------


KEY_HOMES = ("keys", "schedules", "new_jobs")
"""The includes with names of keys. Those of schedules and batches are not in `keys`, since each line there takes time
in all scripts."""


def lua_names() -> dict[str, str]:
    """What these includes say of each key, with an argument shown as `*`."""
    text = "\n".join(INCLUDES[home] for home in KEY_HOMES)
    names = {
        name: re.sub(r"'([^']*)'|\w+", lambda match: "*" if match[1] is None else match[1], rest).replace(" .. ", "")
        for name, rest in re.findall(
            r"^local function (\w+)_key\([^)]*\) return base \.\. (.*) end$", text, re.MULTILINE
        )
    }
    for targets, values in re.findall(r"^local ([\w, ]+_key) = (base .*)$", text, re.MULTILINE):
        for target, value in zip(targets.split(", "), values.split(", "), strict=True):
            names[target.removesuffix("_key")] = value.removeprefix("base .. '").removesuffix("'")
    return names


def python_names() -> dict[str, str]:
    keys = ShardKeys(5)
    names = {}
    for name in dir(ShardKeys):
        value = getattr(keys, name)
        if not name.startswith("_") and name not in ("anchors", "base", "shard"):
            text = value(*"*" * len(inspect.signature(value).parameters)) if callable(value) else value
            names[name] = text.removeprefix(keys.base)
    return names


def test_key_names_are_spelled_alike_in_both_languages() -> None:
    assert lua_names() == python_names()


@pytest.mark.parametrize("name", [*TEXTS, *(f"include/{name}" for name in INCLUDES if name not in KEY_HOMES)])
def test_no_script_spells_a_key(name: str) -> None:
    text = code(PLACES.get(name, FOLDER / f"{name}.lua").read_text())
    assert not re.search(r"\bbase\b|KEYS", text)
    if name != "list_by_status":  # its places have the names of some keys
        prefixes = "|".join(re.escape(key.split("*")[0]) for key in lua_names().values())
        assert not re.search(f"'({prefixes})'", text)


@pytest.mark.parametrize("path", sorted((ROOT / "queuey").rglob("*.py")), ids=lambda path: path.stem)
def test_no_other_module_spells_a_key(path: Path) -> None:
    if path.name == "keys.py":
        return
    prefixes = tuple(key.split("*")[0] for key in lua_names().values() if "*" in key)
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            assert not node.value.endswith(prefixes), f"line {node.lineno} spells a key: use queuey.store.keys"
            assert "queuey:{" not in node.value, f"line {node.lineno} spells a key: use queuey.store.keys"


# --- rules that all keep -----------------------------------------------------------------------------------------


def test_the_self_test_runs_each_command_and_no_other() -> None:
    used = set().union(*(commands(text) for text in EXPANDED.values()))
    assert set(re.findall(r"try\('([A-Z]+)'", TEXTS["selftest"])) == used


NO_COMMANDS = ("error_reply", "sha1hex")
"""The functions of `redis` that call no command."""


def test_no_command_is_hidden_from_the_self_test() -> None:
    for name, text in {**TEXTS, **INCLUDES}.items():
        calls = re.findall(r"redis\.(\w+)\((.)", code(text))
        hidden = [call for call in calls if call[0] not in NO_COMMANDS and call[1] != "'"]
        assert hidden == {"writes": [("call", "c")], "selftest": [("pcall", "c")]}.get(name, [])


DEFINITION = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)


@pytest.mark.parametrize("name", TEXTS)
def test_a_script_has_all_that_it_uses_of_the_includes(name: str) -> None:
    """A script that includes names may forget one: in Lua it is then a global, which is missed when it is called."""
    defined = {match for text in INCLUDES.values() for match in DEFINITION.findall(text)}
    text = re.sub(r"'[^'\n]*'", "''", code(EXPANDED[name]).partition("\n")[2])
    for word in defined & set(re.findall(r"(?<![.\w])\w+", text)):
        first = re.search(rf"(?<![.\w]){word}\b", text)
        assert first
        line = text[: first.end()].rpartition("\n")[2]
        assert re.match(r"\s*(local|for) ", line), f"{word} is used before it is defined: {line}"


@pytest.mark.parametrize("name", TEXTS)
def test_what_no_script_may_do(name: str) -> None:
    text = code(EXPANDED[name])
    assert "math.random" not in text, "it repeats after every restart of the store"
    assert "cjson" not in text, "it rounds numbers and turns [] into {}"
    assert re.findall(r"ARGV\[\d+\]|#?ARGV", text) == ["ARGV[1]"]
    assert set(re.findall(r"KEYS\[\d+\]|#?KEYS", text)) <= {"KEYS[1]"}
    assert ("'TIME'" in text) == ("--@include now" in TEXTS[name] or name == "selftest"), "the clock has one home"
    assert not re.search(r"\bwhile true\b|\brepeat\b|\bgoto\b", text), "every loop is bounded"


def test_every_include_is_there_and_used() -> None:
    used = [included for text in TEXTS.values() for included in re.findall(r"^--@include (\w+)", text, re.MULTILINE)]
    assert set(used) == set(INCLUDES)
    assert not [name for name, text in EXPANDED.items() if "--@include" in text]


PLAIN = sorted(name for name, text in TEXTS.items() if "\n--@plain\n" in text)
"""The scripts with a plain way, which stands between the lines `--@plain` and `--@general`."""


def ways(name: str) -> tuple[str, str]:
    """The plain way of a script, '' if it has none, and the general way."""
    shared, _, rest = TEXTS[name].partition("\n--@plain\n")
    plain, _, general = rest.partition("\n--@general\n")
    return (plain, general) if rest else ("", shared)


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_written_before_everything_is_checked(name: str) -> None:
    """A script that plans its writes does none above commit(), but for the pops of claim, which come right before."""
    general = ways(name)[1]
    if "--@include writes" not in general:
        return
    before = code(general).split("commit()")[0]
    written = commands(before) & WRITES
    assert written == ({"LPOP"} if name in ("claim", "claim_typed") else set())


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_way_leaves_before_its_first_write(name: str) -> None:
    """Its first write is MSETNX, which is its last check too, or MSET. So the general way finds the store unchanged."""
    assert TEXTS[name].count("--@plain") == TEXTS[name].count("--@general") == 1
    plain = code(ways(name)[0])
    assert not commands(TEXTS[name].split("--@plain")[0]) & WRITES
    first = "MSET" if name == "complete" else "MSETNX"
    checks, _, after = plain.partition(f"redis.call('{first}', unpack(writes)")
    assert not commands(checks) & WRITES
    assert "add_count(" not in checks
    assert commands(after) & WRITES
    if name != "complete":
        assert after.startswith(") == 0 then return false end\n")
        after = after.partition("\n")[2]
    assert "return false" not in after


def test_the_plain_way_of_claim_typed_leaves_before_its_first_write() -> None:
    """Its functions that write are called behind the last check, which is the first write too."""
    text = code(INCLUDES["typed_plain"])
    body = text[text.index("local function claim_plain_typed()") :]
    checks, _, after = body.partition("redis.call('MSETNX', unpack(writes)) == 0 then return false end\n")
    assert after
    assert not commands(checks) & WRITES
    assert not re.search(r"write_place|put_back_markers|add_count", checks)
    assert "return false" not in after
    before = text.partition("local function write_place(")[0]
    assert not commands(before) & WRITES
