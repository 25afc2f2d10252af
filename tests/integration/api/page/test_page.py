"""The files of the page at /ui/: how they are sent, and what is shown where the build could not fetch some."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from queuey.api.ui import files
from tests.support.http import ApiRig, problem
from tests.support.stores import one_of

shards = one_of(4)
HTML = {"accept": "text/html,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["", "app.js", "page.css", "vendor/preact.js", "vendor/uplot.js", "vendor/NOTICE.txt"])
async def test_a_file_has_its_kind_an_etag_and_the_headers_of_the_page(api: ApiRig, path: str) -> None:
    response = await api.http.get(f"/ui/{path}", headers={"accept-encoding": "identity"})
    assert response.status_code == 200
    assert response.headers["content-type"] == files.KINDS[Path(path or "index.html").suffix]
    assert "require-trusted-types-for 'script'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-cache"
    known = await api.http.get(f"/ui/{path}", headers={"if-none-match": response.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def test_a_file_is_compressed_for_those_that_take_it(api: ApiRig) -> None:
    plain = await api.http.get("/ui/app.js", headers={"accept-encoding": "identity"})
    async with api.http.stream("GET", "/ui/app.js", headers={"accept-encoding": "gzip"}) as packed:
        data = b"".join([part async for part in packed.aiter_raw()])
    assert (packed.headers["content-encoding"], gzip.decompress(data)) == ("gzip", plain.content)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


async def test_a_browser_is_sent_to_the_page_by_a_relative_url(api: ApiRig) -> None:
    for path, target in (("/", "ui/"), ("/ui", "ui/"), ("/?view=jobs", "ui/?view=jobs")):
        response = await api.http.get(path, headers=HTML)
        assert (response.status_code, response.headers["location"]) == (307, target)
    problem(await api.http.get("/", headers={"accept": "application/json"}), 404, "not-found")
    problem(await api.http.post("/", headers=HTML), 404, "not-found")


@pytest.mark.parametrize(
    "path", ["nope.js", "page/app.js", "../files.py", "..%2ffiles.py", "package.json", "vendor/lock.sha256"]
)
async def test_only_files_of_the_page_are_sent(api: ApiRig, path: str) -> None:
    problem(await api.http.get(f"/ui/{path}"), 404, "not-found")


def needed(page: Mapping[str, files.File], *names: str) -> set[str]:
    """These modules, and all that they import at once."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            imported = re.findall(r"""from ?['"]\./([^'"]+)['"]""", page[name].data.decode())
            left += [f"vendor/{one}" if name.startswith("vendor/") else one for one in imported]
    return found


def test_what_the_overview_needs_is_loaded_ahead() -> None:
    page = files.read_files()
    loaded = set(re.findall(r'modulepreload" href="([^"]+)"', page[""].data.decode()))
    assert loaded == needed(page, "app.js", "overview.js") - {"app.js"}


def test_every_view_is_a_module_and_every_module_is_needed() -> None:
    page = files.read_files()
    views = re.findall(r"import\('\./(\w+\.js)'\)", page["app.js"].data.decode())
    scripts = {"vendor/uplot.js", "pulse-worker.js"}
    assert needed(page, "app.js", *views) | scripts == {name for name in page if name.endswith(".js")}


def test_without_the_files_of_npm_the_page_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    for name in files.VENDORED:
        if name != "htm.js":
            (tmp_path / "vendor" / name).touch()
    found = files.read_files(tmp_path)
    assert list(found) == [""]
    assert "could not fetch: htm.js." in found[""].data.decode()


def test_all_files_take_at_most_80_kb_and_those_of_the_first_view_35() -> None:
    page = files.read_files()
    first = {"", "page.css", *needed(page, "app.js", "overview.js")}
    assert sum(len(file.packed) for name, file in page.items() if name != "vendor/NOTICE.txt") <= 80_000
    assert sum(len(page[name].packed) for name in first) <= 35_000
