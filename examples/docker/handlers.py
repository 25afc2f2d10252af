"""Handlers for the image that the Dockerfile beside this file makes."""

from __future__ import annotations

import msgspec

from queuey import App

app = App()


class Greeting(msgspec.Struct):
    name: str


@app.job("greet")
async def greet(job: Greeting) -> str:
    return f"Hello, {job.name}!"
