"""`queuey` itself, but with the Lua scripts of another folder where one is named: for the negative controls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from queuey import scripts
from queuey.cli import main

FOLDER = os.environ.get("FAULTS_LUA", "")

if __name__ == "__main__":
    if FOLDER:
        scripts.lua_folder = lambda: Path(FOLDER)
    sys.exit(main())
