"""What may stand in the URL of a store, so that a slip is refused by name and never leads to another store.

No message quotes a part of the URL: where a password has a '/', '?' or '#' in it, any part may be a piece of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("redis", "rediss", "unix")
ALLOWED: Final = "redis://[[user]:password@]host[:port][/db], rediss://... with TLS, or unix:///path/to/socket[?db=0]"
_ESCAPES: Final = "in a password write / as %2F, ? as %3F, # as %23 and @ as %40"

_OPTIONS: Final = {"db": ("[0-9]{1,9}", "a number"), "username": (".+", "a name"), "password": (".+", "not empty")}
_TLS_OPTIONS: Final = {
    "ssl_ca_certs": (".+", "a file"),
    "ssl_certfile": (".+", "a file"),
    "ssl_keyfile": (".+", "a file"),
    "ssl_cert_reqs": ("required|none", "required or none"),
    "ssl_check_hostname": ("true|false", "true or false"),
}
"""Passed on to redis-py, by name: a pattern and what it means. Times and connections are Queuey's own to set."""
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check(value: str) -> str:
    """The URL as it is. Raises ValueError that says what is wrong with it."""
    scheme, separator, _ = value.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"does not start with {', '.join(s + '://' for s in SCHEMES)}")
    try:
        url = urlsplit(value)
        if url.port == 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"has a port that is none, or brackets that do not match ({_ESCAPES})") from None
    if scheme == "unix" and not url.path.strip("/"):
        raise ValueError("names no socket")
    if scheme != "unix" and not url.hostname:
        raise ValueError(f"names no host ({_ESCAPES})")
    if scheme != "unix" and not re.fullmatch("/?[0-9]{0,9}", url.path):
        raise ValueError(f"has behind its host what is no number of a database ({_ESCAPES})")
    if "#" in value:
        raise ValueError(f"has a '#' in it ({_ESCAPES})")
    _check_options(url.query, _OPTIONS | _TLS_OPTIONS if scheme == "rediss" else _OPTIONS)
    return value


def _check_options(query: str, known: dict[str, tuple[str, str]]) -> None:
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"has behind its '?' what is none of {', '.join(known)} ({_ESCAPES})")
        pattern, meaning = known[name]
        if not re.fullmatch(pattern, text):
            raise ValueError(f"has for {name} what is not {meaning}")
        if name in _FILES and not Path(text).is_file():
            raise ValueError(f"has as {name} what is no file on this machine")
