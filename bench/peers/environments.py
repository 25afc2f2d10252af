"""An environment for each peer, made on the first run from its lock file, in .bench/ of the checkout."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peers.catalog import Peer
from queuey import __version__

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
ENVIRONMENTS: Final = ROOT / ".bench"
INSTALL_SECONDS: Final = 300
NPM_FILES: Final = ("package.json", "package-lock.json", ".npmrc")


class CannotInstall(Exception):
    """Why a peer cannot be measured, on one line."""


def command_of(peer: Peer) -> tuple[list[str], Path]:
    """How its script is called, and in which folder. Raises CannotInstall."""
    script = str(HERE / "adapters" / peer.adapter)
    if peer.lock is None:
        return [sys.executable, script], ROOT
    if peer.lock == "npm":
        return ["node", script], _npm("bullmq")
    return [str(_virtual(peer.lock)), script], ROOT


def version_of(peer: Peer) -> str:
    """The release that its lock file names."""
    if peer.lock is None:
        return __version__
    if peer.lock == "npm":
        return npm_version("bullmq")
    text = (HERE / "requirements" / peer.lock).read_text()
    found = re.search(rf"^{Path(peer.lock).stem}==(\S+)", text, re.MULTILINE)
    return found[1] if found else "unknown"


def npm_version(package: str) -> str:
    """The release that the package.json in the folder of this name asks for."""
    wanted = json.loads((HERE / package / "package.json").read_text())
    return str(wanted["dependencies"][package])


def bunqueue_command() -> list[str]:
    """How bunqueue's own command is called: by Bun, which npm installs beside it. Raises CannotInstall."""
    modules = _npm("bunqueue") / "node_modules"
    # Without install scripts the package `bun` has no program, but the one for this machine does.
    bun = next(iter(sorted(modules.glob("@oven/bun-*/bin/bun"))), None)
    if bun is None:
        raise CannotInstall("npm has no Bun for this machine")
    return [str(bun), str(modules / "bunqueue" / "dist" / "cli" / "index.js")]


def _virtual(lock: str) -> Path:
    """The Python of the environment that a lock file describes."""
    requirements = HERE / "requirements" / lock
    folder = ENVIRONMENTS / requirements.stem
    python = folder / "bin" / "python"
    fingerprint = _fingerprint([requirements]) + sys.version
    if _stamp(folder) != fingerprint:
        _begin(folder)
        _run([sys.executable, "-m", "venv", str(folder)], ROOT)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--require-hashes", "-r", str(requirements)], ROOT)
        (folder / ".stamp").write_text(fingerprint)
    return python


def _npm(package: str) -> Path:
    """A folder with node_modules in it, from the lock file in the folder of this name."""
    folder = ENVIRONMENTS / package
    files = [HERE / package / name for name in NPM_FILES]
    fingerprint = _fingerprint(files)
    if _stamp(folder) != fingerprint:
        _begin(folder)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        (folder / ".stamp").write_text(fingerprint)
    return folder


def _fingerprint(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _stamp(folder: Path) -> str:
    stamp = folder / ".stamp"
    return stamp.read_text() if stamp.exists() else ""


def _begin(folder: Path) -> None:
    print(f"building {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise CannotInstall(f"{command[0]} is missing. Install Node.js with npm, or Python with venv.") from None
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"{command[0]} took more than {INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        raise CannotInstall(f"{Path(command[0]).name} failed: {lines[-1] if lines else error.returncode}") from None
