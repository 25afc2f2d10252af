"""The settings of `queuey dev`: defaults of its own, a store apart from that of serve, and the file .env."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.errors import SettingsError
from queuey.settings.env_file import MAX_BYTES
from queuey.settings.settings import load, load_for_development


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_store_is_beside_that_of_serve(project: Path) -> None:
    environ = {"HOME": "/nowhere"}
    assert load_for_development({}, environ)[0].data_dir == project / ".queuey-dev"
    assert load({}, environ).data_dir == project / ".queuey"
    assert load_for_development({"data_dir": "/other"}, environ)[0].data_dir == Path("/other")


def test_its_defaults_give_way_to_every_source() -> None:
    settings, _ = load_for_development({}, {})
    assert (settings.drain_timeout, settings.log_jobs, settings.log_format) == (2.0, "all", "console")
    settings, _ = load_for_development({"drain_timeout": "9s"}, {"QUEUEY_LOG_JOBS": "failed"})
    assert (settings.drain_timeout, settings.log_jobs) == (9.0, "failed")


def test_it_is_one_process() -> None:
    assert load_for_development({}, {"QUEUEY_PROCESSES": "4"})[0].processes == 1


def test_the_process_overrides_the_file_env(project: Path) -> None:
    (project / ".env").write_text('# ours\nexport A="1 2"\nB=file\nQUEUEY_PORT=9000\nNOTHING\n')
    settings, variables = load_for_development({}, {"B": "process"})
    assert variables == {"A": "1 2", "B": "process", "QUEUEY_PORT": "9000"}
    assert settings.port == 9000


@pytest.mark.parametrize(
    ("content", "said"), [(b"A=\xff", "not UTF-8"), (b"#" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes")]
)
def test_a_file_env_that_cannot_be_used_is_refused(project: Path, content: bytes, said: str) -> None:
    (project / ".env").write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        load_for_development({}, {})
