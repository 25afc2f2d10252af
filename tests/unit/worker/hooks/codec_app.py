"""An App whose payloads and results are compressed."""

from __future__ import annotations

import zlib

import msgspec

from queuey import App, Context, Middleware

PATH = f"{__name__}:app"


class Zlib:
    """A codec that compresses."""

    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        if b"refuse" in data:
            raise ValueError("too secret")
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Text(msgspec.Struct):
    text: str


app = App(codec=Zlib())
results: list[object] = []


@app.middleware
def look(ctx: Context) -> Middleware:
    results.append((yield).result)


@app.job("loop")
async def in_loop(job: Text) -> object:
    return twice(job)


@app.job("thread")
def in_thread(job: Text, ctx: Context) -> object:
    return twice(job)


@app.job("process", run_in="process")
def in_process(job: Text) -> object:
    return twice(job)


@app.job("parts")
async def parts(text: str, times: int = 2) -> str:
    return text * times


def twice(job: Text) -> object:
    return {"nothing": None, "object": object()}.get(job.text, job.text * 2)
