"""A codec sees the bytes of payloads and results, at enqueue and at run."""

from __future__ import annotations

import msgspec
import pytest

from queuey import App, Testing
from queuey.errors import StartupError
from queuey.protocol.json.codecs import CodecFault, seal, unseal
from queuey.worker.handlers.attempt import Succeeded
from tests.support.executions import executing, failed, make_work
from tests.unit.worker.hooks.codec_app import PATH, Text, Zlib, app, in_loop, parts, results

TYPES = pytest.mark.parametrize("type", ["loop", "thread", "process"])


def sealed(payload: object) -> str:
    return bytes(seal(Zlib(), payload)).decode()


@TYPES
async def test_payload_and_result_are_sealed_in_the_store(type: str) -> None:
    request = in_loop.request(Text("abc" * 50))
    assert b"abc" not in bytes(request.payload)
    async with executing(app, PATH) as execution:
        outcome = await execution.run(make_work(type, bytes(request.payload).decode()))
    assert isinstance(outcome, Succeeded)
    assert "abc" not in outcome.result_json
    assert unseal(Zlib(), msgspec.Raw(outcome.result_json.encode()), str) == "abc" * 100


@TYPES
async def test_payloads_that_are_not_sealed_are_read_as_before(type: str) -> None:
    async with executing(app, PATH) as execution:
        assert isinstance(await execution.run(make_work(type, {"text": "a"})), Succeeded)


async def test_middleware_sees_results_as_they_are() -> None:
    results.clear()
    async with Testing(app) as testing:
        assert (await testing.run("loop", {"text": "ab"})).value() == "abab"
        assert (await testing.run("thread", {"text": "nothing"})).value() is None
    assert results == ["abab", None]


async def test_a_handler_with_several_parameters_reads_them_too() -> None:
    async with executing(app, PATH) as execution:
        outcome = await execution.run(make_work("parts", bytes(parts.request(parts.payload("x", 3)).payload).decode()))
    assert isinstance(outcome, Succeeded)
    assert unseal(Zlib(), msgspec.Raw(outcome.result_json.encode()), str) == "xxx"


@TYPES
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"$codec":"zlib","data":"bm90aGluZw=="}', "the codec 'zlib' cannot read it: error: Error -3"),
        ('{ "$codec": "aes", "data": ""}', "it was written by the codec 'aes', and the codec here is 'zlib'"),
        ('{"$codec":7}', "Expected `str`, got `int` - at `$.$codec`"),
        (sealed({"text": 7}), "Expected `str`, got `int` - at `$.text`"),
    ],
)
async def test_a_payload_that_it_cannot_read_is_a_dead_letter_with_the_reason(
    type: str, payload: str, reason: str
) -> None:
    async with executing(app, PATH) as execution:
        outcome = failed(await execution.run(make_work(type, payload)), "payload")
    assert outcome.dead
    assert outcome.message.startswith(reason)


async def test_a_result_that_it_cannot_write_is_a_failed_attempt() -> None:
    async with executing(app, PATH) as execution:
        outcome = failed(await execution.run(make_work("loop", {"text": "refuse"})), "error")
        assert outcome.message == "ValueError: too secret (the codec 'zlib')"
        failed(await execution.run(make_work("loop", {"text": "object"})), "result_not_json")


@pytest.mark.parametrize("first", ["handler", "include"])
async def test_an_app_that_is_included_uses_the_codec_of_the_other(first: str) -> None:
    inner, outer = App(), App(codec=Zlib())
    if first == "include":
        outer.include(inner)

    @inner.job("inner")
    async def handler(job: Text) -> str:
        return job.text

    if first == "handler":
        outer.include(inner)
    payload = bytes(handler.request(Text("abc")).payload).decode()
    assert payload == sealed({"text": "abc"})
    async with executing(outer, None) as execution:
        assert await execution.run(make_work("inner", payload)) == Succeeded(sealed("abc"))
    with pytest.raises(StartupError, match="the included App has hooks"):
        App().include(outer)


def test_a_result_of_another_codec_is_refused() -> None:
    with pytest.raises(CodecFault, match="written by the codec 'other'"):
        unseal(Zlib(), msgspec.Raw(b'{"$codec":"other","data":""}'), str)
