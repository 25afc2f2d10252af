"""An App as users write it. `make check` runs mypy over it: what it infers is asserted, and what it must refuse too."""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

from queuey import App, Client, Context, Fields, SyncClient
from queuey.protocol.models import EnqueueReply

app = App()


class Greeting(msgspec.Struct):
    name: str


class Pool(msgspec.Struct):
    size: int


@app.job("greet")
async def greet(job: Greeting) -> str:
    return job.name


@app.job("greet.again")
async def greet_again(job: Greeting, ctx: Context) -> str:
    assert_type(ctx.state, Any)
    return job.name


@app.job("image.resize")
def resize(path: str, width: int = 200) -> list[object]:
    return [path, width]


@app.job("image.crop")
async def crop(ctx: Context[Pool], path: str, *, width: int = 200) -> str:
    if ctx.state is not None:
        assert_type(ctx.state.size, int)
    return f"{path} of {ctx.type}"


@app.job("image.order")
async def order(path: str) -> str:
    reply = await resize.enqueue(resize.payload(path, width=300))
    assert_type(reply, EnqueueReply)
    await crop.enqueue(crop.payload(path, width=300), delay=60)
    return path


async def results(client: Client, sync: SyncClient) -> None:
    """Hold the types of results."""
    assert_type(await greet.run(Greeting("Ada"), client=client), str)
    assert_type(await greet_again.run(Greeting("Ada"), client=client, wait=5, priority="high"), str)
    assert_type(greet.run(Greeting("Ada"), client=sync), str)
    assert_type(await resize.run(resize.payload("a.png"), client=client), list[object])
    assert_type(resize.run(Fields(path="a.png"), client=sync), list[object])
    assert_type(await crop.run(crop.payload("a.png"), client=client), str)
    await greet.run("Ada", client=client)  # type: ignore[call-overload]
    await greet.run(Greeting("Ada"))  # type: ignore[call-overload]
    greet.run(Greeting("Ada"), client=client)  # type: ignore[unused-coroutine]


async def refused_by_type_checkers(client: Client, sync: SyncClient, ctx: Context[Pool]) -> None:
    """Hold what mypy must find: each line is an error, or mypy reports that the comment is not needed."""
    assert_type(greet.enqueue(Greeting("Ada"), client=sync), EnqueueReply)
    assert_type(await greet.enqueue(Greeting("Ada"), client=client), EnqueueReply)
    assert_type(greet_again.request(Greeting("Ada")).type, str)
    assert_type(resize("a.png"), list[object])
    assert_type(await crop(ctx, "a.png", width=1), str)
    assert_type(resize.payload("a.png"), Fields)
    greet.request("Ada")  # type: ignore[arg-type]
    greet.request({"name": "Ada"})  # type: ignore[arg-type]
    greet.request(Greeting("Ada"), dely=3)  # type: ignore[call-arg]
    resize.payload("a.png", width="wide")  # type: ignore[arg-type]
    resize.payload("a.png", height=1)  # type: ignore[call-arg]
    crop.payload(3)  # type: ignore[arg-type]
    crop.payload("a.png", width="wide")  # type: ignore[arg-type]
