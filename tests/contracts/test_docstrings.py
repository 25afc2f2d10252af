"""Public docstrings are sentences: they begin with a verb or a noun phrase, and end with a full stop.

This covers modules, classes, functions and attributes without a leading underscore. Tests have their own style.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MODULES: Final = sorted(ROOT.glob("queuey/**/*.py"))

FRAGMENT: Final = re.compile(
    r"(?:About|After|Against|Among|As|At|Before|Behind|Below|Beside|Between|Beyond|By|During|For|From|How|If|In|Into|Like"
    r"|Of|On|Once|Only|Or|Over|Per|Since|So|Such|Than|That|Those|Through|To|Under|Unless|Until|Up|Upon|What|Whatever|When"
    r"|Where|Wherever|Which|While|Who|Whoever|Whose|Why|With|Within|Without)\b"
)
"""A docstring that begins so is a fragment, or a sentence whose subject comes late."""

CONDITION: Final = re.compile(r"Whether\b")
"""The start of a fragment, except for an attribute or a property, of which it says when it is true."""

ENDING: Final = re.compile(r"[.:?!)`]\Z")
CODE: Final = re.compile(r" {4}|- |[├└]")
"""The start of a last line that is code, an item of a list, or a tree."""


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Each public docstring: its line, its text, and whether it is that of an attribute or a property."""
    yield from described(tree, is_attribute=False)
    yield from members(tree)


def members(owner: ast.Module | ast.ClassDef) -> Iterator[tuple[int, str, bool]]:
    """The docstrings of what a module or a class defines."""
    for node, following in zip(owner.body, [*owner.body, None][1:], strict=True):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield from described(node, is_attribute="property" in map(ast.unparse, node.decorator_list))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from described(node, is_attribute=False)
            yield from members(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(following, ast.Expr):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and is_public(target):
                yield following.lineno, value.value, True


def described(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, *, is_attribute: bool
) -> Iterator[tuple[int, str, bool]]:
    text = ast.get_docstring(node)
    if text is not None:
        yield node.body[0].lineno, text, is_attribute


def is_public(target: ast.expr) -> bool:
    return not ast.unparse(target).rpartition(".")[2].startswith("_")


def faults(text: str, *, is_attribute: bool) -> Iterator[str]:
    """What is wrong with a docstring."""
    start = " ".join(text.split())[:60]
    if FRAGMENT.match(text) or (CONDITION.match(text) and not is_attribute):
        yield f"begin with a verb or with the thing: {start}"
    last = text.rstrip().rpartition("\n")[2]
    if not CODE.match(last) and not ENDING.search(last):
        yield f"end with a full stop: {start}"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_a_public_docstring_is_a_sentence(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = [
        f"{name(module)}:{line}: {fault}"
        for line, text, is_attribute in docstrings(tree)
        for fault in faults(text, is_attribute=is_attribute)
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_attribute", "count"),
    [
        ("Return the job.", False, 0),
        ("A pull worker's lease.", False, 0),
        ("Of a job that is known here.", False, 1),
        ("For whoever waits for it no longer.", False, 1),
        ("What came of a job", False, 2),
        ("Whether the job is due.", True, 0),
        ("Whether the job is due.", False, 1),
        ("The pages:\n\n    /v1/jobs", False, 0),
        ("Forward the request.", False, 0),
        ("Until then", True, 2),
    ],
)
def test_the_check_finds_fragments(text: str, is_attribute: bool, count: int) -> None:
    assert len(list(faults(text, is_attribute=is_attribute))) == count
