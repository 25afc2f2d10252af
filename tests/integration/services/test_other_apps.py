"""The warning of another App on the same queue, from the heartbeats in a real store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from queuey.services import other_apps
from queuey.services.other_apps import OtherApps, OwnApp
from queuey.services.workers import Description, WorkerReport
from tests.support.store import Rig

OWN = OwnApp("shop", ("default",), {"order.pay"})


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            found.append({"event": event, **fields})

    monkeypatch.setattr(other_apps, "logger", Log())
    return found


async def beat(rig: Rig, replica: str, *types: str, app: str = "blog") -> None:
    report = WorkerReport(replica, "process", 1, 0, [], ["default"], list(types), app=app)
    text = msgspec.json.encode(Description("1", 1, ["worker"], [report])).decode()
    await rig.broker.replicas.heartbeat(0, replica, text)


async def test_it_is_said_once_and_again_after_a_change(rig: Rig, warnings: list[dict[str, Any]]) -> None:
    look = OtherApps(rig.broker, OWN, interval=7.0)
    assert await look.run_once() == 7.0
    await beat(rig, "own", "order.pay", app="shop")
    await look.run_once()
    assert warnings == []

    await beat(rig, "r1", "page.render")
    for _ in range(3):
        await look.run_once()
    (warning,) = warnings
    assert warning == {
        "event": "queue_shared_with_another_app",
        "app": "shop",
        "other_app": "blog",
        "queues": ["default"],
        "only_here": ["order.pay"],
        "only_there": ["page.render"],
        "advice": other_apps.ADVICE,
    }

    await beat(rig, "r2", "page.render", app="wiki")
    await look.run_once()
    assert [said["other_app"] for said in warnings] == ["blog", "wiki"]
    await beat(rig, "r1", "page.render", "page.print")
    await look.run_once()
    assert [said["only_there"] for said in warnings[2:]] == [["page.print", "page.render"]]

    await rig.broker.replicas.heartbeat(0, "r1", "")
    await look.run_once()
    await beat(rig, "r1", "page.render", "page.print")
    await look.run_once()
    assert len(warnings) == 4, "it left and came back"
