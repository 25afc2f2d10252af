"""Wrong flags and settings: each command prints a plain line that says what to change, and exits with the right code.

The six of issue 6: a wrong URL, a store that is too old, a user that lacks a command, a volume that cannot be written
to, a port in use, an unknown setting. docs/configuration.md has the codes under "What keeps it from starting".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuey.store.scripts import RIGHTS
from tests.support.old_store import store_that_says
from tests.support.serving import ROOT, queuey
from tests.support.store import Server, client_for, free_port, valkey_binary


@pytest.fixture
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store() -> Iterator[Server]:
    server = Server(valkey_binary(), "--databases", "1")
    yield server
    server.stop()


def refusal(command: str, folder: Path, *flags: str, code: int, **variables: str) -> str:
    """Return the line with the error. `doctor` prints it as a failed check on stdout."""
    files = {"export": ("-o", str(folder / "out")), "import": (str(folder / "in"),)}
    variables.setdefault("QUEUEY_PORT", "0")
    ended = queuey(command, *files.get(command, ()), *flags, root=ROOT, **variables)
    output = ended.stdout if command == "doctor" else ended.stderr
    assert ended.returncode == (1 if command == "doctor" else code), output
    assert "Traceback" not in ended.stderr + ended.stdout
    sign = "fail  " if command == "doctor" else "queuey: "
    (line,) = [line for line in output.splitlines() if line.startswith(sign)]
    return line


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:6379", "does not start with redis://, rediss://, unix://"),
        ("redis://127.0.0.1:6379/jobs", "has a path that is not the number of a database"),
        (
            "redis://127.0.0.1:6379?socket_timeout=1",
            "has an unknown option after its '?'; allowed: db, username, password",
        ),
        ("redis://:canary#pass@127.0.0.1:6379", "in a password write / as %2F"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "doctor", "export"], indirect=True)
def test_a_url_that_cannot_be(folder: Path, command: str, url: str, reason: str) -> None:
    line = refusal(command, folder, code=2, QUEUEY_REDIS=url)
    assert "QUEUEY_REDIS: the value " in line
    assert reason in line
    assert "Allowed: redis://[[user]:password@]host" in line
    assert "canary" not in line


@pytest.mark.parametrize("command", ["doctor", "export"], indirect=True)
def test_a_url_where_nobody_listens(folder: Path, command: str) -> None:
    """serve, which waits for it, is in test_store."""
    line = refusal(command, folder, "--redis", f"redis://:canary@127.0.0.1:{free_port()}", code=3)
    assert "The store cannot be reached: " in line
    assert line.endswith("Check that the store is running and that --redis is right (rediss:// means TLS).")
    assert "canary" not in line


@pytest.mark.parametrize("command", ["serve", "doctor", "export"], indirect=True)
def test_a_database_that_the_store_does_not_have(folder: Path, store: Server, command: str) -> None:
    line = refusal(command, folder, "--redis", f"{store.url}?db=7", code=3)
    assert "The store has no such database (DB index is out of range): use another at the end of --redis" in line


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"redis_version": "6.2.14", "role": "master"}, "The store is Redis 6.2.14"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.0", "role": "master"}, "The store is Valkey 7.1.0"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "doctor", "export"], indirect=True)
def test_a_store_that_is_too_old(folder: Path, command: str, info: dict[str, str], named: str) -> None:
    with store_that_says(**info) as url:
        line = refusal(command, folder, "--redis", url, code=3)
    assert line.endswith(f"{named}: Queuey needs Redis 7.0 or newer, or Valkey 7.2 or newer.")


@pytest.mark.parametrize("lacking", ["-zadd", "-evalsha", "-info", "-script"])
@pytest.mark.parametrize("command", ["serve", "doctor"], indirect=True)
async def test_a_user_that_lacks_a_command(folder: Path, store: Server, command: str, lacking: str) -> None:
    admin: Any = client_for(store.url)
    await admin.execute_command("ACL", "SETUSER", "q", "reset", "on", ">p", "~queuey:*", "&queuey:*", "+@all", lacking)
    url = store.url.replace("unix://", "unix://q:p@")
    line = refusal(command, folder, "--redis", url, code=3)
    assert lacking[1:] in line.lower()
    await admin.execute_command(*line.partition("Grant it: ")[2].partition(" (")[0].split())
    await admin.aclose()
    looked = queuey("doctor", "--port", "0", "--redis", url)
    assert (looked.returncode, looked.stderr) == (0, ""), "what it said to run was enough"


def test_the_page_has_the_rights_that_messages_name() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    assert f"ACL SETUSER queuey on >PASSWORD ~queuey:* &queuey:* {RIGHTS}\n" in page


@pytest.mark.parametrize("command", ["serve", "doctor"], indirect=True)
def test_a_volume_that_cannot_be_written_to(folder: Path, command: str) -> None:
    (folder / "file").touch()
    (folder / "everybody").mkdir()
    (folder / "everybody").chmod(0o777)
    assert "Give another --data-dir" in refusal(command, folder, "--data-dir", str(folder / "file" / "data"), code=3)
    assert "is not a directory" in refusal(command, folder, "--data-dir", str(folder / "file"), code=3)
    place = folder / "everybody"
    assert f"run: chmod 700 {place}" in refusal(command, folder, "--data-dir", str(place), code=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("command", ["serve", "doctor"], indirect=True)
def test_a_volume_that_is_closed_to_this_user(folder: Path, command: str) -> None:
    place = folder / "closed"
    place.mkdir(mode=0o500)
    assert f"Run: chmod 700 {place}" in refusal(command, folder, "--data-dir", str(place), code=3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
@pytest.mark.parametrize("command", ["serve", "doctor"], indirect=True)
def test_a_volume_of_another_user(folder: Path, command: str) -> None:
    place = folder / "foreign"
    place.mkdir()
    os.chown(place, 4711, 4711)
    line = refusal(command, folder, "--data-dir", str(place), code=3)
    assert "belongs to another user (uid 4711; this is 0)" in line
    assert f"run: chown -R 0 {place}" in line


@pytest.mark.parametrize("command", ["serve", "doctor"], indirect=True)
def test_a_port_in_use(folder: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(command, folder, "--data-dir", str(folder / "data"), code=3, QUEUEY_PORT=str(port))
    assert line.endswith(f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another --port.")
    assert not (folder / "data").exists()


@pytest.mark.parametrize("command", ["serve", "doctor", "export", "import"], indirect=True)
def test_an_unknown_setting(folder: Path, command: str) -> None:
    line = refusal(command, folder, code=2, QUEUEY_PROT="1")
    assert line.endswith("QUEUEY_PROT: unknown variable. Did you mean QUEUEY_PORT?")
    file = folder / "queuey.toml"
    file.write_text("prot = 1\n")
    line = refusal(command, folder, "--config", str(file), code=2)
    assert line.endswith(f"{file}: prot: unknown key. Did you mean port?")


@pytest.mark.parametrize("command", ["serve", "doctor", "work"], indirect=True)
def test_an_unknown_flag(command: str) -> None:
    ended = queuey(command, "--prot", "1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("queuey: Unknown option: --prot.")
