"""An App with 15 types, of which the tests use one that succeeds and one that fails."""

from __future__ import annotations

from typing import Any, Final

from queuey import App

PATH: Final = "tests.e2e.processes.many_types:app"
UNUSED: Final = 13

app = App()


@app.job("good")
async def good(payload: Any) -> str:
    return "done"


@app.job("bad")
async def bad(payload: Any) -> None:
    raise ValueError("it fails")


for _number in range(UNUSED):
    app.job(f"unused.{_number}")(good.function)
