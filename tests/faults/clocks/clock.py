"""A clock that is off, for the processes that the shim is loaded into (clocks/shim.c)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SHIM: Final = Path(__file__).with_name("shim.c")
HOUR: Final = 3600.0


class Clock:
    """The time of day of some processes, kept in a file in `folder`."""

    def __init__(self, folder: Path, offset: float = 0.0) -> None:
        self._file = folder / "clock.offset"
        self._file.write_bytes(_encode(offset))

    @property
    def variables(self) -> dict[str, str]:
        """What the shim wants to find in its environment."""
        return {"CLOCK_OFFSET": str(self._file)}

    def set(self, offset: float) -> None:
        """Be `offset` seconds ahead of the real time from now on, or behind it."""
        fd = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(fd, _encode(offset), 0)  # in place: the processes have mapped this very file
        finally:
            os.close(fd)


def _encode(offset: float) -> bytes:
    return round(offset * 1_000_000_000).to_bytes(8, "little", signed=True)
