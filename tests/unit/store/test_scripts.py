"""Reading the scripts, and telling apart what the store answers when it does not do its work."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser as Parser

from queuey.errors import Full, QueueyError, ScriptFailed, StartupError, StoreUnavailable
from queuey.store.scripts import Scripts, read_scripts, translate


def answered(reply: str) -> Exception:
    """What redis-py makes of an error reply."""
    error = Parser.parse_error(reply)  # type: ignore[no-untyped-call]
    assert isinstance(error, Exception)
    return error


def test_includes_are_expanded_in_place(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "now.lua").write_text("local now = 1\n")
    (tmp_path / "one.lua").write_text("#!lua\n--@include now\nreturn now\n")
    (tmp_path / "two.lua").write_text("#!lua\nreturn 2 --@include now\n")
    assert read_scripts(tmp_path) == {
        "one": "#!lua\nlocal now = 1\n\nreturn now\n",
        "two": "#!lua\nreturn 2 --@include now\n",
    }


KEYS = """-- The names.
local base = KEYS[1]
local LANES = {'high', 'low'}

-- job_key(id): of a job.
local function job_key(id) return base .. id end
local function chunks(list, size)
  for first = 1, #list, size do
    local function each() return first end
  end
end
local all, other = 1, 2
"""


def including(tmp_path: Path, line: str) -> str:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "keys.lua").write_text(KEYS)
    (tmp_path / "one.lua").write_text(f"#!lua\n{line}\nreturn 1\n")
    return read_scripts(tmp_path)["one"]


def test_an_include_with_names_has_only_their_definitions(tmp_path: Path) -> None:
    assert including(tmp_path, "--@include keys: job_key base") == (
        "#!lua\nlocal base = KEYS[1]\nlocal function job_key(id) return base .. id end\nreturn 1\n"
    )


def test_a_definition_goes_to_its_own_end(tmp_path: Path) -> None:
    function = KEYS[KEYS.index("local function chunks") : KEYS.index("local all")]
    assert including(tmp_path, "--@include keys: chunks") == f"#!lua\n{function}return 1\n"


@pytest.mark.parametrize("name", ["all", "each", "missing", "base2"])
def test_a_name_that_an_include_does_not_define_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartupError, match=f"A Lua script includes {name}, which its include does not define"):
        including(tmp_path, f"--@include keys: base {name}")


def test_two_scripts_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("jobs", "queues"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.lua").write_text("#!lua\nreturn 1\n")
    with pytest.raises(StartupError, match=r"Two Lua scripts in .* are called list: give one of them another name"):
        read_scripts(tmp_path)


def test_a_folder_without_scripts_is_a_broken_installation(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="the installation is incomplete; install Queuey again"):
        Scripts(tmp_path)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", StoreUnavailable),
        ("CLUSTERDOWN The cluster is down", StoreUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable),
        ("ASK 3999 127.0.0.1:6381", StoreUnavailable),
        ("MOVED 3999 127.0.0.1:6381", StoreUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", StoreUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable),
        ("BUSY Redis is busy running a script.", StoreUnavailable),
        ("READONLY You can't write against a read only replica.", StoreUnavailable),
        ("UNBLOCKED force unblock from blocking operation", StoreUnavailable),
        ("NOSCRIPT No matching script.", StoreUnavailable),
        ("NOAUTH Authentication required.", StoreUnavailable),
        ("WRONGPASS invalid username-password pair or user is disabled.", StoreUnavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", Full),
        ("NOPERM User q has no permissions to run the 'evalsha' command", StartupError),
        ("ERR ACL failure in script: User q has no permissions to run the 'lpop' command", StartupError),
        ("ERR The user executing the script can't run this command or subcommand", StartupError),
        ("ERR user_script:7: attempt to index a nil value", ScriptFailed),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ScriptFailed),
    ],
)
def test_what_the_store_answers_instead(reply: str, expected: type[QueueyError]) -> None:
    """Redis-py takes some codes off the text and leaves others on."""
    error = translate("claim", answered(reply))
    assert type(error) is expected
    assert not getattr(error, "maybe_done", False), "the store refused it, so nothing was done"


@pytest.mark.parametrize(
    ("error", "maybe_done"),
    [
        (redis_errors.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused."), False),
        (redis_errors.TimeoutError("Timeout connecting to server"), False),
        (redis_errors.ConnectionError("No connection available."), False),
        (ConnectionRefusedError("refused"), False),
        (FileNotFoundError("no socket"), False),
        (redis_errors.ConnectionError("Connection closed by server."), True),
        (redis_errors.TimeoutError("Timeout reading from unix:/store.sock"), True),
        (ConnectionResetError("reset"), True),
        (OSError("broken"), True),
    ],
)
def test_a_store_that_does_not_answer(error: Exception, maybe_done: bool) -> None:
    translated = translate("claim", error)
    assert isinstance(translated, StoreUnavailable)
    assert translated.maybe_done is maybe_done


def test_what_fails_while_connecting_is_looked_through() -> None:
    wrapped = redis_errors.ConnectionError("invalid username-password pair")
    wrapped.__cause__ = redis_errors.AuthenticationError("invalid username-password pair")
    error = translate("claim", wrapped)
    assert isinstance(error, StoreUnavailable)
    assert "user name or password" in error.message
    assert not error.maybe_done


def test_a_message_names_what_was_called() -> None:
    assert "SCRIPT LOAD needs" in translate("SCRIPT LOAD", answered("NOPERM no")).message
    assert translate("claim", answered("ERR broken")).message == "claim failed: broken."


def test_a_message_quotes_no_argument() -> None:
    reply = "ERR unknown command 'EVALSHA', with args beginning with: 'sha' '2' 'queuey:{0}:' 'payload'"
    assert translate("claim", answered(reply)).message == "claim failed: unknown command 'EVALSHA'."
