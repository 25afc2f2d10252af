"""Ways into other processes: libraries in C, loaded with LD_PRELOAD, and a script in the place of the store."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from queuey.store.embedded.process import find_binary

if TYPE_CHECKING:
    from tests.faults.system.rig import Setup

COMPILER: Final = "cc"
PATIENCE: Final = 60.0


def missing() -> list[str]:
    """What is not here that a library takes."""
    if sys.platform != "linux":
        return ["Linux"]
    return [] if shutil.which(COMPILER) else [COMPILER]


def build(source: Path, folder: Path) -> Path:
    """Compile a library into `folder`. Returns its path. Raises RuntimeError with what the compiler says."""
    library = folder / f"{source.parent.name}.so"
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += ["-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{source} does not compile: {done.stderr}")
    return library


def into_store(setup: Setup, library: Path, variables: Mapping[str, str]) -> None:
    """Load a library into the embedded store."""
    settings = [shlex.quote(f"{name}={value}") for name, value in {"LD_PRELOAD": str(library), **variables}.items()]
    wrap_store(setup, with_command=f"/usr/bin/env {' '.join(settings)}")


def wrap_store(setup: Setup, *, before: str = "", with_command: str = "") -> None:
    """Let a shell script start the embedded store of every replica, whose environment is empty.

    It runs the lines `before` first, and the store's binary by `with_command`.
    """
    script = setup.folder / "valkey-server"
    script.write_text(f'#!/bin/sh\n{before}\nexec {with_command} {shlex.quote(str(find_binary()))} "$@"\n')
    script.chmod(0o700)
    for number in range(setup.replicas):
        setup.replica_environment.setdefault(number, {})["FAULTS_STORE"] = str(script)
