"""The file `.env`: variables for development, which those of the process override."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from queuey.settings.sources import read_text

MAX_BYTES: Final = 64_000


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of the file; none if it does not exist. Raises SettingsError."""
    if not path.is_file():  # a pipe of that name would never end
        return {}
    text = read_text(path, MAX_BYTES)
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}
