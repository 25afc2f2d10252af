"""Copies of the scripts with a fault."""

from __future__ import annotations

import shutil
from pathlib import Path

from queuey.store.scripts import Scripts, lua_folder


def scripts_with_fault(folder: Path, file: str, right: str, wrong: str) -> Scripts:
    """Copy the scripts into `folder/lua`, and replace the text `right`, which `file` has once, by `wrong`."""
    copies = folder / "lua"
    shutil.copytree(lua_folder(), copies)
    (place,) = copies.rglob(file)
    source = place.read_text(encoding="utf-8")
    assert source.count(right) == 1, f"{file} has changed: put this fault into it in another way"
    place.write_text(source.replace(right, wrong), encoding="utf-8")
    return Scripts(copies)
