"""JSON is shown by its own text."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.ui.conftest import Shop

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(120)]


def called(page: Page, shop: Shop, function: str, text: str) -> object:
    """What a function of json.js returns."""
    page.goto(f"{shop.url}/ui/?view=help")
    return page.evaluate(f"async text => (await import('./json.js')).{function}(text)", text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("90071992547409931", "90071992547409931"),
        (" [1e400 , -0.10]", "[\n  1e400,\n  -0.10\n]"),
        ('{"b":1,"a":{},"b":[ ]}', '{\n  "b": 1,\n  "a": {},\n  "b": []\n}'),
        ('{"a":"}\\",[","b":null}', '{\n  "a": "}\\",[",\n  "b": null\n}'),
        ('"\\\\"', '"\\\\"'),
        ("[" * 64 + "]" * 64, None),
    ],
)
def test_a_text_gets_lines_and_keeps_each_value(page: Page, shop: Shop, text: str, shown: str | None) -> None:
    found = called(page, shop, "indented", text)
    if shown is None:
        assert str(found).replace("\n", "").replace(" ", "") == text
    else:
        assert found == shown


def test_the_fields_of_an_object_are_cut_out_of_its_text(page: Page, shop: Shop) -> None:
    text = '{ "payload" : {"n":90071992547409931,"t":"a\\"}"} , "result":1e400,"x":"" }'
    fields = {"payload": '{"n":90071992547409931,"t":"a\\"}"}', "result": "1e400", "x": '""'}
    assert called(page, shop, "fieldsOf", text) == fields


def test_characters_that_cannot_be_seen_are_written_out(page: Page, shop: Shop) -> None:
    assert called(page, shop, "visible", "a\u202eb\u200b\x00\tc\n") == "a\\u202eb\\u200b\\u0000\tc\n"
