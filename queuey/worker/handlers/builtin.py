"""The App that runs when no other is named. Its two job types are for trying a server."""

from __future__ import annotations

import msgspec

from queuey.worker.handlers.app import App

app = App(name="queuey")


class Reverse(msgspec.Struct):
    text: str


class Square(msgspec.Struct):
    n: int | float


@app.job("text.reverse")
async def reverse(job: Reverse) -> str:
    """Return the text backwards: {"text": "hello"} -> "olleh"."""
    return job.text[::-1]


@app.job("math.square")
async def square(job: Square) -> int | float:
    """Return the square: {"n": 12} -> 144. It is exact for integers of up to 4,300 digits, which Python reads."""
    return job.n * job.n
