"""What the disk can do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

APPENDED: Final = b"x" * 400
"""About what one job adds to the append-only file."""


def syncs(folder: Path, samples: int) -> list[float]:
    """Seconds that one fdatasync takes after a small append."""
    file = os.open(folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    taken = []
    try:
        for _ in range(samples):
            os.write(file, APPENDED)
            began = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(file)
    return taken
