"""doctor: what it finds on this machine and in a store."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from queuey.protocol.credentials import new_key, parse_api_keys, parse_grant
from queuey.server import doctor
from queuey.server.doctor import Finding, examine
from queuey.server.store import broker_of, opened
from queuey.services.workers import Description, WorkerReport
from queuey.settings.settings import Settings
from queuey.store.broker.broker import Broker
from queuey.store.replies import About
from queuey.store.scripts import Scripts
from queuey.store.shards import Shards
from tests.support.jobs import PATH
from tests.support.store import Server, client_for
from tests.support.stores import SHARDS, StartServer, one_of

shards = one_of(*SHARDS)

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb")


def found(settings: Settings) -> dict[str, list[Finding]]:
    """Every finding by its subject."""

    async def all_findings() -> list[Finding]:
        return [finding async for finding in examine(settings)]

    by_subject: dict[str, list[Finding]] = {}
    for finding in asyncio.run(all_findings()):
        by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


def one(settings: Settings, subject: str) -> tuple[str, str]:
    (finding,) = found(settings)[subject]
    return finding.level, finding.text


def on(server: Server, **fields: Any) -> Settings:
    return Settings(redis=server.url, port=0, **fields)


def levels(findings: dict[str, list[Finding]]) -> set[str]:
    return {finding.level for several in findings.values() for finding in several}


# --- this machine ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "level", "text"),
    [
        ({}, "ok", "open to this machine only"),
        ({"host": "0.0.0.0"}, "fail", "without an API key, because other machines could reach it"),
        ({"host": "0.0.0.0", "api_key": "short"}, "warn", "can be guessed"),
        ({"host": "0.0.0.0", "api_key": "x" * 40}, "ok", "API keys are set; listens on 0.0.0.0"),
    ],
)
def test_access(folder: Path, fields: dict[str, Any], level: str, text: str) -> None:
    found_level, found_text = one(Settings(data_dir=folder / "none", port=0, **fields), "access")
    assert found_level == level
    assert text in found_text


def test_a_key_of_several(folder: Path) -> None:
    _, entry = new_key("ci", [parse_grant("read")])
    keys = parse_api_keys([entry])
    assert one(Settings(data_dir=folder / "none", port=0, api_keys=keys), "access")[0] == "ok"


@pytest.mark.parametrize(
    ("app", "level", "text"),
    [
        (None, "ok", "built-in text.reverse"),
        (PATH, "ok", "echo.process"),
        ("nowhere:app", "fail", "there is no module 'nowhere'"),
        ("tests.support.jobs:PATH", "fail", "must be a queuey.App"),
    ],
)
def test_app(folder: Path, app: str | None, level: str, text: str) -> None:
    found_level, found_text = one(Settings(data_dir=folder / "none", port=0, app=app), "app")
    assert found_level == level
    assert text in found_text


NEEDS_NAME = (
    "--schedules managed deletes schedules of this App, so it needs a name that no other App has: App(name=...)."
)


@pytest.mark.parametrize(
    ("name", "schedules", "expected"),
    [
        ("'shop'", "report", [("ok", "shop declares nightly")]),
        ("'shop'", "managed", [("ok", "shop declares nightly")]),
        ("None", "report", [("ok", "scheduled declares nightly")]),
        ("None", "managed", [("fail", NEEDS_NAME)]),
        ("None", "off", []),
    ],
)
def test_schedules(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, schedules: Any, expected: list[tuple[str, str]]
) -> None:
    (folder / "scheduled.py").write_text(
        f"from queuey import App\napp = App(name={name})\n"
        "@app.job('nightly', cron='0 3 * * *')\nasync def nightly(job: None) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "scheduled", raising=False)
    findings = found(Settings(data_dir=folder / "none", port=0, app="scheduled:app", schedules=schedules))
    assert [(each.level, each.text) for each in findings.get("schedules", [])] == expected


def test_what_the_roles_leave_out_is_not_looked_at(folder: Path) -> None:
    findings = found(Settings(data_dir=folder / "none", roles=("reaper",), app="nowhere:app"))
    assert "app" not in findings
    assert "port" not in findings


def test_a_port_that_something_else_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        level, text = one(Settings(data_dir=folder / "none", port=port), "port")
    assert level == "fail"
    assert f"127.0.0.1 port {port}" in text
    assert "Choose another --port" in text


def test_a_data_directory_that_is_not_there_is_not_made(folder: Path) -> None:
    findings = found(Settings(data_dir=folder / "some" / "where", port=0))
    assert levels(findings) == {"ok"}
    assert "not there yet" in findings["store"][0].text
    assert not (folder / "some").exists()


def test_a_data_directory_that_others_can_write_to(folder: Path) -> None:
    place = folder / "open"
    place.mkdir()
    place.chmod(0o777)
    level, text = one(Settings(data_dir=place, port=0), "store")
    assert level == "fail"
    assert f"chmod 700 {place}" in text


def test_a_disk_that_is_nearly_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_DISK", 2**70)
    level, text = one(Settings(data_dir=folder / "none", port=0), "disk")
    assert level == "warn"
    assert "make room" in text


# --- the store ---------------------------------------------------------------------------------------------------


def test_a_private_store_is_started_and_stopped_again(folder: Path) -> None:
    findings = found(Settings(data_dir=folder, port=0))
    assert levels(findings) == {"ok"}
    assert [finding.text for finding in findings["durability"]] == ["verified: an acknowledged job is on disk"]
    assert "nothing under the prefix queuey yet" in findings["data"][0].text
    assert not list(folder.glob("*.sock")), "the store has ended"


def test_a_store_that_keeps_its_promise(start_server: StartServer) -> None:
    findings = found(on(start_server(*DURABLE)))
    assert levels(findings) == {"ok"}
    assert findings["store"][0].text.startswith("Valkey ")


@pytest.mark.parametrize(
    ("options", "subject", "text"),
    [
        (("--appendonly", "no", "--maxmemory", "100mb"), "durability", "memory only: acknowledged jobs are lost"),
        ((*DURABLE[:3], "everysec", "--maxmemory", "100mb"), "durability", "declared: the last acknowledged jobs"),
        (DURABLE[:4], "store", "set maxmemory"),
        ((*DURABLE[:5], "1mb"), "memory", "raise its maxmemory"),
    ],
)
def test_what_is_weak_is_warned_of(
    start_server: StartServer, options: tuple[str, ...], subject: str, text: str
) -> None:
    findings = found(on(start_server(*options)))
    assert text in " ".join(finding.text for finding in findings[subject] if finding.level == "warn")
    assert "fail" not in levels(findings)


def test_a_store_that_throws_jobs_away_fails(start_server: StartServer) -> None:
    server = start_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    level, text = one(on(server), "store")
    assert level == "fail"
    assert "set it to noeviction" in text


def test_a_store_that_is_away_fails_and_shows_no_password(folder: Path) -> None:
    level, text = one(Settings(redis="redis://me:secret@127.0.0.1:1", port=0), "store")
    assert level == "fail"
    assert "cannot be reached" in text
    assert "secret" not in text


async def test_another_app_on_the_same_queue(start_server: StartServer) -> None:
    """Both know types that the other does not. Without the role worker, none is run here."""
    report = WorkerReport("r1", "process", 1, 0, [], ["default"], ["page.render"], app="blog")
    text = msgspec.json.encode(Description("1", 1, ["worker"], [report])).decode()
    settings = on(start_server(*DURABLE))
    async with opened(settings) as client:
        await broker_of(client, settings, 1).replicas.heartbeat(0, "r1", text)

    async def warned(settings: Settings) -> list[str]:
        return [finding.text async for finding in examine(settings) if finding.subject == "app"][1:]

    (warning,) = await warned(msgspec.structs.replace(settings, app=PATH))
    assert warning.startswith("The App blog also serves default. It does not know ")
    assert " does not know page.render. Give each App queues of its own" in warning
    assert await warned(settings) == [], "without --app, nothing is said of the built-in App"
    assert await warned(msgspec.structs.replace(settings, app=PATH, queues=("elsewhere",))) == []
    assert await warned(msgspec.structs.replace(settings, roles=("api",))) == []


async def test_another_format_or_number_of_shards_fails(start_server: StartServer) -> None:
    server = start_server(*DURABLE)
    client: Any = client_for(server.url)
    await client.hset("queuey:{0}:meta", mapping={"format": 1, "shards": 4})

    async def look(settings: Settings) -> list[str]:
        return [finding.text async for finding in examine(settings) if finding.level != "ok"]

    assert await look(on(server, shards=4)) == []
    (text,) = await look(on(server))
    assert "in 4: start with --shards 4" in text
    await client.hset("queuey:{0}:meta", mapping={"format": 99})
    (text,) = await look(on(server, shards=4))
    assert "format 99 and this version of Queuey reads up to 2" in text
    await client.aclose()


ALL = "aside, schedules, unique"


async def test_features_that_are_not_open_and_why(start_server: StartServer) -> None:
    server = start_server(*DURABLE)
    client: Any = client_for(server.url)
    broker = Broker(Shards(client, 4), Scripts())

    async def look() -> tuple[str, str]:
        findings = [finding async for finding in examine(on(server, shards=4)) if finding.subject == "features"]
        (finding,) = findings
        return finding.level, finding.text

    for keys in broker.shards.keys:
        await client.hset(keys.meta, mapping={"format": 1, "shards": 4})
    assert await look() == ("ok", f"{ALL}: not open yet: they open a minute after a server of this version has started")
    known = '{"version":"2","pid":1,"roles":[],"workers":[],"features":["aside","schedules","unique"]}'
    await broker.replicas.heartbeat(0, "new", known)
    level, text = await look()
    assert (level, "open within a minute" in text) == ("ok", True)
    await broker.replicas.heartbeat(0, "older", '{"version":"1.2","pid":2,"roles":[],"workers":[]}')
    await broker.replicas.heartbeat(0, "odd", "no json")
    text = f"{ALL}: not open yet, since odd (version unknown), older (version 1.2) do not know them: replace"
    assert await look() == ("warn", f"{text} these by this version.")
    for keys in broker.shards.keys[:3]:
        await client.hset(keys.meta, mapping={"format": 2, "features": "aside schedules unique"})
    assert (await look())[0] == "warn", "one shard is left"
    await client.hset(broker.shards.keys[3].meta, mapping={"format": 2, "features": "aside schedules unique"})
    assert await look() == ("ok", f"{ALL}: open")
    await client.hset(broker.shards.keys[3].meta, "features", "aside unique")
    assert (await look())[1].startswith("schedules: not open yet, since")
    await client.hset(broker.shards.keys[0].meta, "features", "aside schedules unique limits")
    texts = [finding.text async for finding in examine(on(server, shards=4)) if finding.level == "fail"]
    assert len(texts) == 1
    assert "uses limits, which this version of Queuey does not know" in texts[0]
    await client.aclose()


@pytest.mark.parametrize(
    ("ahead", "level", "text"), [(0.9, "ok", "agree"), (5, "warn", "ahead"), (-5, "warn", "behind")]
)
def test_clocks(ahead: float, level: str, text: str) -> None:
    finding = doctor._clock(About(1, 1, round((1_800_000_000 + ahead) * 1000), "", 0), 1_800_000_000)
    assert (finding.level, finding.subject) == (level, "clock")
    assert text in finding.text
