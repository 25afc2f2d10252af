"""A session for each run: committed after a success, rolled back otherwise, and never shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from queuey import App, Retry, Testing
from queuey.integrations.sqlalchemy import SessionPerRun


class Base(DeclarativeBase):
    pass


class Shipment(Base):
    __tablename__ = "shipment"

    number: Mapped[int] = mapped_column(primary_key=True)


class Shop:
    """An App with a database, and all sessions that its handlers had."""

    def __init__(self, folder: Path) -> None:
        engine = create_engine(f"sqlite:///{folder / 'shop.db'}", poolclass=NullPool)
        Base.metadata.create_all(engine)
        self.factory = sessionmaker(engine)
        self.sessions = SessionPerRun(self.factory)
        self.seen: list[object] = []
        self.app = App()
        self.app.middleware(self.sessions)

        @self.app.job("ship")
        def ship(number: int) -> None:
            session = self.sessions.current
            self.seen.append(session)
            session.add(Shipment(number=number))
            session.flush()
            if number < 0:
                raise Retry("later")

    @property
    def shipped(self) -> list[int]:
        with self.factory() as session:
            return list(session.scalars(select(Shipment.number).order_by(Shipment.number)))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_a_run_that_succeeds_is_committed_and_one_that_fails_is_not(shop: Shop) -> None:
    async with Testing(shop.app) as testing:
        assert (await testing.run("ship", 1)).status == "succeeded"
        assert (await testing.run("ship", -1)).kind == "retry"
        assert (await testing.run("ship", 2)).status == "succeeded"
    assert shop.shipped == [1, 2]
    assert len({id(session) for session in shop.seen}) == 3


async def test_a_commit_that_fails_is_the_failure_of_the_job(shop: Shop) -> None:
    async with Testing(shop.app) as testing:
        await testing.run("ship", 1)
        again = await testing.run("ship", 1)
    assert again.kind == "error"
    assert str(again.message).startswith("IntegrityError: ")
    assert shop.shipped == [1]


def test_there_is_none_outside_of_a_handler(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="there is no session here: use it in a handler"):
        _ = shop.sessions.current
