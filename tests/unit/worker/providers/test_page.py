"""The example of docs/providers.md does what the page says."""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuey import Testing
from queuey.worker.handlers.app import load_app

PAGE = Path(__file__).parents[4] / "docs" / "providers.md"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    Path("provided_shop.py").write_text(example, encoding="utf-8")
    load_app("provided_shop:app")
    return sys.modules.pop("provided_shop")


async def test_the_transaction_is_committed_or_rolled_back(shop: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect("shop.db")) as db:
        db.execute("create table shipment (number integer primary key)")
        async with Testing(shop.app) as testing:
            assert (await testing.run("ship", 7)).value() == "7 is shipped"
            assert (await testing.run("ship", 7)).kind == "error"
        assert db.execute("select number from shipment").fetchall() == [(7,)]


async def test_a_test_replaces_it(shop: Any) -> None:
    inserted: list[object] = []

    class Fake:
        def execute(self, _: str, values: object) -> None:
            inserted.append(values)

    async with Testing(shop.app, overrides={shop.connection: Fake}) as testing:
        assert (await testing.run("ship", 7)).status == "succeeded"
    assert inserted == [(7,)]
    assert shop.ship(8, db=Fake()) == "8 is shipped"
