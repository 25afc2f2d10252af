"""Where no small disk can be mounted, a limit on the sizes of the store's files does what a full disk does."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from queuey.store.embedded.aof import FOLDER
from tests.faults.faults.disk import SECTOR, FileLimit
from tests.faults.store.processes import processes_in
from tests.faults.system import mounts
from tests.faults.system.rig import ROOT, Setup
from tests.support.session.tools import missing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def file_limit(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_FSIZE)[0]


def started_by(script: Path, program: str) -> int:
    """The size that a file of a process may have which a store's script starts in the place of the store."""
    text = script.read_text()
    line = next(line for line in text.splitlines() if line.startswith("exec"))
    script.write_text(text.replace(line, f"exec {program}"))
    limit = "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
    return int(subprocess.run([script, "-c", limit], capture_output=True, text=True, check=True).stdout)


def test_running_and_new_stores_cannot_write_more_until_it_is_lifted(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    data = setup.store_folder
    (data / FOLDER).mkdir(parents=True)
    (data / FOLDER / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (data / FOLDER / "appendonly.aof.1.incr.aof").write_bytes(bytes(5 * SECTOR + 1))
    limit = FileLimit(setup)
    script = Path(setup.replica_environment[0]["FAULTS_STORE"])
    with subprocess.Popen(["sleep", "60"], cwd=data) as store:
        try:
            assert processes_in(data) == [store.pid]
            unlimited = file_limit(store.pid)
            limit.fill()
            limit.fill()
            assert file_limit(store.pid) == 6 * SECTOR
            assert started_by(script, f'{sys.executable} "$@"') == 6 * SECTOR
            limit.free()
            assert file_limit(store.pid) == unlimited
        finally:
            store.kill()


@pytest.mark.serial
@pytest.mark.needs(*mounts.TOOLS)
@pytest.mark.skipif(not missing(*mounts.TOOLS) and not mounts.possible(), reason="this user may not mount anything")
def test_what_is_mounted_in_a_namespace_of_our_own_is_seen_by_nobody_else(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from tests.faults.system import mounts
folder = Path({str(tmp_path)!r})
mounts.mount_memory(folder, 1 << 20)
(folder / "inside").touch()
print(mounts.inside(), os.path.ismount(folder))
mounts.unmount(folder)
print(os.path.ismount(folder))
"""
    (tmp_path / "here").touch()
    enter = f"from tests.faults.system import mounts; mounts.enter('-c', {code!r})"
    done = subprocess.run([sys.executable, "-c", enter], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
