"""An App whose handlers block the event loop: with a named pipe until it is written to, and with a SyncClient."""

from __future__ import annotations

from pathlib import Path

from queuey import App, SyncClient

PATH = f"{__name__}:app"

app = App()


@app.job("block")
async def block(pipe: str) -> str:
    return Path(pipe).read_text()


@app.job("noop")
async def noop(_: None) -> None: ...


@app.job("call.async", max_attempts=1)
async def call_in_loop(url: str) -> str:
    return call(url)


@app.job("call.thread", max_attempts=1)
def call(url: str) -> str:
    """Enqueue a job with a SyncClient. Returns its id."""
    with SyncClient(url) as client:
        return noop.enqueue(None, client=client).job_id
