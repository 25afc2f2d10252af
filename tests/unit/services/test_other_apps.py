"""Other Apps on the same queues: which are reported, and how much of them."""

from __future__ import annotations

from datetime import UTC, datetime

from queuey.protocol.models import WorkerInfo
from queuey.services.other_apps import MAX_APPS, MAX_SHOWN, Clash, OwnApp, clashes
from queuey.services.workers import MAX_TYPES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = OwnApp("shop", ("default", "mail"), {"order.pay", "mail.send"})


def worker(app: str, queues: str = "default", types: str = "page.render", name: str = "w") -> WorkerInfo:
    return WorkerInfo(
        name=name,
        replica=name,
        kind="process",
        slots=1,
        busy=0,
        jobs=[],
        queues=queues.split(),
        types=types.split(),
        last_seen=NOW,
        quiet=False,
        started_at=NOW,
        version="1",
        app=app,
    )


def test_another_app_on_the_same_queue() -> None:
    blog = worker("blog", "default blog", "page.render mail.send")
    assert clashes(SHOP, [blog]) == [Clash("blog", ("default",), ("order.pay",), ("page.render",))]


def test_what_is_no_clash() -> None:
    assert clashes(SHOP, [worker("shop")]) == [], "a deploy"
    assert clashes(SHOP, [worker("")]) == [], "an older replica, or a pull worker"
    assert clashes(SHOP, [worker("blog", "blog")]) == [], "another queue"
    assert clashes(SHOP, [worker("part", types="mail.send")]) == [], "it knows nothing else"
    assert clashes(SHOP, [worker("all", types="mail.send order.pay page.render")]) == [], "it knows all"
    assert clashes(SHOP, [worker("cut", types=" ".join(map(str, range(MAX_TYPES))))]) == [], "it may know all"


def test_the_replicas_of_an_app_are_one() -> None:
    old, new = worker("blog", "default", "page.render"), worker("blog", "mail", "page.print order.pay")
    assert clashes(SHOP, [new, old]) == [
        Clash("blog", ("default", "mail"), ("mail.send",), ("page.print", "page.render"))
    ]


def test_a_report_has_bounds() -> None:
    many = " ".join(f"t{number:02}" for number in range(40))
    own = OwnApp("shop", many.split(), [f"own{number:02}" for number in range(40)])
    found = clashes(own, [worker(f"app{number:02}", many, many) for number in range(40)])
    assert [clash.app for clash in found] == [f"app{number:02}" for number in range(MAX_APPS)]
    assert {len(names) for names in (found[0].queues, found[0].only_here, found[0].only_there)} == {MAX_SHOWN}
