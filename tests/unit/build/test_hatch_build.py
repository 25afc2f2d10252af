"""The hook of the build: what it fetches for the page, by which way, and what it says where it cannot."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

FILES = {"dist/a.mjs": "a.js"}
TEXT = 'import{x}from"preact";x()\n//# sourceMappingURL=a.mjs.map\n'


def tarball() -> bytes:
    """The package `a`, as a registry has it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in (("dist/a.mjs", TEXT), ("LICENSE", "Free."), ("../../evil", "no")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The hook on a folder of its own, with one package, no npm, and a registry in a folder."""
    import hatch_build  # a module beside the package, which the tests' folder has on its path

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    registry = tmp_path / "registry" / "a" / "-"
    registry.mkdir(parents=True)
    (registry / "a-1.0.0.tgz").write_bytes(tarball())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "registry")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    ui = tmp_path / "ui"
    ui.mkdir()
    for name, value in {
        "UI": ui,
        "LOCK": ui / "package-lock.json",
        "VENDOR": ui / "vendor",
        "FILES": {"a": FILES},
    }.items():
        monkeypatch.setattr(hatch_build, name, value)
    lock(hatch_build, hashlib.sha512(tarball()).digest())
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    (ui / ".npmrc").write_text(f"save-exact=true\nregistry = http://127.0.0.1:{server.server_port}/\n")
    yield hatch_build
    server.shutdown()
    thread.join()
    server.server_close()


def lock(build: ModuleType, digest: bytes) -> None:
    integrity = f"sha512-{base64.b64encode(digest).decode()}"
    package = {"version": "1.0.0", "integrity": integrity, "license": "MIT"}
    build.LOCK.write_text(json.dumps({"packages": {"node_modules/a": package}}))


def test_a_tarball_of_the_registry_becomes_the_files_of_the_page(build: ModuleType) -> None:
    assert build.fetch()
    assert {path.name for path in build.VENDOR.iterdir()} == {"a.js", "NOTICE.txt", "lock.sha256"}
    assert (build.VENDOR / "a.js").read_text() == 'import{x}from"./preact.js";x()\n'
    assert (build.VENDOR / "NOTICE.txt").read_text() == "a 1.0.0, MIT\n\nFree.\n"
    assert [path.name for path in build.UI.iterdir() if path.name.startswith(".vendor")] == []


def test_files_of_this_lock_are_not_fetched_again(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    build.fetch()
    monkeypatch.setattr(build, "_as_tarballs", None)
    assert not build.fetch()


def test_a_new_lock_replaces_the_files(build: ModuleType) -> None:
    build.VENDOR.mkdir()
    (build.VENDOR / "lock.sha256").write_text("of another one")
    (build.VENDOR / "old.js").touch()
    assert build.fetch()
    assert not (build.VENDOR / "old.js").exists()


def test_a_tarball_with_another_hash_is_refused_and_nothing_is_left(build: ModuleType) -> None:
    lock(build, b"x" * 64)
    with pytest.raises(build.Missing, match=r"the tarball of a is not the one of package-lock\.json"):
        build.fetch()
    assert not build.VENDOR.exists()


def test_without_npm_and_a_registry_it_says_what_to_install(build: ModuleType) -> None:
    (build.UI / ".npmrc").unlink()
    with pytest.raises(
        build.Missing, match=r"npm is not installed, and no \.npmrc names a registry\. Install Node\.js"
    ):
        build.fetch()


def test_a_package_that_is_not_there_is_named(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "registry" / "a" / "-" / "a-1.0.0.tgz").unlink()
    with pytest.raises(
        build.Missing, match=r"a could not be downloaded from the registry of npm's configuration: .*404"
    ):
        build.fetch()


def test_npm_that_fails_is_shown_by_its_last_line(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (build.UI / "package.json").write_text("{}")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho one >&2\necho 'npm error EINTEGRITY' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(npm))
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    with pytest.raises(build.Missing, match="npm ci failed: npm error EINTEGRITY"):
        build.fetch()
