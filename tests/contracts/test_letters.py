"""The letters of headers: scripts and Python use those that docs/protocol.md has, and no reserved one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from queuey.store.scripts import lua_folder

ROOT: Final = Path(__file__).parents[2]
LUA_USES: Final = (
    r"\b(?:fields|state|header|head)\.([A-Za-z])\b",
    r"\b(?:number_of|text_of)\(\w+, '([A-Za-z])'\)",
    r"['\s]([A-Za-z])=(?=[ '%\w])",
)
"""How a script reads or writes a field: as one of a table, by a helper, and as text, such as `' b='`."""
PYTHON_USES: Final = (
    r"\b(?:fields|state|header|head)\.get\(\"([A-Za-z])\"",
    r"\b(?:fields|state|header|head|_fields\(\w+\))\[\"([A-Za-z])\"\]",
    r"\"([A-Za-z])\" in (?:fields|state|header|head)\b",
    r"[\"\s]([A-Za-z])=(?=[\"{])",
)
RECORDS: Final = ("protocol/records.py", "services/leases/outcomes.py", "services/transfer/file_format.py")
"""The modules that read or write headers, below queuey/."""


def rows() -> list[tuple[str, str, str]]:
    """The table of header letters: letter, its meaning in a definition, its meaning in a state."""
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    table = page.split("| letter | in the definition (default) |")[1].split("\n\n")[0]
    cells = [re.findall(r"(?<=\|)[^|]*(?=\|)", line) for line in table.splitlines()[2:]]
    return [(letter.strip(" `"), definition.strip(), state.strip()) for letter, definition, state in cells]


def letters(*, reserved: bool) -> set[str]:
    return {letter for letter, *cells in rows() if any(cell.startswith("reserved") for cell in cells) == reserved}


def used(text: str, patterns: tuple[str, ...]) -> set[str]:
    return {letter for pattern in patterns for letter in re.findall(pattern, text)}


def letters_of_scripts() -> dict[str, set[str]]:
    found = {}
    for path in sorted(lua_folder().rglob("*.lua")):
        text = re.sub(r"--\[=\[.*?\]=\]|--[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found[path.name] = used(text, LUA_USES)
    return found


def letters_of_python() -> dict[str, set[str]]:
    return {name: used((ROOT / "queuey" / name).read_text(encoding="utf-8"), PYTHON_USES) for name in RECORDS}


def test_each_letter_has_one_row() -> None:
    names = [letter for letter, *_ in rows()]
    assert all(re.fullmatch("[A-Za-z]", letter) for letter in names)
    assert len(set(names)) == len(names)
    assert all(definition or state for _, definition, state in rows())


def test_code_uses_only_letters_of_the_table_that_are_not_reserved() -> None:
    """A field that begins to be written takes its row along: the word `reserved` goes."""
    allowed = letters(reserved=False)
    for name, found in (letters_of_scripts() | letters_of_python()).items():
        assert found <= allowed, f"{name} uses {sorted(found - allowed)}: add them to the table in docs/protocol.md"


def test_each_letter_that_is_not_reserved_is_used() -> None:
    everywhere = set().union(*letters_of_scripts().values(), *letters_of_python().values())
    assert letters(reserved=False) == everywhere


def test_the_letters_of_later_features_have_a_row() -> None:
    """Limit key, workflow member, suspect kept apart, callback, releases, snoozes, unique-until."""
    assert set("uiACRSU") <= {letter for letter, *_ in rows()}
    assert not letters(reserved=True) & letters(reserved=False)


SCHEDULES: Final = r"\bschedule\.([A-Za-z])\b"
"""How a script reads or writes a letter of a schedule."""


def letters_of_schedules() -> set[str]:
    """The table of the letters of schedules, which are others than those of jobs."""
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    table = page.split("| letter of a schedule |")[1].split("\n\n")[0]
    return set(re.findall(r"^\| `([A-Za-z])` \|", table, re.MULTILINE))


def test_scripts_and_python_use_the_letters_of_schedules_that_the_table_has() -> None:
    texts = [path.read_text(encoding="utf-8") for path in lua_folder().rglob("*.lua")]
    made = set(re.findall(r"[{,] (\w) = ", next(text for text in texts if "schedule = {u = uid" in text)))
    in_scripts = {letter for text in texts for letter in re.findall(SCHEDULES, text)} | made
    reader = (ROOT / "queuey" / "protocol" / "stored" / "schedules.py").read_text(encoding="utf-8")
    in_python = set(re.findall(r"(?:number\(|fields\.get\(|fields\[)\"([A-Za-z])\"", reader))
    assert in_scripts == in_python == letters_of_schedules()
