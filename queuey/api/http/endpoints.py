"""The parts of a route: one endpoint for each method, and one resource for each path.

The Operation of an endpoint (operations.py) declares its parameters and answers. To add a route, declare its Operation
in a module of routes/, write the method that answers it there, and add a Guarded to the table in app.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from queuey.api.http.auth import Gate
from queuey.api.http.body import ClientDisconnected, read_headers, refuse_body
from queuey.api.http.operations import Operation, refuse_parameters
from queuey.api.http.problems import problem_response
from queuey.api.ui.visitors import PAGE_ROUTES
from queuey.errors import MethodNotAllowed, NotFound
from queuey.metrics import Metrics
from queuey.protocol.credentials import Principal

Answer = Callable[[Request, Principal], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode
NOBODY: Final = Principal("nobody", ())
"""The caller of an endpoint that needs no key."""


class Endpoint(Protocol):
    """An ASGI application for one method of one path. `needs`: the scope that the caller needs; None = no key."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def needs(self) -> str | None: ...
    @property
    def doc(self) -> Operation: ...
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Guarded:
    """An endpoint that admits callers with the scope, refuses what it does not declare, and answers with problems."""

    def __init__(self, method: str, path: str, needs: str | None, gate: Gate, answer: Answer, doc: Operation) -> None:
        self.method = method
        self.path = path
        self.needs = needs
        self.doc = doc
        self._gate = gate
        self.answer = answer
        self._is_for_page = f"{method} {path}" in PAGE_ROUTES
        self._refuses_query = not doc.query and needs is not None  # a probe may add any parameter to /healthz

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = read_headers(scope["headers"])
            self._gate.check_origin(headers, scope["method"])
            if self.needs is None:
                caller = NOBODY
            elif self._is_for_page and self._gate.may_be_visitor(headers):
                caller = await self._gate.admit_visitor(headers, self.needs, scope)
            else:
                caller = self._gate.admit(headers, self.needs)
            if scope["query_string"] and self._refuses_query:
                refuse_parameters(scope["query_string"])
            if self.doc.body is None and self.method != "GET":
                await refuse_body(headers, receive)
            response = await self.answer(Request(scope, receive), caller)
        except ClientDisconnected:
            return
        except Exception as error:
            response = problem_response(error, scope)
        await response(scope, receive, send)


class Timed:
    """An endpoint whose answers are counted and timed, until their headers are sent."""

    def __init__(self, endpoint: Endpoint, metrics: Metrics) -> None:
        self.method = endpoint.method
        self.path = endpoint.path
        self.needs = endpoint.needs
        self.doc = endpoint.doc
        self._endpoint = endpoint
        self._meter = metrics.of_route(endpoint.method, endpoint.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()

        def observe(message: Message) -> Awaitable[None]:
            if "status" in message:
                self._meter.answered(message["status"], perf_counter() - began)
            return send(message)

        await self._endpoint(scope, receive, observe)


class Resource:
    """All endpoints of one path. GET answers HEAD too; OPTIONS lists the methods."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_method = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self._allowed = (*self._by_method, "OPTIONS")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have their own endpoint."""
        return tuple(method for method in self._by_method if method != "HEAD")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        endpoint = self._by_method.get(method)
        if endpoint is not None:
            await endpoint(scope, receive, send)
        elif method == "OPTIONS":
            await Response(status_code=204, headers={"Allow": ", ".join(self._allowed)})(scope, receive, send)
        else:
            error = MethodNotAllowed(
                f"The method {method[:20]} is not allowed here. Allowed: {', '.join(self._allowed)}.", self._allowed
            )
            await problem_response(error, scope)(scope, receive, send)


async def no_route(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer requests for all unknown paths."""
    error = NotFound("There is no route at this path. GET /docs lists the routes.")
    await problem_response(error, scope)(scope, receive, send)


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of JSON that is never cached."""
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(_encode(value), status, all_headers, "application/json")
