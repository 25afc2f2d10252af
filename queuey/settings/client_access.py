"""The URL of the server and the API key, as a client is given them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from queuey.errors import SettingsError
from queuey.protocol.credentials import KEY_PATTERN, KEY_RULE
from queuey.protocol.server_url import KEY_VARIABLE, LOCAL_URL, URL_RULE, URL_VARIABLE, is_server_url
from queuey.settings.sources import is_text, not_text


class Access(msgspec.Struct, frozen=True):
    """The URL of the server, and the client's key if it has one. `repr` shows no secret."""

    url: str
    api_key: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.url!r})"


def read_access(url: str | None, environ: Mapping[str, str]) -> Access:
    """Return the access to the server at `url`, else at QUEUEY_URL, else on this machine, with the key QUEUEY_API_KEY.

    Raises SettingsError if the URL or the key is not valid.
    """
    origin, chosen = ("--url", url) if url is not None else (URL_VARIABLE, environ.get(URL_VARIABLE) or LOCAL_URL)
    if not is_text(chosen):
        raise SettingsError(f"{origin}: The value {not_text()}")
    if not is_server_url(chosen) or "@" in urlsplit(chosen).netloc:
        raise SettingsError(f"{origin}: must be {URL_RULE}, without a user name or a password.")
    key = environ.get(KEY_VARIABLE) or None
    if key is not None and re.fullmatch(KEY_PATTERN, key) is None:
        raise SettingsError(f"{KEY_VARIABLE}: must be {KEY_RULE}.")
    return Access(chosen.rstrip("/"), key)
