"""The security headers of the page."""

from __future__ import annotations

from queuey.api.ui.headers import ui_headers


def policy(headers: dict[str, str]) -> dict[str, str]:
    directives = (part.partition(" ") for part in headers["Content-Security-Policy"].split("; "))
    return {name: value for name, _, value in directives}


def test_nothing_runs_but_the_page_s_own_files() -> None:
    rules = policy(ui_headers())
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["trusted-types"] == "queuey"
    assert not any("unsafe" in value or "*" in value for value in rules.values())


def test_no_other_page_frames_it_unless_it_is_named() -> None:
    assert policy(ui_headers())["frame-ancestors"] == "'none'"
    assert ui_headers()["X-Frame-Options"] == "DENY"
    framed = ui_headers(("https://portal.example", "https://b.example"))
    assert policy(framed)["frame-ancestors"] == "https://portal.example https://b.example"
    assert "X-Frame-Options" not in framed


def test_data_is_never_kept_and_a_file_is_asked_for_again() -> None:
    assert ui_headers()["Cache-Control"] == "no-store"
    assert ui_headers(is_file=True)["Cache-Control"] == "no-cache"
    for headers in (ui_headers(), ui_headers(is_file=True)):
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
