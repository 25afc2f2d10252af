"""The default data directory: `.queuey` in the nearest project, else one in the home directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from queuey.errors import SettingsError
from queuey.settings.data_dir import DefaultDir, default_dir
from queuey.settings.settings import Settings, load, load_for_store, load_without_store


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "ann"
    folder.mkdir()
    return folder


def of_home(home: Path) -> Path:
    return home / ".local" / "share" / "queuey"


def found(home: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> DefaultDir:
    here.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here)
    return default_dir({"HOME": str(home)})


def mark(folder: Path, marker: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if marker == ".git/":
        (folder / ".git").mkdir()
    else:
        (folder / marker).write_text("gitdir: elsewhere\n")
    return folder


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git/", ".git"])
@pytest.mark.parametrize("below", ["", "src/shop"])
def test_a_project_has_its_own(home: Path, monkeypatch: pytest.MonkeyPatch, marker: str, below: str) -> None:
    shop = mark(home / "shop", marker)
    assert found(home, shop / below, monkeypatch) == (shop / ".queuey", of_home(home))


def test_the_nearest_project_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark(home / "work", ".git/")
    shop = mark(home / "work" / "shop", "pyproject.toml")
    assert found(home, shop / "src", monkeypatch).path == shop / ".queuey"
    assert found(home, home / "work" / "other", monkeypatch).path == home / "work" / ".queuey"


def test_a_project_outside_of_the_home_directory(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = mark(tmp_path / "srv" / "shop", "pyproject.toml")
    assert found(home, shop, monkeypatch).path == shop / ".queuey"


def test_outside_of_a_project_it_is_in_the_home_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(home, tmp_path / "srv", monkeypatch) == (of_home(home), None)
    assert default_dir({"HOME": str(home), "XDG_DATA_HOME": "/data"}) == (Path("/data/queuey"), None)


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git/"])
def test_a_home_directory_is_no_project(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    """Else all that is below dotfiles in Git would share one store."""
    mark(home, marker)
    mark(tmp_path, marker)
    assert found(home, home / "notes", monkeypatch) == (of_home(home), None)
    (tmp_path / "link").symlink_to(home)
    assert found(tmp_path / "link", home / "notes", monkeypatch).before is None


def test_a_link_leads_to_the_project_that_it_is_of(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = mark(tmp_path / "srv" / "shop", ".git/")
    (home / "link").symlink_to(shop)
    assert found(home, home / "link", monkeypatch).path == shop / ".queuey"


def test_a_working_directory_that_was_deleted(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark(tmp_path / "gone", ".git/")
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    try:
        assert default_dir({"HOME": str(home)}) == (of_home(home), None)
    finally:
        os.chdir(tmp_path)


def test_which_settings_say_where_the_default_was(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = mark(tmp_path / "shop", "pyproject.toml")
    environ = {"HOME": str(home)}
    assert found(home, shop, monkeypatch).path == shop / ".queuey" == load({}, environ).data_dir == Settings().data_dir
    settings, before = load_for_store({}, environ)
    assert (settings.data_dir, before) == (shop / ".queuey", of_home(home))
    for flags, variables in (
        ({"data_dir": str(shop / ".queuey")}, {}),
        ({}, {"QUEUEY_DATA_DIR": "/data"}),
        ({"redis": "redis://db"}, {}),
    ):
        settings, before = load_for_store(flags, environ | variables)
        assert before is None
    assert load({}, environ | {"QUEUEY_DATA_DIR": "/data"}).data_dir == Path("/data")


def test_in_a_project_no_home_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mark(tmp_path / "shop", ".git/"))
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert load({}, {}).data_dir == tmp_path / "shop" / ".queuey"


def test_without_a_home_it_must_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(SettingsError, match=r"^data_dir: The home directory is unknown. Set the data directory.$"):
        load({}, {})
    assert load({"redis": "redis://db"}, {}).redis == "redis://db"
    assert load_without_store({"queues": "mail"}, {}).queues == ("mail",)
