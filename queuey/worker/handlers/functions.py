"""The function that `App.job` returns: it can be called as before, and can enqueue jobs for itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from queuey.protocol.job_requests import JobOptions, job_request
from queuey.protocol.models import EnqueueReply, JobRequest

if TYPE_CHECKING:
    from queuey.client import Client, SyncClient

Payload = TypeVar("Payload")
P = ParamSpec("P")
R = TypeVar("R")


class Sender(Protocol):
    """Takes jobs: a Client, or the server that runs the handlers."""

    def send(self, request: JobRequest) -> Awaitable[EnqueueReply]: ...


class JobFunction(Generic[Payload, P, R]):
    """A handler that can enqueue jobs. `sender` returns the Sender to use without a client; None outside a worker."""

    def __init__(
        self,
        function: Callable[Concatenate[Payload, P], R],
        type: str,
        options: JobOptions,
        sender: Callable[[], Sender | None],
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.type = type
        self._options = options
        self._sender = sender
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)  # from Python 3.12 on

    def __call__(self, payload: Payload, *arguments: P.args, **named: P.kwargs) -> R:
        return self.function(payload, *arguments, **named)

    def __reduce__(self) -> str:
        """Pickle it by its name, as functions are."""
        return str(self.__dict__.get("__qualname__", self.type))

    def request(self, payload: Payload, **options: Unpack[JobOptions]) -> JobRequest:
        """Return a job for this handler, with its queue and maximum number of attempts, for `Client.enqueue_many`."""
        return job_request(self.type, payload, self._options | options)

    @overload
    def enqueue(
        self, payload: Payload, *, client: Client | None = None, **options: Unpack[JobOptions]
    ) -> Awaitable[EnqueueReply]: ...
    @overload
    def enqueue(self, payload: Payload, *, client: SyncClient, **options: Unpack[JobOptions]) -> EnqueueReply: ...
    def enqueue(
        self, payload: Payload, *, client: Client | SyncClient | None = None, **options: Unpack[JobOptions]
    ) -> Awaitable[EnqueueReply] | EnqueueReply:
        """Enqueue a job for this handler. The call must be awaited, except with a SyncClient.

        An async handler needs no client: the worker that runs it takes the job. Elsewhere a missing client raises
        RuntimeError. This includes handlers in threads, which cannot await anything.
        """
        taker = client or self._sender()
        if taker is None:
            raise RuntimeError(
                f"{self.type}: no worker runs here that could take the job. Pass a client: enqueue(..., client=client)"
            )
        if client is None and not _in_a_loop():
            raise RuntimeError(
                f"{self.type}: nothing can be awaited in a thread, so no job was enqueued. Make the handler async, or"
                " pass a SyncClient: enqueue(..., client=client)"
            )
        return taker.send(self.request(payload, **options))


def _in_a_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
