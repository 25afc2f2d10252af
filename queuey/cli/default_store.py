"""The store that a command uses if none is named: that of the project, unless an earlier version left one at home."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from queuey.errors import StartupError
from queuey.settings.settings import Settings, load_for_store
from queuey.store.embedded.moving import holds_store


def settings_for_store(flags: Mapping[str, str], config: str | None) -> Settings:
    """Return the settings of a command that opens the store. Raises StartupError if it would leave a store behind."""
    settings, complaint = settings_and_complaint(flags, config)
    if complaint is not None:
        raise StartupError(complaint)
    return settings


def settings_and_complaint(flags: Mapping[str, str], config: str | None) -> tuple[Settings, str | None]:
    """Return the settings, and what to do about a store that they would leave behind. Raises SettingsError."""
    settings, before = load_for_store(flags, config=config)
    new = settings.data_dir
    if before is None or os.path.lexists(new) or not holds_store(before):
        return settings, None
    old, there = shlex.quote(str(before)), shlex.quote(str(new))
    return settings, (
        f"Projects now have a data directory each, and {new} does not exist yet. But the former default, {before}, "
        f"holds a store. To use that store where it is, pass --data-dir {old}. To move it to this project, run: "
        f"`{_program()} move-store {old} {there}`. To begin with an empty store, run: `mkdir {there}`."
    )


def _program() -> str:
    """Return the command that starts this installation of `queuey` from a shell."""
    own, found = Path(sys.executable).parent / "queuey", shutil.which("queuey")
    if not own.exists():
        return f"{shlex.quote(sys.executable)} -m queuey"
    return "queuey" if found and os.path.samefile(found, own) else shlex.quote(str(own))
