"""GET /v1/openapi.json: the description of the API as OpenAPI 3.1, made from the endpoints' declarations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from queuey import errors, version
from queuey.api.http.endpoints import Endpoint
from queuey.api.http.operations import Media, Operation, Parameter, QueueName
from queuey.api.http.problems import MEDIA_TYPE
from queuey.api.openapi.schemas import Schema, Schemas
from queuey.errors import QueueyError
from queuey.protocol.credentials import Principal
from queuey.protocol.models import JobId, Problem

Document = dict[str, Any]
PayloadSchemas = Callable[[], dict[str, Schema]]
"""Makes schemas by their names in the document."""

PATH_PARAMETERS: Final = {
    "id": Parameter("id", JobId, "The id of a job"),
    "name": Parameter("name", QueueName, "The name of a queue or of a worker"),
}
_ANY: Final[tuple[type[QueueyError], ...]] = (
    errors.Malformed,
    errors.RequestTimeout,
    errors.WrongHost,
    errors.Invalid,
    errors.HeadTooLarge,
    QueueyError,
    errors.TooManyConnections,
    errors.StoreUnavailable,
)
"""The errors of every endpoint. Some are raised before the endpoint is known."""
_KEYED: Final[tuple[type[QueueyError], ...]] = (errors.Unauthorized, errors.Forbidden)
_PATH_WORD: Final = re.compile(r"{(\w+)}")
_ABOUT: Final = (
    "A job queue over HTTP. Durations are numbers of seconds, times are RFC 3339 in UTC. Errors are "
    "`application/problem+json`; the last part of `type` is a stable code. Fields and parameters that are not listed "
    "here are refused. The schema `payload.<type>` is that of the payloads of a type whose handler this server has."
)

DESCRIPTION: Final = Operation(
    "describe_api",
    "This description",
    {200: dict[str, Any]},
    description="OpenAPI 3.1.",
    sample={"openapi": "3.1.0", "info": {"title": "Queuey", "version": version.__version__}, "paths": {}},
    group="Operation",
)


class Description:
    """Makes the document when a client first asks for it. `endpoints` may grow until then.

    `payloads` makes the schemas of the payloads that this server's App knows.
    """

    def __init__(self, endpoints: Sequence[Endpoint], payloads: PayloadSchemas) -> None:
        self._endpoints = endpoints
        self._payloads = payloads
        self._made: bytes | None = None

    def document(self) -> Document:
        """Return the document as a dict."""
        made = describe(self._endpoints)
        made["components"]["schemas"] |= self._payloads()
        return made

    async def show(self, request: Request, caller: Principal) -> Response:
        """Answer GET /v1/openapi.json."""
        if self._made is None:
            self._made = msgspec.json.encode(self.document())
        return Response(self._made, headers={"Cache-Control": "no-cache"}, media_type="application/json")


def describe(endpoints: Iterable[Endpoint]) -> Document:
    """Return the document. Raises ValueError when two operations or two Structs have the same name."""
    schemas = Schemas()
    schemas.of(Problem)
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for endpoint in (endpoint for endpoint in endpoints if endpoint.doc.shown):
        if endpoint.doc.name in names:
            raise ValueError(f"two operations are named {endpoint.doc.name}")
        names.add(endpoint.doc.name)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Queuey",
            "version": version.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.named.items())),
            "responses": _problems(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: Schemas) -> Document:
    doc = endpoint.doc
    text = [doc.description] if doc.description else []
    if endpoint.needs is not None:
        text.append(f"Needs an API key with the scope {endpoint.needs}, or a server that allows this without a key.")
    operation: Document = {"operationId": doc.name, "summary": doc.summary, "tags": [doc.group]}
    if text:
        operation["description"] = " ".join(text)
    parameters = [_parameter("path", PATH_PARAMETERS[name], schemas) for name in _PATH_WORD.findall(endpoint.path)]
    parameters += [_parameter("query", parameter, schemas) for parameter in doc.query]
    parameters += [_parameter("header", parameter, schemas) for parameter in doc.headers]
    if parameters:
        operation["parameters"] = parameters
    if doc.body is not None:
        operation["requestBody"] = {"required": doc.body_needed, "content": _body(doc, schemas)}
    operation["responses"] = _responses(endpoint, schemas)
    operation["security"] = [] if endpoint.needs is None else [{"key": []}, {"bearer": []}, {}]
    return operation


def _parameter(place: str, parameter: Parameter, schemas: Schemas) -> Document:
    schema = schemas.of(parameter.type)
    if parameter.default is not UNSET:
        schema["default"] = parameter.default
    made: Document = {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "required": place == "path",
        "schema": schema,
    }
    if parameter.example is not UNSET:
        made["example"] = parameter.example
    return made


def _body(doc: Operation, schemas: Schemas) -> Document:
    content: Document = {"application/json": _content(_answer(doc.body, schemas), doc.example)}
    if doc.body_also is not None:
        content[doc.body_also.type] = {"schema": {"type": "string", "description": doc.body_also.description}}
    return content


def _content(schema: Schema, example: Any) -> Document:
    return {"schema": schema} if example is UNSET else {"schema": schema, "example": example}


def _responses(endpoint: Endpoint, schemas: Schemas) -> Document:
    doc = endpoint.doc
    found: Document = {}
    for number, (status, answer) in enumerate(doc.answers.items()):
        made: Document = {"description": "Success" if number == 0 else "Another answer"}
        if isinstance(answer, Media):
            made["description"] = answer.description
            made["content"] = {answer.type: {"schema": schemas.of(answer.schema)}}
            if answer.also is not None:
                made["content"]["application/json"] = _content(_answer(answer.also, schemas), doc.sample)
        elif answer is not None:
            made["content"] = {"application/json": _content(_answer(answer, schemas), UNSET if number else doc.sample)}
        if doc.gives and number == 0:
            made["headers"] = {
                header.name: {"description": header.description, "schema": schemas.of(header.type)}
                for header in doc.gives
            }
        found[str(status)] = made
    for status in sorted(_refusals(endpoint)):
        if str(status) in found:
            found[str(status)].setdefault("content", {}).update(_problem_content())
        else:
            found[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return found


def _answer(answer: Any, schemas: Schemas) -> Schema:
    if isinstance(answer, tuple):
        return {"anyOf": [schemas.of(one) for one in answer]}
    return schemas.of(answer)


def _refusals(endpoint: Endpoint) -> set[int]:
    """Return the statuses of all problems that the endpoint may answer with."""
    raised = {*_ANY, *endpoint.doc.errors}
    if endpoint.needs is not None:
        raised.update(_KEYED)
    if endpoint.method != "GET":
        raised.update((errors.ForeignOrigin, errors.TooLarge))
    if endpoint.doc.body is not None:
        raised.add(errors.UnsupportedMedia)
    if "{" in endpoint.path:
        raised.add(errors.NotFound)
    return {error.status for error in raised}


def _problems() -> Document:
    """Return one response for each status, with the codes that it stands for."""
    by_status: dict[int, list[str]] = {}
    for _, error in sorted(inspect.getmembers(errors, inspect.isclass)):
        if issubclass(error, QueueyError) and not issubclass(error, errors.StartupError):
            by_status.setdefault(error.status, []).append(f"`{error.code}`: {error.title}")
    return {
        str(status): {"description": "; ".join(lines), "content": _problem_content()}
        for status, lines in sorted(by_status.items())
    }


def _problem_content() -> Document:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
