"""The hooks of an App."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from queuey.errors import StartupError
from queuey.protocol.json.codecs import Codec
from queuey.worker.handlers.handler import Handler
from queuey.worker.handlers.signatures import where
from queuey.worker.hooks.coding import writes_sealed
from queuey.worker.hooks.events import NAMES, EventFunction, EventName, Events
from queuey.worker.hooks.middleware import Layer, MiddlewareFunction, around, inspected


class Hooks:
    """The hooks that were registered. None can be added while handlers run, since each handler is made ready once."""

    def __init__(self, codec: Codec | None = None) -> None:
        self._codec = codec
        self.events = Events()
        self.has_spans = False
        """Whether a middleware puts handlers into spans."""
        self._middleware: list[Layer] = []
        self._users: set[object] = set()
        """The Executions that run handlers with these hooks."""
        self._is_included = False

    def add_middleware(self, function: MiddlewareFunction) -> None:
        """Add a middleware within those before it. Raises StartupError, which says what to change."""
        self._check("middleware", function)
        if any(layer.function is function for layer in self._middleware):
            raise StartupError(f"{where(function)}: this middleware is registered twice: leave one of the two out")
        self._middleware.append(inspected(function))

    def add_event(self, name: EventName, function: EventFunction) -> None:
        """Add a function that wants to know an event. Raises StartupError, which says what to change."""
        self._check(name, function)
        self.events.add(name, function)

    def leave_to_another(self) -> None:
        """Refuse hooks: the App is included, and has those of the other App. Raises StartupError if there are any."""
        if self._middleware or self._codec is not None or self.events.any_of(NAMES):
            raise StartupError("the included App has hooks: register them with the App that includes it")
        self._is_included = True

    def _check(self, what: str, function: Callable[..., object]) -> None:
        if self._is_included:
            raise StartupError(f"{where(function)}: its App is included: register {what} with the App that includes it")
        if self._users:
            raise StartupError(
                f"{where(function)}: the App runs already: register {what} when its module is imported, and not in the "
                "lifespan or in a handler"
            )

    def prepared(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """Return the handlers with the hooks around them. Raises StartupError if one does not fit."""
        prepared = dict(handlers)
        if self._middleware:
            prepared = {type: around(handler, self._middleware) for type, handler in prepared.items()}
        if self._codec is not None:  # outside of the middleware, which sees the results as they are
            prepared = {type: writes_sealed(handler, self._codec) for type, handler in prepared.items()}
        return prepared

    def hold(self, user: object) -> None:
        """Refuse further hooks until `user` and all others release them."""
        self._users.add(user)

    def release(self, user: object) -> None:
        """Allow further hooks, if no other holds them."""
        self._users.discard(user)
