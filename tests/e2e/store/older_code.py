"""The code of an older version, from the repository's history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from tests.support.serving import ROOT
from tests.support.session.tools import lacking

OLDER: Final = "b7eee1c"
"""The first version with data that later ones must read. It does not know features."""


def older_code(folder: Path) -> Path:
    """Write the code of OLDER into a folder, and return it. Without its history the test ends."""
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", OLDER, "queuey", "lua"]
    try:
        done = subprocess.run(archive, capture_output=True, check=False)
    except FileNotFoundError:
        lacking("git must be installed")
    if done.returncode:
        lacking(f"the history with {OLDER} must be there: fetch the whole repository")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder
