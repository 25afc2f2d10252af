"""Two Apps for the same type of jobs, in different queues, as two releases of one program."""

from __future__ import annotations

from queuey.worker.handlers.app import App

mail = App()
bulk = App()
MAIL = f"{__name__}:mail"
BULK = f"{__name__}:bulk"


@mail.job("mail.send", queue="mail")
@bulk.job("mail.send", queue="bulk")
async def send(payload: str) -> str:
    return f"sent {payload}"
