"""The folder inside the binary: Python's program and library without what a server does not need, and the packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
INSIDE: Final = Path(__file__).parent / "inside"
LOCKS: Final = ("runtime.txt", "binary.txt")
VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"

LEFT_OUT: Final = (
    *("__pycache__", "*.a", "site-packages", "dist-packages", f"config-{sys.version_info.major}.*"),
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "pydoc_data"),
    *("_test*.so", "_ctypes_test*.so", "_xx*.so", "xx*.so", "_tkinter*.so", "_curses*.so"),
    # readline and gdbm are under the GPL, which would hold for the whole file.
    *("readline*.so", "_gdbm*.so", "_dbm*.so", "nis*.so"),
    "*.exe",
)
"""What of the standard library is not inside, as patterns of names. docs/binary.md lists the modules."""
LEFT_OUT_OF_PACKAGES: Final = (
    *("__pycache__", "*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.map", "bin"),
    *("swagger-ui-es-bundle*.js", "swagger-ui-standalone-preset.js", "swagger-ui.js"),  # the page needs only the bundle
)


def fill(tree: Path) -> None:
    """Make the folder. Its Python finds everything from its own path, so it may be moved."""
    home = Path(sys.base_prefix)
    library = tree / "lib" / VERSION
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(home / "bin" / VERSION, tree / "bin" / "python3")
    shutil.copytree(home / "lib" / VERSION, library, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (library / "lib-dynload").mkdir(exist_ok=True)  # Python warns if it is missing
    if sys.platform == "darwin":
        for file in (home / "lib").glob("libpython*.dylib"):
            shutil.copy2(file, tree / "lib")
    packages = library / "site-packages"
    install(packages)
    shutil.copy2(INSIDE / "sitecustomize.py", packages)
    shutil.copy2(INSIDE / "unpack.py", tree)
    # Without it, packages in the user's ~/.local would come before those inside.
    (tree / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    # Never compared with the sources' times, so that unpacking need not keep them.
    compiling = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree))
    subprocess.run([sys.executable, *compiling, str(tree / "lib")], check=True)


def install(packages: Path) -> None:
    """Install the locked packages and Queuey."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile")
    locks = [word for name in LOCKS for word in ("-r", str(ROOT / "requirements" / name))]
    subprocess.run([*pip, "--target", str(packages), "--require-hashes", *locks], check=True)
    # A wheel, not this folder: a second --target with an existing folder would be refused.
    own = ("--target", str(packages), "--upgrade", "--no-deps", "--no-build-isolation", str(ROOT))
    subprocess.run([*pip, *own], check=True)
    drop = [path for pattern in LEFT_OUT_OF_PACKAGES for path in packages.rglob(pattern)]
    for path in drop:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
