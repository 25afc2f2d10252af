"""No view breaks a rule of axe-core, in either theme."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.conftest import Shop
from tests.ui.test_views import VIEWS

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("npm"), pytest.mark.timeout(180)]

AXE = Path(__file__).parent / "axe"
SCRIPT = AXE / "node_modules" / "axe-core" / "axe.min.js"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@pytest.fixture(scope="module")
def axe() -> Path:
    """The script of axe-core, which the first run fetches by its hash."""
    with (AXE / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of pytest-xdist may fetch it too
        if not SCRIPT.exists():
            subprocess.run(INSTALL, cwd=AXE, check=True, capture_output=True, timeout=120)
    return SCRIPT


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_view_breaks_a_rule(browser: Browser, shop: Shop, axe: Path, theme: str) -> None:
    views = {**VIEWS, f"job&id={shop.dead}": shop.dead, f"job&id={shop.waiting}": shop.waiting}
    found: dict[str, list[Any]] = {}
    context = browser.new_context(color_scheme="dark" if theme == "dark" else "light", bypass_csp=True)
    page = context.new_page()
    for view, heading in views.items():
        page.goto(f"{shop.url}/ui/?view={view}")
        expect(page.get_by_role("heading", level=1, name=heading, exact=True)).to_be_visible()
        expect(page.get_by_text("Loading …")).to_have_count(0)
        page.add_script_tag(path=axe)
        rules = page.evaluate("axe.run().then(({violations}) => violations.map(({id, nodes}) => [id, nodes[0].html]))")
        found |= {view: rules} if rules else {}
    context.close()
    assert found == {}
