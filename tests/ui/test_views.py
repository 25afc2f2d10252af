"""Each view shows what there is, at any width, and runs no text that comes from data."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import CANARY, Shop

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(120)]

VIEWS = {
    "overview": "Overview",
    "jobs": "Jobs",
    "queues": "Queues",
    "queues&name=mail": "mail",
    "dead": "Dead letters",
    "schedules": "Schedules",
    "schedules&name=nightly": "nightly",
    "workers": "Workers",
    "types": "Types",
    "activity": "Activity",
    "help": "Help",
}


def opened(page: Page, shop: Shop, view: str, heading: str) -> None:
    page.goto(f"{shop.url}/ui/?view={view}")
    expect(page.get_by_role("heading", level=1, name=heading, exact=True)).to_be_visible()
    expect(page.get_by_text("Loading …")).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_into_320_pixels_and_runs_no_data(page: Page, shop: Shop, view: str) -> None:
    opened(page, shop, view, VIEWS[view])
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.locator("html").evaluate("page => page.scrollWidth") <= 320
    expect(page.locator("main img, main script")).to_have_count(0)
    assert "gotcha" not in page.title()


def test_the_overview_says_what_is_wrong(page: Page, shop: Shop) -> None:
    opened(page, shop, "overview", "Overview")
    note = page.locator(".note").filter(has_text="Paused")
    expect(note).to_contain_text(f"mail is paused by admin (“{CANARY}”): 1 job waits, the oldest for")
    expect(note.get_by_role("button", name="Resume…")).to_be_visible()
    expect(page.get_by_role("region", name="What jobs died of, table")).to_contain_text(CANARY)


def test_a_job_shows_why_it_waits_and_its_payload_by_its_own_text(page: Page, shop: Shop) -> None:
    opened(page, shop, f"job&id={shop.waiting}", shop.waiting)
    expect(page.locator(".note")).to_contain_text("paused")
    expect(page.get_by_label("payload", exact=True)).to_have_text('{\n  "text": "a",\n  "number": 90071992547409931\n}')


def test_a_dead_job_shows_its_attempt(page: Page, shop: Shop) -> None:
    opened(page, shop, f"job&id={shop.dead}", shop.dead)
    expect(page.get_by_role("region", name="Attempts, table")).to_contain_text(CANARY)


def test_an_unknown_view_is_said_and_shows_the_overview(page: Page, shop: Shop) -> None:
    opened(page, shop, "nope", "Overview")
    expect(page.get_by_role("alert")).to_have_text("There is no view nope. This is the overview.")


def test_links_and_keys_go_to_views_without_loading_the_page_anew(page: Page, shop: Shop) -> None:
    opened(page, shop, "overview", "Overview")
    page.get_by_role("link", name="Queues", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Queues")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page.get_by_role("heading", level=1, name="Workers")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Queues")).to_be_visible()


def test_the_search_finds_an_id_and_words(page: Page, shop: Shop) -> None:
    opened(page, shop, "overview", "Overview")
    page.keyboard.press("/")
    page.keyboard.type(shop.done)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=shop.done)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.press("Control+A")
    page.keyboard.type("queue:mail status:queued")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Jobs, table").get_by_role("link", name=shop.waiting)).to_be_visible()


def test_the_activity_asks_for_a_key_and_begins_a_session_with_it(page: Page, shop: Shop) -> None:
    opened(page, shop, "activity", "Activity")
    page.get_by_label("API key").fill("dev")
    page.get_by_role("button", name="Log in").click()
    table = page.get_by_role("region", name="Actions, table")
    expect(table).to_contain_text("pause")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.goto(f"{shop.url}/ui/?view=queues&name=mail")
    page.get_by_role("button", name="Resume…").click()
    page.get_by_role("dialog", name="Resume mail").get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_text("Resumed.")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Pause…").click()
    dialog = page.get_by_role("dialog", name="Pause mail")
    dialog.get_by_label("Reason").fill("again")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("Paused.")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".note.warn")).to_contain_text("again")


def test_a_schedule_is_triggered_and_its_ticks_are_counted_before_a_backfill(page: Page, shop: Shop) -> None:
    opened(page, shop, "schedules&name=nightly", "nightly")
    page.get_by_role("button", name="Trigger…").click()
    dialog = page.get_by_role("dialog", name="Trigger nightly")
    dialog.get_by_role("button", name="Trigger", exact=True).click()
    expect(dialog.get_by_text("Done.")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("region", name="Last runs, table")).to_contain_text("fired")
    page.get_by_role("button", name="Backfill…").click()
    dialog = page.get_by_role("dialog", name="Backfill nightly")
    dialog.get_by_label("from").fill("2026-11-01T00:00")
    dialog.get_by_label("to", exact=True).fill("2026-11-04T00:00")
    dialog.get_by_role("button", name="Count them").click()
    expect(dialog).to_contain_text("3 ticks")


def test_all_jobs_that_match_are_counted_and_then_cancelled(page: Page, shop: Shop) -> None:
    for _ in range(3):
        shop.server.submit("nobody.knows", queue="idle")
    opened(page, shop, "jobs&queue=idle", "Jobs")
    table = page.get_by_role("region", name="Jobs, table")
    expect(table.get_by_text("waits")).to_have_count(3)
    table.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Cancel 1 job…").click()
    dialog = page.get_by_role("dialog", name="Cancel jobs")
    expect(dialog).to_contain_text("1 job matches.")
    dialog.get_by_role("button", name="Cancel 1 job", exact=True).click()
    expect(dialog).to_contain_text("1 job cancelled of 1 that matched.")
    dialog.get_by_role("button", name="Close").click()
    expect(table.get_by_text("cancelled")).to_have_count(1)
    page.goto(f"{shop.url}/ui/?view=jobs&queue=idle&status=queued")
    page.get_by_role("button", name="Cancel all that match…").click()
    dialog = page.get_by_role("dialog", name="Cancel jobs")
    expect(dialog).to_contain_text("2 jobs match.")
    dialog.get_by_role("button", name="Cancel all that match", exact=True).click()
    expect(dialog).to_contain_text("2 jobs cancelled of 2 that matched.")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No job matches. Without one of the filters:")).to_be_visible()
