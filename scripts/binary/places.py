"""Where the binary is started and unpacks itself, in the root file system of try_it.py: places, variables, versions."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
from functools import partial
from subprocess import PIPE
from typing import Final

from scripts.binary.__main__ import with_launcher
from scripts.binary.bare_root import BareRoot
from scripts.binary.payload import Payload
from scripts.binary.serving import PATIENCE, say, serving, until
from scripts.binary.tree import ROOT

VERSION: Final = str(runpy.run_path(str(ROOT / "queuey" / "version.py"))["__version__"])
NEWER: Final = "99.1.2"
WHOLE: Final = "whole"
"""The last file that inside/unpack.py writes."""
ODD: Final = "a 'b\" $c; *" + 150 * "d"
"""The name of a folder."""
WRONG: Final = {
    **dict.fromkeys(("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "LD_LIBRARY_PATH", "XDG_CACHE_HOME"), "/nowhere"),
    "TAR_OPTIONS": "--nonsense",
    "LC_ALL": "POSIX",
    "CDPATH": "/bin",
    "IFS": "/",
}


def unpacking(root: BareRoot) -> None:
    """Folders that are full, or for no programs; a file that was cut; a file system that is read only."""

    def version(**variables: str) -> subprocess.CompletedProcess[str]:
        return root.run("/queuey", "--version", variables=variables)

    for name, reason in (("small", "No space left"), ("noexec", "ermission denied")):
        done = version(QUEUEY_UNPACK_DIR=f"/{name}")
        assert done.returncode == 3, done
        assert reason in done.stderr, done.stderr
        assert "QUEUEY_UNPACK_DIR" in done.stderr, done.stderr
        assert not list((root.folder / name).iterdir())
    assert version(TMPDIR="/small", HOME="/noexec").returncode == 3  # there is no /var/tmp
    assert version(HOME="/small").returncode == 0
    say("a full or noexec folder: another one, or an error that says what to do")
    whole = root.folder / "queuey"
    (root.folder / "cut").write_bytes(whole.read_bytes()[:-1000])
    (root.folder / "cut").chmod(0o755)
    done = root.run("/cut", "--version", variables={"QUEUEY_UNPACK_DIR": "/unpacked"})
    assert done.returncode == 3, done
    assert "damaged" in done.stderr, done.stderr
    say("a file that was cut is refused")
    assert version(QUEUEY_UNPACK_DIR="/unpacked").returncode == 0
    (root.folder / "tmp").chmod(0o755)
    root.without_proc()
    with serving(root, QUEUEY_UNPACK_DIR="/unpacked") as server:
        assert server.result("text.reverse", payload={"text": "abc"}) == "cba"
    say("without /proc and /tmp, from a folder that was unpacked before")


def strange(root: BareRoot) -> None:
    """A read-only folder with an odd name, a link, a relative path, wrong variables, few files, closed streams."""
    folder = root.folder / "odd" / ODD
    folder.mkdir(parents=True)
    (folder / "queuey").hardlink_to(root.folder / "queuey")
    (root.folder / "bin" / "through-link").symlink_to(f"/odd/{ODD}/queuey")
    home = {"HOME": f"/data/{ODD}"}
    for line in (
        f'cd "/odd/$0" && ./queuey --version && cd .. && "$0/queuey" --version && sh "$0/queuey" --version && {started}'
        for started in ("through-link --version", "cd /bin && ./through-link --version")
    ):
        done = root.run("/bin/sh", "-c", line, ODD, variables=home)
        assert done.stdout.split() == 4 * [VERSION], done
    unpacked = list((root.folder / "data" / ODD / ".cache" / "queuey").iterdir())
    assert len(unpacked) == 1, unpacked
    for line in ("through-link --version", "ulimit -n 16 && through-link --version", "exec through-link --version <&-"):
        done = root.run("/bin/sh", "-c", line, variables=WRONG)
        assert (done.returncode, done.stdout.strip()) == (0, VERSION), done
    say("odd folders, a link, relative paths, wrong variables, few open files, no stdin")


def interrupted(root: BareRoot) -> None:
    """A first start that is killed, then three at once."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        base = root.folder / "data" / number.name
        starting = partial(
            root.start, "/queuey", "--version", variables={"QUEUEY_UNPACK_DIR": f"/data/{number.name}"}, stdout=PIPE
        )
        process = starting()
        until(lambda base=base: any(base.glob("queuey-new.*/unpack.py")), "it unpacks")  # type: ignore[misc]
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        together = [starting() for _ in range(3)]
        assert [process.communicate(timeout=PATIENCE)[0].strip() for process in together] == 3 * [VERSION]
        whole = [folder for folder in base.iterdir() if not folder.name.startswith("queuey-new.")]
        assert len(whole) == 1, whole
        shutil.rmtree(base)
    say("killed while it unpacks, then three first starts at once")


def versions(root: BareRoot) -> None:
    """Another version on the same data directory, at the same time and afterwards."""
    (unpacked,) = (root.folder / "tmp").glob("queuey-*/*")
    tree = root.folder.parent / "newer"
    shutil.copytree(unpacked, tree)
    (tree / WHOLE).unlink()
    (module,) = tree.glob("lib/python*/site-packages/queuey/version.py")
    module.write_text(module.read_text().replace(VERSION, NEWER))
    compiling = ("-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash")
    subprocess.run([sys.executable, *compiling, module], check=True)
    file = root.folder / "newer"
    file.write_bytes(with_launcher(Payload(tree, level=1), ""))
    file.chmod(0o755)
    shutil.rmtree(tree)
    with contextlib.ExitStack() as both:
        old = both.enter_context(serving(root))
        new = both.enter_context(serving(root, file="/newer"))
        assert new.events()["store_joined"]["pid"] == old.events()["store_started"]["pid"]
        seen = {replica["version"] for replica in new.ask("/v1/workers")["workers"]}
        assert seen == {VERSION, NEWER}, seen
        reverse = {"type": "text.reverse", "payload": {"text": "abc"}}
        jobs = [server.ask("/v1/jobs", reverse)["job_id"] for server in (old, new)]
        old.stop()
        for job in jobs:
            until(lambda job=job: new.status(job) == "succeeded", f"job {job}")  # type: ignore[misc]
        os.kill(old.events()["store_started"]["pid"], signal.SIGKILL)
        assert new.result("text.reverse", payload={"text": "abc"}) == "cba"
    with serving(root) as server:
        assert {server.status(job) for job in jobs} == {"succeeded"}
        assert server.result("text.reverse", payload={"text": "abc"}) == "cba"
    say(f"{VERSION} and {NEWER} on one data directory: at once, the newer without the older, the older again")
