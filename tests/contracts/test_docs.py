"""The docs: their links lead somewhere, and what they name is there."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from queuey.protocol.models import JobRequest
from queuey.settings.settings import SETTINGS
from queuey.worker.handlers.app import App

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/*.md"))]
COMING = sorted(ROOT.glob("docs/coming-from-*.md"))
OTHER_WORDS = {
    *(
        "fail",
        "complete",
        "extend",
        "release",
        "lease",
        "dead",
        "progress",
        "retry_after",
        "snooze",
        "result",
    ),  # of leases
    *("def", "run_in", "lifespan", "process_lifespan", "enqueue_many"),  # of Python
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place) if place else page
        assert found.exists(), f"{target} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_of_our_package_can_be_imported(page: Path) -> None:
    """But for those of spans' attributes, which begin with the same word."""
    for path in re.findall(r"`(queuey(?:\.\w+)+)[`(]", page.read_text()):
        module, _, attribute = path.rpartition(".")
        if module != "queuey.job":
            assert find_spec(path) if attribute.islower() else hasattr(import_module(module), attribute), path


def test_the_index_lists_each_decision_in_order() -> None:
    listed = re.findall(r"^\| \[(\d+)\]\(adr/(.+?\.md)\) \|", Path(ROOT, "docs/index.md").read_text(), re.MULTILINE)
    assert listed == [(path.name[:4], path.name) for path in sorted(ROOT.glob("docs/adr/*.md"))]


def test_there_is_a_page_for_each_of_the_four() -> None:
    assert [page.stem.removeprefix("coming-from-") for page in COMING] == ["bullmq", "celery", "rq", "sidekiq"]


@pytest.mark.parametrize("page", COMING, ids=name)
def test_flags_that_a_page_names_are_flags(page: Path) -> None:
    """But for those of the other system, which stand in the first column."""
    ours = re.sub(r"^\| [^|]*\|", "", page.read_text(), flags=re.MULTILINE)
    named = {flag.replace("-", "_") for flag in re.findall(r"`(?:queuey serve )?--([a-z-]+)", ours)}
    assert named
    assert named <= SETTINGS.keys()


@pytest.mark.parametrize("page", COMING, ids=name)
def test_fields_of_jobs_that_a_page_names_are_fields(page: Path) -> None:
    """The words in the second column that look like a field of a request are one, but for those that are known."""
    fields = {field.name for field in msgspec.structs.fields(JobRequest)}
    of_apps = {*dir(App), *inspect.signature(App.job).parameters}
    rows = re.findall(r"^\| [^|]*\| ([^|]*)\|$", page.read_text(), re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", row)}
    assert len(words & fields) >= 5
    assert words - OTHER_WORDS - of_apps <= fields
