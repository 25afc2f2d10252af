"""The listener's share of this process's open files."""

from __future__ import annotations

import resource

import pytest

from queuey.server.http.connections import Limits
from queuey.server.http.listener import within_files

WANTED = Limits(idle=1, head=1, body=1, reply=1, connections=5000)


class Files:
    """The process's limit of open files, as the system would keep it. `fixed`: it cannot be raised."""

    def __init__(self, soft: int, hard: int, fixed: bool = False) -> None:
        self.soft = soft
        self.hard = hard
        self.fixed = fixed

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.soft, self.hard

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        if self.fixed or limits[1] != self.hard:
            raise ValueError("not allowed to raise maximum limit")
        self.soft = limits[0]


@pytest.mark.parametrize(
    ("files", "connections", "soft"),
    [
        (Files(1_000_000, 1_000_000), 5000, 1_000_000),
        (Files(resource.RLIM_INFINITY, resource.RLIM_INFINITY), 5000, resource.RLIM_INFINITY),
        (Files(1024, 524_288), 5000, 5256),
        (Files(1024, resource.RLIM_INFINITY), 5000, 5256),
        (Files(1024, 4096), 3840, 4096),
        (Files(1024, 1024), 768, 1024),
        (Files(1024, 524_288, fixed=True), 768, 1024),
        (Files(256, 256), 128, 256),
    ],
)
def test_there_are_no_more_connections_than_files(
    files: Files, connections: int, soft: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", files.get)
    monkeypatch.setattr(resource, "setrlimit", files.set)
    assert within_files(WANTED).connections == connections
    assert files.soft == soft
    assert ("few_open_files" in capsys.readouterr().out) == (connections < WANTED.connections)
