"""How large folders, files and functions may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"queuey": 12, "lua": 20, "tests": 20}
"""Modules in one folder, without `__init__.py`."""
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
"""Signature and body, without the docstring and blank lines."""


def modules(folder: str) -> list[Path]:
    return sorted(path for suffix in ("py", "lua") for path in (ROOT / folder).rglob(f"*.{suffix}"))


def spelled(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("top", FOLDERS)
def test_folders_are_small(top: str) -> None:
    for folder in {path.parent for path in modules(top)}:
        count = sum(path.suffix in (".py", ".lua") and path.name != "__init__.py" for path in folder.iterdir())
        assert count <= FOLDERS[top], f"{spelled(folder)} has {count} modules: give it rooms by noun"


@pytest.mark.parametrize("top", [*FOLDERS, "bench", "scripts", "examples", "deploy"])
def test_files_are_short(top: str) -> None:
    lengths = {spelled(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(top)}
    long = {name: length for name, length in lengths.items() if length > LINES_OF_A_FILE}
    assert not long, f"Split these files, by what they are about: {long}"


def lengths_of_functions(path: Path) -> Iterator[tuple[str, int]]:
    """(qualified name, lines) of each function of a module, nested ones too."""
    lines = path.read_text(encoding="utf-8").splitlines()

    def visit(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = (*names, child.name)
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield ".".join(inner), counted(child, lines)
            yield from visit(child, inner)

    yield from visit(ast.parse("\n".join(lines)), ())


def counted(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    own = range(function.lineno - 1, function.end_lineno or function.lineno)
    first = function.body[0]
    docstring = range(first.lineno - 1, first.end_lineno or 0) if ast.get_docstring(function, clean=False) else range(0)
    return sum(bool(lines[number].strip()) for number in own if number not in docstring)


def long_functions() -> dict[str, int]:
    return {
        f"{spelled(path)} {name}": length
        for path in modules("queuey")
        for name, length in lengths_of_functions(path)
        if length > LINES_OF_A_FUNCTION
    }


def test_functions_are_short() -> None:
    long = long_functions()
    assert not long, f"Split these functions: {long}"


def test_lines_are_counted_without_docstring_and_blank_lines(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'class A:\n    def f(\n        self,\n    ) -> None:\n        """One.\n\n        Two.\n        """\n\n'
        "        x = 1\n\n        def g() -> int:\n            return x\n\n        g()\n\n\n"
        "async def h() -> None: ...\n"
    )
    assert dict(lengths_of_functions(module)) == {"A.f": 7, "A.f.g": 2, "h": 1}
