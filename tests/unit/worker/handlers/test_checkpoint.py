"""ctx.checkpoint and ctx.last_checkpoint, wherever the handler runs."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import msgspec
import pytest

from queuey import App, Context, Retry, Testing
from queuey.protocol.models import MAX_CHECKPOINT
from queuey.worker.handlers.attempt import Keeping, Succeeded, Work
from tests.support.executions import executing, failed, make_work
from tests.unit.worker.handlers import checkpoint_app as ready

EVERYWHERE = pytest.mark.parametrize("isolated", [False, True])
TYPES = pytest.mark.parametrize("type", ["loop", "thread", "process"])


class Kept:
    """A source that keeps checkpoints in a list, and refuses those after `most`. It answers from its own event loop."""

    def __init__(self, most: int = 100) -> None:
        self.values: list[tuple[str, str]] = []
        self._most = most
        self._loop = asyncio.get_running_loop()

    def keep(self, work: Work, value: str) -> Keeping:
        keeping = Keeping(work, value)
        self._loop.call_soon_threadsafe(self._answer, keeping)
        return keeping

    def _answer(self, keeping: Keeping) -> None:
        is_refused = len(self.values) >= self._most
        if not is_refused:
            self.values.append((keeping.work.token, keeping.value))
        keeping.settle("another worker has it" if is_refused else "")


def work_of(type: str, kept: Kept, steps: dict[str, Any], *, isolated: bool, checkpoint: str = "") -> Work:
    work = make_work(type, steps)
    work.isolated, work.keep, work.checkpoint = isolated, kept.keep, checkpoint
    return work


def returned(outcome: object) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.result_json)


@EVERYWHERE
@TYPES
async def test_each_is_kept_before_the_handler_goes_on(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        kept = Kept()
        work = work_of(type, kept, {"keep": [{"line": 1}, [2], None]}, isolated=isolated, checkpoint='"first"')
        assert returned(await execution.run(work)) == ["first", {"line": 1}, [2], None]
    assert kept.values == [(work.token, text) for text in ('{"line":1}', "[2]", "")]


@EVERYWHERE
@TYPES
async def test_one_that_is_not_kept_raises(type: str, isolated: bool) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        work = work_of(type, Kept(most=1), {"keep": [1, 2]}, isolated=isolated)
        assert returned(await execution.run(work)) == [None, 1, "the checkpoint was not kept: another worker has it"]


@TYPES
async def test_one_that_is_too_large_raises(type: str) -> None:
    async with executing(ready.app, ready.PATH) as execution:
        kept = Kept()
        size = MAX_CHECKPOINT - 2
        assert returned(await execution.run(work_of(type, kept, {"keep": [], "size": size}, isolated=False))) == [None]
        outcome = await execution.run(work_of(type, kept, {"keep": [], "size": size + 1}, isolated=False))
    assert failed(outcome, "error").message == (
        "ValueError: the checkpoint takes 65,537 bytes; the limit is 65,536. Keep large data elsewhere and a reference "
        "to it here"
    )
    assert len(kept.values) == 1


async def test_a_child_that_was_answered_serves_the_next_job() -> None:
    async with executing(ready.app, ready.PATH) as execution:
        for number in range(3):
            kept = Kept()
            assert returned(
                await execution.run(work_of("process", kept, {"keep": [number]}, isolated=False, checkpoint="7"))
            ) == [7, number]
            assert [value for _, value in kept.values] == [str(number)]


async def test_one_that_is_not_awaited_is_sent_too() -> None:
    app = App()

    @app.job("hasty")
    async def hasty(payload: Any, ctx: Context) -> None:
        _ = ctx.checkpoint(1)

    async with executing(app) as execution:
        kept = Kept()
        work = make_work("hasty", None)
        work.keep = kept.keep
        await execution.run(work)
        await asyncio.sleep(0)
    assert [value for _, value in kept.values] == ["1"]


class Zlib:
    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


@pytest.mark.parametrize("mode", ["loop", "thread"])
async def test_a_codec_seals_it(mode: str) -> None:
    app = App(codec=Zlib())
    seen: list[Any] = []

    @app.job("loop")
    async def in_loop(payload: Any, ctx: Context) -> None:
        seen.append(ctx.last_checkpoint)
        await ctx.checkpoint({"secret": "x" * 70_000})

    @app.job("thread")
    def in_thread(payload: Any, ctx: Context) -> None:
        seen.append(ctx.last_checkpoint)
        ctx.checkpoint({"secret": "x" * 70_000})

    async with executing(app) as execution:
        kept = Kept()
        work = make_work(mode, None)
        work.keep = kept.keep
        await execution.run(work)
        again = make_work(mode, None)
        again.checkpoint = kept.values[0][1]
        await execution.run(again)
    assert msgspec.json.decode(kept.values[0][1])["$codec"] == "zlib"
    assert seen == [None, {"secret": "x" * 70_000}]


class Broken(Zlib):
    def encode(self, data: bytes) -> bytes:
        raise OSError("no key")


@pytest.mark.parametrize(
    ("codec", "stored", "message"),
    [
        (Broken(), "", "OSError: no key (the codec 'zlib', for a checkpoint)"),
        (
            Zlib(),
            '{"$codec":"aes","data":""}',
            "CodecFault: it was written by the codec 'aes', and the codec here is 'zlib' (the last checkpoint)",
        ),
        (Zlib(), '{"$codec":7}', "ValidationError: Expected `str`, got `int` - at `$.$codec` (the last checkpoint)"),
    ],
)
async def test_a_codec_that_fails_is_a_failed_attempt_that_says_of_what(codec: Any, stored: str, message: str) -> None:
    app = App(codec=codec)

    @app.job("count")
    def count(payload: Any, ctx: Context) -> None:
        ctx.checkpoint((ctx.last_checkpoint or 0) + 1)

    async with executing(app) as execution:
        kept = Kept()
        outcome = await execution.run(work_of("count", kept, {}, isolated=False, checkpoint=stored))
    assert failed(outcome, "error").message == message
    assert not kept.values


@pytest.mark.parametrize("codec", [None, Zlib()])
async def test_the_kit_hands_it_on(codec: Any) -> None:
    app = App(codec=codec)

    @app.job("count")
    async def count(payload: Any, ctx: Context) -> int:
        line = (ctx.last_checkpoint or 0) + 1
        await ctx.checkpoint(line)
        if line < 3:
            raise Retry
        return line

    async with Testing(app) as testing:
        first = await testing.run(count)
        second = await testing.run(count, attempt=2, checkpoint=first.checkpoint)
        third = await testing.run(count, attempt=3, checkpoint=second.checkpoint)
    assert [ran.checkpoint for ran in (first, second, third)] == [1, 2, None]
    assert third.value() == 3
