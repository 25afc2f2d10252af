"""The URL of the server for a client: a flag, then a variable, then this machine."""

from __future__ import annotations

import pytest

from queuey.errors import SettingsError
from queuey.protocol.server_url import LOCAL_URL
from queuey.settings.client_access import read_access
from queuey.settings.settings import load


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    environ = {"QUEUEY_URL": "https://queue.example/base/", "QUEUEY_API_KEY": "secret-1"}
    assert read_access("http://127.0.0.1:1", environ).url == "http://127.0.0.1:1"
    assert read_access(None, environ).url == "https://queue.example/base"
    assert read_access(None, environ).api_key == "secret-1"
    assert (read_access(None, {}).url, read_access(None, {}).api_key) == (LOCAL_URL, None)


def test_empty_variables_count_as_unset() -> None:
    access = read_access(None, {"QUEUEY_URL": "", "QUEUEY_API_KEY": ""})
    assert (access.url, access.api_key) == (LOCAL_URL, None)


NO_URLS = (
    "",
    "localhost:8000",
    "ftp://host",
    "http://",
    "http://me:pw@host",
    "http://h/?a=b",
    "http://h:65536",
    "http://h:0",
    "http://h:x",
    "http://:80",
    "http://[::1",
)


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^--url: must be http"):
        read_access(url, {})
    if url:
        with pytest.raises(SettingsError, match=r"^QUEUEY_URL: must be http"):
            read_access(None, {"QUEUEY_URL": url})


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="QUEUEY_API_KEY") as refused:
        read_access(None, {"QUEUEY_API_KEY": "two words"})
    assert "two words" not in str(refused.value)
    assert "secret-1" not in repr(read_access(None, {"QUEUEY_API_KEY": "secret-1"}))


def test_the_server_does_not_mind_the_clients_variable() -> None:
    assert load({}, {"QUEUEY_URL": "http://elsewhere:1", "QUEUEY_UNPACK_DIR": "/var/cache/queuey"}).port == 8000
