"""The default data directory: that of the project in which the process runs, else one in the home directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

PROJECT_DIR: Final = ".queuey"
"""The name of the data directory of a project."""
DEVELOPMENT_DIR: Final = ".queuey-dev"
"""The same for `queuey dev`. It is not below the other, whose existence says that a project has begun a store there."""
MARKERS: Final = ("pyproject.toml", ".git")
"""A directory with one of these is a project. `.git` is a file in a worktree and in a submodule."""


class DefaultDir(NamedTuple):
    """The default data directory. `before`: the one in the home directory, if the default is that of a project."""

    path: Path
    before: Path | None = None


def default_dir(variables: Mapping[str, str] | None = None) -> DefaultDir:
    """Return the default data directory of a process with these environment variables, in its working directory."""
    known = variables or {}
    home = known.get("HOME") or os.path.expanduser("~")
    base = known.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):  # the XDG specification says to ignore relative paths
        base = os.path.join(home, ".local", "share")
    of_home = Path(base, "queuey")
    project = _project(home)
    return DefaultDir(of_home) if project is None else DefaultDir(project / PROJECT_DIR, of_home)


def development_dir(variables: Mapping[str, str]) -> Path:
    """Return the default data directory of `queuey dev`, beside that of `queuey serve`."""
    other = default_dir(variables).path
    return other.with_name(f"{other.name}-dev")


def data_dir() -> Path:
    """Return the default data directory."""
    return default_dir().path


def _project(home: str) -> Path | None:
    """Return the nearest project at or above the working directory, or None.

    The search ends at the home directory, which never counts as a project: dotfiles are often kept in a `.git` there,
    and all projects below would share one store."""
    try:
        here = Path.cwd()  # without links
    except OSError:  # the working directory was deleted
        return None
    end = Path(os.path.realpath(home))
    for folder in (here, *here.parents):
        if folder == end:
            return None
        if any(os.path.exists(folder / marker) for marker in MARKERS):
            return folder
    return None
