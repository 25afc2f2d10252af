"""Plain English: the pages for readers, and the texts in the code, have no odd words, and say what the field says.

Texts in the code are help, errors, log messages and docstrings: every string with a blank in it. Code spans, code
blocks, the targets of links and the names below are left out. A line that fails names the word and what to write
instead; docs/glossary.md has the terms.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]

ODD: Final = {
    r"anew": "again",
    r"mend(?:s|ed|ing)?": "fix, correct, repair, replace",
    r"laps(?:e|es|ed|ing)": "expire, expired",
    r"told|untold": "reported, notified, confirmed; not yet reported",
    r"tells? (?:of|about)": "report, include",
    r"tells? (?:it|them|him|the \w+|its \w+) (?:to|that|of)": "notify, ask, make",
    r"whoever|whomever|for those who": "a client that, anyone who",
    r"(?:is|are|was|were) none of": "is unknown, is missing, is not a",
    r"(?<!\bthere\s)(?:is|are) no (?!longer\b|more\b)": "is not a, is unknown, is missing",
    r"bears?|bore|borne": "allow, survive, have, carry",
    r"signs? of life": "heartbeat",
    r"what (?:becomes|became|comes|came|has become) of": "the status of, the outcome of",
    r"what (?:it|they) (?:is|are) (?:by|until) (?:now|then)": "its current status",
    r"alone": "only; by itself",
    r"singly": "one by one",
    r"lately": "recently",
    r"past (?:its|their) keeping": "past its retention",
    r"(?:he|ho)ld(?:s|ing)? (?:\w+ ){0,4}against": "check against",
    r"ma(?:de|kes?) good": "fix, repair",
    r"too fat": "uses too much memory",
    r"how often it may": "maximum number of",
    r"so much later": "after a delay",
    r"hence|whence|thence|thereof|whereof|thereby|therein": "so, from where, of it",
    r"in (?:its|their|his) stead": "instead",
    r"of (?:its|their) own accord": "by itself",
    r"at their leisure|in peace": "without a hurry",
    r"heaps? up": "accumulate",
}
"""What a reader has to read twice, and the plain word: whole words, in any case."""

MODULES: Final = sorted(ROOT.glob("queuey/**/*.py"))

NAMES: Final = ("Leases lapse",)
"""Names of other things, which are spelled as they are there: the alert QueueyLeasesLapse."""

SPELLED: Final = (odd.replace(" ", r"\s+") for odd in ODD)
WORD: Final = re.compile("|".join(rf"(?P<g{i}>\b(?:{odd})\b)" for i, odd in enumerate(SPELLED)), re.IGNORECASE)
PLAIN: Final = list(ODD.values())


def odd_words(text: str) -> Iterator[tuple[int, str]]:
    """Each odd word of a text: its line, counted from 1, and `word -> what to write instead`."""
    for name in NAMES:
        text = text.replace(name, " " * len(name))
    for found in WORD.finditer(text):
        plain = PLAIN[int(str(found.lastgroup)[1:])]
        yield text.count("\n", 0, found.start()) + 1, f"{' '.join(found.group().split())} -> {plain}"


def blanked(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def without_code_spans(text: str) -> str:
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", blanked, text, flags=re.DOTALL)


def prose(page: str) -> str:
    """A page in Markdown with blanks for everything that is not prose; its lines keep their numbers."""
    page = re.sub(r"^```.*?^```", blanked, page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"(?<=\n\n)(?: {4}.*\n|\n)+", blanked, page)
    page = without_code_spans(page)
    page = re.sub(r"(?<=\])\([^)\s]*\)", blanked, page)
    # The tables of settings hold the texts of --help.
    return re.sub(r"^## Settings\n.*?(?=^Three pairs)", blanked, page, flags=re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_in_plain_english(page: Path) -> None:
    found = [f"{name(page)}:{line}: {what}" for line, what in odd_words(prose(page.read_text(encoding="utf-8")))]
    assert not found, "\n" + "\n".join(found)


def texts(module: str) -> Iterator[tuple[int, str]]:
    """Every string of a module that is a text and not a name: its first line, and itself."""
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, without_code_spans(node.value)


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_the_texts_of_a_module_are_in_plain_english(module: Path) -> None:
    found = [
        f"{name(module)}:{first + line - 1}: {what}"
        for first, text in texts(module.read_text(encoding="utf-8"))
        for line, what in odd_words(text)
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("It runs anew.", [(1, "anew -> again")]),
        ("A lease\nlapsed.", [(2, "lapsed -> expire, expired")]),
        ("Each is\nno JSON.", [(1, "is no -> is not a, is unknown, is missing")]),
        ("There is no job, and it is no longer there. `anew` is code, [so](told.md) is this.", []),
        ("Send `a\nanew` twice.", []),
        ("    told\n", [(1, "told -> reported, notified, confirmed; not yet reported")]),
        ("Run:\n\n    told --anew\n\nIt bears that.", [(5, "bears -> allow, survive, have, carry")]),
        ("A bearer token.\n\n```\nanew\n```\n", []),
        ("### Leases lapse\n", []),
    ],
)
def test_the_check_finds_odd_words_in_prose_only(text: str, odd: list[tuple[int, str]]) -> None:
    assert list(odd_words(prose(text))) == odd
