"""An App that cannot be imported, or whose lifespan fails: the traceback begins in the user's module."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.support.serving import queuey

IMPORTING: Final = "import helper_of_shop\n"
ENTERING: Final = """\
from contextlib import asynccontextmanager

from queuey import App


@asynccontextmanager
async def lifespan(app):
    raise ConnectionError("no database")
    yield


app = App(lifespan=lifespan)
"""


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        (IMPORTING, 'helper_of_shop.py", line 1, in <module>', "NameError: name 'undefined' is not defined"),
        (ENTERING, 'shop.py", line 8, in lifespan', "the App's lifespan failed: ConnectionError: no database"),
    ],
    ids=["import", "lifespan"],
)
@pytest.mark.parametrize("command", [("serve",), ("serve", "--processes", "2"), ("work",)], ids=" ".join)
def test_the_traceback_comes_before_the_message(
    folder: Path, command: tuple[str, ...], source: str, place: str, message: str
) -> None:
    (folder / "shop.py").write_text(source)
    (folder / "helper_of_shop.py").write_text("price = undefined\n")
    port = () if "work" in command else ("--port", "0", "--data-dir", str(folder / "data"))
    ended = queuey(*command, "--app", "shop:app", *port, root=folder)
    assert ended.returncode == 3, ended.stderr
    head, *trace, last = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert head == "Traceback (most recent call last):"
    assert any(line.endswith(place) for line in trace), trace
    assert last.startswith("queuey: ")
    assert last.endswith(message)
    assert "queuey/worker" not in ended.stderr


SCHEDULED: Final = """\
from queuey import App

app = App()


@app.job("report", cron="0 25 * * *")
async def report(job: None) -> None: ...
"""


@pytest.mark.parametrize("command", [("serve",), ("work",), ("doctor",)], ids=" ".join)
def test_a_schedule_that_is_wrong_names_its_handler_and_line(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "shop.py").write_text(SCHEDULED)
    port = () if "work" in command else ("--port", "0", "--data-dir", str(folder / "data"))
    ended = queuey(*command, "--app", "shop:app", *port, root=folder)
    assert ended.returncode == (1 if "doctor" in command else 3), ended.stderr
    said = ended.stdout + ended.stderr
    assert f"shop.report ({folder / 'shop.py'}:6): its schedule 'report': cron has the hour '25'." in said
