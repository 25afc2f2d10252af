"""Fetches what the page at /ui/ is made with, when Queuey is built or installed from its source.

The files are those of package-lock.json in queuey/api/ui/, checked by its hashes. They come by the npm on the PATH, or
as tarballs from the registry that npm's configuration names. Where neither can be had, the build goes on without them
and says so; the server then shows at /ui/ what is missing, and all else works. `python hatch_build.py` fetches them for
a checkout.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # called as a program, without the build's packages
    BuildHookInterface = object  # type: ignore[assignment, misc]

UI: Final = Path(__file__).parent / "queuey" / "api" / "ui"
LOCK: Final = UI / "package-lock.json"
VENDOR: Final = UI / "vendor"
STAMP: Final = "lock.sha256"
"""The hash of the lock file that the fetched files are of."""
NOTICE: Final = "NOTICE.txt"
SECONDS: Final = 120
MAX_BYTES: Final = 20_000_000
"""Of one package."""
FILES: Final = {
    "preact": {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js"},
    "htm": {"dist/htm.mjs": "htm.js"},
    "uplot": {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css"},
}
"""By package: the path of a file in it, and its name in the page."""
LICENSE: Final = "LICENSE"


class Missing(Exception):
    """Why the files could not be fetched, on one line."""


class CustomBuildHook(BuildHookInterface):
    """The hook of hatchling: it runs before the files of a wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files. Without them the build goes on, and says what is missing."""
        try:
            fetch()
        except Missing as error:
            self.app.display_warning(f"{'=' * 80}\nThe page at /ui/ is left out: {error}\n{'=' * 80}")


def fetch() -> bool:
    """Fetch the files, unless those of the lock file are there. Return whether they were fetched. Raises Missing."""
    stamp = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if _read(VENDOR / STAMP) == stamp:
        return False
    packages = {name: _package(name) for name in FILES}
    with tempfile.TemporaryDirectory(dir=UI, prefix=".vendor-") as folder:
        modules = Path(folder) / "modules"
        if shutil.which("npm"):
            _by_npm(modules)
        else:
            _as_tarballs(modules, packages)
        made = Path(folder) / "made"
        made.mkdir()
        _copy(modules, made, packages)
        (made / STAMP).write_text(stamp)
        shutil.rmtree(VENDOR, ignore_errors=True)
        try:
            made.rename(VENDOR)
        except OSError:  # another build was faster
            if _read(VENDOR / STAMP) != stamp:
                raise
    return True


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _package(name: str) -> Mapping[str, str]:
    """Return what the lock file says of a package: its version, its hash and its licence."""
    found: Mapping[str, str] = json.loads(LOCK.read_text())["packages"][f"node_modules/{name}"]
    return found


def _by_npm(modules: Path) -> None:
    """Install the packages by npm, which checks the hashes."""
    modules.mkdir()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(UI / name, modules)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=modules, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm ci took longer than {SECONDS} s.") from None
    except (subprocess.CalledProcessError, OSError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Missing(f"npm ci failed: {lines[-1] if lines else error}") from None


def _as_tarballs(modules: Path, packages: Mapping[str, Mapping[str, str]]) -> None:
    """Download the packages from the registry, and check the hashes."""
    registry = _registry()
    if registry is None:
        raise Missing("npm is not installed, and no .npmrc names a registry. Install Node.js, and build again.")
    for name, package in packages.items():
        url = f"{registry}/{name}/-/{name}-{package['version']}.tgz"
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as reply:
                data = reply.read(MAX_BYTES)
        except OSError as error:
            raise Missing(f"{name} could not be downloaded from the registry of npm's configuration: {error}") from None
        _unpack(data, package["integrity"], modules / "node_modules" / name, name)


def _unpack(data: bytes, integrity: str, into: Path, name: str) -> None:
    """Write the files of a tarball that are used. Raises Missing if its hash is another one."""
    kind, _, expected = integrity.partition("-")
    found = base64.b64encode(hashlib.new(kind, data).digest()).decode()
    if found != expected:
        raise Missing(f"the tarball of {name} is not the one of package-lock.json: its hash is {kind}-{found}.")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for source in (*FILES[name], LICENSE):
            member = tar.extractfile(f"package/{source}")
            assert member is not None
            (into / source).parent.mkdir(parents=True, exist_ok=True)
            (into / source).write_bytes(member.read())


def _registry() -> str | None:
    """Return the URL of the registry, without a slash at its end: as npm itself looks for it."""
    named = [value for name, value in os.environ.items() if name.lower() == "npm_config_registry" and value]
    for file in (UI / ".npmrc", Path.home() / ".npmrc", Path("/etc/npmrc")):
        named += re.findall(r"^registry\s*=\s*(\S+)", _read(file), re.MULTILINE)
    return named[0].rstrip("/") if named else None


def _copy(modules: Path, made: Path, packages: Mapping[str, Mapping[str, str]]) -> None:
    """Copy the files under their names in the page, with a notice of what they are."""
    notices = []
    for name, files in FILES.items():
        package = modules / "node_modules" / name
        for source, target in files.items():
            text = (package / source).read_text()
            # A module names the package; a browser needs the file. The maps of the sources are not part of the page.
            text = re.sub(r'from\s*"preact"', 'from"./preact.js"', text)
            (made / target).write_text(re.sub(r"\n?//# sourceMappingURL=\S+\s*$", "\n", text))
        version, license_name = packages[name]["version"], packages[name]["license"]
        notices.append(f"{name} {version}, {license_name}\n\n{(package / LICENSE).read_text().strip()}\n")
    (made / NOTICE).write_text(f"\n{'-' * 80}\n\n".join(notices))


if __name__ == "__main__":
    try:
        print("fetched" if fetch() else "already there")
    except Missing as reason:
        sys.exit(f"The page at /ui/ is left out: {reason}")
