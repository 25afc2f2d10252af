"""The codec of an App: it reads payloads before they are decoded, and writes results after middleware has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from queuey.protocol.json import strict
from queuey.protocol.json.codecs import Codec, seal_json, unseal_items
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.handler import Handler


def reads_sealed(handler: Handler, codec: Codec) -> Handler:
    """Return the handler with a decoder for payloads that may be sealed."""
    decode = handler.decode
    return msgspec.structs.replace(handler, decode=lambda text: decode(unseal_items(codec, text)))


def writes_sealed(handler: Handler, codec: Codec) -> Handler:
    """Return the handler with sealed results and checkpoints. None stays as it is."""
    run = handler.run
    wrapper = _async(run, codec) if handler.mode == "loop" else _plain(run, codec)
    return msgspec.structs.replace(handler, run=wrapper)


def _plain(run: Callable[..., Any], codec: Codec) -> Callable[..., Any]:
    def call(payload: Any, *context: Context) -> Any:
        _hand_over(codec, context)
        return _sealed(run(payload, *context), codec)

    return call


def _async(run: Callable[..., Any], codec: Codec) -> Callable[..., Any]:
    async def call(payload: Any, *context: Context) -> Any:
        _hand_over(codec, context)
        return _sealed(await run(payload, *context), codec)

    return call


def _hand_over(codec: Codec, context: tuple[Context, ...]) -> None:
    """Give the codec to the context, if the handler takes one."""
    for each in context:
        each._codec = codec


def _sealed(result: Any, codec: Codec) -> Any:
    if result is None:
        return None
    try:
        text = strict.encode(result, "/result")
    except Exception:
        return result  # the executor says why it is not JSON
    try:
        return seal_json(codec, text)
    except Exception as error:
        error.add_note(f"the codec {codec.name!r}")
        raise
