"""The App that serves when no other is named: two job types to try a server with."""

from __future__ import annotations

import msgspec

from queuey.worker.handlers.app import App

app = App()


class Reverse(msgspec.Struct):
    text: str


class Square(msgspec.Struct):
    n: int | float


@app.job("text.reverse")
async def reverse(job: Reverse) -> str:
    """{"text": "hello"} -> "olleh" """
    return job.text[::-1]


@app.job("math.square")
async def square(job: Square) -> int | float:
    """{"n": 12} -> 144, exact for integers of any size that Python reads (4,300 digits)."""
    return job.n * job.n
