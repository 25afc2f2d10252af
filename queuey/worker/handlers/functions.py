"""The function that `App.job` returns: it can be called as before, and can enqueue jobs for itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import cached_property, update_wrapper
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from queuey.protocol.job_requests import JobOptions, job_request
from queuey.protocol.json.codecs import Codec, seal, unseal_json
from queuey.protocol.models import Batch, EnqueueReply, Job, JobRequest
from queuey.worker.handlers.context import Context
from queuey.worker.handlers.parameters.results import Decode, result_decoder

if TYPE_CHECKING:
    from queuey.client import Client, SyncClient

Payload = TypeVar("Payload")
P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Sender(Protocol):
    """Takes jobs: a Client, or the server that runs the handlers."""

    def send(self, request: JobRequest) -> Coroutine[Any, Any, EnqueueReply]: ...


class Fields(dict[str, Any]):
    """The payload of a handler with several parameters, by their names. `JobFunction.payload` makes a checked one."""

    def __init__(self, /, **values: Any) -> None:
        super().__init__(values)


class JobFunction(Generic[Payload, P, R]):
    """A handler that can enqueue jobs. `sender` returns the Sender to use without a client; None outside a worker.

    `fields` are the parameters that the payload fills. `codec` returns that of the App.
    """

    def __init__(
        self,
        function: Callable[..., R],
        type: str,
        options: JobOptions,
        sender: Callable[[], Sender | None],
        fields: tuple[Parameter, ...],
        codec: Callable[[], Codec | None],
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.type = type
        self._options = options
        self._sender = sender
        self._codec = codec
        self._fields = Signature(fields) if len(fields) > 1 else None
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)  # from Python 3.12 on

    if TYPE_CHECKING:

        def __call__(self, payload: Payload, *arguments: P.args, **named: P.kwargs) -> R: ...

        def payload(self, first: Payload, /, *arguments: P.args, **named: P.kwargs) -> Fields:
            """Return the payload of a handler with several parameters, for `enqueue` and `request`.

            It takes the parameters that the payload fills, as a call of the function does. A type checker knows them
            if the Context comes first. Raises TypeError for one that is unknown or missing.
            """

    else:

        def __call__(self, /, *arguments, **named):
            return self.function(*arguments, **named)

        def payload(self, /, *arguments, **named):
            return self._bound(*arguments, **named)

    def __reduce__(self) -> str:
        """Pickle it by its name, as functions are."""
        return str(self.__dict__.get("__qualname__", self.type))

    @overload
    def request(self, payload: Payload | Fields, **options: Unpack[JobOptions]) -> JobRequest: ...
    @overload
    def request(
        self: JobFunction[list[Item], P, R], payload: Item, *, batch: Batch, **options: Unpack[JobOptions]
    ) -> JobRequest: ...
    def request(self, payload: Any, *, batch: Batch | None = None, **options: Unpack[JobOptions]) -> JobRequest:
        """Return a job for this handler, with its queue and maximum number of attempts, for `Client.enqueue_many`.

        With a `batch` it is an item of the list that the handler takes.
        """
        return job_request(self.type, self._sent(payload), self._options | options, batch)

    def _sent(self, payload: Payload | Fields) -> Any:
        """Return the payload as it is sent: sealed, if the App has a codec."""
        given = self._given(payload)
        codec = self._codec()
        return given if codec is None else seal(codec, given)

    def _given(self, payload: Any) -> Any:
        """Return the payload of a job. That of a handler with several parameters is an object with their names."""
        if self._fields is None:
            return payload
        if isinstance(payload, dict):
            return self._bound(**payload)
        raise TypeError(f"{self.type}: its payload has the fields {self._fields}: pass payload(...) of the handler")

    def _bound(self, /, *arguments: Any, **named: Any) -> Fields:
        if self._fields is None:
            raise TypeError(f"{self.type}: one parameter takes the whole payload, so pass that to enqueue")
        try:
            return Fields(**self._fields.bind(*arguments, **named).arguments)
        except TypeError as error:
            raise TypeError(f"{self.type}{self._fields}: {error}") from None

    @overload
    def enqueue(
        self, payload: Payload | Fields, *, client: Client | None = None, **options: Unpack[JobOptions]
    ) -> Coroutine[Any, Any, EnqueueReply]: ...
    @overload
    def enqueue(
        self, payload: Payload | Fields, *, client: SyncClient, **options: Unpack[JobOptions]
    ) -> EnqueueReply: ...
    @overload
    def enqueue(
        self: JobFunction[list[Item], P, R],
        payload: Item,
        *,
        batch: Batch,
        client: Client | None = None,
        **options: Unpack[JobOptions],
    ) -> Coroutine[Any, Any, EnqueueReply]: ...
    @overload
    def enqueue(
        self: JobFunction[list[Item], P, R],
        payload: Item,
        *,
        batch: Batch,
        client: SyncClient,
        **options: Unpack[JobOptions],
    ) -> EnqueueReply: ...
    def enqueue(
        self,
        payload: Any,
        *,
        batch: Batch | None = None,
        client: Client | SyncClient | None = None,
        **options: Unpack[JobOptions],
    ) -> Coroutine[Any, Any, EnqueueReply] | EnqueueReply:
        """Enqueue a job for this handler. The call must be awaited, except with a SyncClient.

        A handler with several parameters takes what its `payload` returns: `resize.enqueue(resize.payload("a.png"))`.
        With a `batch` the payload is one item of the list that the handler takes: `index.enqueue(row, batch=...)`.

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
        return taker.send(job_request(self.type, self._sent(payload), self._options | options, batch))

    @overload
    def run(
        self: JobFunction[Payload, P, Coroutine[Any, Any, Result]],
        payload: Payload | Fields,
        *,
        client: Client,
        wait: float = 60.0,
        **options: Unpack[JobOptions],
    ) -> Coroutine[Any, Any, Result]: ...
    @overload
    def run(
        self: JobFunction[Payload, P, Coroutine[Any, Any, Result]],
        payload: Payload | Fields,
        *,
        client: SyncClient,
        wait: float = 60.0,
        **options: Unpack[JobOptions],
    ) -> Result: ...
    @overload
    def run(
        self, payload: Payload | Fields, *, client: Client, wait: float = 60.0, **options: Unpack[JobOptions]
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run(
        self, payload: Payload | Fields, *, client: SyncClient, wait: float = 60.0, **options: Unpack[JobOptions]
    ) -> R: ...
    def run(
        self,
        payload: Payload | Fields,
        *,
        client: Client | SyncClient | None = None,
        wait: float = 60.0,
        **options: Unpack[JobOptions],
    ) -> Any:
        """Enqueue a job for this handler, wait up to `wait` seconds, and return its result as the handler returns it.

        The call must be awaited, except with a SyncClient. Raises JobFailed if the job has not succeeded, NotFinished
        if it has not finished in time, and msgspec.ValidationError for a result of another type. Without a client, and
        for a `wait` that is not a number, it raises TypeError.
        """
        if client is None:
            raise TypeError(f"{self.type}: run waits for the job, so it needs a client: run(..., client=client)")
        _ = self._decode_result  # a type that cannot be read is an error before the job is sent
        given: Any = client.run(self.type, self._sent(payload), wait=wait, **(self._options | options))
        return self._awaited(given) if inspect.iscoroutine(given) else self._result(given)

    async def _awaited(self, job: Coroutine[Any, Any, Job]) -> Any:
        return self._result(await job)

    def _result(self, job: Job) -> Any:
        from queuey.client.errors import result_of

        codec = self._codec()
        result = bytes(result_of(job))
        return self._decode_result(result if codec is None else unseal_json(codec, result))

    @cached_property
    def _decode_result(self) -> Decode:
        return result_decoder(self.function)


class ContextFirst(JobFunction[Payload, P, R]):
    """A handler whose first parameter is the Context. Only type checkers tell it from other handlers."""

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, ctx: Context[Any], payload: Payload, /, *arguments: P.args, **named: P.kwargs
        ) -> R: ...


class Register(Protocol):
    """The decorator that `App.job` returns."""

    @overload
    def __call__(self, given: Callable[Concatenate[Context[Any], Payload, P], R], /) -> ContextFirst[Payload, P, R]: ...
    @overload
    def __call__(self, given: Callable[Concatenate[Payload, P], R], /) -> JobFunction[Payload, P, R]: ...


def _in_a_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
