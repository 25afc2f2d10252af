"""Batches of items in the testing kit, and the example of docs/items.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from queuey import App, Batch, Testing
from queuey.protocol.job_requests import job_request
from queuey.protocol.json.codecs import Codec
from queuey.worker.handlers.context import Context
from tests.unit.worker.hooks.codec_app import Zlib

PAGE = Path(__file__).parents[4] / "docs" / "items.md"
BATCH = Batch("rows", max_size=3, max_wait=10)


def app_that_adds(codec: Codec | None = None) -> tuple[App, list[Any]]:
    """An App whose handler `adds` adds as many items as it is told, and the lists that `rows` got."""
    app, got = App(codec=codec), list[Any]()

    @app.job("rows")
    async def rows(rows: list[int], ctx: Context) -> None:
        got.append((rows, ctx.items, ctx.batch_key))

    @app.job("adds")
    async def adds(numbers: list[int]) -> list[int | None]:
        replies = [await rows.enqueue(number, batch=BATCH) for number in numbers]
        return [reply.items or None for reply in replies]

    return app, got


async def test_items_are_kept_as_the_list_of_one_job() -> None:
    app, got = app_that_adds()
    async with Testing(app) as testing:
        ran = await testing.run("adds", [1, 2, 3, 4])
        assert ran.value() == [1, 2, 3, 1]
        assert [bytes(job.payload) for job in testing.enqueued] == [b"[1,2,3]", b"[4]"]
        await testing.run_all()
    assert got == [([1, 2, 3], 3, "rows"), ([4], 1, "rows")]


async def test_a_full_batch_is_due_at_once_and_another_one_after_its_wait() -> None:
    app, got = app_that_adds()
    async with Testing(app) as testing:
        await testing.run("adds", [1, 2, 3, 4])
        await testing.advance(0)
        assert got == [([1, 2, 3], 3, "rows")]
        await testing.run("adds", [5])
        await testing.advance(10)
        assert got[1:] == [([4, 5], 2, "rows")]


async def test_the_same_item_is_kept_once() -> None:
    app, _ = app_that_adds()
    async with Testing(app) as testing:
        request = job_request("rows", 1, {}, BATCH)
        first = await testing.send(request)
        again = await testing.send(request)
        assert (again.job_id, again.deduplicated) == (first.job_id, True)
        assert [bytes(job.payload) for job in testing.enqueued] == [b"[1]"]


async def test_each_item_is_sealed_and_the_handler_reads_the_list() -> None:
    app, got = app_that_adds(Zlib())
    async with Testing(app) as testing:
        await testing.run("adds", [1, 2])
        assert bytes(testing.enqueued[0].payload).count(b'"$codec"') == 2
        await testing.run_all()
    assert got == [([1, 2], 2, "rows")]


async def test_the_example_of_the_page() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    written: list[Any] = []

    class Search:
        async def write(self, rows: list[dict[str, str]]) -> None:
            written.append(rows)

    names: dict[str, Any] = {"search": Search()}
    exec(example, names)
    async with Testing(names["app"]) as testing:
        for number in range(101):
            await testing.run("page.save", {"id": str(number)})
        await testing.run_all()
    assert [len(rows) for rows in written] == [100, 1]
    assert written[1] == [{"id": "100"}]
