"""A session of SQLAlchemy for each run of a handler, which commits when the handler has succeeded.

sessions = SessionPerRun(sessionmaker(engine))
app.middleware(sessions)

@app.job("ship")
def ship(order: int) -> None:
    sessions.current.add(Shipment(order))
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from sqlalchemy.orm import Session

from queuey.worker.handlers.context import Context
from queuey.worker.hooks.outcome import Middleware


class SessionPerRun:
    """A middleware that opens a session with `factory`, commits it after a success, and closes it.

    Sessions block, so they are for handlers in threads and processes.
    """

    def __init__(self, factory: Callable[[], Session]) -> None:
        self._factory = factory
        self._current: ContextVar[Session | None] = ContextVar("queuey_session", default=None)

    @property
    def current(self) -> Session:
        """The session of the handler that runs here. Raises RuntimeError outside of a handler."""
        session = self._current.get()
        if session is None:
            raise RuntimeError("there is no session here: use it in a handler of an App that has this middleware")
        return session

    def __call__(self, ctx: Context) -> Middleware:
        """Run the handler with a session. Without a success nothing is committed, and closing rolls back."""
        with self._factory() as session:
            token = self._current.set(session)
            try:
                outcome = yield
                if outcome.status == "succeeded" and not ctx.cancelled:
                    session.commit()
            finally:
                self._current.reset(token)
