"""docs/configuration.md says of each setting what settings.py says.

`python -m tests.contracts.test_configuration_doc` prints the tables as they should stand there.
"""

from __future__ import annotations

import re
from pathlib import Path

from queuey.settings.settings import SETTINGS, default, load
from queuey.settings.sources import flag, variable

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
HEAD = ("| key in the file | flag | variable | default | allowed | meaning |", "| --- | --- | --- | --- | --- | --- |")


def row(name: str) -> str:
    setting = SETTINGS[name]
    shown_flag = f"`{flag(name)}`" if setting.has_flag else "none"
    cells = (f"`{name}`", shown_flag, f"`{variable(name)}`", default(name), setting.allowed, setting.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def tables() -> str:
    """A heading and a table for each group of settings."""
    parts = []
    for group in dict.fromkeys(setting.group for setting in SETTINGS.values()):
        rows = [row(name) for name, setting in SETTINGS.items() if setting.group == group]
        parts.append("\n".join((f"### {group}", "", *HEAD, *rows)))
    return "\n\n".join(parts)


def test_the_tables_are_those_of_the_settings() -> None:
    settings_section = PAGE.read_text(encoding="utf-8").partition("\n## Settings\n\n")[2]
    assert settings_section[: len(tables())].splitlines() == tables().splitlines()
    assert settings_section[len(tables()) :].startswith("\n\nThree pairs")


def test_the_example_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    file = tmp_path / "queuey.toml"
    file.write_text(example)
    settings = load({}, {}, str(file))
    assert (settings.queues, settings.lease) == (("emails", "images"), 60.0)


if __name__ == "__main__":
    print(tables())
