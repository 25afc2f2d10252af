"""The comparison with brokers: what a row says, how beanstalkd is talked to, and what is said of a missing program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.peers import environments, postgres
from bench.peers.__main__ import chosen, measure
from bench.peers.brokers import catalog, measuring, report, sessions
from bench.peers.catalog import PEERS, PGQUEUER
from bench.peers.environments import CannotInstall
from bench.peers.results import Results

ANSWERS = ("the job is on disk", "the job is in memory", "the job is in the kernel's buffers")
PATH = "PATH"


class Answering(asyncio.Protocol):
    """Answers whatever it reads, in two parts, as a socket may cut it."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        reply = self._answer(data)
        self._transport.write(reply[:7])
        asyncio.get_running_loop().call_later(0.01, self._transport.write, reply[7:])


@asynccontextmanager
async def beanstalkd(answer: Callable[[bytes], bytes]) -> AsyncIterator[sessions.Session]:
    """A session with a server that answers what it has read."""
    server = await asyncio.get_running_loop().create_server(lambda: Answering(answer), "127.0.0.1", 0)
    async with server, sessions.Beanstalkd.connected(server.sockets[0].getsockname()[1]) as session:
        yield session


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_every_row_says_what_an_acknowledgement_means() -> None:
    answers = {broker.name: broker.answer for broker in catalog.BROKERS}
    answers |= {peer.name: peer.answer for peer in PEERS if peer.wide_enqueue}
    assert PGQUEUER in answers
    for name, answer in answers.items():
        assert answer.startswith(ANSWERS), name


def test_our_row_and_the_rival_are_there() -> None:
    assert {report.OURS, report.RIVAL} <= {broker.name for broker in catalog.BROKERS}


def test_ours_is_compared_with_the_rival_run_by_run() -> None:
    results = Results()
    for ours, theirs in ((30, 10), (20, 40)):
        results.add(report.OURS, {"single": ours, "single p99": 5.0, "pull": 10})
        results.add(report.RIVAL, {"single": theirs, "single p99": 3.0, "pull": 10})
    rows = {row.name.partition(":")[0]: list(row.values) for row in report.targets(results)}
    assert rows == {"Single jobs, 64 connections": [3, 0.5], "Pulled and finished, 500 a claim": [1, 1]}


def test_a_library_is_in_the_table_by_its_own_calls() -> None:
    results = Results()
    results.add(PGQUEUER, {"single": 300.0, "single p99": 90.0, "bulk": 16_000.0, "drain": 2_000.0, "p50": 15.0})
    (first, *_) = report.sections(results)
    assert f"| {PGQUEUER} | 300 | 90.0 | 16,000 | 2,000 | 15.0 | the job is on disk" in first.note


def test_without_a_broker_there_is_no_table() -> None:
    assert report.sections(Results()) == []


def test_brokers_are_chosen_by_the_start_of_their_names() -> None:
    names = [broker.name for broker in chosen("bunqueue in,beanstalkd", catalog.BROKERS)]
    assert names == ["bunqueue in memory", "beanstalkd in memory", "beanstalkd, fsync always"]


# --- beanstalkd -------------------------------------------------------------------------------------------------------


async def test_jobs_are_taken_until_the_queue_is_empty() -> None:
    reply = b"RESERVED 7 3\r\nabc\r\nRESERVED 12 3\r\nabc\r\nTIMED_OUT\r\n"
    async with beanstalkd(lambda request: reply) as session:
        assert await session.take(3) == [b"7", b"12"]


async def test_jobs_are_finished_one_command_each() -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"DELETED\r\nDELETED\r\n"

    async with beanstalkd(answer) as session:
        await session.finish([b"7", b"12"])
    assert set(asked) == {b"delete 7\r\ndelete 12\r\n"}


async def test_a_job_that_is_not_finished_is_an_error() -> None:
    async with beanstalkd(lambda request: b"DELETED\r\nNOT_FOUND\r\n") as session:
        with pytest.raises(RuntimeError, match="not every job was deleted"):
            await session.finish([b"7", b"12"])


def test_a_batch_is_answered_by_as_many_lines_as_it_has_jobs() -> None:
    wire, line = sessions.Beanstalkd.batch_wire, b"INSERTED 7\r\n"
    assert not wire.is_whole(line * (sessions.BATCH - 1))
    assert not wire.is_whole(line * sessions.BATCH + b"INS")
    assert wire.is_whole(line * sessions.BATCH)


# --- missing programs -------------------------------------------------------------------------------------------------


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PATH, str(tmp_path))
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    with pytest.raises(CannotInstall, match=r"PostgreSQL is missing.*apt install postgresql"):
        postgres.program("initdb")
    with pytest.raises(CannotInstall, match="npm is missing"):
        environments.bunqueue_command()
    (broker,) = [one for one in catalog.BROKERS if one.name == "beanstalkd in memory"]
    with pytest.raises(CannotInstall, match=r"beanstalkd is missing.*apt install beanstalkd"), broker.started(tmp_path):
        pytest.fail("it has started")


async def test_a_broker_that_cannot_run_is_reported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    async def lacks(broker: catalog.Broker) -> measuring.Figures:
        asked.append(broker.name)
        raise CannotInstall("beanstalkd is missing.")

    monkeypatch.setattr(measuring, "measure", lacks)
    (broker,) = [one for one in catalog.BROKERS if one.name == "beanstalkd in memory"]
    results = await measure([], [broker], runs=3)
    assert asked == [broker.name]
    assert results.failed == {broker.name: "beanstalkd is missing."}
