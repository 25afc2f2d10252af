"""The settings of the page: whom a proxy may name, from where, and what goes together."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.api.ui.settings import UiSettings
from queuey.errors import SettingsError
from queuey.settings.settings import Settings, load

GOOD = {
    "ui_header": "X-Forwarded-User",
    "ui_header_grants": "ada@example.com:admin,bob:read@mail+submit@mail",
    "ui_trusted": "10.0.0.0/8,::1",
}


def loaded(**flags: str) -> Settings:
    return load({"data_dir": "/d", **flags}, {})


def test_people_and_proxies_are_read() -> None:
    settings = loaded(**GOOD)
    assert [(person.name, *map(str, person.grants)) for person in settings.ui_header_grants] == [
        ("ada@example.com", "admin"),
        ("bob", "read@mail", "submit@mail"),
    ]
    assert settings.shown()["ui_header_grants"] == GOOD["ui_header_grants"]
    ui = UiSettings.of(settings)
    assert (ui.header, [str(network) for network in ui.trusted]) == (b"x-forwarded-user", ["10.0.0.0/8", "::1/128"])
    assert UiSettings.of(Settings(data_dir=Path("/d"))) == UiSettings()


@pytest.mark.parametrize("missing", GOOD)
def test_they_go_together(missing: str) -> None:
    given = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(SettingsError, match=f"^{missing}: must be set too"):
        loaded(**given)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("ui_header", "Cookie", "has another use"),
        ("ui_header", "x y", "has the wrong form"),
        ("ui_header_grants", "ada", "not name:scope"),
        ("ui_header_grants", "ada:root", "unknown scope"),
        ("ui_header_grants", "ada:read,ada:admin", "twice"),
        ("ui_header_grants", "admin:read", "reserved"),
        ("ui_trusted", "10.0.0.1/8", "without host bits"),
        ("ui_trusted", "proxy.example", "not an address"),
        ("ui_frame_ancestors", "https://a.example/path", "not an origin"),
        ("ui_frame_ancestors", "https://a.example; script-src *", "not an origin"),
    ],
)
def test_what_is_wrong_is_said(name: str, value: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        loaded(**{**GOOD, name: value})


def test_a_person_is_not_called_as_a_key() -> None:
    with pytest.raises(SettingsError, match="'bob' is the name of an API key too"):
        load({"data_dir": "/d", **GOOD}, {"QUEUEY_API_KEYS": f"bob:read:{'0' * 64}"})
