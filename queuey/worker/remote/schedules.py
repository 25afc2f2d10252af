"""Putting the schedules of the App of a pull worker, by the API of its server."""

from __future__ import annotations

from typing import Final

from queuey.client import Client, ClientError, Conflict, Forbidden, Invalid, NotFound
from queuey.client.errors import TooLarge
from queuey.errors import QueueyError
from queuey.protocol.models import Schedule
from queuey.worker.handlers.app import App
from queuey.worker.schedules.declaring import Declared
from queuey.worker.schedules.outcome import Policy, Synced, as_stored

ANOTHER_OWNER: Final = "precondition-failed"
"""The code of the answer if another App has the schedule, or if it was put by hand."""


class NotPut(QueueyError):
    """The server did not take the schedules. A later try may succeed."""


class HttpSyncing:
    """Puts the schedules of an App, as Syncing of a server does. It sees those whose queues the key may read."""

    def __init__(self, app: App, client: Client, policy: Policy) -> None:
        self._app = app
        self._client = client
        self._policy = policy

    async def run_once(self) -> Synced:
        """Put what is declared, and report or delete the rest. It is safe to repeat. Raises NotPut."""
        try:
            return await self._run()
        except ClientError as error:
            raise NotPut(error.message) from error

    async def _run(self) -> Synced:
        declared, synced = self._app.schedules, Synced()
        there = await self._look()
        for each in declared.values():
            await self._put(each, there, synced)
        for name, schedule in (there or {}).items():
            if schedule.app != self._app.name or name in declared:
                continue
            if self._policy == "managed":
                await self._delete(name, synced)
            else:
                synced.undeclared.append(name)
        return synced

    async def _look(self) -> dict[str, Schedule] | None:
        """Return the schedules by name; None if the key may read none, or the server is of a release without them."""
        try:
            return {schedule.name: schedule async for schedule in self._client.schedules()}
        except (Forbidden, NotFound):
            return None

    async def _put(self, declared: Declared, there: dict[str, Schedule] | None, synced: Synced) -> None:
        name, codec = declared.name, self._app.codec
        before = (there or {}).get(name)
        request = as_stored(declared.sealed(codec), None if before is None else before.job.payload, codec)
        try:
            put = await self._client.put_schedule(name, request, app=self._app.name)
        except Conflict as error:
            if error.code != ANOTHER_OWNER:
                raise
            synced.foreign[name] = "" if before is None else before.app or ""
        except (Forbidden, Invalid, TooLarge) as error:
            synced.refused[name] = error.message
        else:
            if there is not None and (before is None or put.version != before.version):
                (synced.new if before is None else synced.replaced).append(name)

    async def _delete(self, name: str, synced: Synced) -> None:
        """Delete a schedule unless it has got another owner since it was read."""
        try:
            await self._client.delete_schedule(name, app=self._app.name)
        except (Conflict, NotFound):
            return
        except Forbidden:  # the key may read its queue, and not submit to it
            synced.undeclared.append(name)
            return
        synced.removed.append(name)
