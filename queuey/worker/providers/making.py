"""The making of one provider's value, and the end of its generator."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any, Final

from queuey.worker.handlers.error_text import blame
from queuey.worker.providers.reading import Provider

_Kind = type[BaseException] | None
_FAULTS: Final = {
    "generator didn't yield": "did not yield",
    "generator didn't stop": "yielded twice",
    "generator didn't stop after throw()": "yielded again after an error",
    "generator didn't stop after athrow()": "yielded again after an error",
}
"""What contextlib says of a generator that does not yield once, and what we say of the provider."""


def entered(provider: Provider, arguments: dict[str, Any], stack: ExitStack | AsyncExitStack) -> Any:
    """Return the value of a plain provider. The stack leaves its generator."""
    try:
        if provider.is_generator:
            return stack.enter_context(Guard(provider, arguments))
        return provider.function(**arguments)
    except BaseException as error:
        blame(error, provider.label)
        raise


async def entered_async(provider: Provider, arguments: dict[str, Any], stack: AsyncExitStack) -> Any:
    """Return the value of an async provider. The stack leaves its generator."""
    try:
        if provider.is_generator:
            return await stack.enter_async_context(AsyncGuard(provider, arguments))
        return await provider.function(**arguments)
    except BaseException as error:
        blame(error, provider.label)
        raise


class Guard(AbstractContextManager[Any, None]):
    """A generator as a context manager. An error is blamed on it if it raises it, and stays if it swallows it."""

    def __init__(self, provider: Provider, arguments: dict[str, Any]) -> None:
        self._manager: AbstractContextManager[Any] = provider.manager(**arguments)
        self._label = provider.label

    def __enter__(self) -> Any:
        try:
            return self._manager.__enter__()
        except RuntimeError as error:
            _explain(error, self._label)
            raise

    def __exit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._manager.__exit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                _explain(raised, self._label)
                blame(raised, self._label)
            raise


class AsyncGuard(AbstractAsyncContextManager[Any, None]):
    """An async generator as a context manager, like Guard."""

    def __init__(self, provider: Provider, arguments: dict[str, Any]) -> None:
        self._manager: AbstractAsyncContextManager[Any] = provider.manager(**arguments)
        self._label = provider.label

    async def __aenter__(self) -> Any:
        try:
            return await self._manager.__aenter__()
        except RuntimeError as error:
            _explain(error, self._label)
            raise

    async def __aexit__(self, kind: _Kind, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self._manager.__aexit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                _explain(raised, self._label)
                blame(raised, self._label)
            raise


def _explain(error: BaseException, label: str) -> None:
    """Raise a fault in words of providers, if contextlib has found that a generator does not yield exactly once."""
    trace = error.__traceback__
    is_of_contextlib = trace is not None and trace.tb_next is not None and trace.tb_next.tb_next is None
    if is_of_contextlib and (fault := _FAULTS.get(str(error))):
        explained = RuntimeError(f"it {fault}: a provider must yield exactly once")
        blame(explained, label)
        raise explained from (None if error.__suppress_context__ else error.__context__)
