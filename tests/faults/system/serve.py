"""`queuey` itself, but with some parts of the suite's in the place of its own, as the environment says.

FAULTS_LUA     a folder of other Lua scripts
FAULTS_STORE   another program for the embedded store
FAULTS_PATCH   modules to import first, which change what they like
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from queuey.cli import main
from queuey.store import scripts
from queuey.store.embedded import store as embedded


def change(environment: dict[str, str]) -> None:
    """Put the suite's parts in place."""
    if lua := environment.get("FAULTS_LUA"):
        scripts.lua_folder = lambda: Path(lua)
    if store := environment.get("FAULTS_STORE"):
        embedded.find_binary = lambda: Path(store)  # type: ignore[attr-defined]
    for name in environment.get("FAULTS_PATCH", "").split():
        importlib.import_module(name)


if __name__ == "__main__":
    change(dict(os.environ))
    sys.exit(main())
