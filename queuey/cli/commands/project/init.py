"""`queuey init`: the files of a small project."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from queuey.cli.exits import OK, explain
from queuey.errors import FileRefused, SettingsError

FILES: Final = (
    "handlers.py",
    "tests/test_handlers.py",
    "pyproject.toml",
    "README.md",
    "Dockerfile",
    "compose.yaml",
    ".gitignore",
)
"""The files of a project. Its text is in `template`, under the name without a folder and without a dot before it."""
KEPT: Final = frozenset({".git", ".venv"})
"""Names that an empty directory may have: people make these first."""
NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
LONGEST_NAME: Final = 60
TAKEN: Final = frozenset({"queuey-server", "mypy", "pytest"})
"""The packages that a project depends on: one of the same name could not be installed."""
MOST_SHOWN: Final = 10


def init(
    directory: Annotated[Path, Parameter(metavar="DIR", help="New or empty directory.")] = Path(),
    *,
    name: Annotated[
        str | None, Parameter(metavar="NAME", help="Name of the project. Default: that of the directory.")
    ] = None,
) -> int:
    """Write a project. The help of this command is in `app`."""
    chosen = directory.resolve().name if name is None else name
    _check_name(chosen)
    try:
        _check_empty(directory)
        for file in FILES:
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as writing:  # "x": never over a file that came meanwhile
                writing.write(_text(file).replace("{{name}}", chosen))
    except OSError as error:
        raise FileRefused(f"{error.filename or directory} cannot be written: {error.strerror}.") from None
    explain(f"Wrote {', '.join(FILES)} in {directory.resolve()}.\nNext, there: queuey dev --app handlers:app")
    return OK


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise SettingsError(
            f"{name!r} is not a valid name of a project: it has at most {LONGEST_NAME} lower-case letters and digits, "
            "with single '-' or '_' between them, and begins with a letter. Pass --name, or another directory."
        )
    if name.replace("_", "-") in TAKEN:
        raise SettingsError(f"{name!r} is the name of a package that the project needs. Pass another --name.")


def _check_empty(directory: Path) -> None:
    """Refuse a directory with files: a project among other files would be hard to take out again."""
    if not directory.exists():
        return
    found = sorted(path.name for path in directory.iterdir() if path.name not in KEPT)
    if found:
        more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise FileRefused(
            f"{directory.resolve()} is not empty: it has {', '.join(found[:MOST_SHOWN])}{more}. Nothing was written. "
            "Pass a new directory."
        )


def _text(file: str) -> str:
    template = files(__package__) / "template" / f"{Path(file).name.removeprefix('.')}.template"
    return template.read_text(encoding="utf-8")
