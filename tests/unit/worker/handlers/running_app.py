"""An App whose handlers return what `run` must read again: types of msgspec and of pydantic, and plain values."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pydantic

from queuey import App, Context

if TYPE_CHECKING:
    from decimal import Decimal


class Report(msgspec.Struct):
    pages: int


class Page(pydantic.BaseModel):
    number: pydantic.PositiveInt = pydantic.Field(alias="pageNumber")


class Cover(msgspec.Struct):
    page: Page


@pydantic.dataclasses.dataclass
class Adult:
    age: Annotated[int, pydantic.Field(ge=18)]


class Zlib:
    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


app = App(queue="reports", max_attempts=3)
sealed = App(codec=Zlib())


@app.job("report")
async def report(job: int, ctx: Context) -> Report:
    return Report(job)


@app.job("page")
def page(job: int) -> Page:
    return Page(pageNumber=job)


@app.job("pages")
def pages(number: int, most: int = 3) -> list[Page | Adult]:
    return [Page(pageNumber=number + most)]


@app.job("cover")
def cover(job: int) -> Cover:
    return Cover(Page(pageNumber=job))


@app.job("adult")
def adult(job: int) -> Adult:
    return Adult(job)


@app.job("nothing")
def nothing(job: int) -> None: ...


@app.job("any")
def anything(job):  # type: ignore[no-untyped-def]
    return job


@app.job("objects")
def objects(job: int) -> list[object]:
    return [job]


@app.job("unread")
def unread(job: int) -> Report | Cover:
    return Report(job)


@app.job("unresolved")
def unresolved(job: int) -> Decimal:
    raise AssertionError


@sealed.job("sealed")
async def in_secret(job: str) -> dict[str, Any]:
    return {"text": job}
