"""What a crash or a power cut does to the append-only file, and what the embedded store makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuey.errors import StartupError
from queuey.store.embedded import aof
from tests.support.store_users import User

TRANSACTION = "redis.call('set', 'm1', ARGV[1]) redis.call('set', 'm2', ARGV[1])"


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    """A user of a data directory that already holds keys, not started."""
    user = User(tmp_path / "data")
    await user.start()
    await user.command("SET", "first", "1" * 500)
    await user.command("EVAL", TRANSACTION, "0", "2" * 500)
    await user.command("SET", "last", "3" * 500)
    await user.stop()
    user.events.names.clear()
    yield user
    await user.stop()


@pytest.fixture
def file(user: User, tmp_path: Path) -> Path:
    found = aof.last_increment(tmp_path / "data")
    assert found is not None
    return found


async def keys(user: User) -> dict[str, str]:
    names = sorted(await user.command("KEYS", "*"))
    return dict(zip(names, await user.command("MGET", *names), strict=True)) if names else {}


FIRST = {"first": "1" * 500}
TWO = FIRST | {"m1": "2" * 500, "m2": "2" * 500}
ALL = TWO | {"last": "3" * 500}


@pytest.mark.parametrize(("lost", "kept"), [(1, TWO), (300, TWO), (600, FIRST), (1200, FIRST)])
async def test_a_torn_tail_costs_the_torn_commands(user: User, file: Path, lost: int, kept: object) -> None:
    file.write_bytes(file.read_bytes()[:-lost])
    await user.start()
    assert await keys(user) == kept
    assert user.events.names == ["store_started"]


async def test_zeros_after_the_last_command_are_cut_off(user: User, file: Path, tmp_path: Path) -> None:
    intact = file.read_bytes()
    file.write_bytes(intact + bytes(5000))
    await user.start()

    assert await keys(user) == ALL
    assert file.read_bytes() == intact
    repaired = await user.events.next("store_mended")
    assert repaired["offset"] == len(intact)
    assert repaired["zero_bytes"] == 5000
    copy = Path(repaired["copy"])
    assert copy.parent == tmp_path / "data" / "damaged"
    assert copy.read_bytes() == intact + bytes(5000)


@pytest.mark.parametrize(("zeros", "kept"), [(2, TWO), (300, TWO), (600, FIRST), (1200, FIRST), (None, {})])
async def test_zeros_over_the_last_commands_cost_these(
    user: User, file: Path, zeros: int | None, kept: dict[str, str]
) -> None:
    """With 300 zeros the server alone would start, and hold them for the end of the last value."""
    intact = file.read_bytes()
    zeros = len(intact) if zeros is None else zeros
    file.write_bytes(intact[: len(intact) - zeros] + bytes(zeros))
    await user.start()

    assert await keys(user) == kept
    assert intact.startswith(file.read_bytes())
    assert user.events.names == ["store_mended", "store_started"]


async def test_what_is_written_after_a_repair_is_kept(user: User, file: Path) -> None:
    file.write_bytes(file.read_bytes() + bytes(100))
    await user.start()
    await user.command("SET", "after", "4")
    user.kill_server()
    await user.events.next("store_lost")
    await user.events.next("store_started")
    assert await keys(user) == ALL | {"after": "4"}


async def test_zeros_are_not_cut_without_room_for_a_copy(
    user: User, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = file.read_bytes() + bytes(100)
    file.write_bytes(damaged)
    monkeypatch.setattr(aof, "SPARE", 1 << 60)
    with pytest.raises(StartupError, match=r"no room for a copy .* Free \d+ MB"):
        await user.start()
    assert file.read_bytes() == damaged


async def test_other_damage_is_named_and_left_alone(user: User, file: Path) -> None:
    intact = file.read_bytes()
    offset = intact.index(b"*1\r\n$5\r\nMULTI")
    damaged = intact[:offset] + b"rubbish\r\n" + intact[offset:]
    file.write_bytes(damaged)

    with pytest.raises(StartupError) as refused:
        await user.start()
    message = str(refused.value)
    assert f"{file} is damaged at byte {offset} of {len(damaged)}" in message
    assert f"truncate -s {offset} {file}" in message
    assert file.read_bytes() == damaged

    file.write_bytes(damaged[:offset])  # what the message says to do
    await user.start()
    assert await keys(user) == FIRST


async def test_damage_before_the_last_file_cannot_be_given_up(user: User, file: Path) -> None:
    manifest = file.with_name("appendonly.aof.manifest")
    second = file.with_name("appendonly.aof.2.incr.aof")
    second.write_bytes(b"")
    manifest.write_text(manifest.read_text() + f"file {second.name} seq 2 type i\n")
    file.write_bytes(b"rubbish\r\n")

    with pytest.raises(StartupError, match=r"1\.incr\.aof is damaged at byte 0 of 9\. Restore") as refused:
        await user.start()
    assert "truncate" not in str(refused.value)


async def test_damage_to_the_base_is_told_in_the_servers_words(user: User, file: Path) -> None:
    base = file.with_name("appendonly.aof.1.base.rdb")
    content = base.read_bytes()
    base.write_bytes(content[:40] + bytes([content[40] ^ 255]) + content[41:])
    with pytest.raises(StartupError, match=r"RDB.*valkey\.log"):
        await user.start()
    assert user.store.pid is None
